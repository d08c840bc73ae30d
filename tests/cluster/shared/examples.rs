//! Every example, on the real server.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::Space;
use crate::harness::kubectl::{kubectl, kubectl_with};

fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect()
}

#[tokio::test]
async fn the_server_accepts_every_example() {
    let space = Space::new("examples").await;
    for path in files("examples") {
        let text = fs::read_to_string(&path).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        // A dry run makes no namespace for what comes after it.
        let documents = documents.into_iter().map(|mut document| {
            if document["kind"] != "Namespace" {
                document["metadata"]["namespace"] = json!(space.name);
            }
            document
        });
        let list =
            json!({"apiVersion": "v1", "kind": "List", "items": documents.collect::<Vec<_>>()});
        let said = kubectl_with(&["create", "--dry-run=server", "-f", "-"], &list.to_string());
        assert!(said.success && said.stderr.is_empty(), "{}: {said:?}", path.display());
    }
}

#[tokio::test]
async fn the_server_refuses_every_invalid_example_with_the_rule_it_names() {
    let space = Space::new("invalid").await;
    for path in files("examples/invalid") {
        let text = fs::read_to_string(&path).unwrap();
        let rule = text.lines().next().unwrap().strip_prefix("# refused: ").unwrap();
        let file = path.to_str().unwrap();
        let said = kubectl(&["create", "--dry-run=server", "--namespace", &space.name, "-f", file]);
        assert!(!said.success && said.stderr.contains(rule), "{file}: {said:?}");
    }
}
