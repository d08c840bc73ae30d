//! Every example, on the real server.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::Space;
use crate::harness::kubectl::{kubectl, kubectl_with};

fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == extension))
        .collect()
}

/// The blocks of a page that are marked as `yaml` and nothing else: its manifests. Those that `make
/// generate` writes are configurations of other programs.
fn manifests(page: &str) -> Vec<String> {
    let (mut found, mut indent, mut previous) = (Vec::<String>::new(), None, "");
    for line in page.lines() {
        let text = line.trim_start();
        match indent {
            None if text == "```yaml" && !previous.starts_with("<!-- ") => {
                indent = Some(line.len() - text.len());
                found.push(String::new());
            }
            Some(_) if text == "```" => indent = None,
            Some(indent) => {
                let manifest = found.last_mut().unwrap();
                manifest.push_str(line.get(indent..).unwrap_or_default());
                manifest.push('\n');
            }
            None => {}
        }
        previous = text;
    }
    found
}

/// Has the server check each object, in the namespace of `space`.
fn assert_accepted(space: &Space, text: &str, path: &Path) {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    // A dry run makes no namespace for what comes after it.
    let documents = documents.into_iter().map(|mut document| {
        if document["kind"] != "Namespace" {
            document["metadata"]["namespace"] = json!(space.name);
        }
        document
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": documents.collect::<Vec<_>>()});
    let said = kubectl_with(&["create", "--dry-run=server", "-f", "-"], &list.to_string());
    assert!(said.success && said.stderr.is_empty(), "{}: {said:?}", path.display());
}

#[tokio::test]
async fn the_server_accepts_every_example() {
    let space = Space::new("examples").await;
    for path in files("examples", "yaml") {
        assert_accepted(&space, &fs::read_to_string(&path).unwrap(), &path);
    }
}

/// `dev/lint-snippets` checks that every block of YAML is such a manifest, or marked otherwise.
#[tokio::test]
async fn the_server_accepts_every_manifest_of_the_pages() {
    let space = Space::new("pages").await;
    let pages = ["docs", "docs/integrations"].map(|folder| files(folder, "md")).concat();
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let mut count = 0;
    for page in pages.into_iter().chain([readme]) {
        for manifest in manifests(&fs::read_to_string(&page).unwrap()) {
            assert_accepted(&space, &manifest, &page);
            count += 1;
        }
    }
    assert!(count > 10, "{count} manifests");
}

#[tokio::test]
async fn the_server_refuses_every_invalid_example_with_the_rule_it_names() {
    let space = Space::new("invalid").await;
    for path in files("examples/invalid", "yaml") {
        let text = fs::read_to_string(&path).unwrap();
        let rule = text.lines().next().unwrap().strip_prefix("# refused: ").unwrap();
        let file = path.to_str().unwrap();
        let said = kubectl(&["create", "--dry-run=server", "--namespace", &space.name, "-f", file]);
        assert!(!said.success && said.stderr.contains(rule), "{file}: {said:?}");
    }
}
