//! The rules for secret scanners hold for the credentials that this code makes and reads.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use anon_operator::testing::domain::credential::{ApiKey, SessionToken};
use regex::Regex;
use serde_json::Value;

fn file(name: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/secret-scanning");
    fs::read_to_string(directory.join(name)).unwrap()
}

/// One rule of a scanner, as it applies it: keyword, then expression, then entropy.
struct Rule {
    keyword: String,
    regex: Regex,
    entropy: f64,
}

impl Rule {
    /// What the rule finds in a text.
    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        let found = self.regex.captures(text)?.get(1)?.as_str();
        (text.contains(&self.keyword) && entropy(found) >= self.entropy).then_some(found)
    }
}

/// Shannon's, in bits per character, as both scanners compute it.
fn entropy(text: &str) -> f64 {
    let mut counts = BTreeMap::new();
    for char in text.chars() {
        *counts.entry(char).or_insert(0_u32) += 1;
    }
    let length = f64::from(u32::try_from(text.len()).unwrap());
    counts.values().map(|count| f64::from(*count) / length).map(|share| -share * share.log2()).sum()
}

/// The rules of `gitleaks.toml`, whose few lines need no TOML parser.
fn gitleaks() -> Vec<Rule> {
    let text = file("gitleaks.toml");
    let value = |rule: &str, name: &str| {
        let line = rule.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")));
        line.unwrap_or_else(|| panic!("no {name}")).to_owned()
    };
    let rules = text.split("[[rules]]").skip(1).map(|rule| Rule {
        keyword: value(rule, "keywords").trim_matches(['[', ']', '"']).to_owned(),
        regex: Regex::new(value(rule, "regex").trim_matches('\'')).unwrap(),
        entropy: value(rule, "entropy").parse().unwrap(),
    });
    rules.collect()
}

fn trufflehog() -> Vec<Rule> {
    let config: Value = serde_saphyr::from_str(&file("trufflehog.yaml")).unwrap();
    let rules = config["detectors"].as_array().unwrap().iter().map(|rule| Rule {
        keyword: rule["keywords"][0].as_str().unwrap().to_owned(),
        regex: Regex::new(rule["regex"]["key"].as_str().unwrap()).unwrap(),
        entropy: rule["entropy"].as_f64().unwrap(),
    });
    rules.collect()
}

/// What each scanner finds in a text.
fn found(text: &str) -> [Option<String>; 2] {
    static SCANNERS: LazyLock<[Vec<Rule>; 2]> = LazyLock::new(|| [gitleaks(), trufflehog()]);
    SCANNERS.each_ref().map(|rules| {
        assert_eq!(rules.len(), 2);
        rules.iter().find_map(|rule| rule.find(text)).map(str::to_owned)
    })
}

fn is_credential(text: &str) -> bool {
    ApiKey::parse(text).is_some() || SessionToken::parse(text).is_some()
}

/// The lines of a block of `examples.md`.
fn examples(block: &str) -> Vec<String> {
    let page = file("examples.md");
    let (_, after) = page.split_once(&format!("```{block}\n")).unwrap();
    let (lines, _) = after.split_once("```").unwrap();
    assert!(lines.lines().count() > 2);
    lines.lines().map(str::to_owned).collect()
}

#[test]
fn the_documented_examples() {
    for example in examples("credentials") {
        assert!(is_credential(&example), "{example}");
        assert_eq!(found(&example), [Some(example.clone()), Some(example.clone())]);
    }
    for example in examples("look-alikes") {
        assert!(!is_credential(&example), "{example}");
        assert_eq!(found(&example), [Some(example.clone()), Some(example.clone())]);
    }
    for example in examples("neither") {
        assert!(!is_credential(&example), "{example}");
        assert_eq!(found(&example), [None, None], "{example}");
    }
}

#[test]
fn every_credential_is_found_wherever_it_stands() {
    for _ in 0..500 {
        let (key, session) = (ApiKey::generate().unwrap(), SessionToken::generate().unwrap());
        for secret in [key.expose(), session.expose()] {
            for text in [
                secret.to_owned(),
                format!("apiKey: \"{secret}\"\n"),
                format!("export ANON_API_KEY={secret}; true"),
                format!("curl -H 'Authorization: Bearer {secret}' https://anon.example"),
                format!("https://anon.example/?key={secret}&x=1"),
            ] {
                let expected = Some(secret.to_owned());
                assert_eq!(found(&text), [expected.clone(), expected], "{text}");
            }
        }
    }
}
