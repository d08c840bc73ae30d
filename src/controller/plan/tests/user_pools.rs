//! `UserPool`.

use super::*;

/// A hosted pool and its signing Secret, as they are after each plan.
struct Pool {
    object: UserPool,
    stored: Option<Secret>,
    former: Vec<Secret>,
    revocations: Vec<Arc<Revocation>>,
    reach: Reach,
    refused: Option<String>,
    now: Timestamp,
}

impl Pool {
    fn new() -> Self {
        let spec = json!({"hosted": {"algorithm": "EdDSA", "tokenLifetime": {"max": "1h", "default": "1h"}}});
        Self {
            object: object("users", spec),
            stored: None,
            former: vec![],
            revocations: vec![],
            reach: Reach::Nowhere,
            refused: None,
            now: at(0),
        }
    }

    fn active(&self) -> String {
        let keys = &self.object.status.as_ref().unwrap().keys;
        let active = keys.iter().find(|key| format!("{:?}", key.state) == "Active");
        active.unwrap().kid.clone()
    }

    /// Plans, and continues as if the plan had been applied.
    fn step(&mut self) -> String {
        let observed = hosted::Observed {
            now: self.now,
            latest: self.now,
            public_url: "https://anon.example.com".into(),
            operator_namespace: "anon-system".into(),
            namespace_uid: "n".into(),
            stored: self.stored.clone(),
            former: self.former.clone(),
            revocations: self.revocations.clone(),
            reach: self.reach,
            waiting_for: None,
            new_key: Some(SigningKey::generate(Algorithm::EdDSA).unwrap()),
            refused: self.refused.clone(),
        };
        let plan = plan(&self.object, user_pool::Observed::Hosted(Box::new(observed)));
        applied(plan, &mut self.stored, &mut self.object.status)
    }
}

#[test]
fn hosted_pool() {
    let mut pool = Pool::new();
    assert_snapshot!(pool.step(), "creation", @"
    create Secret anon-system/n.users.signing-keys [Active]
    apply ConfigMap users-jwks (keys: 1)
    status: [Active] Ready KeysPublished
    again: OnChange
    ");
    assert_snapshot!(pool.step(), "settled", @"
    apply ConfigMap users-jwks (keys: 1)
    status: [Active] Ready KeysPublished
    again: OnChange
    ");
    let annotations = pool.object.meta_mut().annotations.get_or_insert_default();
    annotations.insert("anon.dev/rotate".into(), "now".into());
    assert_snapshot!(pool.step(), "the Next key is published", @"
    replace Secret anon-system/n.users.signing-keys [Active, Next]
    apply ConfigMap users-jwks (keys: 2)
    status: [Active, Next] Ready KeysPublished
    event: Normal KeyPublished
    again: after 0 min
    awaits acknowledgements
    ");
    pool.reach = Reach::Published;
    assert_snapshot!(pool.step(), "it is not acknowledged everywhere", @"
    apply ConfigMap users-jwks (keys: 2)
    status: [Active, Next] Ready KeysPublished
    again: after 0 min
    awaits acknowledgements
    ");
    pool.reach = Reach::Everywhere;
    assert_snapshot!(pool.step(), "it is acknowledged everywhere", @"
    replace Secret anon-system/n.users.signing-keys [Active, Next]
    apply ConfigMap users-jwks (keys: 2)
    status: [Active, Next] Ready KeysPublished
    again: after 15 min
    awaits acknowledgements
    ");
    pool.now = at(HOUR);
    assert_snapshot!(pool.step(), "it signs", @"
    replace Secret anon-system/n.users.signing-keys [Retiring, Active]
    apply ConfigMap users-jwks (keys: 2)
    status: [Retiring, Active] Ready KeysPublished
    event: Normal KeyRetired
    event: Normal KeyActivated
    again: after 130 min
    ");
    pool.reach = Reach::Nowhere;
    assert_snapshot!(pool.step(), "settled with a Retiring key", @"
    apply ConfigMap users-jwks (keys: 2)
    status: [Retiring, Active] Ready KeysPublished
    again: after 130 min
    ");
    pool.revocations = vec![revocation(RevocationTarget::UserPool, &[pool.active()])];
    pool.refused = Some("no".into());
    let (stored, status) = (pool.stored.clone(), pool.object.status.clone());
    assert_snapshot!(pool.step(), "the Active key is revoked, but the Secret is refused", @"
    record 1 matches of Revocation acme/leak
    apply ConfigMap users-jwks (keys: 1)
    status: [Retiring] Reconciling Refused
    again: Later
    ");
    (pool.stored, pool.object.status, pool.refused) = (stored, status, None);
    assert_snapshot!(pool.step(), "the Active key is revoked", @"
    record 1 matches of Revocation acme/leak
    replace Secret anon-system/n.users.signing-keys [Retiring, Active]
    apply ConfigMap users-jwks (keys: 2)
    status: [Retiring, Active] Ready KeysPublished
    event: Warning KeyRevoked
    event: Normal KeyActivated
    again: after 130 min
    ");
    pool.now = at(3 * HOUR);
    assert_snapshot!(pool.step(), "the Retiring key is removed", @"
    replace Secret anon-system/n.users.signing-keys [Active]
    apply ConfigMap users-jwks (keys: 1)
    status: [Active] Ready KeysPublished
    event: Normal KeyRemoved
    again: OnChange
    ");
    pool.stored = None;
    assert_snapshot!(pool.step(), "the Secret was deleted", @"
    create Secret anon-system/n.users.signing-keys [Active]
    apply ConfigMap users-jwks (keys: 1)
    status: [Active] Ready KeysPublished
    event: Warning KeyReplaced
    again: OnChange
    ");
    pool.stored.as_mut().unwrap().data = None;
    assert_snapshot!(pool.step(), "the Secret is unreadable", @"
    status: [Active] Stalled SigningKeysUnreadable
    again: Later
    ");
}

/// The Secret of a pool that has been settled for a while in a former namespace, marked.
fn former_secret() -> Secret {
    let mut pool = Pool::new();
    pool.step();
    let mut secret = pool.stored.unwrap();
    secret.metadata.name = Some("old.users.signing-keys".into());
    secret.labels_mut().insert("anon.dev/inherited-by".into(), "n".into());
    secret
}

#[test]
fn hosted_pool_of_a_re_created_namespace() {
    let former = former_secret();
    let mut pool = Pool { former: vec![former.clone()], ..Pool::new() };
    assert_snapshot!(pool.step(), "it has no key yet", @"
    create Secret anon-system/n.users.signing-keys [Active]
    delete Secret anon-system/old.users.signing-keys
    apply ConfigMap users-jwks (keys: 1)
    status: [Active] Ready KeysPublished
    event: Normal KeysInherited
    again: OnChange
    ");
    assert_snapshot!(pool.step(), "it was interrupted before the deletion", @"
    delete Secret anon-system/old.users.signing-keys
    apply ConfigMap users-jwks (keys: 1)
    status: [Active] Ready KeysPublished
    again: OnChange
    ");

    let mut pool = Pool::new();
    pool.step();
    let own = pool.active();
    pool.former = vec![former.clone()];
    assert_snapshot!(pool.step(), "it has a key of its own", @"
    replace Secret anon-system/n.users.signing-keys [Retiring, Active]
    delete Secret anon-system/old.users.signing-keys
    apply ConfigMap users-jwks (keys: 2)
    status: [Retiring, Active] Ready KeysPublished
    event: Normal KeysInherited
    again: after 70 min
    ");
    assert_eq!(pool.active(), own);

    // The Revocation was restored, and the Secret is older than it.
    let mut pool = Pool { former: vec![former.clone()], ..Pool::new() };
    let set = StoredKeySet::from_json(&former.data.as_ref().unwrap()["keyset.json"].0).unwrap();
    pool.revocations =
        vec![revocation(RevocationTarget::UserPool, &[set.keys[0].kid().to_owned()])];
    assert_snapshot!(pool.step(), "the former key is revoked", @"
    record 1 matches of Revocation acme/leak
    create Secret anon-system/n.users.signing-keys [Active]
    delete Secret anon-system/old.users.signing-keys
    apply ConfigMap users-jwks (keys: 1)
    status: [Active] Ready KeysPublished
    event: Warning KeyRevoked
    event: Normal KeyActivated
    again: OnChange
    ");
    assert_ne!(pool.active(), set.keys[0].kid());

    let broken = Secret { data: None, ..former };
    let mut pool = Pool { former: vec![broken.clone()], ..Pool::new() };
    assert_snapshot!(pool.step(), "the former Secret is unreadable", @"
    status: Stalled SigningKeysUnreadable
    again: Later
    ");
    let mut pool = Pool::new();
    pool.step();
    pool.former = vec![broken];
    assert_snapshot!(pool.step(), "the former Secret is unreadable, and there is a key", @"
    apply ConfigMap users-jwks (keys: 1)
    status: [Active] Ready KeysPublished, KeysNotInherited FormerKeysUnusable
    again: OnChange
    ");
}

#[test]
fn provided_pool() {
    let spec = json!({"provided": {"secretRef": {"name": "keys", "key": "jwks.json"}}});
    let object: UserPool = object("users", spec);
    let planned = |found| {
        let public_url = "https://anon.example.com".into();
        let observed = provided::Observed { now: at(0), public_url, found };
        render(&plan(&object, user_pool::Observed::Provided(observed)))
    };
    assert_snapshot!(planned(provided::Found::Nothing), "no Secret", @"
    apply ConfigMap users-jwks (keys: 0)
    status: Reconciling JwksSecretUnusable
    again: OnChange
    ");
    let junk = provided::Found::Junk(NotAJwkSet::Json);
    assert_snapshot!(planned(junk), "not a JWKS", @"
    apply ConfigMap users-jwks (keys: 0)
    status: Stalled NotAKeySet
    again: OnChange
    ");
    let set = provided::Found::Set(fetched());
    assert_snapshot!(planned(set), "a JWKS", @"
    apply ConfigMap users-jwks (keys: 1)
    status: [Active] Ready KeysPublished
    again: OnChange
    ");
}

fn fetched() -> JwkSet {
    let expected = Expected { private_keys: false, algorithms: &[] };
    let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": "a",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    JwkSet::parse_lenient(vec![key], expected)
}

#[test]
fn inline_and_remote_pools() {
    let key = json!({"kty": "OKP", "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let spec = json!({"anyAudience": true, "inline": {"keys": [key]}});
    let inline: UserPool = object("users", spec);
    assert_snapshot!(render(&plan(&inline, user_pool::Observed::Inline)), "inline", @"
    status: Ready KeysAccepted, AnyAudience AudienceNotChecked
    again: OnChange
    ");
    let spec = json!({"jwks": {"url": "https://id.example.com/jwks"}, "anyAudience": true});
    let remote: UserPool = object("users", spec);
    let planned = |known| {
        let max_age = SignedDuration::from_hours(24);
        let observed = remote::Observed { now: at(0), max_age, known };
        render(&plan(&remote, user_pool::Observed::Remote(observed)))
    };
    assert_snapshot!(planned(Known::default()), "not fetched", @"
    status: Reconciling NotFetched, AnyAudience AudienceNotChecked
    again: OnChange
    ");
    let failed = Known { error: Some(FetchError::TimedOut), ..Known::default() };
    assert_snapshot!(planned(failed), "failed", @"
    status: Reconciling FetchFailed, AnyAudience AudienceNotChecked, FetchFailed TimedOut
    again: OnChange
    ");
    let set = Some(Arc::new(fetched()));
    let fetched = Known { set, fetched_at: Some(at(0)), ..Known::default() };
    assert_snapshot!(planned(fetched), "fetched", @"
    status: [Active] Ready KeysFetched, AnyAudience AudienceNotChecked
    again: after 1440 min
    ");
}
