use super::*;
use crate::domain::api_key_life::Schedule;
use crate::domain::client::{ClientKind, Entries, KeySource, Service};
use crate::domain::ids::{ObjectName, OrganizationId, SdkClientId};
use crate::domain::role::Role;

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
        schedule: Schedule::default(),
        requested_rotation: None,
        retain: false,
    }
}

fn client(delivery: Delivery) -> SdkClient {
    SdkClient {
        id: SdkClientId::derive("acme", "backend"),
        organization: OrganizationId::derive("acme"),
        name: ObjectName { namespace: "acme".into(), name: "backend".into() },
        created_at: None,
        suspended: false,
        kind: ClientKind::Service(Service {
            role: Role::Member,
            source: KeySource::Delivery(Box::new(delivery)),
            keys: vec![],
        }),
    }
}

/// A Secret as it is after the first delivery, with what was delivered.
fn check(test: impl FnOnce(&DeliverySecret<'_>, &Desired<'_>, Secret)) {
    let delivery = delivery();
    let client = client(delivery.clone());
    let secret = DeliverySecret::new(&client, &delivery, "https://anon.example");
    let key = ApiKey::generate().unwrap();
    let delivered = Schedule::default().deliver(&[], key.hash(), Timestamp::UNIX_EPOCH);
    let desired = Desired { key: &key, delivered: &delivered, rotated: "" };
    let stored = secret.secret(&desired).unwrap();
    test(&secret, &desired, stored);
}

fn read(secret: &DeliverySecret<'_>, stored: &Secret) -> Contents {
    match secret.observe(stored, &[]) {
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
        let schedule =
            Schedule { overlap: jiff::SignedDuration::from_hours(1), ..Schedule::default() };
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
        let renamed = DeliverySecret::new(secret.client, &delivery, secret.base_url);
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
            matches!(secret.observe(stored, known), Observed::Foreign)
        };
        let mut other = stored.clone();
        other.metadata.labels = Some(names::labels(names::API_KEY, &"another id"));
        assert!(foreign(&other, &[]));
        let mut plain = stored;
        plain.metadata.labels = None;
        plain.metadata.annotations = None;
        assert!(foreign(&plain, &[]));
        // Both marks removed from the Secret that status knows: still ours.
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
        let without = DeliverySecret::new(secret.client, &delivery, secret.base_url);
        let corrected = without.corrected(&stored, desired).unwrap().unwrap();
        assert!(!corrected.metadata.labels.unwrap().contains_key("team"));
    });
}

#[test]
fn metadata_of_the_spec_never_wins_over_ours() {
    let mut delivery = delivery();
    delivery.labels.insert(names::ID.to_owned(), "chosen".into());
    delivery.annotations.insert(names::KEYS.to_owned(), "[]".into());
    let client = client(delivery.clone());
    let secret = DeliverySecret::new(&client, &delivery, "https://anon.example");
    let key = ApiKey::generate().unwrap();
    let delivered = Schedule::default().deliver(&[], key.hash(), Timestamp::UNIX_EPOCH);
    let stored = secret.secret(&Desired { key: &key, delivered: &delivered, rotated: "" }).unwrap();
    assert_eq!(stored.metadata.labels.unwrap()[names::ID], client.id.to_string());
    assert_ne!(stored.metadata.annotations.unwrap()[names::KEYS], "[]");
}
