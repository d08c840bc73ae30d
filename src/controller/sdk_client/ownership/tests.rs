//! Single rules of the ledger. What holds in whatever order is in `properties`.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::crd;
use crate::domain::credential::ApiKey;
use crate::index::{Index, IndexSettings};

/// An index with these clients: name, hashes in the spec, hashes in status.
fn reader(clients: &[(&str, &[KeyHash], &[KeyHash])]) -> (Arc<Index>, Reader) {
    let index = Arc::new(Index::new(IndexSettings::UNLIMITED));
    for (number, (name, listed, recorded)) in clients.iter().enumerate() {
        index.apply(&listing(name, number + 1, listed, recorded));
        index.advanced(Kind::SdkClient, None, &(number + 1).to_string());
    }
    let reader = Reader::new(Arc::clone(&index));
    (index, reader)
}

fn listing(name: &str, version: usize, listed: &[KeyHash], recorded: &[KeyHash]) -> crd::SdkClient {
    let entries = |hashes: &[KeyHash]| -> Vec<_> {
        let entry = |hash: &KeyHash| json!({"id": hash.id(), "sha256": hash.to_string(), "state": "Current"});
        hashes.iter().map(entry).collect()
    };
    serde_json::from_value(json!({
        "metadata": {"namespace": "acme", "name": name, "resourceVersion": version.to_string()},
        "spec": {"service": {"role": "Member", "apiKey": {"hashes": entries(listed)}}},
        "status": {"keys": entries(recorded), "observedGeneration": 1},
    }))
    .unwrap()
}

/// A client with a delivery Secret.
fn delivered(name: &str) -> crd::SdkClient {
    serde_json::from_value(json!({
        "metadata": {"namespace": "acme", "name": name},
        "spec": {"service": {"role": "Member", "apiKey": {"delivery": {"secretName": name}}}},
        "status": {"observedGeneration": 1},
    }))
    .unwrap()
}

fn named(name: &str) -> ObjectName {
    ObjectName { namespace: "acme".into(), name: name.into() }
}

fn ruling(ownership: &Ownership, reader: &Reader, client: &str, hash: KeyHash) -> Ruling {
    let recorded = HashMap::from([(hash, false)]);
    ownership.decide(reader, &named(client), "1", &[(hash, Evidence::Asserted)], &recorded)[&hash]
}

/// Both are reconciled before the index has received either status.
#[test]
fn of_two_clients_that_are_reconciled_at_once_one_gets_a_hash() {
    let key = ApiKey::generate().unwrap().hash();
    let (index, reader) = reader(&[("a", &[], &[]), ("b", &[], &[])]);
    let ownership = Ownership::default();
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Granted);
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Granted, "it has it");
    assert_eq!(ruling(&ownership, &reader, "b", key), Ruling::Conflict);
    // Status is written, and the index has not received it yet.
    ownership.written(&named("a"), "7");
    assert_eq!(ruling(&ownership, &reader, "b", key), Ruling::Conflict);
    // The index receives it, and then its removal.
    index.apply(&listing("a", 7, &[key], &[key]));
    index.advanced(Kind::SdkClient, None, "7");
    assert_eq!(ruling(&ownership, &reader, "b", key), Ruling::Conflict);
    index.apply(&listing("a", 8, &[], &[]));
    index.advanced(Kind::SdkClient, None, "8");
    assert_eq!(ruling(&ownership, &reader, "b", key), Ruling::Granted);
}

/// Whose Secret has the record that the look-up might find, and may be rewritten in the meantime.
#[test]
fn a_client_with_a_mac_is_not_refused_for_one_that_looks_records_up() {
    let key = ApiKey::generate().unwrap().hash();
    let (_, reader) = reader(&[("a", &[], &[]), ("b", &[], &[])]);
    let ownership = Ownership::default();
    let decide = |client, evidence, recorded: &[(KeyHash, bool)]| {
        let recorded = recorded.iter().copied().collect();
        ownership.decide(&reader, &named(client), "2", &[(key, evidence)], &recorded)[&key]
    };
    assert_eq!(decide("a", Evidence::Asserted, &[]), Ruling::LookUp);
    assert_eq!(decide("b", Evidence::Recorded, &[]), Ruling::Granted);
    assert_eq!(decide("a", Evidence::Asserted, &[(key, false)]), Ruling::Conflict);
}

#[test]
fn a_generated_key_is_nobody_elses_before_status_lists_it() {
    let key = ApiKey::generate().unwrap().hash();
    let (_, reader) = reader(&[("a", &[], &[]), ("thief", &[key], &[])]);
    let ownership = Ownership::default();
    ownership.reserve(&reader, &named("a"), key);
    assert_eq!(ruling(&ownership, &reader, "thief", key), Ruling::Conflict);
}

#[test]
fn reservations_do_not_grow_with_the_number_of_keys() {
    let (index, reader) = reader(&[]);
    let ownership = Ownership::default();
    for number in 1..=100 {
        let (client, version) = (format!("c{number}"), number.to_string());
        ownership.reserve(&reader, &named(&client), ApiKey::generate().unwrap().hash());
        ownership.written(&named(&client), &version);
        index.advanced(Kind::SdkClient, None, &version);
        assert_eq!(ownership.0.lock().reservations.len(), 1);
    }
    ownership.forget(&reader, &named("c100"));
    assert!(ownership.0.lock().reservations.is_empty());
}

#[test]
fn a_hash_that_two_specs_list_is_granted_to_neither() {
    let key = ApiKey::generate().unwrap().hash();
    let (index, reader) = reader(&[("a", &[key], &[]), ("b", &[key], &[])]);
    let ownership = Ownership::default();
    for client in ["a", "b", "a"] {
        assert_eq!(ruling(&ownership, &reader, client, key), Ruling::Conflict);
    }
    index.apply(&listing("b", 3, &[], &[]));
    index.advanced(Kind::SdkClient, None, "3");
    // The evidence of b is dropped when b is reconciled.
    ownership.decide(&reader, &named("b"), "3", &[], &HashMap::new());
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Granted);
}

#[test]
fn a_leader_that_starts_inspects_every_client_first() {
    let key = ApiKey::generate().unwrap().hash();
    let (index, reader) = reader(&[("a", &[key], &[])]);
    for client in ["b", "c"] {
        index.apply(&delivered(client));
    }
    let ownership = Ownership::default();
    ownership.begin(reader.delivered_clients());
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Wait);
    ownership.inspected(&named("b"), false);
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Wait);
    // A client that fails repeatedly does not make others wait, nor does a deleted one.
    for _ in 0..MAX_FAILURES {
        assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Wait);
        ownership.inspected(&named("c"), true);
    }
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Granted);

    let ownership = Ownership::default();
    ownership.begin(reader.delivered_clients());
    for client in ["b", "c"] {
        index.delete::<crd::SdkClient>(&named(client));
    }
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Granted);
}

#[test]
fn a_client_waits_for_new_ones_that_were_there_before_it() {
    let key = ApiKey::generate().unwrap().hash();
    let (index, reader) = reader(&[("a", &[key], &[])]);
    let ownership = Ownership::default();
    let unobserved = |name: &str| {
        let mut client = delivered(name);
        client.status = None;
        client
    };
    index.apply(&unobserved("b"));
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Wait);
    // It does not wait for clients that are created later.
    index.apply(&unobserved("c"));
    index.apply(&delivered("b"));
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Granted);
}

#[test]
fn an_index_that_is_behind_the_client_decides_nothing() {
    let key = ApiKey::generate().unwrap().hash();
    let (index, reader) = reader(&[("a", &[key], &[])]);
    let ownership = Ownership::default();
    let ruling = || {
        let (asked, recorded) = ([(key, Evidence::Asserted)], HashMap::from([(key, false)]));
        ownership.decide(&reader, &named("a"), "2", &asked, &recorded)[&key]
    };
    assert_eq!(ruling(), Ruling::Wait);
    index.advanced(Kind::SdkClient, None, "2");
    assert_eq!(ruling(), Ruling::Granted);
}

#[test]
fn nothing_is_kept_of_what_is_settled_or_gone() {
    let [one, two] = [ApiKey::generate().unwrap().hash(), ApiKey::generate().unwrap().hash()];
    let (index, reader) = reader(&[("a", &[one], &[]), ("b", &[two], &[two])]);
    let ownership = Ownership::default();
    assert_eq!(ruling(&ownership, &reader, "a", two), Ruling::Conflict);
    assert_eq!(ruling(&ownership, &reader, "a", one), Ruling::Granted);
    ownership.inspected(&named("a"), true);
    ownership.written(&named("a"), "3");
    index.advanced(Kind::SdkClient, None, "3");
    ownership.forget(&reader, &named("a"));
    ownership.decide(&reader, &named("b"), "2", &[], &HashMap::new());
    let ledger = ownership.0.lock();
    assert!(ledger.reservations.is_empty() && ledger.shown.is_empty());
    assert!(ledger.shown_by.is_empty() && ledger.waiting.is_empty() && ledger.failures.is_empty());
}
