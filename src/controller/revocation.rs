//! Reconciles `Revocation`. Validators enforce it on their own, through their watch; this
//! controller reports how many of them do, and deletes the object once everything it revokes has
//! expired.

use std::time::Instant;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::controller::Controller;

use super::{Context, Error, Guarded, Outcome, Reconcile, Requeue, apply, status, triggers};
use crate::crd::condition::{self, ExtraCondition, Readiness};
use crate::crd::reasons::{ConditionType, ExtraReason, ReadyReason};
use crate::crd::{Kind, Revocation, RevocationStatus};
use crate::domain::client::{ClientKind, SdkClient};
use crate::domain::ids::{MemberId, ObjectName, UserPoolId};
use crate::domain::pool::{Source, UserPool};
use crate::domain::revocation::{self as domain, RevocationTarget};
use crate::kube_ext::tolerant::Tolerant;
use crate::replicas::tracker::Write;
use crate::validate;

pub(super) fn controller(context: &Context) -> Controller<Guarded<Revocation>> {
    triggers::controller(Api::all(context.client.clone()))
}

impl Reconcile for Revocation {
    async fn reconcile(&self, context: &Context) -> Result<Outcome, Error> {
        let unchanged = self.status.clone().unwrap_or_default();
        let revocation = match validate::revocation(self) {
            Ok(revocation) => revocation,
            Err(violations) => {
                status::write(context, self, unchanged, &status::invalid(&violations)).await?;
                return Ok(Outcome::INVALID);
            }
        };
        let end = revocation.expires_at.or_else(|| obsolete_at(context, &revocation));
        if end.is_some_and(|end| end <= context.clock.now()) {
            let api: Api<Tolerant<Self>> =
                Api::namespaced(context.client.clone(), &revocation.name.namespace);
            apply::delete_exactly(&api, self).await?;
            return Ok(Outcome::SETTLED);
        }
        let requeue = end.map_or(Requeue::OnChange, Requeue::At);
        // Once acknowledged, it stays so: only deleting a Revocation lifts it.
        if condition::is_ready(&unchanged.conditions) {
            context.tracker.clear_first_seen(self);
            return Ok(Outcome { requeue, ..Outcome::SETTLED });
        }
        let write = Write {
            kind: Kind::Revocation,
            resource_version: self.resource_version().unwrap_or_default(),
            at: context.tracker.first_seen(self, Instant::now()),
        };
        // Determined once, at first sight: revoked keys are destroyed and no longer found later.
        let first = condition::find(&unchanged.conditions, ConditionType::Ready.as_str())
            .is_none_or(|it| it.status == "Unknown");
        let note = if first { nothing_matches(context, &revocation) } else { said(&unchanged) };
        let reached = context.replicas.acknowledged(&write);
        // This replica's own index included: the status write triggers a reconciliation of the
        // owner, which replaces a revoked key and relies on that index.
        let here = context.reader.has(Kind::Revocation, &write.resource_version);
        let (mut readiness, requeue) = if reached.everywhere && here {
            (
                Readiness::new(
                    ReadyReason::Revoked,
                    format!("revocation enforced by {}", reached.text),
                ),
                requeue,
            )
        } else {
            let waiting = reached.waiting_note(&write);
            let text = format!("not every validator has acknowledged the revocation yet{waiting}");
            (Readiness::new(ReadyReason::Propagating, text), Requeue::Soon)
        };
        readiness.notes.extend(note);
        status::write(context, self, RevocationStatus::default(), &readiness).await?;
        Ok(Outcome { requeue, ..Outcome::SETTLED })
    }
}

/// The condition if the Revocation matches nothing. It is enforced all the same, because its target
/// may appear or come back, but it may also be a typo.
fn nothing_matches(context: &Context, revocation: &domain::Revocation) -> Option<ExtraCondition> {
    let ObjectName { namespace, name } = &revocation.owner;
    let reader = &context.reader;
    let (kind, keys) = match revocation.of {
        RevocationTarget::UserPool => {
            let pool = reader.pool(UserPoolId::derive(namespace, name));
            ("UserPool", pool.map(|pool| signing_keys(&pool)))
        }
        RevocationTarget::SdkClient => {
            let client = reader.client_named(&revocation.owner);
            ("SdkClient", client.map(|client| api_keys(&client)))
        }
        RevocationTarget::Member => {
            let member = reader.member(MemberId::derive(namespace, name));
            ("Member", member.map(|_| Vec::new()))
        }
    };
    let Some(keys) = keys else {
        let text = format!(
            "there was no {kind} `{name}` in this namespace when this Revocation was created, so nothing was revoked yet"
        );
        return Some(ExtraCondition::new(ExtraReason::OwnerNotFound, text));
    };
    let named = |key: &Key| revocation.names_key(&key.0);
    // A key may have replaced a revoked one that was destroyed.
    let younger = |key: &Key| key.1 >= revocation.created_at;
    if revocation.key_ids.is_empty() || keys.iter().any(|key| named(key) || younger(key)) {
        return None;
    }
    let some = keys.iter().take(8).map(|key| format!("`{}`", key.0)).collect::<Vec<_>>();
    let some = if some.is_empty() { "none".to_owned() } else { some.join(", ") };
    let text = format!(
        "{kind} `{name}` had none of these keys when this Revocation was created; its keys were: {some}"
    );
    Some(ExtraCondition::new(ExtraReason::KeysNotFound, text))
}

/// The id of a key, and its creation time.
type Key = (String, Option<Timestamp>);

fn signing_keys(pool: &UserPool) -> Vec<Key> {
    pool.keys.iter().map(|key| (key.kid.clone(), key.published_at)).collect()
}

fn api_keys(client: &SdkClient) -> Vec<Key> {
    match &client.kind {
        ClientKind::Service(service) => {
            service.keys.iter().map(|key| (key.hash.id(), key.created_at)).collect()
        }
        ClientKind::Webapp(_) => Vec::new(),
    }
}

/// The message of the existing condition.
fn said(status: &RevocationStatus) -> Option<ExtraCondition> {
    let said = condition::find(&status.conditions, ConditionType::NoMatch.as_str())?;
    let is_owner = said.reason == ExtraReason::OwnerNotFound.as_str();
    let reason = if is_owner { ExtraReason::OwnerNotFound } else { ExtraReason::KeysNotFound };
    Some(ExtraCondition::new(reason, said.message.clone()))
}

/// When everything that it revokes has expired, as far as that is certain: other issuers choose the
/// lifetime of their tokens.
fn obsolete_at(context: &Context, revocation: &domain::Revocation) -> Option<Timestamp> {
    let ObjectName { namespace, name } = &revocation.owner;
    let pool = (revocation.of == RevocationTarget::UserPool)
        .then(|| UserPoolId::derive(namespace, name))?;
    let pool = context.reader.pool(pool)?;
    matches!(pool.source, Source::Hosted(_)).then(|| revocation.obsolete_at())?
}
