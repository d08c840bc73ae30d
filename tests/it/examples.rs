//! Every example is a tested input. Here: it reads as our types, loses nothing on the way, and
//! passes the CEL rules. The real server has its say in `tests/cluster`.

use std::fs;
use std::path::{Path, PathBuf};

use anon_operator::testing::crd::{Member, Organization, SdkClient, UserPool};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

fn documents(path: &Path) -> Vec<Value> {
    serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The object as we read it; every field of the document must be one of ours.
fn read<K: DeserializeOwned + Serialize>(document: &Value) -> K {
    let object: K = serde_json::from_value(document.clone()).unwrap();
    let again = serde_json::to_value(&object).unwrap();
    assert_known(document, &again, "");
    object
}

fn assert_known(written: &Value, read: &Value, at: &str) {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            for (name, value) in written {
                let at = format!("{at}.{name}");
                let read = read.get(name).unwrap_or_else(|| panic!("{at} is not a field"));
                assert_known(value, read, &at);
            }
        }
        _ => assert_eq!(written, read, "{at}"),
    }
}

/// A fixed time in an example would be older than the keys of anyone who copies it.
#[test]
fn examples_of_revocations_by_time_compute_it() {
    let mut checked = 0;
    for path in files("examples") {
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| line.contains("CreatedBefore: \"")) {
            let time = line.split('"').nth(1).unwrap();
            let command = format!("#   sed \"s/{time}/$(date -u +%FT%TZ)/\" examples/");
            assert!(text.contains(&command), "{} lacks: {command}", path.display());
            checked += 1;
        }
    }
    assert!(checked >= 2);
}

#[test]
fn examples_are_what_we_read_and_pass_the_rules() {
    let files = files("examples");
    assert!(!files.is_empty());
    for path in files {
        for document in documents(&path) {
            let checked = match document["kind"].as_str().unwrap() {
                "Organization" => read::<Organization>(&document).validate_cel(),
                "Member" => read::<Member>(&document).validate_cel(),
                "UserPool" => read::<UserPool>(&document).validate_cel(),
                "SdkClient" => read::<SdkClient>(&document).validate_cel(),
                _ => Ok(()),
            };
            assert!(checked.is_ok(), "{}: {checked:?}", path.display());
        }
    }
}

#[test]
fn invalid_examples_name_the_rule_that_they_break() {
    let files = files("examples/invalid");
    assert!(files.len() >= 12);
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let rule = text.lines().next().and_then(|line| line.strip_prefix("# refused: "));
        assert!(rule.is_some_and(|rule| rule.len() > 10), "{}", path.display());
        // The server's answer is about one object.
        assert_eq!(documents(&path).len(), 1, "{}", path.display());
    }
}
