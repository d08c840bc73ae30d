//! Idempotency of POST requests: the names of created objects, and the detection of a repeated
//! request. Clients of this API retry, and mean the same object.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde_json::{Value, json};

use super::caller::Caller;
use crate::domain::digest::short_hex;
use crate::names;

/// How long an identical POST is treated as a retry.
const RETRY_WINDOW: SignedDuration = SignedDuration::from_secs(60);
/// Leaves room for a suffix in a name of 52 characters.
const MAX_SLUG: usize = 40;

/// The candidate names in order: the wish, then the wish with the start of each suffix.
pub fn names_for(kind: &str, wish: &str, suffixes: &[&str]) -> Vec<String> {
    let slug = slug(wish).unwrap_or_else(|| kind.to_lowercase());
    let suffixed = |text: &&str| format!("{slug}-{}", text.get(..6).unwrap_or(text));
    let mut names: Vec<_> = suffixes.iter().map(suffixed).collect();
    names.insert(0, slug);
    names
}

/// Whether the object was created within the last minute by a request with this fingerprint.
pub fn is_repeat<K: Resource>(existing: &K, mark: &str, now: Timestamp) -> bool {
    let Some(Time(created)) = existing.meta().creation_timestamp.as_ref() else { return false };
    existing.meta().deletion_timestamp.is_none()
        && existing.annotations().get(names::REQUEST).is_some_and(|it| it == mark)
        && now.duration_since(*created) < RETRY_WINDOW
}

/// Whether the object has the spec that the request would create, except for key hashes, which
/// differ each time. The fingerprint alone proves nothing: anyone who may annotate objects can copy
/// it to any of them.
pub fn says_the_same<K: Serialize>(existing: &K, made: &K) -> bool {
    let spec = |object: &K| {
        let mut spec = serde_json::to_value(object).ok()?.get_mut("spec")?.take();
        if let Some(Value::Object(api_key)) = spec.pointer_mut("/service/apiKey") {
            api_key.remove("hashes");
        }
        Some(spec)
    };
    let (existing, made) = (spec(existing), spec(made));
    existing.is_some() && existing == made
}

/// Fingerprint of a request, from its caller and content. `content` never contains a secret, which
/// could be guessed from the fingerprint.
pub fn fingerprint(caller: &Caller, kind: &str, wish: &str, content: &Value) -> String {
    let text = json!([caller.who.to_string(), kind, wish, content]).to_string();
    short_hex(text.as_bytes(), 16)
}

/// A name in the form that Kubernetes requires: lower-case letters, digits and dashes. `None` if
/// nothing is left.
pub fn slug(wish: &str) -> Option<String> {
    let mut slug = String::new();
    for char in wish.chars().flat_map(char::to_lowercase) {
        if char.is_ascii_alphanumeric() {
            slug.push(char);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= MAX_SLUG {
            break;
        }
    }
    let slug = slug.trim_matches('-');
    (!slug.is_empty()).then(|| slug.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::SdkClient;

    #[test]
    fn a_client_of_another_role_is_no_repeat() {
        let client = |spec: Value| SdkClient::new("ops", serde_json::from_value(spec).unwrap());
        let service = |role: &str, api_key: Value| {
            client(json!({"displayName": "ops", "service": {"role": role, "apiKey": api_key}}))
        };
        let hashes =
            |byte: &str| json!({"hashes": [{"id": byte.repeat(16), "sha256": byte.repeat(64)}]});
        let made = service("Member", hashes("a"));
        assert!(says_the_same(&service("Member", hashes("b")), &made));
        assert!(!says_the_same(&service("Admin", hashes("a")), &made));
        assert!(!says_the_same(
            &service("Member", json!({"delivery": {"secretName": "k"}})),
            &made
        ));
        let mut suspended = made.clone();
        suspended.spec.suspended = Some(true);
        assert!(!says_the_same(&suspended, &made));
    }

    #[test]
    fn names_are_dns_safe() {
        for (wish, name) in [
            ("Cool Kids' Pool", "cool-kids-pool"),
            ("  -- a_B.c -- ", "a-b-c"),
            ("Jörg", "j-rg"),
            ("42", "42"),
        ] {
            assert_eq!(slug(wish).as_deref(), Some(name));
        }
        assert_eq!(slug("用户"), None);
        assert_eq!(slug(""), None);
        assert_eq!(slug(&"ab-".repeat(50)).unwrap().len(), 40);
    }
}
