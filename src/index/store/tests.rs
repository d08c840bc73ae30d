//! One object at a time, and in every order.

use serde_json::{Value, json};

use super::*;
use crate::domain::opaque::ApiKey;

fn object<K: DeserializeOwned>(name: &str, created: &str, spec: &Value, status: &Value) -> K {
    serde_json::from_value(json!({
        "metadata": {"namespace": "acme", "name": name, "creationTimestamp": created},
        "spec": spec, "status": status,
    }))
    .unwrap()
}

fn service(name: &str, created: &str, keys: &[KeyHash]) -> crd::SdkClient {
    let keys: Vec<_> = keys
        .iter()
        .map(|hash| json!({"id": hash.id(), "sha256": hash.to_string(), "state": "Current"}))
        .collect();
    let spec = json!({"service": {"role": "Member", "apiKey": {"delivery": {"secretName": "s"}}}});
    object(name, created, &spec, &json!({"secretName": "s", "keys": keys}))
}

fn name(name: &str) -> ObjectName {
    ObjectName { namespace: "acme".into(), name: name.into() }
}

fn hash() -> KeyHash {
    ApiKey::generate().unwrap().hash()
}

fn holder(state: &State, hash: &KeyHash) -> Option<String> {
    state.keys.get(hash)?.first().map(|claim| claim.name.name.clone())
}

const OLD: &str = "2026-01-01T00:00:00Z";
const NEW: &str = "2026-06-01T00:00:00Z";

#[test]
fn of_two_claims_to_a_key_the_older_object_holds() {
    let shared = hash();
    let clients = [service("z-old", OLD, &[shared]), service("a-new", NEW, &[shared])];
    for order in [[0, 1], [1, 0]] {
        let mut state = State::default();
        for index in order {
            crd::SdkClient::apply(&mut state, &clients[index]);
        }
        assert_eq!(holder(&state, &shared).as_deref(), Some("z-old"));
        crd::SdkClient::delete(&mut state, &name("z-old"));
        assert_eq!(holder(&state, &shared).as_deref(), Some("a-new"));
        crd::SdkClient::delete(&mut state, &name("a-new"));
        assert!(state.keys.is_empty() && state.clients.is_empty());
    }
    // Of equally old ones the lesser name.
    let mut state = State::default();
    for client in [service("b", OLD, &[shared]), service("a", OLD, &[shared])] {
        crd::SdkClient::apply(&mut state, &client);
    }
    assert_eq!(holder(&state, &shared).as_deref(), Some("a"));
}

#[test]
fn a_key_that_is_no_longer_listed_is_forgotten() {
    let (first, second) = (hash(), hash());
    let mut state = State::default();
    crd::SdkClient::apply(&mut state, &service("c", OLD, &[first]));
    crd::SdkClient::apply(&mut state, &service("c", OLD, &[first, second]));
    assert_eq!(state.keys.len(), 2);
    crd::SdkClient::apply(&mut state, &service("c", OLD, &[second, second]));
    assert_eq!((holder(&state, &first), state.keys.len()), (None, 1));
    // Created again under the same name: the old claim is not left behind.
    crd::SdkClient::apply(&mut state, &service("c", NEW, &[second]));
    assert_eq!(state.keys[&second].len(), 1);
    crd::SdkClient::delete(&mut state, &name("c"));
    crd::SdkClient::delete(&mut state, &name("c"));
    assert!(state.keys.is_empty());
}

#[test]
fn an_organization_of_another_name_changes_nothing() {
    let organization = |name: &str| {
        object::<crd::Organization>(name, OLD, &json!({"displayName": name}), &json!({}))
    };
    let mut state = State::default();
    crd::Organization::apply(&mut state, &organization("default"));
    crd::Organization::apply(&mut state, &organization("another"));
    crd::Organization::delete(&mut state, &name("another"));
    let served: Vec<_> = state.organizations.values().map(|it| it.display_name.as_str()).collect();
    assert_eq!(served, ["default"]);
    crd::Organization::delete(&mut state, &name("default"));
    assert!(state.organizations.is_empty());
}

#[test]
fn pools_are_found_by_organization() {
    let pool = |name: &str, spec: &Value| object::<crd::UserPool>(name, OLD, spec, &json!({}));
    let mut state = State::default();
    for name in ["a", "b", "a"] {
        crd::UserPool::apply(&mut state, &pool(name, &json!({"hosted": {}})));
    }
    let of = OrganizationId::derive("acme");
    assert_eq!(state.pools_of[&of].len(), 2);
    // No longer valid: no longer served.
    crd::UserPool::apply(&mut state, &pool("a", &json!({})));
    assert_eq!((state.pools_of[&of].len(), state.pools.len()), (1, 1));
    crd::UserPool::delete(&mut state, &name("b"));
    assert!(state.pools_of.is_empty() && state.pools.is_empty());
}
