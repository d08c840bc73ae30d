//! `SdkClient`.

use std::collections::HashSet;

use super::*;
use crate::controller::sdk_client::api_key_rotation::decide::{Decision, Owned, Stored};
use crate::domain::client::{ClientKind, DeclaredClient, KeySource};

/// A service client and its delivery Secret, as they are after each plan.
struct Client {
    object: SdkClient,
    stored: Option<Secret>,
    /// The Secret of the former `secretName`.
    former: Option<Secret>,
    pending: Option<Arc<Pending>>,
    waiting: String,
    revocations: Vec<Arc<Revocation>>,
    reach: Reach,
    now: Timestamp,
}

impl Client {
    fn new() -> Self {
        let delivery =
            json!({"secretName": "key", "rotation": {"interval": "720h", "overlap": "1h"}});
        let spec = json!({"service": {"role": "Member", "apiKey": {"delivery": delivery}}});
        Self {
            object: object("backend", spec),
            stored: None,
            former: None,
            pending: None,
            waiting: String::new(),
            revocations: vec![],
            reach: Reach::Nowhere,
            now: at(0),
        }
    }

    fn request(&mut self, rotation: &str) {
        let annotations = self.object.meta_mut().annotations.get_or_insert_default();
        annotations.insert("anon.dev/rotate".into(), rotation.into());
    }

    fn hashes(&self) -> Vec<KeyHash> {
        let keys = self.object.status.iter().flat_map(|status| &status.keys);
        keys.map(|key| KeyHash::parse(&key.sha256).unwrap()).collect()
    }

    /// With all keys that the Secret contains and records.
    fn decide(&self, facts: &Delivered) -> Decision {
        let DeclaredClient { client, source } = self.object.parse().unwrap();
        let ClientKind::Service(service) = &client.kind else { panic!("no service") };
        let Some(KeySource::Delivery(delivery)) = &source else { panic!("no delivery") };
        let planner = facts.planner(&client, service, delivery);
        let stored = planner.read();
        let all = match &stored {
            Stored::Ours { contents, .. } => {
                contents.delivered.iter().map(|key| key.hash).collect()
            }
            _ => HashSet::new(),
        };
        planner.decide(stored, Some(Owned { all, conflict: None }))
    }

    /// Changes `secretName`. The new Secret does not exist.
    fn move_to(&mut self, name: &str) {
        let service = self.object.spec.service.as_mut().unwrap();
        name.clone_into(&mut service.api_key.delivery.as_mut().unwrap().secret_name);
        self.former = self.stored.take();
    }

    /// Plans, and continues as if the plan had been applied.
    fn step(&mut self) -> String {
        let published = self.object.status.iter().flat_map(|status| &status.keys);
        let next = published.into_iter().find(|key| format!("{:?}", key.state) == "Next");
        let next = next.map(|key| Next {
            hash: KeyHash::parse(&key.sha256).unwrap(),
            created_at: key.created_at.as_ref().map(|time| time.0),
            reach: self.reach,
            pending: self.pending.clone(),
            acknowledged_by: "2 of 2 validators".into(),
            waiting: self.waiting.clone(),
        });
        let (key, created_at) = (ApiKey::generate().unwrap(), self.now);
        let new_next = key.hash();
        if self.reach == Reach::Nowhere {
            self.pending = Some(Arc::new(Pending { key, created_at }));
        }
        let status = self.object.status.clone().unwrap_or_default();
        let facts = Delivered {
            now: self.now,
            public_url: "https://anon.example.com".into(),
            record_keys: Arc::new(RecordKeys::new(&[1; 32], None).unwrap()),
            revocations: self.revocations.clone(),
            stored: self.stored.clone(),
            delivered_into: status.secret_name,
            former: self.former.clone(),
            replacing: status.replacing,
            contested: HashSet::new(),
            next,
        };
        let decision = self.decide(&facts);
        let observed = Observed {
            facts,
            decision,
            new_key: Some(ApiKey::generate().unwrap()),
            new_next: Some(new_next),
        };
        let observed = sdk_client::Observed {
            now: self.now,
            inspected_at: Requeue::Soon,
            facts: Facts::Delivery(Box::new(observed)),
        };
        let plan = plan(&self.object, observed);
        applied(plan, &mut self.stored, &mut self.object.status)
    }
}

#[test]
fn delivered_api_key() {
    let mut client = Client::new();
    assert_snapshot!(client.step(), "creation", @"
    create Secret acme/key [Current]
    status: [Current] Ready KeyDelivered
    again: after 42491 min
    ");
    assert_snapshot!(client.step(), "settled", @"
    status: [Current] Ready KeyDelivered
    again: after 42491 min
    ");
    client.request("now");
    assert_snapshot!(client.step(), "the Next key is published", @"
    status: [Current, Next] Ready KeyDelivered
    again: Soon
    awaits acknowledgements
    ");
    client.reach = Reach::Published;
    assert_snapshot!(client.step(), "it is not acknowledged everywhere", @"
    status: [Current, Next] Ready KeyDelivered, RotationDeferred WaitingForValidators
    again: after 0 min
    awaits acknowledgements
    ");
    let ours = client.pending.take();
    assert_snapshot!(client.step(), "another leader has its plain text", @"
    status: [Current, Next] Ready KeyDelivered
    again: after 0 min
    awaits acknowledgements
    ");
    client.waiting = "; waiting for: anon-1".into();
    assert_snapshot!(client.step(), "and a validator is missing", @"
    status: [Current, Next] Ready KeyDelivered, RotationDeferred WaitingForValidators
    again: after 0 min
    awaits acknowledgements
    ");
    (client.pending, client.waiting) = (ours, String::new());
    client.reach = Reach::Everywhere;
    assert_snapshot!(client.step(), "it is delivered", @"
    replace Secret acme/key [Previous, Current]
    status: [Previous, Current] Ready KeyDelivered
    event: Normal KeyRotated
    again: after 60 min
    ");
    client.reach = Reach::Nowhere;
    assert_snapshot!(client.step(), "settled in the overlap", @"
    status: [Previous, Current] Ready KeyDelivered
    again: after 60 min
    ");
    client.now = at(HOUR);
    assert_snapshot!(client.step(), "the overlap ends", @"
    replace Secret acme/key [Current]
    status: [Current] Ready KeyDelivered
    again: after 42491 min
    ");
    client.revocations = vec![revocation(RevocationTarget::SdkClient, &[client.hashes()[0].id()])];
    assert_snapshot!(client.step(), "the Current key is revoked", @"
    record 1 matches of Revocation acme/leak
    replace Secret acme/key [Current]
    status: [Current] Ready KeyDelivered
    event: Warning KeyReplaced
    again: Soon
    ");
    client.stored.as_mut().unwrap().data = None;
    assert_snapshot!(client.step(), "the Current key was deleted from the Secret", @"
    replace Secret acme/key [Current]
    status: [Current] Ready KeyDelivered
    event: Warning KeyReplaced
    again: Soon
    ");
    client.stored = None;
    assert_snapshot!(client.step(), "the Secret was deleted", @"
    create Secret acme/key [Current]
    status: [Current] Ready KeyDelivered
    event: Warning KeyReplaced
    again: after 42551 min
    ");
    client.stored.as_mut().unwrap().metadata.labels = None;
    assert_snapshot!(client.step(), "the labels were removed from the Secret", @"
    replace Secret acme/key [Current]
    status: [Current] Ready KeyDelivered
    event: Normal SecretRepaired
    again: after 42551 min
    ");
    let labels = [(names::ID.to_owned(), "another".to_owned())].into();
    client.stored.as_mut().unwrap().metadata.labels = Some(labels);
    assert_snapshot!(client.step(), "the Secret is not ours", @"
    status: Stalled SecretConflict
    again: Later
    ");
}

#[test]
fn another_secret_name() {
    let mut client = Client::new();
    client.step();
    client.move_to("other");
    let before = client.object.status.clone();
    assert_snapshot!(client.step(), "the new Secret is created", @"
    create Secret acme/other [Previous, Current]
    status: [Previous, Current] Ready KeyDelivered
    event: Normal SecretNameChanged
    again: after 60 min
    ");
    // A crash before the write of status.
    client.object.status = before.clone();
    client.now = at(60);
    assert_snapshot!(client.step(), "the new Secret exists", @"
    status: [Previous, Current] Ready KeyDelivered
    event: Normal SecretNameChanged
    again: after 60 min
    ");
    client.former = None;
    client.now = at(HOUR);
    assert_snapshot!(client.step(), "the overlap ends", @"
    replace Secret acme/other [Current]
    status: [Current] Ready KeyDelivered
    again: after 42491 min
    ");

    client.move_to("third");
    client.former = None;
    assert_snapshot!(client.step(), "the former Secret was deleted", @"
    create Secret acme/third [Current]
    status: [Current] Ready KeyDelivered
    event: Normal SecretNameChanged
    again: after 42551 min
    ");
}

#[test]
fn another_secret_name_that_is_taken() {
    let mut client = Client::new();
    client.step();
    client.move_to("taken");
    client.stored = Some(Secret::default());
    assert_snapshot!(client.step(), "the overlap begins", @"
    status: [Previous] Stalled SecretConflict
    again: Later
    ");
    client.now = at(60);
    let before = client.object.status.clone();
    assert_eq!(before.as_ref().unwrap().secret_name.as_deref(), Some("key"));
    assert_snapshot!(client.step(), "a later step does not extend it", @"
    status: [Previous] Stalled SecretConflict
    again: Later
    ");
    assert_eq!(client.object.status, before);
    client.now = at(HOUR);
    assert_snapshot!(client.step(), "the overlap ends", @"
    status: Stalled SecretConflict
    again: Later
    ");

    client.former = None;
    client.object.status = before;
    client.now = at(60);
    assert_snapshot!(client.step(), "the former Secret was deleted", @"
    status: Stalled SecretConflict
    again: Later
    ");
}

#[test]
fn an_immutable_secret() {
    let mut client = Client::new();
    client.step();
    client.request("now");
    client.step();
    client.reach = Reach::Everywhere;
    client.stored.as_mut().unwrap().immutable = Some(true);
    assert_snapshot!(client.step(), "status announces the replacement", @"
    status: [Current, Next] Ready KeyDelivered, replacing
    again: Soon
    awaits acknowledgements
    ");
    let announced = client.object.status.clone();
    let old = client.stored.clone();
    assert_snapshot!(client.step(), "it is replaced", @"
    delete Secret acme/key [Current]
    create Secret acme/key [Previous, Current]
    status: [Previous, Current] Ready KeyDelivered
    event: Normal KeyRotated
    again: after 60 min
    ");
    assert_eq!(client.stored.as_ref().unwrap().immutable, None);

    client.object.status = announced.clone();
    client.stored.as_mut().unwrap().metadata.uid = Some("u2".into());
    client.reach = Reach::Nowhere;
    assert_snapshot!(client.step(), "after a crash before the write of status", @"
    status: [Previous, Current] Ready KeyDelivered
    again: after 60 min
    ");

    client.object.status = announced.clone();
    client.stored = None;
    assert_snapshot!(client.step(), "after a crash between deletion and creation", @"
    create Secret acme/key [Previous, Current]
    status: [Previous, Current] Ready KeyDelivered
    event: Warning KeyReplaced
    again: after 60 min
    ");

    client.object.status = announced;
    client.stored = old.clone();
    let meta = &mut client.stored.as_mut().unwrap().metadata;
    meta.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    client.reach = Reach::Everywhere;
    assert_snapshot!(client.step(), "a finalizer delays its deletion", @"
    status: [Current, Next] Ready KeyDelivered, replacing
    again: Later
    awaits acknowledgements
    ");

    client.object.status.as_mut().unwrap().replacing = None;
    assert_snapshot!(client.step(), "a user has deleted it, and a finalizer delays that", @"
    replace Secret acme/key [Previous, Current]
    status: [Previous, Current] Ready KeyDelivered
    event: Normal KeyRotated
    again: after 60 min
    ");

    client.object.status.as_mut().unwrap().replacing = None;
    client.stored = None;
    assert_snapshot!(client.step(), "a user has deleted it", @"
    create Secret acme/key [Current]
    status: [Current] Ready KeyDelivered
    event: Warning KeyReplaced
    again: after 42491 min
    ");
}

#[test]
fn hashed_api_keys() {
    let hash = ApiKey::generate().unwrap().hash();
    let listed = json!([{"id": hash.id(), "sha256": hash.to_string()}]);
    let spec = |hashes: Value| {
        let spec = json!({"service": {"role": "Member", "apiKey": {"hashes": hashes}}});
        object::<SdkClient>("ci", spec)
    };
    let planned = |object: &SdkClient, facts| {
        let inspected_at = Requeue::Soon;
        render(&plan(object, sdk_client::Observed { now: at(0), inspected_at, facts }))
    };
    let object = spec(listed);
    let determined = |accepted| {
        let listed = hashes::Listed { accepted, conflict: !accepted, created_at: None };
        planned(&object, Facts::Hashes(vec![listed]))
    };
    assert_snapshot!(determined(true), "accepted", @"
    status: [Current] Ready KeysAccepted
    again: OnChange
    ");
    assert_snapshot!(determined(false), "of another client", @"
    status: Stalled KeyConflict
    again: Later
    ");
    assert_snapshot!(planned(&object, Facts::Unknown), "not known yet", @"
    again: Soon
    ");
    assert_snapshot!(planned(&spec(json!([])), Facts::Hashes(vec![])), "none", @"
    status: Reconciling NoKeys
    again: OnChange
    ");
}

#[test]
fn webapp_client() {
    let object: SdkClient = object("web", json!({"webapp": {"userPoolRef": {"name": "users"}}}));
    let planned = |readiness| {
        let facts = Facts::Readiness(readiness);
        let inspected_at = Requeue::Soon;
        render(&plan(&object, sdk_client::Observed { now: at(0), inspected_at, facts }))
    };
    let waiting = Readiness::new(ReadyReason::UserPoolNotFound, "");
    assert_snapshot!(planned(waiting), "waiting", @"
    status: Reconciling UserPoolNotFound
    again: OnChange
    ");
    assert_snapshot!(planned(Readiness::new(ReadyReason::Accepted, "")), "ready", @"
    status: Ready Accepted
    again: OnChange
    ");
}
