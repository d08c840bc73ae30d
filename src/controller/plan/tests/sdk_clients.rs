//! `SdkClient`.

use super::*;

/// A service client and its delivery Secret, as they are after each plan.
struct Client {
    object: SdkClient,
    stored: Option<Secret>,
    pending: Option<Arc<Pending>>,
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
            pending: None,
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
            waiting: String::new(),
        });
        let (key, created_at) = (ApiKey::generate().unwrap(), self.now);
        let new_next = key.hash();
        if self.reach == Reach::Nowhere {
            self.pending = Some(Arc::new(Pending { key, created_at }));
        }
        let all = self.hashes().into_iter().collect();
        let observed = Delivered {
            now: self.now,
            public_url: "https://anon.example.com".into(),
            record_keys: Arc::new(RecordKeys::new(&[1; 32], None).unwrap()),
            revocations: self.revocations.clone(),
            stored: self.stored.clone(),
            owned: Some(Owned { all, conflict: None, contested: false }),
            next,
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
