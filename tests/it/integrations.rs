//! The pages of `docs/integrations` show the configurations that `make test-integrations` starts,
//! and these are bound to the client of the quickstart.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anon_operator::testing::domain::ids::SdkClientId;
use regex::Regex;

use crate::docs::check_table;
use crate::generated::root;

/// The configurations, by their path from the root.
fn configurations() -> BTreeSet<String> {
    let folders = fs::read_dir(root().join("examples/integrations")).unwrap();
    let folders = folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap());
    let files = files.map(|entry| entry.unwrap().path());
    let path = |file: PathBuf| file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    files.filter(|file| !file.ends_with("README.md")).map(path).collect()
}

fn page(configuration: &str) -> String {
    let folder = configuration.split('/').nth(2).unwrap();
    format!("docs/integrations/{folder}.md")
}

fn language(configuration: &str) -> &str {
    match configuration.rsplit_once('.').map(|(_, extension)| extension) {
        Some("yaml") => "yaml",
        Some("lua") => "lua",
        Some("conf") => "nginx",
        _ => "text",
    }
}

/// Named like this so that `make generate` writes them.
#[test]
fn generated_configurations_in_the_pages_of_integrations() {
    let configurations = configurations();
    assert!(configurations.len() >= 9, "{configurations:?}");
    for configuration in configurations {
        let text = fs::read_to_string(root().join(&configuration)).unwrap();
        let block = format!("```{}\n{text}```\n", language(&configuration));
        check_table(&page(&configuration), &configuration, &block);
    }
}

#[test]
fn configurations_specify_the_client_of_the_quickstart() {
    let client = SdkClientId::derive("acme", "web").to_string();
    let id = Regex::new("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").unwrap();
    let mut bound = BTreeSet::new();
    for configuration in configurations() {
        let text = fs::read_to_string(root().join(&configuration)).unwrap();
        for found in id.find_iter(&text) {
            assert_eq!(found.as_str(), client, "{configuration}");
            bound.insert(page(&configuration));
        }
    }
    let pages: BTreeSet<_> = configurations().iter().map(|it| page(it)).collect();
    assert_eq!(bound, pages, "each integration specifies a client");
}

#[test]
fn configurations_listen_on_loopback_only() {
    let address = Regex::new(r"(?m)0\.0\.0\.0|\[::\]|listen \d+;|bind [*:]|address: :").unwrap();
    for configuration in configurations() {
        let text = fs::read_to_string(root().join(&configuration)).unwrap();
        assert!(!address.is_match(&text), "{configuration}");
    }
}
