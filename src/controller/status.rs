//! The only writer of status, except for `Member.status.sessions`.
//!
//! Validators rely on status, so every write has the resourceVersion that it was computed from as
//! its precondition: a leader that has lost its Lease without noticing gets a 409.

#![expect(clippy::disallowed_methods, reason = "the one place that writes status")]

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tracing::{debug, info, warn};

use super::Context;
use super::error::Error;
use super::events::{self, EventNote};
use crate::crd::HasStatus;
use crate::crd::condition::{self, Readiness, ReadyState};
use crate::crd::reasons::{ConditionType, ReadyReason};
use crate::crd::{Kind, MatchedCredential, Revocation, SessionStatus};
use crate::domain::ids::ObjectName;
use crate::kube_ext::api::ReadExt as _;
use crate::kube_ext::name::object_name;
use crate::kube_ext::retry;
use crate::kube_ext::tolerant::{Tolerant, Unreadable};
use crate::names;
use crate::validate::Violation;

/// How often a Revocation is read and written, if others write it at the same time.
const RECORD_ATTEMPTS: usize = 5;

/// The readiness of an object whose spec is invalid.
pub fn invalid(violations: &[Violation]) -> Readiness {
    let text: Vec<_> = violations.iter().map(ToString::to_string).collect();
    Readiness::new(ReadyReason::Invalid, text.join("; "))
}

/// Completes `status` with conditions that report `readiness`, and the observed generation. Pure.
pub fn complete<K: HasStatus>(
    object: &K,
    mut status: K::Status,
    readiness: &Readiness,
    now: Timestamp,
) -> K::Status {
    let previous = object.current_conditions();
    let generation = object.meta().generation;
    K::leave_to_others(&mut status);
    let conditions = readiness.conditions(previous, generation, now);
    let summary = readiness.summary(object.is_suspended());
    K::set_readiness(&mut status, conditions, summary, generation);
    status
}

/// Writes the status if it differs from the one that was read, and publishes an Event about a
/// transition, or if the object has been waiting for long. Returns the new resourceVersion if it has written.
///
/// # Errors
/// The object changed in between, or the API server refused.
pub async fn write<K: HasStatus>(
    context: &Context,
    object: &K,
    status: K::Status,
    readiness: &Readiness,
) -> Result<Option<String>, Error> {
    let now = context.clock.now();
    let status = complete(object, status, readiness, now);
    if context.reminders.is_due(object, K::conditions(&status), now) {
        events::log_and_publish(context, object, EventNote::readiness(readiness)).await;
    }
    let own_part = object.status().cloned().map(|mut status| {
        K::leave_to_others(&mut status);
        status
    });
    if own_part.as_ref() == Some(&status) {
        return Ok(None);
    }
    let ObjectName { namespace, name } = object_name(object);
    let api: Api<Tolerant<K>> = Api::namespaced(context.client.clone(), &namespace);
    // Without it the write would be unconditional.
    if object.resource_version().is_none() {
        return Err(Error::Incomplete { what: "metadata.resourceVersion" });
    }
    // A PUT replaces the whole status. A server-side apply removes only what its field manager
    // owns, and anyone who can write the object can empty `managedFields`: withdrawn keys would
    // remain. The metadata that the cached object lacks is not lost: the status subresource ignores
    // everything but the status.
    let parameters = PostParams { field_manager: Some(manager()), ..PostParams::default() };
    let written = api
        .replace_status(&name, &parameters, &Tolerant::new(object.with_status(status)))
        .await
        .map_err(Error::api("write status"))?;
    context.expectations.replaced(object, written.resource_version().as_deref());
    report(context, object, readiness).await;
    Ok(written.resource_version())
}

/// Reports that this version of the operator cannot read an object and does not use it. The rest of
/// its status stays as it is, whatever that may be.
///
/// # Errors
/// The object changed in between, or the API server refused.
pub async fn write_unreadable<K: HasStatus>(
    context: &Context,
    unreadable: &Unreadable,
) -> Result<(), Error> {
    let ObjectMeta { namespace, name, generation, resource_version, .. } = &unreadable.metadata;
    let (namespace, name) = (namespace.as_deref().unwrap_or_default(), name.as_deref());
    let name = name.unwrap_or_default();
    let readiness = Readiness::new(
        ReadyReason::Unreadable,
        format!("not served, because this version of the operator cannot read it: {unreadable}"),
    );
    let previous = &unreadable.conditions;
    let conditions = readiness.conditions(previous, *generation, context.clock.now());
    if conditions == *previous && unreadable.observed_generation == *generation {
        return Ok(());
    }
    warn!(kind = %K::kind(&()), namespace, name, "this version of the operator cannot read the object; it is not served");
    let patch = json!({
        "metadata": { "resourceVersion": resource_version },
        "status": {
            "conditions": conditions,
            "summary": readiness.summary(false),
            "observedGeneration": generation,
        },
    });
    let api: Api<Tolerant<K>> = Api::namespaced(context.client.clone(), namespace);
    let parameters = PatchParams { field_manager: Some(manager()), ..PatchParams::default() };
    let written = api.patch_status(name, &parameters, &Patch::Merge(&patch)).await;
    written.map(drop).map_err(Error::api("write status"))
}

/// Replaces the sessions of a member by these. It is the only write of the leader to
/// `status.sessions`, and uses the field manager of the REST API, which writes them otherwise.
/// Returns the new resourceVersion.
///
/// # Errors
/// The member changed in between, or the API server refused.
pub async fn keep_sessions<K: HasStatus>(
    api: &Api<Tolerant<K>>,
    member: &K,
    sessions: &[SessionStatus],
) -> Result<Option<String>, Error> {
    let patch = json!({
        "metadata": { "resourceVersion": member.resource_version() },
        "status": { "sessions": (!sessions.is_empty()).then_some(sessions) },
    });
    let parameters =
        PatchParams { field_manager: Some(names::SESSIONS.to_owned()), ..PatchParams::default() };
    let patched = api.patch_status(&member.name_any(), &parameters, &Patch::Merge(&patch)).await;
    patched.map(|member| member.resource_version()).map_err(Error::api("end sessions"))
}

/// Adds to `status.matched` of a Revocation. What it revokes is destroyed afterwards, which must not
/// depend on this write: a Revocation that no longer exists is ignored, and a refusal is logged.
///
/// # Errors
/// The Revocation changed each time in between, or the API server did not answer.
pub async fn record_matched(
    client: &Client,
    revocation: &ObjectName,
    matched: &[MatchedCredential],
) -> Result<(), Error> {
    let ObjectName { namespace, name } = revocation;
    let api: Api<Tolerant<Revocation>> = Api::namespaced(client.clone(), namespace);
    let parameters = PatchParams { field_manager: Some(manager()), ..PatchParams::default() };
    let attempt = async || {
        let object = api.read(name).await?;
        let mut all = object.status.map(|status| status.matched).unwrap_or_default();
        let known = all.len();
        for credential in matched {
            credential.clone().add_to(&mut all);
        }
        if all.len() == known {
            return Ok(());
        }
        let patch = json!({
            "metadata": { "resourceVersion": object.metadata.resource_version },
            "status": { "matched": all },
        });
        api.patch_status(name, &parameters, &Patch::Merge(&patch)).await.map(drop)
    };
    match retry::on_conflict(RECORD_ATTEMPTS, attempt).await {
        Ok(()) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => {
            let error = Error::api("record what a Revocation matches")(error);
            if error.refusal().is_none() {
                return Err(error);
            }
            warn!(kind = Kind::Revocation.as_str(), %namespace, %name, %error, "failed to record what a Revocation matches");
            Ok(())
        }
    }
}

fn manager() -> String {
    format!("{}/status", names::MANAGER)
}

/// Logs the readiness, and publishes an Event if the object has become stalled, or ready again, and
/// for each further condition that is news. The first Ready of an object is not worth an Event, except
/// that a Revocation is enforced.
async fn report<K: HasStatus>(context: &Context, object: &K, readiness: &Readiness) {
    let kind = K::kind(&());
    let previous = object.current_conditions();
    let before = condition::find(previous, ConditionType::Ready.as_str());
    let ObjectName { namespace, name } = object_name(object);
    let reason = readiness.reason.as_str();
    let ready = readiness.state() == ReadyState::Ready;
    if before.is_some_and(|before| before.reason == reason) {
        debug!(%kind, %namespace, %name, reason, ready, "{}", readiness.message);
    } else if readiness.state() == ReadyState::Stalled {
        warn!(%kind, %namespace, %name, reason, ready, "{}", readiness.message);
    } else {
        info!(%kind, %namespace, %name, reason, ready, "{}", readiness.message);
    }
    let is_news = match readiness.state() {
        ReadyState::Ready => {
            let was = |status: &str| before.is_some_and(|ready| ready.status == status);
            was("False") || (readiness.reason == ReadyReason::Revoked && !was("True"))
        }
        ReadyState::Stalled => before.is_none_or(|ready| ready.reason != reason),
        ReadyState::Unknown | ReadyState::Reconciling => false,
    };
    if is_news {
        events::publish(context, object, EventNote::readiness(readiness)).await;
    }
    for note in readiness.notes.iter().filter(|note| note.is_news(previous)) {
        events::log_and_publish(context, object, EventNote::condition(note)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::{Member, MemberStatus};

    #[test]
    fn the_leader_leaves_sessions_as_it_read_them() {
        let session = json!({
            "id": "0123456789abcdef", "sha256": "0".repeat(64),
            "createdAt": "2026-01-01T00:00:00Z", "expiresAt": "2026-01-02T00:00:00Z",
        });
        let member: Member = serde_json::from_value(json!({
            "metadata": {"namespace": "acme", "name": "ada", "generation": 1},
            "spec": {"email": "a@b", "role": "Admin"}, "status": {"sessions": [session]},
        }))
        .unwrap();
        let readiness = Readiness::new(ReadyReason::Accepted, "fine");
        // Both when it computes a new status and when it keeps the one that it read.
        for status in [MemberStatus::default(), member.status.clone().unwrap()] {
            let own = complete(&member, status, &readiness, Timestamp::UNIX_EPOCH);
            assert!(own.sessions.is_empty(), "they are not compared");
            let sent = member.with_status(own).status.unwrap();
            assert_eq!(sent.sessions, member.status.clone().unwrap().sessions);
            assert_eq!(sent.conditions[0].reason, "Accepted");
        }
    }
}
