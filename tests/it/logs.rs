//! The fields of log lines are documented, and the same in every line.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use anon_operator::testing::telemetry::fields::{FIELDS, LogField};
use regex::Regex;

use crate::docs::check_table;
use crate::layering::texts;

/// The names of the fields of each line, with the file of the line.
fn lines() -> Vec<(String, BTreeSet<String>)> {
    // Spans of traces are not logged.
    let files = texts().into_iter().filter(|(path, _)| path != "telemetry/traces.rs");
    files.flat_map(|(path, text)| lines_of(&text).map(move |it| (path.clone(), it))).collect()
}

fn lines_of(text: &str) -> impl Iterator<Item = BTreeSet<String>> + use<> {
    static MACRO: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(?:trace|debug|info|warn|error)(_span)?!\(").unwrap());
    static FIELD: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^([\w.]+) = |^[%?]?([\w.]+)$").unwrap());
    let calls = MACRO.captures_iter(text).map(|found| {
        let end = found.get(0).unwrap().end();
        let mut arguments = arguments(&text[end..]);
        if found.get(1).is_some() {
            // The name of a span.
            arguments.remove(0);
        }
        // Those of the message follow it.
        let fields = arguments.iter().take_while(|argument| !argument.starts_with('"'));
        let name = |field: &String| {
            let found = FIELD.captures(field).unwrap_or_else(|| panic!("not a field: {field}"));
            found.get(1).or(found.get(2)).unwrap().as_str().to_owned()
        };
        fields.map(name).collect()
    });
    calls.collect::<Vec<_>>().into_iter()
}

/// The arguments of a macro, up to the parenthesis that closes it.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let mut found = vec![String::new()];
    for char in text.chars() {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(String::new());
                continue;
            }
            _ => {}
        }
        found.last_mut().unwrap().push(char);
    }
    found.iter().map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()).collect()
}

/// Named so that `make generate` writes it.
#[test]
fn generated_table_of_log_fields() {
    let row = |LogField { name, type_, meaning }: &LogField| {
        format!("| `{name}` | {type_} | {meaning} |\n")
    };
    let rows: String = FIELDS.iter().map(row).collect();
    let table = format!("| field | type | meaning |\n| --- | --- | --- |\n{rows}");
    check_table("docs/operations.md", "log fields", &table);
}

#[test]
fn every_field_of_a_log_line_is_described_and_no_other() {
    let described: BTreeSet<_> = FIELDS.iter().map(|field| field.name.to_owned()).collect();
    assert_eq!(described.len(), FIELDS.len());
    let used: BTreeSet<_> = lines().into_iter().flat_map(|(_, fields)| fields).collect();
    assert_eq!(used, described);
}

#[test]
fn the_name_of_an_object_is_together_with_its_kind_and_namespace() {
    for (path, fields) in lines() {
        let has = |name: &str| fields.contains(name);
        assert!(!has("name") || has("kind") && has("namespace"), "{path}: {fields:?}");
    }
}

#[test]
fn fields_are_found_in_every_form() {
    let text = r#"
        info!(%a, ?b, c, d = f(1, "x, y"), e.g = %h(), "message {c}", i = j);
        let span = info_span!("name", k = Empty);
        warn!("no (field), {}", l);
    "#;
    let found: Vec<_> = lines_of(text).map(|it| it.into_iter().collect::<Vec<_>>()).collect();
    assert_eq!(found, [vec!["a", "b", "c", "d", "e.g"], vec!["k"], vec![]]);
}
