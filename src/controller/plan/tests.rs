//! The planned writes of each kind, printed without secrets. The cluster tests `crash_order` and
//! `crash_order_keys` kill an operator after each of them.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use insta::assert_snapshot;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use kube::Resource;
use serde::Serialize;
use serde_json::{Value, json};

use super::*;
use crate::controller::driver::Reconcile;
use crate::controller::member::{self, password::Password};
use crate::controller::revocation;
use crate::controller::sdk_client::api_key_rotation::{Next, Observed as Delivered, Owned};
use crate::controller::sdk_client::pending::Pending;
use crate::controller::sdk_client::{self, Facts, hashes};
use crate::controller::user_pool::jwks_refresher::Known;
use crate::controller::user_pool::{self, hosted, provided, remote};
use crate::crd::reasons::ReadyReason;
use crate::crd::{self, Member, Organization, SdkClient, UserPool};
use crate::domain::algorithm::Algorithm;
use crate::domain::credential::{ApiKey, KeyHash};
use crate::domain::fetch_error::FetchError;
use crate::domain::ids::{ObjectName, PasswordId};
use crate::domain::jwks_parser::{Expected, JwkSet, NotAJwkSet};
use crate::domain::record_mac::RecordKeys;
use crate::domain::revocation::{Revocation, RevocationTarget};
use crate::domain::rotation::Reach;
use crate::domain::signing::SigningKey;
use crate::names;
use crate::replicas::tracker::Acknowledged;

/// 2026-01-01, and the origin of the times in the snapshots.
const START: i64 = 1_767_225_600;
const HOUR: i64 = 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).unwrap()
}

fn object<K: serde::de::DeserializeOwned>(name: &str, spec: Value) -> K {
    let mut object = json!({
        "metadata": {"namespace": "acme", "name": name, "uid": "u", "resourceVersion": "1", "generation": 1},
    });
    object["spec"] = spec;
    serde_json::from_value(object).unwrap()
}

/// What a plan will do, in its order.
fn render<S: Serialize>(plan: &Plan<S>) -> String {
    let mut text = String::new();
    for write in &plan.writes {
        writeln!(text, "{}", render_write(write)).unwrap();
    }
    if plan.failure.is_some() {
        writeln!(text, "failure").unwrap();
    }
    if let Some((status, readiness)) = &plan.status {
        let keys = serde_json::to_value(status).unwrap()["keys"].clone();
        let keys = states(keys.as_array().map_or(&[], Vec::as_slice));
        write!(text, "status: {keys}{:?} {:?}", readiness.state(), readiness.reason).unwrap();
        for note in &readiness.notes {
            write!(text, ", {:?} {}", note.type_, note.reason).unwrap();
        }
        writeln!(text).unwrap();
    }
    for event in &plan.events {
        writeln!(text, "event: {:?} {}", event.type_, event.reason).unwrap();
    }
    match plan.requeue {
        Requeue::At(time) => {
            let minutes = time.duration_since(at(0)).as_mins();
            writeln!(text, "again: after {minutes} min").unwrap();
        }
        requeue => writeln!(text, "again: {requeue:?}").unwrap(),
    }
    if plan.publishes.is_some() {
        writeln!(text, "awaits acknowledgements").unwrap();
    }
    text
}

fn render_write(write: &Write) -> String {
    match write {
        Write::CreateSecret(write) => format!("create {}", render_secret(write)),
        Write::EnsureSecret(write) => format!("ensure {}", render_secret(write)),
        Write::ReplaceSecret(write) => format!("replace {}", render_secret(write)),
        Write::ApplyConfigMap(map) => {
            let data = map.data.clone().unwrap_or_default();
            let set: Value = serde_json::from_str(&data["jwks.json"]).unwrap();
            let keys = set["keys"].as_array().unwrap().len();
            format!("apply ConfigMap {} (keys: {keys})", map.name_any())
        }
        Write::ApplyRoleBinding(binding) => format!("apply RoleBinding {}", binding.name_any()),
        Write::PruneRoleBindings(_, Some(keep)) => format!("delete RoleBindings except {keep}"),
        Write::PruneRoleBindings(_, None) => "delete RoleBindings".to_owned(),
        Write::KeepSessions(sessions) => format!("keep {} sessions", sessions.len()),
        Write::Delete => "delete the object".to_owned(),
    }
}

/// With the states of the keys that the Secret records.
fn render_secret(write: &SecretWrite) -> String {
    let (namespace, secret) = (&write.namespace, &write.secret);
    let record = secret.annotations().get(names::KEYS).map(|json| json.as_bytes().to_vec());
    let set = secret.data.as_ref().and_then(|data| data.get(names::KEY_SET));
    let record = record.or_else(|| set.map(|ByteString(json)| json.clone()));
    let record: Value = record.map_or(Value::Null, |json| serde_json::from_slice(&json).unwrap());
    let keys = record.as_array().or_else(|| record["keys"].as_array());
    let keys = states(keys.map_or(&[], Vec::as_slice));
    format!("Secret {namespace}/{} {keys}", secret.name_any()).trim_end().to_owned()
}

fn states(keys: &[Value]) -> String {
    let states: Vec<_> = keys.iter().map(|key| key["state"].as_str().unwrap()).collect();
    if states.is_empty() { String::new() } else { format!("[{}] ", states.join(", ")) }
}

/// Plans once; the object must be valid.
fn plan<K: Reconcile>(object: &K, observed: K::Observed) -> Plan<K::Status> {
    let parsed = object.parse().unwrap();
    object.plan(&parsed, observed).unwrap()
}

/// The Secret that a plan writes, as it is read afterwards.
fn written<S>(plan: &Plan<S>) -> Option<Secret> {
    plan.writes.iter().find_map(|write| match write {
        Write::CreateSecret(write) | Write::ReplaceSecret(write) => {
            let mut secret = (*write.secret).clone();
            secret.meta_mut().resource_version = Some("1".into());
            Some(secret)
        }
        _ => None,
    })
}

fn revocation(of: RevocationTarget, key_ids: &[String]) -> Arc<Revocation> {
    let name = ObjectName { namespace: "acme".into(), name: "leak".into() };
    Arc::new(Revocation {
        owner: ObjectName { namespace: "acme".into(), name: "any".into() },
        name,
        of,
        key_ids: key_ids.to_vec(),
        created_before: None,
        subjects: HashSet::default(),
        token_ids: HashSet::default(),
        tokens_issued_before: None,
        created_at: Some(at(0)),
        expires_at: None,
    })
}

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
        let text = render(&plan);
        self.stored = written(&plan).or(self.stored.take());
        self.object.status = plan.status.map(|(status, _)| status);
        text
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

/// A hosted pool and its signing Secret, as they are after each plan.
struct Pool {
    object: UserPool,
    stored: Option<Secret>,
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
            revocations: self.revocations.clone(),
            reach: self.reach,
            waiting_for: None,
            new_key: Some(SigningKey::generate(Algorithm::EdDSA).unwrap()),
            refused: self.refused.clone(),
        };
        let plan = plan(&self.object, user_pool::Observed::Hosted(Box::new(observed)));
        let text = render(&plan);
        self.stored = written(&plan).or(self.stored.take());
        self.object.status = plan.status.map(|(status, _)| status);
        text
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
    apply ConfigMap users-jwks (keys: 1)
    status: [Retiring] Reconciling Refused
    again: Later
    ");
    (pool.stored, pool.object.status, pool.refused) = (stored, status, None);
    assert_snapshot!(pool.step(), "the Active key is revoked", @"
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
    event: Warning TimedOut
    again: OnChange
    ");
    let set = Some(Arc::new(fetched()));
    let fetched = Known { set, fetched_at: Some(at(0)), ..Known::default() };
    assert_snapshot!(planned(fetched), "fetched", @"
    status: [Active] Ready KeysFetched, AnyAudience AudienceNotChecked
    again: after 1440 min
    ");
}

#[test]
fn revocations() {
    let spec = json!({"sdkClient": {"name": "backend"}, "expiresAt": "2026-01-01T02:00:00Z"});
    let mut object: crd::Revocation = object("leak", spec);
    let planned = |object: &crd::Revocation, everywhere, now| {
        let acknowledged =
            Acknowledged { everywhere, text: "1 of 1 validators".into(), missing: vec![] };
        render(&plan(
            object,
            revocation::Observed {
                now,
                obsolete_at: None,
                no_match: None,
                acknowledged,
                waiting: String::new(),
                here: true,
            },
        ))
    };
    assert_snapshot!(planned(&object, false, at(0)), "waiting", @"
    status: Reconciling Propagating
    again: Soon
    awaits acknowledgements
    ");
    assert_snapshot!(planned(&object, true, at(0)), "enforced", @"
    status: Ready Revoked
    again: after 120 min
    ");
    let conditions = Readiness::new(ReadyReason::Revoked, "").conditions(&[], Some(1), at(0));
    object.status = Some(crd::RevocationStatus { conditions, ..Default::default() });
    assert_snapshot!(planned(&object, true, at(0)), "settled", @"
    again: after 120 min
    ");
    assert_snapshot!(planned(&object, true, at(2 * HOUR)), "expired", @"
    delete the object
    again: OnChange
    ");
}

#[test]
fn members() {
    let member = |more: Value| {
        let mut spec = json!({"email": "ada@acme.example", "role": "Admin"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object::<Member>("ada", spec)
    };
    let planned = |object: &Member, password| {
        render(&plan(
            object,
            member::Observed {
                now: at(0),
                operator_namespace: "anon-system".into(),
                revocations: vec![],
                holder: None,
                password,
            },
        ))
    };
    let (plain, bound) = (member(json!({})), member(json!({"kubernetes": {"user": "ada"}})));
    assert_snapshot!(planned(&plain, Some(Ok(Password::None))), "without an identity", @"
    delete RoleBindings
    status: Ready Accepted
    again: OnChange
    ");
    assert_snapshot!(planned(&bound, Some(Ok(Password::None))), "with an identity", @"
    delete RoleBindings except anon-member-ada-admin
    apply RoleBinding anon-member-ada-admin
    status: Ready Bound
    again: OnChange
    ");
    let failure = Error::Incomplete { what: "a hash" };
    assert_snapshot!(planned(&bound, Some(Err(failure))), "the password cannot be read", @"
    delete RoleBindings except anon-member-ada-admin
    apply RoleBinding anon-member-ada-admin
    failure
    again: OnChange
    ");
    let mut secret = Secret::default();
    secret.metadata.name = Some("n.ada.id.password-hash".into());
    let with_password = member(json!({"passwordSecretRef": {"name": "ada", "key": "password"}}));
    let id = PasswordId::derive(&["a", "b", "c"]);
    let new = Password::New(id, Box::new(secret.clone()));
    assert_snapshot!(planned(&with_password, Some(Ok(new))), "a new password", @"
    delete RoleBindings
    ensure Secret anon-system/n.ada.id.password-hash
    status: Ready Accepted, PrivilegeEscalationRisk PasswordInNamespace
    again: OnChange
    ");
    let rewritten = Password::Rewritten(id, Box::new(secret));
    assert_snapshot!(planned(&with_password, Some(Ok(rewritten))), "the same password again", @"
    delete RoleBindings
    replace Secret anon-system/n.ada.id.password-hash
    status: Ready Accepted, PrivilegeEscalationRisk PasswordInNamespace
    again: OnChange
    ");
    let suspended = member(json!({"suspended": true, "kubernetes": {"user": "ada"}}));
    assert_snapshot!(planned(&suspended, Some(Ok(Password::None))), "suspended", @"
    delete RoleBindings
    status: Ready Suspended
    again: OnChange
    ");
    let mut with_session = suspended;
    with_session.status = serde_json::from_value(json!({"sessions": [{
        "id": "0123456789abcdef", "sha256": "0".repeat(64),
        "createdAt": "2026-01-01T00:00:00Z", "expiresAt": "2026-01-02T00:00:00Z",
    }]}))
    .unwrap();
    assert_snapshot!(planned(&with_session, None), "suspended with a session", @"
    keep 0 sessions
    again: OnChange
    ");
}

#[test]
fn organization() {
    let object: Organization = object("default", json!({}));
    assert_snapshot!(render(&plan(&object, ())), "accepted", @"
    status: Ready Accepted
    again: OnChange
    ");
}
