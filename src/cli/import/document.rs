//! Reads the documents that are imported.

use std::io::Read;

use anyhow::Context as _;
use serde_json::Value;

use crate::cli::input::read_input;

/// Parses a text into its documents.
type Parse = fn(&str) -> anyhow::Result<Vec<Value>>;

/// The documents of all files, or of standard input if there is no file.
///
/// # Errors
/// A file cannot be read or parsed. The message contains nothing of it, because it may be a Secret.
pub fn read_all(
    files: &[String],
    stdin: &mut dyn Read,
    parse: Parse,
) -> anyhow::Result<Vec<Value>> {
    let stdin_only = ["-".to_owned()];
    let files = if files.is_empty() { &stdin_only[..] } else { files };
    let mut documents = Vec::new();
    for file in files {
        let bytes = read_input(file, stdin)?;
        let text = std::str::from_utf8(&bytes);
        let text = text.ok().with_context(|| format!("`{file}` is not UTF-8 text"))?;
        documents.extend(parse(text).with_context(|| format!("cannot parse `{file}`"))?);
    }
    Ok(documents)
}

/// Documents in YAML or JSON; the items of a List in its place.
///
/// # Errors
/// It is neither.
pub fn yaml(text: &str) -> anyhow::Result<Vec<Value>> {
    // The messages of the parser can quote the text.
    let documents: Result<Vec<Value>, _> = serde_saphyr::from_multiple(text);
    let documents = documents.ok().context("it is neither YAML nor JSON")?;
    let mut objects = Vec::new();
    for document in documents {
        match document.get("items").and_then(Value::as_array) {
            Some(items) => objects.extend(items.iter().cloned()),
            None => objects.push(document),
        }
    }
    Ok(objects)
}

/// JSON values, one after the other.
///
/// # Errors
/// It is something else. The messages of `serde_json` have a position and quote nothing.
pub fn json(text: &str) -> anyhow::Result<Vec<Value>> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut documents = Vec::new();
    for value in values {
        documents.push(value?);
    }
    Ok(documents)
}

/// A text at a JSON Pointer; `None` if it is missing or empty.
pub fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_both_formats() {
        let text = "a: 1\n---\nkind: List\nitems:\n- b: 2\n- c: 3\n";
        assert_eq!(yaml(text).unwrap(), [r#"{"a":1}"#, r#"{"b":2}"#, r#"{"c":3}"#].map(parsed));
        assert_eq!(yaml(r#"{"a": 1}"#).unwrap(), [parsed(r#"{"a":1}"#)]);
        assert_eq!(json("{\"a\":1}\n{\"b\":2}").unwrap().len(), 2);
        let error = format!("{:#}", yaml("a: [c2VjcmV0").unwrap_err());
        assert!(!error.contains("c2VjcmV0"), "{error}");
    }

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }
}
