//! Objects are applied one at a time and in every order.

mod keys;

use serde_json::{Value, json};

use serde::de::DeserializeOwned;

use super::*;
use crate::domain::credential::ApiKey;

fn object<K: DeserializeOwned>(name: &str, created: &str, spec: &Value, status: &Value) -> K {
    serde_json::from_value(json!({
        "metadata": {"namespace": "acme", "name": name, "creationTimestamp": created},
        "spec": spec, "status": status,
    }))
    .unwrap()
}

fn name(name: &str) -> ObjectName {
    ObjectName { namespace: "acme".into(), name: name.into() }
}

fn hash() -> KeyHash {
    ApiKey::generate().unwrap().hash()
}

const OLD: &str = "2026-01-01T00:00:00Z";
const NEW: &str = "2026-06-01T00:00:00Z";

#[test]
fn a_chosen_id_belongs_to_the_oldest_client_and_no_other_id_does() {
    let chosen = "6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111";
    let client = |name: &str, created: &str, id: Option<&str>| -> crd::SdkClient {
        let spec = json!({"clientId": id, "webapp": {"userPoolRef": {"name": "users"}}});
        object(name, created, &spec, &json!({"clientId": id}))
    };
    let found = |state: &State, id| state.client(id).map(|client| client.name.name.clone());
    let chosen_id = SdkClientId::parse(chosen).unwrap();
    let derived = |name: &str| SdkClientId::derive("acme", name);
    let mut state = State::default();
    crd::SdkClient::apply(&mut state, &client("new", NEW, Some(chosen)));
    crd::SdkClient::apply(&mut state, &client("old", OLD, Some(chosen)));
    crd::SdkClient::apply(&mut state, &client("plain", OLD, None));
    assert_eq!(found(&state, chosen_id).as_deref(), Some("old"));
    assert_eq!(found(&state, derived("old")), None, "it has chosen another id");
    assert_eq!(found(&state, derived("plain")).as_deref(), Some("plain"));
    assert!(state.client_named(&name("new")).is_none(), "another client has its id");
    crd::SdkClient::apply(&mut state, &client("old", OLD, None));
    assert_eq!(found(&state, chosen_id).as_deref(), Some("new"));
    assert_eq!(found(&state, derived("old")).as_deref(), Some("old"));
    for name in ["old", "new", "plain"].map(name) {
        crd::SdkClient::delete(&mut state, &name);
    }
    assert!(state.clients.is_empty() && state.chosen_ids.is_empty());
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

/// A pool that does not exist has no keys. Those of a pool whose spec this version cannot use are
/// unknown.
#[test]
fn a_missing_pool_differs_from_an_unusable_one() {
    let pool = |spec: &Value| object::<crd::UserPool>("p", OLD, spec, &json!({}));
    let mut deleting = pool(&json!({}));
    deleting.metadata.deletion_timestamp = Some(serde_json::from_value(json!(NEW)).unwrap());
    let id = UserPoolId::derive("acme", "p");
    let mut state = State::default();
    assert_eq!(state.find_pool(id).err(), Some(Reason::PoolNotFound), "never existed");
    crd::UserPool::apply(&mut state, &pool(&json!({"hosted": {}})));
    crd::UserPool::apply(&mut state, &pool(&json!({})));
    assert_eq!(state.find_pool(id).err(), Some(Reason::PoolNotReady), "invalid");
    crd::UserPool::apply(&mut state, &deleting);
    assert_eq!(state.find_pool(id).err(), Some(Reason::PoolNotFound), "being deleted");
    crd::UserPool::withdraw(&mut state, &name("p"));
    assert_eq!(state.find_pool(id).err(), Some(Reason::PoolNotReady), "unreadable");
    crd::UserPool::delete(&mut state, &name("p"));
    assert_eq!(state.find_pool(id).err(), Some(Reason::PoolNotFound), "deleted");
    assert!(state.unusable_pools.is_empty());
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
    // A hash that was copied into another member's status is not removed with the first member.
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

/// They tell whether objects of an earlier namespace of the same name are left.
#[test]
fn creation_times_are_those_of_the_indexed_objects() {
    let client = |created: &str| {
        let spec = json!({"displayName": "a", "webapp": {"userPoolRef": {"name": "p"}}});
        object::<crd::SdkClient>("a", created, &spec, &json!({}))
    };
    let member = |created: &str| {
        let spec = json!({"email": "a@example.com", "role": "Admin"});
        object::<crd::Member>("a", created, &spec, &json!({}))
    };
    let pool =
        |created: &str| object::<crd::UserPool>("a", created, &json!({"hosted": {}}), &json!({}));
    let new = Some(NEW.parse().unwrap());
    let mut state = State::default();
    crd::SdkClient::apply(&mut state, &client(OLD));
    crd::Member::apply(&mut state, &member(OLD));
    crd::UserPool::apply(&mut state, &pool(OLD));
    assert_eq!((state.clients.len(), state.members.len(), state.pools.len()), (1, 1, 1));
    // Each is replaced by an object of the new namespace.
    crd::SdkClient::apply(&mut state, &client(NEW));
    assert!(state.created.has_older("acme", new));
    crd::Member::apply(&mut state, &member(NEW));
    assert!(state.created.has_older("acme", new));
    crd::UserPool::apply(&mut state, &pool(NEW));
    assert!(!state.created.has_older("acme", new) && state.created.has_older("acme", None));
    crd::SdkClient::delete(&mut state, &name("a"));
    crd::Member::delete(&mut state, &name("a"));
    crd::UserPool::delete(&mut state, &name("a"));
    assert!(state.created.is_empty());
}
