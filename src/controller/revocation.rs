//! Reconciles `Revocation`. Validators enforce it on their own, through their watch; this
//! controller reports how many of them do, and deletes the object once everything it revokes has
//! expired.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::controller::Controller;

use super::driver::Reconcile;
use super::plan::{self, Met, Plan};
use super::{Context, Error, Guarded, Requeue, triggers};
use crate::crd::condition::{self, ExtraCondition, Readiness};
use crate::crd::reasons::{ConditionType, ExtraReason, ReadyReason};
use crate::crd::{Kind, Revocation, RevocationStatus};
use crate::domain::client::{ClientKind, SdkClient};
use crate::domain::ids::{MemberId, ObjectName, UserPoolId};
use crate::domain::pool::{Source, UserPool};
use crate::domain::revocation::{self as domain, RevocationTarget};
use crate::replicas::tracker::{Acknowledged, Write};
use crate::validate::{self, Violations};

pub(super) fn controller(context: &Context) -> Controller<Guarded<Revocation>> {
    triggers::controller(Api::all(context.client.clone()))
}

/// The facts that the readiness of a Revocation depends on.
pub struct Observed {
    /// The current time.
    pub now: Timestamp,
    /// When everything that it revokes has expired, as far as that is certain.
    pub obsolete_at: Option<Timestamp>,
    /// What it does not match now.
    pub no_match: Option<ExtraCondition>,
    /// How far it has propagated.
    pub acknowledged: Acknowledged,
    /// The validators that have not acknowledged it, for a message, if that takes long.
    pub waiting: String,
    /// Whether the index of this replica has it, too.
    pub here: bool,
}

impl Reconcile for Revocation {
    type Parsed = domain::Revocation;
    type Observed = Observed;

    fn parse(&self) -> Result<Self::Parsed, Violations> {
        validate::revocation(self)
    }

    async fn observe(
        &self,
        parsed: &Self::Parsed,
        context: &Context,
        _: Option<Met>,
    ) -> Result<Observed, Error> {
        let first_seen = context.expectations.publication(self, &self.publication());
        let resource_version = self.resource_version().unwrap_or_default();
        let write = Write { resource_version, ..first_seen };
        let acknowledged = context.replicas.acknowledged(&write);
        Ok(Observed {
            now: context.clock.now(),
            obsolete_at: obsolete_at(context, parsed),
            no_match: nothing_matches(context, parsed),
            waiting: acknowledged.waiting_note(&write),
            acknowledged,
            // The status write triggers a reconciliation of the owner, which replaces a revoked key
            // and relies on this index.
            here: context.reader.has(Kind::Revocation, &write.resource_version),
        })
    }

    fn plan(
        &self,
        parsed: &Self::Parsed,
        observed: Observed,
    ) -> Result<Plan<RevocationStatus>, Error> {
        let end = parsed.expires_at.or(observed.obsolete_at);
        if end.is_some_and(|end| end <= observed.now) {
            return Ok(Plan::write(vec![plan::Write::Delete]));
        }
        let requeue = end.map_or(Requeue::OnChange, Requeue::At);
        let conditions = self.status.as_ref().map_or(&[][..], |status| &status.conditions);
        // Once acknowledged, it stays so: only deleting a Revocation lifts it.
        if condition::is_ready(conditions) {
            return Ok(Plan::wait(requeue));
        }
        // Determined once, at first sight: revoked keys are destroyed and no longer found later.
        let ready = condition::find(conditions, ConditionType::Ready.as_str());
        let first = ready.is_none_or(|it| it.status == "Unknown");
        let note = if first { observed.no_match } else { said(conditions) };
        let enforced = observed.acknowledged.everywhere && observed.here;
        let mut readiness = if enforced {
            let text = format!("revocation enforced by {}", observed.acknowledged.text);
            Readiness::new(ReadyReason::Revoked, text)
        } else {
            let waiting = observed.waiting;
            let text = format!("not every validator has acknowledged the revocation yet{waiting}");
            Readiness::new(ReadyReason::Propagating, text)
        };
        readiness.notes.extend(note);
        Ok(Plan {
            requeue: if enforced { requeue } else { Requeue::Soon },
            publishes: (!enforced).then(|| self.publication()),
            ..Plan::publish(vec![], RevocationStatus::default(), readiness)
        })
    }
}

impl Revocation {
    /// What has to be acknowledged. An edit is another publication.
    fn publication(&self) -> String {
        self.metadata.generation.unwrap_or_default().to_string()
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
fn said(conditions: &[Condition]) -> Option<ExtraCondition> {
    let said = condition::find(conditions, ConditionType::NoMatch.as_str())?;
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
