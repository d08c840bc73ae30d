//! Whose a hash is that clients list, and which keys are used.

use super::*;

fn service(name: &str, created: &str, keys: &[KeyHash]) -> crd::SdkClient {
    let keys: Vec<_> = keys
        .iter()
        .map(|hash| json!({"id": hash.id(), "sha256": hash.to_string(), "state": "Current"}))
        .collect();
    let spec = json!({"service": {"role": "Member", "apiKey": {"delivery": {"secretName": "s"}}}});
    object(name, created, &spec, &json!({"secretName": "s", "keys": keys}))
}

/// The client that a key is used for.
fn user(state: &State, hash: &KeyHash) -> Option<String> {
    state.client_by_key(hash).map(|client| client.name.name.clone())
}

/// A client with keys that were created elsewhere: the hashes in its spec and in its status.
fn by_hash(name: &str, listed: &[Value], recorded: &[Value]) -> crd::SdkClient {
    let spec = json!({"service": {"role": "Member", "apiKey": {"hashes": listed}}});
    object(name, OLD, &spec, &json!({"observedGeneration": 1, "keys": recorded}))
}

fn entry(hash: &KeyHash) -> Value {
    json!({"id": hash.id(), "sha256": hash.to_string(), "state": "Current"})
}

#[test]
fn a_key_that_two_statuses_list_is_used_for_neither() {
    let shared = hash();
    let clients = [service("z-old", OLD, &[shared]), service("a-new", NEW, &[shared])];
    for order in [[0, 1], [1, 0]] {
        let mut state = State::default();
        crd::SdkClient::apply(&mut state, &clients[order[0]]);
        assert_eq!(user(&state, &shared), clients[order[0]].metadata.name);
        crd::SdkClient::apply(&mut state, &clients[order[1]]);
        assert_eq!(user(&state, &shared), None, "neither the older nor the first");
        crd::SdkClient::delete(&mut state, &name("z-old"));
        assert_eq!(user(&state, &shared).as_deref(), Some("a-new"));
        crd::SdkClient::delete(&mut state, &name("a-new"));
        assert!(state.clients.is_empty());
        assert_eq!(state.key_holders.sizes(), (0, 0));
    }
}

#[test]
fn a_key_stays_with_a_client_that_is_not_served() {
    let shared = hash();
    let mut deleting = service("a", OLD, &[shared]);
    deleting.metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap());
    let mut invalid = service("a", OLD, &[shared]);
    invalid.spec.service.as_mut().unwrap().api_key.delivery = None;
    for holder in [deleting, invalid] {
        let mut state = State::default();
        crd::SdkClient::apply(&mut state, &holder);
        assert_eq!(user(&state, &shared), None);
        assert!(state.key_holders.is_recorded_besides(&shared, &name("b")));
        crd::SdkClient::apply(&mut state, &service("b", OLD, &[shared]));
        assert_eq!(user(&state, &shared), None, "the hash stays with its holder");
        crd::SdkClient::delete(&mut state, &name("a"));
        assert_eq!(user(&state, &shared).as_deref(), Some("b"));
    }
    // Another `secretName` ends the validity of a key only after the overlap.
    let mut moved = service("a", OLD, &[shared]);
    moved.status.as_mut().unwrap().secret_name = Some("another".into());
    let mut state = State::default();
    crd::SdkClient::apply(&mut state, &moved);
    assert_eq!(user(&state, &shared).as_deref(), Some("a"));
    // A client that this version cannot parse keeps its hashes.
    let mut state = State::default();
    crd::SdkClient::apply(&mut state, &service("a", OLD, &[shared]));
    crd::SdkClient::withdraw(&mut state, &name("a"));
    assert_eq!(user(&state, &shared), None);
    assert!(state.key_holders.is_recorded_by(&shared, &name("a")));
}

#[test]
fn a_hash_is_used_while_both_spec_and_status_list_it() {
    let (one, two) = (hash(), hash());
    let mut state = State::default();
    let entries = [entry(&one), entry(&two)];
    for (listed, recorded, used) in [
        (&entries[..1], &entries[..0], [false, false]),
        (&entries[..1], &entries[..1], [true, false]),
        (&entries[..2], &entries[..1], [true, false]),
        (&entries[..2], &entries[..2], [true, true]),
        // Once removed from the spec, it is rejected before status is updated.
        (&entries[1..], &entries[..2], [false, true]),
        (&entries[..0], &entries[..2], [false, false]),
    ] {
        crd::SdkClient::apply(&mut state, &by_hash("ci", listed, recorded));
        let now = [one, two].map(|hash| user(&state, &hash).is_some());
        assert_eq!(now, used, "{listed:?} {recorded:?}");
    }
    crd::SdkClient::delete(&mut state, &name("ci"));
    assert_eq!(state.key_holders.sizes(), (0, 0));
}

#[test]
fn a_hash_that_a_spec_lists_takes_nothing_from_its_holder() {
    let shared = hash();
    let mut state = State::default();
    crd::SdkClient::apply(&mut state, &by_hash("thief", &[entry(&shared)], &[]));
    crd::SdkClient::apply(&mut state, &service("holder", NEW, &[shared]));
    assert_eq!(user(&state, &shared).as_deref(), Some("holder"));
    let (holder, thief) = (name("holder"), name("thief"));
    let holders = &state.key_holders;
    assert!(holders.is_recorded_besides(&shared, &thief));
    assert!(!holders.is_recorded_besides(&shared, &holder));
    assert!(holders.is_delivered_besides(&shared, &thief));
    assert!(!holders.is_delivered_besides(&shared, &holder));
    assert!(holders.is_asserted_besides(&shared, &holder));
    assert!(!holders.is_asserted_besides(&shared, &thief));
}

#[test]
fn the_more_restrictive_time_of_spec_and_status_is_used() {
    let hash = hash();
    let timed = |created: &str, expires: &str| {
        let mut entry = entry(&hash);
        entry["createdAt"] = json!(created);
        entry["expiresAt"] = json!(expires);
        entry
    };
    let key = |listed: Value, recorded: Value| {
        let mut state = State::default();
        crd::SdkClient::apply(&mut state, &by_hash("ci", &[listed], &[recorded]));
        let client = state.client_by_key(&hash).unwrap();
        let service = client.service().unwrap();
        let time = |time: Option<jiff::Timestamp>| time.unwrap().to_string();
        let key = service.keys.find(&hash).unwrap();
        (time(key.created_at), time(key.expires_at))
    };
    let [early, late] = [timed(OLD, OLD), timed(NEW, NEW)];
    for (listed, recorded) in [(&early, &late), (&late, &early)] {
        assert_eq!(key(listed.clone(), recorded.clone()), (OLD.to_owned(), OLD.to_owned()));
    }
}

#[test]
fn a_delivery_that_was_not_reconciled_is_known() {
    let unobserved = |state: &State, last| state.key_holders.unobserved(last).count();
    let mut state = State::default();
    let mut client = service("ci", OLD, &[]);
    crd::SdkClient::apply(&mut state, &client);
    let before = state.key_holders.last_number();
    crd::SdkClient::apply(&mut state, &client);
    assert_eq!(unobserved(&state, before), 1, "its status was lost, or it has never had one");
    crd::SdkClient::apply(&mut state, &service("newer", OLD, &[]));
    assert_eq!(unobserved(&state, before), 1, "only clients that existed then");
    assert_eq!(unobserved(&state, state.key_holders.last_number()), 2);
    crd::SdkClient::delete(&mut state, &name("newer"));
    client.status.as_mut().unwrap().observed_generation = Some(1);
    crd::SdkClient::apply(&mut state, &client);
    assert_eq!(unobserved(&state, u64::MAX), 0);
    client.status.as_mut().unwrap().observed_generation = None;
    client.metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap());
    crd::SdkClient::apply(&mut state, &client);
    assert_eq!(unobserved(&state, u64::MAX), 0, "one that is being deleted is not reconciled");
    let mut listing = by_hash("listing", &[], &[]);
    listing.status.as_mut().unwrap().observed_generation = None;
    crd::SdkClient::apply(&mut state, &listing);
    assert_eq!(unobserved(&state, u64::MAX), 0, "what a spec lists is known");
}

#[test]
fn a_key_that_is_no_longer_listed_is_forgotten() {
    let (first, second) = (hash(), hash());
    let mut state = State::default();
    crd::SdkClient::apply(&mut state, &service("c", OLD, &[first]));
    crd::SdkClient::apply(&mut state, &service("c", OLD, &[first, second]));
    assert_eq!(state.key_holders.sizes().0, 2);
    crd::SdkClient::apply(&mut state, &service("c", OLD, &[second, second]));
    assert_eq!((user(&state, &first), state.key_holders.sizes().0), (None, 1));
    // Created again under the same name.
    crd::SdkClient::apply(&mut state, &service("c", NEW, &[second]));
    assert_eq!(user(&state, &second).as_deref(), Some("c"));
    crd::SdkClient::delete(&mut state, &name("c"));
    crd::SdkClient::delete(&mut state, &name("c"));
    assert_eq!(state.key_holders.sizes(), (0, 0));
}

/// There may be millions of keys, so each is stored once, with the client that has it.
#[test]
fn a_further_key_takes_less_than_100_bytes() {
    const CLIENTS: usize = 100;
    const KEYS: usize = 32;
    let mut state = State::default();
    let mut listing = 0;
    for number in 0..CLIENTS {
        let keys: Vec<_> = (0..KEYS).map(|_| entry(&hash())).collect();
        let name = format!("c{number}");
        let object = by_hash(&name, &keys, &keys);
        crd::SdkClient::apply(&mut state, &object);
        let client = state.client_named(&object_name(&object)).unwrap();
        let service = client.service().unwrap();
        listing += service.keys.bytes();
    }
    let keys = CLIENTS * KEYS;
    assert_eq!(state.key_holders.sizes(), (keys, keys));
    let bytes = (listing + state.key_holders.table_bytes()) / keys;
    assert!(bytes < 100, "{bytes}");
}

#[test]
fn the_key_of_a_client_whose_id_an_older_one_has_is_not_used() {
    let chosen = "6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111";
    let client = |name: &str, created: &str, key: &KeyHash, confirmed: bool| {
        let mut client = service(name, created, &[*key]);
        client.spec.client_id = Some(chosen.to_owned());
        client.status.as_mut().unwrap().client_id = confirmed.then(|| chosen.to_owned());
        client
    };
    let (old, new) = (hash(), hash());
    let mut state = State::default();
    crd::SdkClient::apply(&mut state, &client("new", NEW, &new, false));
    assert_eq!(user(&state, &new), None, "its id is not confirmed");
    assert!(state.key_holders.is_recorded_by(&new, &name("new")));
    crd::SdkClient::apply(&mut state, &client("new", NEW, &new, true));
    assert_eq!(user(&state, &new).as_deref(), Some("new"));
    crd::SdkClient::apply(&mut state, &client("old", OLD, &old, true));
    assert_eq!(user(&state, &old).as_deref(), Some("old"));
    assert_eq!(user(&state, &new), None, "another client has its id");
    assert!(state.key_holders.is_recorded_besides(&new, &name("old")));
    crd::SdkClient::delete(&mut state, &name("old"));
    assert_eq!(user(&state, &new).as_deref(), Some("new"));
    crd::SdkClient::delete(&mut state, &name("new"));
    assert_eq!(state.key_holders.sizes(), (0, 0));
}

/// What thousands of clients list is not searched one by one.
#[test]
fn a_hash_that_many_clients_list_stays_with_its_holder() {
    let shared = hash();
    let mut state = State::default();
    crd::SdkClient::apply(&mut state, &service("holder", OLD, &[shared]));
    for number in 0..50 {
        let listed = by_hash(&format!("c{number}"), &[entry(&shared)], &[]);
        crd::SdkClient::apply(&mut state, &listed);
        assert_eq!(user(&state, &shared).as_deref(), Some("holder"));
    }
    assert_eq!(state.key_holders.sizes(), (1, 1));
    for number in 0..50 {
        assert!(state.key_holders.is_asserted_besides(&shared, &name("holder")));
        crd::SdkClient::delete(&mut state, &name(&format!("c{number}")));
    }
    assert!(!state.key_holders.is_asserted_besides(&shared, &name("holder")));
    assert_eq!(user(&state, &shared).as_deref(), Some("holder"));
    crd::SdkClient::delete(&mut state, &name("holder"));
    assert_eq!(state.key_holders.sizes(), (0, 0));
}
