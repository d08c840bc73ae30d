//! Reconciles `Revocation`. Validators enforce it on their own, through their watch; this
//! controller reports how many of them do and what has matched, and deletes the object at its end
//! if that is its deletion policy.

mod target;

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::api::ObjectMeta;
use parking_lot::Mutex;

use super::driver::Reconcile;
use super::events::{self, EventNote};
use super::expectations::Published;
use super::plan::{self, Met, Plan};
use super::triggers::{self, Triggers};
use super::{Context, Error, Requeue};
use crate::crd::condition::{self, Readiness};
use crate::crd::reasons::{EventReason, ReadyReason};
use crate::crd::{
    DeletionPolicy, HasStatus as _, Kind, Revocation, RevocationSpec, RevocationStatus,
};
use crate::domain::duration::later;
use crate::domain::ids::{ObjectName, UserPoolId};
use crate::domain::pool::Source;
use crate::domain::revocation::{self as domain, RevocationTarget};
use crate::kube_ext::name::object_name;
use crate::replicas::tracker::Acknowledged;
use crate::validate::{self, Violations};
use target::Matches;
pub use target::Target;

/// How often a Revocation that nothing matches is compared with its target, which is not watched for
/// it. That takes no request.
const MATCH_CHECK_INTERVAL: SignedDuration = SignedDuration::from_secs(5);
/// How long after the creation of a Revocation its target may be absent without that being a
/// problem: both may be part of the same commit, and be applied in any order.
const TARGET_GRACE: SignedDuration = SignedDuration::from_secs(10);

pub(super) fn controller(context: &Context) -> Triggers<Revocation> {
    triggers::controller(&context.client, &context.settings.scope, |_| None)
        .reconcile_on(context.expectations.acknowledged::<Revocation>(&context.replicas))
}

/// The facts that the readiness of a Revocation depends on.
pub struct Observed {
    /// The current time.
    pub now: Timestamp,
    /// When everything that it revokes has expired, as far as that is certain.
    pub obsolete_at: Option<Timestamp>,
    /// The object whose credentials it revokes.
    pub target: Target,
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
        context.withdrawals.exists(self);
        // The first version that this leader has seen of this generation. Later ones differ in
        // status, by which nothing is rejected: they need not be acknowledged.
        let Published { write, acknowledged, .. } =
            context.expectations.publication(self, &self.publication(), &context.replicas);
        Ok(Observed {
            now: context.clock.now(),
            obsolete_at: obsolete_at(context, parsed),
            target: Target::find(&context.reader, parsed),
            waiting: acknowledged.waiting_note(&write),
            acknowledged,
            // The status write triggers a reconciliation of the owner, which replaces a revoked key
            // and relies on this index.
            here: context.reader.has(Kind::Revocation, &write.namespace, &write.resource_version),
        })
    }

    fn plan(
        &self,
        parsed: &Self::Parsed,
        observed: Observed,
    ) -> Result<Plan<RevocationStatus>, Error> {
        let recorded = self.status.as_ref().map_or(&[][..], |status| &status.matched);
        let conditions = self.current_conditions();
        let delete = self.spec.deletion_policy == Some(DeletionPolicy::Delete);
        let end = parsed.expires_at.or(observed.obsolete_at.filter(|_| delete));
        if let Some(end) = end.filter(|end| *end <= observed.now) {
            if delete {
                return Ok(Plan::write(vec![plan::Write::Delete]));
            }
            let status = RevocationStatus { matched: recorded.to_vec(), ..Default::default() };
            return Ok(Plan::publish(vec![], status, expired(end)));
        }
        let matches = Matches::new(parsed, &observed.target, recorded, observed.now);
        let requeue = end.map_or(Requeue::OnChange, Requeue::At);
        // Once acknowledged, it stays so: only deleting a Revocation lifts it.
        let was_ready = condition::is_ready(conditions);
        if was_ready && matches.matched == recorded {
            return Ok(Plan::wait(requeue));
        }
        let enforced = was_ready || (observed.acknowledged.everywhere && observed.here);
        let how_far = if enforced {
            format!("enforced by {}", observed.acknowledged.text)
        } else {
            format!("not every validator has acknowledged the revocation yet{}", observed.waiting)
        };
        // The index may not have the target yet if it does not have the Revocation.
        let no_match = !matches.any() && observed.here;
        let readiness = if no_match {
            let is_early = matches!(observed.target, Target::Missing) && self.is_new(observed.now);
            let reason = if is_early { ReadyReason::Propagating } else { ReadyReason::NoMatch };
            Readiness::new(reason, format!("{}; {how_far}", matches.problem()))
        } else {
            let reason = if enforced { ReadyReason::Revoked } else { ReadyReason::Propagating };
            Readiness::new(reason, format!("{}; {how_far}", matches.summary()))
        };
        let check_at = later(observed.now, MATCH_CHECK_INTERVAL);
        Ok(Plan {
            requeue: if !enforced {
                Requeue::Soon
            } else if no_match {
                Requeue::At(end.map_or(check_at, |end| end.min(check_at)))
            } else {
                requeue
            },
            publishes: (!enforced).then(|| self.publication()),
            ..Plan::publish(
                vec![],
                RevocationStatus { matched: matches.matched, ..Default::default() },
                readiness,
            )
        })
    }

    /// Reports that the Revocation was deleted.
    async fn forget(context: &Context, name: &ObjectName) {
        if let Some(revocation) = context.withdrawals.take(name) {
            let note = "the Revocation was deleted: what it revoked is valid again, as far as it still exists and has not expired";
            events::log_and_publish(
                context,
                &revocation,
                EventNote::new(EventReason::Withdrawn, note),
            )
            .await;
        }
    }
}

/// The Revocations that this leader has seen, by name, with their uids. A deletion is reported once,
/// though the object may be missed more than once.
#[derive(Debug, Default)]
pub struct Withdrawals(Mutex<HashMap<ObjectName, Option<String>>>);

impl Withdrawals {
    fn exists(&self, revocation: &Revocation) {
        self.0.lock().insert(object_name(revocation), revocation.uid());
    }

    /// What an Event needs of a Revocation that no longer exists.
    fn take(&self, name: &ObjectName) -> Option<Revocation> {
        let uid = self.0.lock().remove(name)?;
        let mut revocation = Revocation::new(&name.name, RevocationSpec::default());
        let namespace = Some(name.namespace.clone());
        revocation.metadata = ObjectMeta { namespace, uid, ..revocation.metadata };
        Some(revocation)
    }
}

fn expired(end: Timestamp) -> Readiness {
    Readiness::new(
        ReadyReason::Expired,
        format!(
            "the Revocation expired at {end} and revokes nothing; delete it, or create another one with a later spec.expiresAt"
        ),
    )
}

impl Revocation {
    /// Whether its target may be created together with it.
    fn is_new(&self, now: Timestamp) -> bool {
        let created = self.metadata.creation_timestamp.as_ref();
        created.is_some_and(|created| now < later(created.0, TARGET_GRACE))
    }

    /// What has to be acknowledged. An edit is another publication.
    fn publication(&self) -> String {
        self.metadata.generation.unwrap_or_default().to_string()
    }
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
