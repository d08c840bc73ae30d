//! What workflows, Dependabot and a release rely on exists. (actionlint checks the workflows
//! themselves.)

use std::collections::BTreeSet;
use std::fs;

use regex::Regex;

use crate::generated::root;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn matches(text: &str, pattern: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).unwrap();
    pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[test]
fn chart_and_crate_have_the_same_version() {
    let chart = read("charts/anon-operator/Chart.yaml");
    let versions = matches(&chart, r"(?m)^(?:version|appVersion): (\S+)$");
    assert_eq!(versions, BTreeSet::from([env!("CARGO_PKG_VERSION").to_owned()]));
}

#[test]
fn oldest_supported_kubernetes_is_tested() {
    let chart = read("charts/anon-operator/Chart.yaml");
    let oldest = matches(&chart, r#"(?m)^kubeVersion: ">=(1\.\d+)\.0-0"$"#);
    let oldest = oldest.first().unwrap();
    let module = read(&format!("dev/kubernetes-{oldest}/go.mod"));
    assert!(module.contains(&format!("k8s.io/kubernetes v{oldest}.")));
    for page in ["SUPPORT.md", "README.md", "docs/operations.md", "docs/compatibility.md"] {
        assert!(read(page).contains(oldest), "{page} lacks {oldest}");
    }
}

#[test]
fn make_targets_of_workflows_and_pages_exist() {
    let targets = matches(&read("Makefile"), r"(?m)^([a-z0-9-]+):");
    let workflows =
        ["ci", "nightly", "release"].map(|name| format!(".github/workflows/{name}.yml"));
    let pages = ["README.md", "CONTRIBUTING.md", "RELEASE.md", "dev/README.md", ".ci/run"];
    for path in workflows.iter().map(String::as_str).chain(pages) {
        // In a workflow, a script or a code block; not "make sure" in a sentence.
        let used = matches(&read(path), r"(?m)(?:^    |`|run: |exec )make ([a-z][a-z0-9-]*)");
        let missing: Vec<_> = used.difference(&targets).collect();
        assert!(missing.is_empty(), "{path}: no target {missing:?} in the Makefile");
    }
}

#[test]
fn dependabot_knows_every_folder_with_dependencies() {
    let config: serde_json::Value =
        serde_saphyr::from_str(&read(".github/dependabot.yml")).unwrap();
    let mut known = BTreeSet::new();
    for update in config["updates"].as_array().unwrap() {
        let folders = update["directories"].as_array().into_iter().flatten();
        for folder in folders.chain(update.get("directory")) {
            known.insert(folder.as_str().unwrap().trim_start_matches('/').to_owned());
        }
    }
    for folder in &known {
        assert!(
            root().join(folder).is_dir(),
            "dependabot.yml names {folder}, which does not exist"
        );
    }
    for manifest in ["go.mod", "package.json", "requirements.txt", "action.yml"] {
        for folder in folders_with(manifest) {
            assert!(
                known.contains(&folder),
                "dependabot.yml lacks {folder}, which has a {manifest}"
            );
        }
    }
}

/// The folders, relative to the root, that have a file of this name.
fn folders_with(file: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root().to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let others = ["target", ".git", "node_modules"].iter().any(|name| path.ends_with(name));
            if path.is_dir() && !others {
                open.push(path);
            } else if path.ends_with(file) {
                let relative = folder.strip_prefix(root()).unwrap();
                found.push(relative.to_str().unwrap().to_owned());
            }
        }
    }
    found
}
