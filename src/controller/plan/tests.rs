//! The planned writes of each kind, printed without secrets. The cluster tests `crash_order` and
//! `crash_order_keys` kill an operator after each of them.

mod revocations;
mod sdk_clients;
mod user_pools;

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
use crate::controller::sdk_client::api_key_rotation::{Facts as Delivered, Next, Observed};
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
use crate::domain::signing_key_set::StoredKeySet;
use crate::names;

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
        let status = serde_json::to_value(status).unwrap();
        let keys = states(status["keys"].as_array().map_or(&[], Vec::as_slice));
        write!(text, "status: {keys}{:?} {:?}", readiness.state(), readiness.reason).unwrap();
        if status["replacing"].is_string() {
            write!(text, ", replacing").unwrap();
        }
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
        Write::DeleteSecret(write) => format!("delete {}", render_secret(write)),
        Write::ApplyConfigMap(map) => {
            let data = map.data.clone().unwrap_or_default();
            let set: Value = serde_json::from_str(&data["jwks.json"]).unwrap();
            let keys = set["keys"].as_array().unwrap().len();
            format!("apply ConfigMap {} (keys: {keys})", map.name_any())
        }
        Write::ApplyRoleBinding(binding) => format!("apply RoleBinding {}", binding.name_any()),
        Write::PruneRoleBindings(_, Some(keep)) => format!("delete RoleBindings except {keep}"),
        Write::PruneRoleBindings(_, None) => "delete RoleBindings".to_owned(),
        Write::RecordMatched(revocation, matched) => {
            format!("record {} matches of Revocation {revocation}", matched.len())
        }
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

/// Prints the plan, and leaves Secret and status as if it had been applied.
fn applied<S: Serialize>(
    plan: Plan<S>,
    stored: &mut Option<Secret>,
    status: &mut Option<S>,
) -> String {
    let text = render(&plan);
    *stored = written(&plan).or(stored.take());
    *status = plan.status.map(|(status, _)| status);
    text
}

/// The Secret that a plan writes, as it is read afterwards.
fn written<S>(plan: &Plan<S>) -> Option<Secret> {
    plan.writes.iter().find_map(|write| match write {
        Write::CreateSecret(write) | Write::ReplaceSecret(write) => {
            let mut secret = (*write.secret).clone();
            secret.meta_mut().resource_version = Some("1".into());
            secret.meta_mut().uid.get_or_insert_with(|| "u1".into());
            Some(secret)
        }
        _ => None,
    })
}

fn revocation(of: RevocationTarget, key_ids: &[String]) -> Arc<Revocation> {
    let name = ObjectName { namespace: "acme".into(), name: "leak".into() };
    let owner = ObjectName { namespace: "acme".into(), name: "any".into() };
    Arc::new(Revocation {
        key_ids: key_ids.to_vec(),
        created_at: Some(at(0)),
        ..Revocation::new(name, of, owner)
    })
}

#[test]
fn members() {
    let member = |more: Value| {
        let mut spec = json!({"email": "ada@acme.example", "role": "Admin"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object::<Member>("ada", spec)
    };
    let leak = Revocation {
        created_before: Some(at(1)),
        ..(*revocation(RevocationTarget::Member, &[])).clone()
    };
    let with_former = |object: &Member, former: &[Secret], password| {
        render(&plan(
            object,
            member::Observed {
                now: at(0),
                operator_namespace: "anon-system".into(),
                revocations: vec![Arc::new(leak.clone())],
                holder: None,
                former: former.to_vec(),
                password,
            },
        ))
    };
    let planned = |object: &Member, password| with_former(object, &[], password);
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
    let mut former = Secret::default();
    former.metadata.name = Some("old.ada.id.password-hash".into());
    former.labels_mut().insert("anon.dev/inherited-by".into(), "n".into());
    assert_snapshot!(with_former(&plain, &[former], Some(Ok(Password::None))), "inherits a hash", @"
    delete RoleBindings
    ensure Secret anon-system/n.ada.id.password-hash
    delete Secret anon-system/old.ada.id.password-hash
    status: Ready Accepted
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
    let with_session = |mut object: Member| {
        object.status = serde_json::from_value(json!({"sessions": [{
            "id": "0123456789abcdef", "sha256": "0".repeat(64),
            "createdAt": "2026-01-01T00:00:00Z", "expiresAt": "2026-01-02T00:00:00Z",
        }]}))
        .unwrap();
        object
    };
    assert_snapshot!(planned(&with_session(plain), None), "a revoked session", @"
    record 1 matches of Revocation acme/leak
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
