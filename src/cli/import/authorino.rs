//! Secrets with API keys of Authorino, as docs/migrate.md maps them. Pure.

use anyhow::bail;
use serde_json::{Value, json};

use super::document::text;
use super::imported::{Imported, Placement, service};
use crate::crd::Kind;

/// Group, version and kind of the source.
pub const GVK: (&str, &str, &str) = ("", "v1", "Secret");

/// The entry that has the API key.
const API_KEY: &str = "api_key";
/// Labels and annotations that are not about the consumer.
const TECHNICAL: [&str; 3] = ["authorino.", "kubernetes.io/", "k8s.io/"];

/// Service clients for the Secrets that have an API key and match the selector. The keys themselves are
/// not used.
///
/// # Errors
/// The selector is not a list of NAME=VALUE or NAME.
pub fn import(
    objects: &[Value],
    selector: &str,
    role: &str,
    placement: &Placement,
) -> anyhow::Result<Imported> {
    let selector = parse(selector)?;
    let mut imported = Imported::default();
    for object in objects {
        let has_key = ["data", "stringData"]
            .iter()
            .any(|entries| object.pointer(&format!("/{entries}/{API_KEY}")).is_some());
        if text(object, "/kind") == Some(GVK.2) && has_key && matches(object, &selector) {
            add(object, &selector, role, placement, &mut imported);
        }
    }
    Ok(imported)
}

fn parse(selector: &str) -> anyhow::Result<Vec<(&str, Option<&str>)>> {
    let mut terms = Vec::new();
    for term in selector.split(',').map(str::trim).filter(|term| !term.is_empty()) {
        let (name, value) = match term.split_once('=') {
            Some((name, value)) => (name, Some(value.trim_start_matches('='))),
            None => (term, None),
        };
        if name.is_empty() || name.contains(['!', ' ', '(', ')']) {
            bail!("--selector must be a list of NAME=VALUE or NAME, separated by commas");
        }
        terms.push((name, value));
    }
    Ok(terms)
}

fn matches(object: &Value, selector: &[(&str, Option<&str>)]) -> bool {
    let labels = object.pointer("/metadata/labels");
    selector.iter().all(|(name, expected)| {
        let value = labels.and_then(|labels| labels.get(*name)).and_then(Value::as_str);
        value.is_some() && expected.is_none_or(|expected| value == Some(expected))
    })
}

fn add(
    object: &Value,
    selector: &[(&str, Option<&str>)],
    role: &str,
    placement: &Placement,
    imported: &mut Imported,
) {
    let name = text(object, "/metadata/name").unwrap_or("unnamed");
    let own = text(object, "/metadata/namespace");
    let source = format!("secret/{name}");
    let client = imported.name(Kind::SdkClient, own, placement, name);
    let secret = format!("{client}-anon");
    let delivery = json!({"secretName": secret});
    imported.add(Kind::SdkClient, &client, own, placement, &service(None, role, &delivery));
    imported.note(&source, &format!("data.{API_KEY}"), format!("not carried over, because API keys have a format with a checksum: the new key is in Secret `{secret}`, entry apiKey"));
    for metadata in ["labels", "annotations"] {
        let members = object.pointer(&format!("/metadata/{metadata}")).and_then(Value::as_object);
        for name in members.into_iter().flatten().map(|(name, _)| name) {
            let selected = selector.iter().any(|(selected, _)| selected == name);
            if !selected && !TECHNICAL.iter().any(|part| name.contains(part)) {
                imported.note(
                    &source,
                    &format!("metadata.{metadata}[{name}]"),
                    "not carried over: look it up by X-Anon-Sdk-Client-Id",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::super::imported::tests::printed;
    use super::*;

    const SECRETS: &str = "
apiVersion: v1
kind: Secret
metadata:
  name: friend-1
  namespace: acme
  labels: {authorino.kuadrant.io/managed-by: authorino, group: friends, plan: gold}
  annotations: {kubectl.kubernetes.io/last-applied-configuration: x, owner: ada}
stringData: {api_key: ndyBzreUzF4zqDQsqSPMHkRhriEOtcRx}
---
apiVersion: v1
kind: Secret
metadata: {name: stranger, labels: {group: strangers}}
stringData: {api_key: ndyBzreUzF4zqDQsqSPMHkRhriEOtcRx}
---
apiVersion: v1
kind: Secret
metadata: {name: tls, labels: {group: friends}}
data: {tls.key: AAAA}
";

    #[test]
    fn secrets_become_service_clients_without_their_keys() {
        let objects = document::yaml(SECRETS).unwrap();
        let placement = Placement(Some("shop".into()));
        let imported = import(&objects, "group=friends", "Member", &placement).unwrap();
        let text = printed(&imported);
        assert!(!text.contains("ndyBzre"), "{text}");
        insta::assert_snapshot!(text, @r"
        ---
        apiVersion: anon.dev/v1beta1
        kind: SdkClient
        metadata:
          name: friend-1
          namespace: shop
        spec:
          service:
            apiKey:
              delivery:
                secretName: friend-1-anon
            role: Member
        # secret/friend-1 data.api_key: not carried over, because API keys have a format with a checksum: the new key is in Secret `friend-1-anon`, entry apiKey
        # secret/friend-1 metadata.labels[plan]: not carried over: look it up by X-Anon-Sdk-Client-Id
        # secret/friend-1 metadata.annotations[owner]: not carried over: look it up by X-Anon-Sdk-Client-Id
        ");
        assert_eq!(import(&objects, "group", "Member", &placement).unwrap().manifests.len(), 2);
        assert!(import(&objects, "group!=friends", "Member", &placement).is_err());
    }
}
