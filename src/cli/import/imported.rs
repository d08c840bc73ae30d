//! The result of an import: manifests, and what they do not carry over.

use std::fmt;

use serde_json::{Value, json};

use crate::crd::Kind;

/// The maximum length of the name of an object (CEL rules of the CRDs).
const MAX_NAME: usize = 52;

/// The result of an import.
#[derive(Debug, Default, PartialEq)]
pub struct Imported {
    /// Objects of `anon.dev` (and a Namespace), in the order in which they are applied.
    pub manifests: Vec<Value>,
    /// What is not carried over, or has to be done by hand.
    pub notes: Vec<Note>,
}

/// A remark about a field of the source.
#[derive(Debug, PartialEq, Eq)]
pub struct Note {
    /// The object of the source, such as `oauth2client/reports`.
    object: String,
    field: String,
    text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.object, self.field, self.text)
    }
}

/// The namespace of all manifests, if the caller has set one.
#[derive(Clone, Debug, Default)]
pub struct Placement(pub Option<String>);

impl Placement {
    /// The metadata of an object that was in namespace `own`.
    fn metadata(&self, name: &str, own: Option<&str>) -> Value {
        match self.0.as_deref().or(own) {
            Some(namespace) => json!({"name": name, "namespace": namespace}),
            None => json!({"name": name}),
        }
    }
}

impl Imported {
    /// Adds a remark.
    pub fn note(&mut self, object: &str, field: &str, text: impl Into<String>) {
        let (object, field) = (object.to_owned(), field.to_owned());
        self.notes.push(Note { object, field, text: text.into() });
    }

    /// Adds an object. `own` is the namespace of its source.
    pub fn add(
        &mut self,
        kind: Kind,
        name: &str,
        own: Option<&str>,
        placement: &Placement,
        spec: &Value,
    ) {
        self.manifests.push(json!({
            "apiVersion": "anon.dev/v1beta1",
            "kind": kind.as_str(),
            "metadata": placement.metadata(name, own),
            "spec": without_nulls(spec),
        }));
    }

    /// A name for an object of a kind that is made of `text`, and that no other manifest in the
    /// namespace has.
    pub fn name(&self, kind: Kind, own: Option<&str>, placement: &Placement, text: &str) -> String {
        let stem = object_name(text);
        let namespace = placement.0.as_deref().or(own);
        let taken = |name: &str| {
            self.manifests.iter().any(|manifest| {
                let at = |pointer| manifest.pointer(pointer).and_then(Value::as_str);
                at("/kind") == Some(kind.as_str())
                    && at("/metadata/name") == Some(name)
                    && at("/metadata/namespace") == namespace
            })
        };
        let mut name = stem.clone();
        let mut number = 2;
        while taken(&name) {
            let end = format!("-{number}");
            let head: String = stem.chars().take(MAX_NAME - end.len()).collect();
            name = head + &end;
            number += 1;
        }
        name
    }
}

/// A service client whose key is delivered into a Secret of its own.
pub fn service(display_name: Option<&str>, role: &str, delivery: &Value) -> Value {
    json!({
        "displayName": display_name,
        "service": {"role": role, "apiKey": {"delivery": delivery}},
    })
}

/// The text as a DNS label of at most 52 characters (RFC 1123).
fn object_name(text: &str) -> String {
    let mut name = String::new();
    for char in text.to_ascii_lowercase().chars() {
        if char.is_ascii_alphanumeric() {
            name.push(char);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.truncate(MAX_NAME);
    let name = name.trim_end_matches('-');
    if name.is_empty() { "imported".to_owned() } else { name.to_owned() }
}

/// An object without its members that are null, at any depth.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().filter(|(_, value)| !value.is_null());
            members.map(|(name, value)| (name.clone(), without_nulls(value))).collect()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::cli::output::yaml_text;
    use crate::crd::{Member, Organization, SdkClient, UserPool};

    /// Everything that was printed, after a check that the types of the CRDs accept it.
    pub fn printed(imported: &Imported) -> String {
        let mut text = String::new();
        for manifest in &imported.manifests {
            let (accepted, own) = (manifest.clone(), manifest["kind"].as_str().unwrap());
            match own {
                "Organization" => drop(serde_json::from_value::<Organization>(accepted).unwrap()),
                "Member" => drop(serde_json::from_value::<Member>(accepted).unwrap()),
                "UserPool" => drop(serde_json::from_value::<UserPool>(accepted).unwrap()),
                "SdkClient" => drop(serde_json::from_value::<SdkClient>(accepted).unwrap()),
                other => assert_eq!(other, "Namespace"),
            }
            text.push_str("---\n");
            text.push_str(&yaml_text(manifest).unwrap());
        }
        let notes = imported.notes.iter().map(|note| format!("# {note}\n"));
        text.extend(notes);
        text
    }

    #[test]
    fn names_are_valid_and_unique() {
        let long = "x".repeat(80);
        let (cut, shorter) = ("x".repeat(MAX_NAME), "x".repeat(MAX_NAME - 2));
        for (text, name) in [("Web Shop!", "web-shop"), ("--é--", "imported"), (&long, &cut)] {
            assert_eq!(object_name(text), name);
        }
        let mut imported = Imported::default();
        let placement = Placement(Some("acme".into()));
        for expected in [cut.clone(), format!("{shorter}-2")] {
            let name = imported.name(Kind::UserPool, None, &placement, &long);
            assert_eq!(name, expected);
            imported.add(Kind::UserPool, &name, None, &placement, &json!({"hosted": {}}));
        }
    }
}
