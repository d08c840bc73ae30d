use super::*;
use crate::domain::client::{ClientKind, Entries, Service};
use crate::domain::ids::{ObjectName, OrganizationId, SdkClientId};
use crate::domain::role::Role;
use crate::domain::rotation::api_keys::Policy;

fn delivery() -> Delivery {
    Delivery {
        secret_name: "backend".into(),
        entries: Entries {
            api_key: "apiKey".into(),
            client_id: "clientId".into(),
            base_url: "baseUrl".into(),
            organization_id: "organizationId".into(),
        },
        labels: [("team".to_owned(), "shop".to_owned())].into(),
        annotations: BTreeMap::new(),
        rotation: Policy::default(),
        requested_rotation: None,
        retain: false,
    }
}

fn client() -> SdkClient {
    SdkClient {
        id: SdkClientId::derive("acme", "backend"),
        organization: OrganizationId::derive("acme"),
        name: ObjectName { namespace: "acme".into(), name: "backend".into() },
        created_at: None,
        suspended: false,
        kind: ClientKind::Service(Service {
            role: Role::Member,
            is_delivered: true,
            keys: StoredApiKeys::from_iter([]),
        }),
    }
}

/// MAC keys, each filled with this byte.
fn record_keys(current: u8, previous: Option<u8>) -> RecordKeys {
    let previous = previous.map(|byte| vec![byte; 32]);
    RecordKeys::new(&[current; 32], previous.as_deref()).unwrap()
}

/// Runs a test with a Secret as it is after the first delivery.
fn check(test: impl FnOnce(&DeliverySecret<'_>, &Desired<'_>, Secret)) {
    let delivery = delivery();
    let client = client();
    let keys = record_keys(1, None);
    let secret = DeliverySecret::new(&client, &delivery, "https://anon.example", &keys);
    let key = ApiKey::generate().unwrap();
    let delivered = Policy::default().deliver(&[], key.hash(), Timestamp::UNIX_EPOCH);
    let desired = Desired { key: &key, delivered: &delivered, rotated: "" };
    let stored = secret.secret(&desired).unwrap();
    test(&secret, &desired, stored);
}

fn read(secret: &DeliverySecret<'_>, stored: &Secret) -> Contents {
    match secret.observe(stored, &StoredApiKeys::from_iter([])) {
        Observed::Foreign => panic!("foreign"),
        Observed::Ours(contents) => contents,
    }
}

#[test]
fn what_is_delivered_reads_back_whole() {
    check(|secret, desired, stored| {
        let contents = read(secret, &stored);
        assert_eq!(contents.delivered, desired.delivered);
        assert_eq!(contents.rotated.as_deref(), Some(""));
        assert!(secret.corrected(&stored, desired).unwrap().is_none());
    });
}

#[test]
fn previous_keys_read_back_too() {
    check(|secret, desired, stored| {
        let schedule = Policy { overlap: jiff::SignedDuration::from_hours(1), ..Policy::default() };
        let next = ApiKey::generate().unwrap();
        let delivered = schedule.deliver(desired.delivered, next.hash(), Timestamp::UNIX_EPOCH);
        let desired = Desired { key: &next, delivered: &delivered, rotated: "digest" };
        let rotated = secret.corrected(&stored, &desired).unwrap().unwrap();
        let contents = read(secret, &rotated);
        assert_eq!(contents.delivered, delivered);
        assert_eq!(contents.delivered.len(), 2);
        assert_eq!(contents.rotated.as_deref(), Some("digest"));
    });
}

#[test]
fn a_value_that_is_not_a_key_counts_as_deleted() {
    check(|secret, _, mut stored| {
        for value in ["", "junk", "ory_apikey_"] {
            stored.data.as_mut().unwrap().insert("apiKey".into(), ByteString(value.into()));
            let contents = read(secret, &stored);
            assert!(contents.key.is_none() && contents.delivered.is_empty(), "{value}");
        }
        stored.data = None;
        assert!(read(secret, &stored).key.is_none());
    });
}

#[test]
fn a_renamed_entry_keeps_its_key() {
    check(|secret, desired, stored| {
        let mut delivery = secret.delivery.clone();
        delivery.entries.api_key = "KEY".into();
        let renamed =
            DeliverySecret::new(secret.client, &delivery, secret.base_url, secret.record_keys);
        assert_eq!(read(&renamed, &stored).delivered, desired.delivered);
        let corrected = renamed.corrected(&stored, desired).unwrap().unwrap();
        let names: Vec<_> = corrected.data.unwrap().into_keys().collect();
        assert_eq!(names, ["KEY", "baseUrl", "clientId", "organizationId"]);
    });
}

#[test]
fn a_key_put_there_by_hand_is_the_key_and_replaces_the_current_one() {
    check(|secret, _, mut stored| {
        let key = ApiKey::generate().unwrap();
        let data = stored.data.as_mut().unwrap();
        data.insert("apiKey".into(), ByteString(key.expose().into()));
        let delivered = read(secret, &stored).delivered;
        assert_eq!(delivered.len(), 1);
        assert_eq!((delivered[0].hash, delivered[0].created_at), (key.hash(), None));
    });
}

#[test]
fn a_secret_of_somebody_else_is_foreign() {
    check(|secret, desired, stored| {
        let foreign = |stored: &Secret, known: &[StoredApiKey]| {
            let known = known.iter().copied().collect();
            matches!(secret.observe(stored, &known), Observed::Foreign)
        };
        let mut other = stored.clone();
        other.metadata.labels = Some(names::labels(names::API_KEY, &"another id"));
        assert!(foreign(&other, &[]));
        // Without a label, the MAC of the record proves that the Secret is ours.
        let mut unlabelled = stored.clone();
        unlabelled.metadata.labels = None;
        assert!(!foreign(&unlabelled, &[]));
        let annotations = unlabelled.metadata.annotations.as_mut().unwrap();
        annotations.insert(names::KEYS_MAC.into(), "forged".into());
        assert!(foreign(&unlabelled, &[]), "anyone can write a record");
        let mut plain = stored;
        plain.metadata.labels = None;
        plain.metadata.annotations = None;
        assert!(foreign(&plain, &[]));
        // Without label and record, the key in it, which status lists, proves the same.
        let known = StoredApiKey {
            hash: desired.key.hash(),
            state: ApiKeyState::Current,
            created_at: None,
            expires_at: None,
        };
        assert!(!foreign(&plain, &[known]));
    });
}

#[test]
fn edits_are_corrected_and_additions_of_others_stay() {
    check(|secret, desired, stored| {
        let mut edited = stored.clone();
        edited.metadata.labels.as_mut().unwrap().clear();
        let annotations = edited.metadata.annotations.as_mut().unwrap();
        annotations.insert("reflector".into(), "yes".into());
        edited.data.as_mut().unwrap().insert("more".into(), ByteString(vec![1]));
        let corrected = secret.corrected(&edited, desired).unwrap().unwrap();
        assert_eq!(corrected.data, stored.data);
        assert_eq!(corrected.metadata.labels, stored.metadata.labels);
        assert_eq!(corrected.metadata.annotations.unwrap()["reflector"], "yes");
    });
}

#[test]
fn a_label_goes_when_the_spec_drops_it() {
    check(|secret, desired, stored| {
        assert_eq!(stored.metadata.labels.as_ref().unwrap()["team"], "shop");
        let mut delivery = secret.delivery.clone();
        delivery.labels.clear();
        let without =
            DeliverySecret::new(secret.client, &delivery, secret.base_url, secret.record_keys);
        let corrected = without.corrected(&stored, desired).unwrap().unwrap();
        assert!(!corrected.metadata.labels.unwrap().contains_key("team"));
    });
}

#[test]
fn metadata_of_the_spec_never_wins_over_ours() {
    let mut delivery = delivery();
    delivery.labels.insert(names::ID.to_owned(), "chosen".into());
    delivery.annotations.insert(names::KEYS.to_owned(), "[]".into());
    let client = client();
    let keys = record_keys(1, None);
    let secret = DeliverySecret::new(&client, &delivery, "https://anon.example", &keys);
    let key = ApiKey::generate().unwrap();
    let delivered = Policy::default().deliver(&[], key.hash(), Timestamp::UNIX_EPOCH);
    let stored = secret.secret(&Desired { key: &key, delivered: &delivered, rotated: "" }).unwrap();
    assert_eq!(stored.metadata.labels.unwrap()[names::ID], client.id.to_string());
    assert_ne!(stored.metadata.annotations.unwrap()[names::KEYS], "[]");
}

fn stored_key(hash: KeyHash, state: ApiKeyState, expires_at: Option<Timestamp>) -> StoredApiKey {
    StoredApiKey { hash, state, created_at: Some(Timestamp::UNIX_EPOCH), expires_at }
}

/// The Secret with `extra` in its record, which makes the MAC invalid.
fn forged(stored: &Secret, extra: &KeyHash) -> Secret {
    let mut forged = stored.clone();
    let annotations = forged.metadata.annotations.as_mut().unwrap();
    let record = annotations.get_mut(names::KEYS).unwrap();
    let mut records: serde_json::Value = serde_json::from_str(record).unwrap();
    records.as_array_mut().unwrap().push(serde_json::json!({
        "id": extra.id(), "sha256": extra.to_string(), "state": "Previous",
        "expiresAt": "2099-01-01T00:00:00Z",
    }));
    *record = records.to_string();
    forged
}

#[test]
fn a_record_that_somebody_edited_tells_nothing_of_other_keys() {
    check(|secret, desired, stored| {
        let stolen = ApiKey::generate().unwrap().hash();
        let forged = forged(&stored, &stolen);
        let contents = read(secret, &forged);
        assert_eq!(contents.signed_by, None);
        assert!(contents.recorded.is_empty());
        let [current] = &contents.delivered[..] else { panic!("{:?}", contents.delivered) };
        assert_eq!((current.hash, current.state), (desired.key.hash(), ApiKeyState::Current));
        // The record is then replaced.
        let corrected = secret.corrected(&forged, desired).unwrap().unwrap();
        assert_eq!(corrected, stored);
    });
}

#[test]
fn a_record_without_a_mac_is_not_believed() {
    check(|secret, _, mut stored| {
        stored.metadata.annotations.as_mut().unwrap().remove(names::KEYS_MAC);
        assert_eq!(read(secret, &stored).signed_by, None);
    });
}

#[test]
fn a_record_that_was_copied_from_another_client_is_not_believed() {
    check(|secret, _, stored| {
        let delivery = delivery();
        for (namespace, name, secret_name) in [
            ("globex", "backend", "backend"),
            ("acme", "other", "backend"),
            ("acme", "backend", "b"),
        ] {
            let mut client = client();
            client.id = SdkClientId::derive(namespace, name);
            client.name = ObjectName { namespace: namespace.into(), name: name.into() };
            let delivery = Delivery { secret_name: secret_name.into(), ..delivery.clone() };
            let keys = record_keys(1, None);
            let thief = DeliverySecret::new(&client, &delivery, secret.base_url, &keys);
            let mut copied = stored.clone();
            let labels = copied.metadata.labels.as_mut().unwrap();
            labels.extend(names::labels(names::API_KEY, &client.id));
            let contents = read(&thief, &copied);
            assert_eq!(contents.signed_by, None, "{namespace} {name} {secret_name}");
            assert!(contents.recorded.is_empty());
        }
    });
}

/// Only the leader writes status, so status can be trusted if the record cannot.
#[test]
fn without_a_valid_record_status_tells_of_the_keys() {
    check(|secret, desired, stored| {
        let end = Timestamp::from_second(99).unwrap();
        let replaced = ApiKey::generate().unwrap().hash();
        let known = [
            stored_key(replaced, ApiKeyState::Previous, Some(end)),
            stored_key(desired.key.hash(), ApiKeyState::Current, Some(end)),
        ];
        let forged = forged(&stored, &ApiKey::generate().unwrap().hash());
        let Observed::Ours(contents) = secret.observe(&forged, &known.iter().copied().collect())
        else {
            panic!("ours")
        };
        let told: Vec<_> =
            contents.delivered.iter().map(|key| (key.hash, key.state, key.expires_at)).collect();
        assert_eq!(
            told,
            [
                (replaced, ApiKeyState::Previous, Some(end)),
                (desired.key.hash(), ApiKeyState::Current, Some(end)),
            ]
        );
        // The previous Current key is no longer in the Secret.
        let known = [stored_key(replaced, ApiKeyState::Current, None)];
        let Observed::Ours(contents) = secret.observe(&forged, &known.iter().copied().collect())
        else {
            panic!("ours")
        };
        assert_eq!(contents.delivered.len(), 1);
        assert_eq!(contents.delivered[0].hash, desired.key.hash());
    });
}

#[test]
fn a_record_of_the_previous_mac_key_is_believed_and_signed_again() {
    check(|secret, desired, stored| {
        let keys = record_keys(2, Some(1));
        let rotated = DeliverySecret::new(secret.client, secret.delivery, secret.base_url, &keys);
        let contents = read(&rotated, &stored);
        assert_eq!(contents.signed_by, Some(SignedBy::Previous));
        assert_eq!(contents.delivered, desired.delivered);
        let signed = rotated.corrected(&stored, desired).unwrap().unwrap();
        assert_eq!(read(&rotated, &signed).signed_by, Some(SignedBy::Current));
        assert!(rotated.corrected(&signed, desired).unwrap().is_none());
        let keys = record_keys(2, None);
        let lost = DeliverySecret::new(secret.client, secret.delivery, secret.base_url, &keys);
        assert_eq!(read(&lost, &stored).signed_by, None);
    });
}

#[test]
fn a_secret_is_found_by_the_keys_that_it_records() {
    check(|secret, desired, stored| {
        let label = names::key_label(&desired.key.hash().id());
        assert!(stored.metadata.labels.as_ref().unwrap().contains_key(&label));
        let next = ApiKey::generate().unwrap();
        let delivered = Policy::default().deliver(&[], next.hash(), Timestamp::UNIX_EPOCH);
        let desired = Desired { key: &next, delivered: &delivered, rotated: "" };
        let rotated = secret.corrected(&stored, &desired).unwrap().unwrap();
        let labels = rotated.metadata.labels.unwrap();
        assert!(labels.contains_key(&names::key_label(&next.hash().id())));
        assert!(!labels.contains_key(&label), "only while it records the key");
    });
}

#[test]
fn a_record_shows_that_a_hash_is_another_clients() {
    check(|secret, desired, mut stored| {
        stored.metadata.namespace = Some("acme".into());
        let mut thief = client();
        thief.id = SdkClientId::derive("globex", "ci");
        let (hash, keys) = (desired.key.hash(), record_keys(1, None));
        let other = ApiKey::generate().unwrap().hash();
        assert!(records_for_another(&stored.metadata, &thief, &hash, &keys));
        assert!(!records_for_another(&stored.metadata, secret.client, &hash, &keys), "its own");
        assert!(!records_for_another(&stored.metadata, &thief, &other, &keys));
        let forged = forged(&stored, &other);
        assert!(!records_for_another(&forged.metadata, &thief, &other, &keys), "no valid MAC");
    });
}
