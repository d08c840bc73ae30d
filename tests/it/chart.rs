//! What the chart says about itself: its values, the metrics in its alerts and its dashboard.

use std::collections::BTreeSet;
use std::fs;

use anon_operator::testing::metrics::catalog;
use serde_json::Value;

use crate::docs::check_table;
use crate::generated::root;

fn read(name: &str) -> String {
    fs::read_to_string(root().join("charts/anon-operator").join(name)).unwrap()
}

/// A value: its path, such as `image.tag`, and its description in values.yaml.
fn described_values() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let (mut parents, mut comment): (Vec<(usize, String)>, Option<String>) = (Vec::new(), None);
    for line in read("values.yaml").lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(begin) = text.strip_prefix("# -- ") {
            comment = Some(begin.to_owned());
        } else if let (Some(rest), Some(comment)) = (text.strip_prefix("# "), comment.as_mut()) {
            comment.push(' ');
            comment.push_str(rest);
        } else if let Some((key, _)) =
            text.split_once(':').filter(|_| !text.starts_with(['#', '-']))
        {
            parents.retain(|(outer, _)| *outer < indent);
            parents.push((indent, key.to_owned()));
            if let Some(comment) = comment.take() {
                let path: Vec<_> = parents.iter().map(|(_, key)| key.as_str()).collect();
                found.push((path.join("."), comment));
            }
        }
    }
    found
}

fn values() -> Value {
    serde_saphyr::from_str(&read("values.yaml")).unwrap()
}

fn at<'v>(values: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(values, |value, key| &value[key])
}

#[test]
fn generated_table_of_values() {
    let values = values();
    let row = |(path, description): &(String, String)| {
        let default = at(&values, path);
        format!("| `{path}` | `{default}` | {} |\n", description.replace('|', "\\|"))
    };
    let rows: String = described_values().iter().map(row).collect();
    let table = format!("| value | default | description |\n| --- | --- | --- |\n{rows}");
    check_table("charts/anon-operator/README.md", "values", &table);
}

/// Collects the values that are not described, neither themselves nor as a whole.
fn undescribed(value: &Value, path: &str, described: &BTreeSet<String>, found: &mut Vec<String>) {
    if described.contains(path) {
        return;
    }
    match value.as_object().filter(|entries| !entries.is_empty()) {
        Some(entries) => {
            for (key, inner) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                undescribed(inner, &path, described, found);
            }
        }
        None => found.push(path.to_owned()),
    }
}

#[test]
fn every_value_is_described() {
    let described = described_values().into_iter().map(|(path, _)| path).collect();
    let mut found = Vec::new();
    undescribed(&values(), "", &described, &mut found);
    assert_eq!(found, Vec::<String>::new());
}

/// Collects the properties of the schema that no description explains, for editors and errors.
fn unexplained(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}/{key}");
        // A reference to another property has the description of that one.
        let refers = property["$ref"].as_str().is_some_and(|to| to.starts_with("#/properties/"));
        if !refers && property["description"].as_str().is_none_or(str::is_empty) {
            found.push(path.clone());
        }
        unexplained(property, &path, found);
        assert!(
            property["type"] != "object"
                || property.get("properties").is_none()
                || property["additionalProperties"] == false
                || path.ends_with("global"),
            "{path} accepts misspelled values"
        );
    }
}

#[test]
fn schema_explains_every_value_and_rejects_others() {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let mut found = Vec::new();
    unexplained(&schema, "", &mut found);
    assert_eq!(found, Vec::<String>::new());
    let known: BTreeSet<_> = schema["properties"].as_object().unwrap().keys().collect();
    let values = values();
    let lacking: Vec<_> =
        values.as_object().unwrap().keys().filter(|key| !known.contains(key)).collect();
    assert!(lacking.is_empty(), "values.schema.json lacks {lacking:?}");
}

/// The names of metrics in queries. Those that the rules record contain a colon.
fn metrics(text: &str) -> BTreeSet<String> {
    let is_part = |char: char| char.is_ascii_alphanumeric() || "_:".contains(char);
    let names = text.split(|char| !is_part(char)).filter(|name| {
        (name.starts_with("anon_") || name.starts_with("process_")) && !name.contains(':')
    });
    let plain = |name: &str| {
        let suffix = ["_bucket", "_count", "_sum"].iter().find_map(|it| name.strip_suffix(it));
        suffix.unwrap_or(name).to_owned()
    };
    names.map(plain).collect()
}

#[test]
fn alerts_and_dashboard_use_metrics_that_exist() {
    let exist: BTreeSet<_> = catalog::ALL.iter().map(|metric| metric.exposed_name()).collect();
    for file in ["files/rules.yaml", "files/dashboard.json"] {
        let used = metrics(&read(file));
        assert!(used.len() > 5, "{file}: {used:?}");
        let unknown: Vec<_> = used.difference(&exist).collect();
        assert!(unknown.is_empty(), "{file} uses {unknown:?}");
    }
    // A new metric is also shown.
    let shown = metrics(&read("files/dashboard.json"));
    let own: BTreeSet<_> = exist.into_iter().filter(|name| name.starts_with("anon_")).collect();
    let missing: Vec<_> = own.difference(&shown).collect();
    assert!(missing.is_empty(), "the dashboard lacks {missing:?}");
}

#[test]
fn generated_alerts_in_the_documentation() {
    let rules = read("files/rules.yaml");
    check_table("docs/operations.md", "alerts", &format!("```yaml\n{rules}```\n"));
}
