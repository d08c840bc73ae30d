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

#[test]
fn sessions_come_and_go_with_their_member() {
    let sessions = |hashes: &[KeyHash]| {
        let session = |hash: &KeyHash| json!({"id": hash.id(), "sha256": hash.to_string(), "createdAt": OLD, "expiresAt": NEW});
        json!({"sessions": hashes.iter().map(session).collect::<Vec<_>>()})
    };
    let member = |name: &str, hashes: &[KeyHash]| -> crd::Member {
        let spec = json!({"email": "a@b", "role": "Member"});
        object(name, OLD, &spec, &sessions(hashes))
    };
    let (one, two) = (hash(), hash());
    let mut state = State::default();
    crd::Member::apply(&mut state, &member("ada", &[one, two]));
    assert_eq!(state.sessions.len(), 2);
    assert_eq!(state.emails.keys().collect::<Vec<_>>(), ["a@b"]);
    crd::Member::apply(&mut state, &member("ada", &[two]));
    assert_eq!(state.sessions.keys().collect::<Vec<_>>(), [&two]);
    // A hash that somebody copied into another member's status does not go with the first.
    crd::Member::apply(&mut state, &member("eve", &[two]));
    crd::Member::delete(&mut state, &name("ada"));
    assert_eq!(state.sessions.get(&two), Some(&MemberId::derive("acme", "eve")));
    crd::Member::delete(&mut state, &name("eve"));
    assert!(state.sessions.is_empty() && state.members.is_empty() && state.emails.is_empty());
}

#[test]
fn of_two_members_with_one_address_the_older_has_it() {
    let member = |namespace: &str, name: &str, created: &str, email: &str| -> crd::Member {
        let spec = json!({"email": email, "role": "Member"});
        let mut member: crd::Member = object(name, created, &spec, &json!({}));
        member.metadata.namespace = Some(namespace.to_owned());
        member
    };
    let members = [
        member("acme", "z-old", OLD, "A@b"),
        member("acme", "a-new", NEW, "a@B "),
        member("globex", "eve", NEW, "a@b"),
    ];
    let names = |state: &State| -> Vec<_> {
        state.members_by_email("a@b").iter().map(|member| member.name.name.clone()).collect()
    };
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut state = State::default();
        for index in order {
            crd::Member::apply(&mut state, &members[index]);
        }
        assert_eq!(names(&state), ["z-old", "eve"], "one of each organization, the oldest first");
        crd::Member::apply(&mut state, &member("acme", "z-old", OLD, "other@b"));
        assert_eq!(names(&state), ["a-new", "eve"]);
    }
}

#[test]
fn members_of_organizations_by_sign_up_come_last() {
    let member = |namespace: &str, created: &str| -> crd::Member {
        let spec = json!({"email": "ada@acme.example", "role": "Admin"});
        let mut member: crd::Member = object("ada", created, &spec, &json!({}));
        member.metadata.namespace = Some(namespace.to_owned());
        member
    };
    let mut state = State::default();
    for namespace in ["anon-org-1", "anon-org-2", "anon-org-3"] {
        crd::Member::apply(&mut state, &member(namespace, OLD));
    }
    crd::Member::apply(&mut state, &member("acme", NEW));
    crd::Member::apply(&mut state, &member("anon-org-0", NEW));
    let found = state.members_by_email("ada@acme.example");
    let found: Vec<_> = found.iter().map(|member| member.name.namespace.as_str()).collect();
    assert_eq!(found, ["acme", "anon-org-1", "anon-org-2", "anon-org-3", "anon-org-0"]);
}
