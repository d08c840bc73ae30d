//! The driver of every reconciliation: it asks [`Expectations`] whether there is anything to do, and
//! calls the five steps of the kind. It alone reports specs that are invalid, objects that cannot be
//! read, and requests that the API server refuses.
//!
//! [`Expectations`]: super::expectations::Expectations

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Resource;
use kube::api::Api;
use serde::de::DeserializeOwned;
use tracing::{Instrument as _, debug, warn};

use super::expectations::{Key, Left};
use super::plan::{Met, Plan, Progress, Written};
use super::queue::{State, Work};
use super::requeue::Requeue;
use super::status;
use super::triggers::Triggers;
use super::{Context, Error, Guarded, events, gauges};
use crate::crd::HasStatus;
use crate::crd::condition::{Readiness, ReadyState};
use crate::crd::reasons::ReadyReason;
use crate::domain::ids::ObjectName;
use crate::kube_ext::name::object_name;
use crate::telemetry::{millis, traces};
use crate::validate::Violations;

/// The pause before an object that could not be read is read again.
const READ_RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// A kind that is reconciled.
pub trait Reconcile: HasStatus {
    /// The valid spec.
    type Parsed: Send + Sync;
    /// What the plan depends on besides the object.
    type Observed: Send;

    /// Validates the object. Pure.
    fn parse(&self) -> Result<Self::Parsed, Violations>;

    /// Reads what the plan depends on, and generates the key that it will store. Writes nothing.
    /// `met` is what a write of the previous plan has met.
    fn observe(
        &self,
        parsed: &Self::Parsed,
        context: &Context,
        met: Option<Met>,
    ) -> impl Future<Output = Result<Self::Observed, Error>> + Send;

    /// Computes what to write. Pure.
    fn plan(
        &self,
        parsed: &Self::Parsed,
        observed: Self::Observed,
    ) -> Result<Plan<Self::Status>, Error>;

    /// The readiness of an object whose child could not be written. Pure.
    fn obstructed(planned: Readiness, obstacle: Readiness) -> Readiness {
        if planned.state() == ReadyState::Ready {
            Readiness { notes: planned.notes, ..obstacle }
        } else {
            planned
        }
    }

    /// Records that a plan was applied and status has this resourceVersion, if it was written.
    fn applied(&self, _context: &Context, _plan: &Plan<Self::Status>, _version: Option<&str>) {}

    /// Records that a reconciliation has ended.
    fn ended(&self, _context: &Context, _failed: bool) {}

    /// Revokes the permissions that an object grants, as soon as its deletion has begun: a
    /// finalizer can delay the end of the deletion indefinitely, and the permissions must not last
    /// that long. Does not depend on the spec, which may be changed in the meantime, invalid or
    /// unreadable.
    fn end(
        _context: &Context,
        _name: &ObjectName,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Drops what the context holds, besides expectations and backoff, about an object that was
    /// deleted.
    fn forget(_context: &Context, _name: &ObjectName) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Runs one controller.
pub async fn drive<K>(controller: Triggers<K>, context: Arc<Context>)
where
    K: Reconcile + DeserializeOwned,
{
    gauges::expose_objects(&context, controller.objects());
    controller.run(|work| handle::<K>(work, &context)).await;
}

/// Returns after which time the object is handled again; `None` if only after a change.
async fn handle<K: Reconcile>(work: Work<Guarded<K>>, context: &Context) -> Option<Duration> {
    let object = match work.state {
        State::Read(object) => object,
        State::Unread => match read::<K>(context, &work.name).await {
            Ok(Some(object)) => Arc::new(object),
            // The watch will report its deletion.
            Ok(None) => return None,
            Err(error) => {
                let (kind, ObjectName { namespace, name }) = (K::kind(&()), &*work.name);
                warn!(%kind, %namespace, %name, %error, retry_in_ms = millis(READ_RETRY_INTERVAL), "failed to read an object");
                return Some(READ_RETRY_INTERVAL);
            }
        },
        State::Deleted => {
            let key = Key::of_name::<K>(&work.name);
            context.expectations.forget(&key);
            context.backoff.reset(&key);
            context.reminders.forget(&key);
            K::forget(context, &work.name).await;
            return None;
        }
    };
    match reconcile(object.as_ref(), context).await {
        Ok(pause) => pause,
        Err(error) => Some(on_error(object.as_ref(), &error, context)),
    }
}

async fn read<K: Reconcile>(
    context: &Context,
    ObjectName { namespace, name }: &ObjectName,
) -> Result<Option<Guarded<K>>, Error> {
    let api: Api<Guarded<K>> = Api::namespaced(context.client.clone(), namespace);
    api.get_opt(name).await.map_err(Error::api("read the object"))
}

async fn reconcile<K: Reconcile>(
    object: &Guarded<K>,
    context: &Context,
) -> Result<Option<Duration>, Error> {
    if object.meta().deletion_timestamp.is_some() {
        let name = object_name(object);
        return K::end(context, &name).await.map(|()| None);
    }
    if let Some(requeue) = context.expectations.check(object, &context.replicas) {
        return Ok(Some(requeue.pause(object, context.clock.now())));
    }
    let ObjectName { namespace, name } = object_name(object);
    let span = traces::reconciliation(K::KIND.as_str(), &namespace, &name);
    let start = Instant::now();
    let steps = async {
        match &object.0 {
            Ok(object) => reconcile_readable(object, context).await,
            Err(unreadable) => {
                let written = status::write_unreadable::<K>(context, unreadable).await;
                written.map(|()| ("unreadable", Requeue::OnChange))
            }
        }
    };
    let result = Box::pin(steps).instrument(span.clone()).await;
    let label = match &result {
        Ok((label, _)) => label,
        Err(error) => error.class(),
    };
    context.metrics.reconciled(K::KIND.as_str(), label, start.elapsed());
    let pause = result.as_ref().ok().map(|(_, it)| it.pause(object, context.clock.now()));
    traces::reconciled(&span, label, pause);
    result?;
    context.backoff.reset(&Key::of(object));
    Ok(pause)
}

/// Returns the metric label of the result, and when to reconcile again.
async fn reconcile_readable<K: Reconcile>(
    object: &K,
    context: &Context,
) -> Result<(&'static str, Requeue), Error> {
    context.expectations.start(object);
    let unchanged = || object.status().cloned().unwrap_or_default();
    let result = match object.parse() {
        Ok(parsed) => reconcile_valid(object, &parsed, context).await,
        Err(violations) => {
            K::end(context, &object_name(object)).await?;
            let invalid = status::invalid(&violations);
            let written = status::write(context, object, unchanged(), &invalid).await;
            written.map(|_| ("invalid", Requeue::OnChange))
        }
    };
    // What is being deleted is about to disappear with its status.
    if let Some(refusal) = result.as_ref().err().filter(|it| !it.is_gone()).and_then(Error::refusal)
    {
        let readiness = Readiness::new(ReadyReason::Refused, refusal);
        // Best effort: the refused request may have been a write of status.
        let _ = status::write(context, object, unchanged(), &readiness).await;
    }
    object.ended(context, result.is_err());
    result
}

async fn reconcile_valid<K: Reconcile>(
    object: &K,
    parsed: &K::Parsed,
    context: &Context,
) -> Result<(&'static str, Requeue), Error> {
    let mut met = None;
    let (mut plan, Written { children, obstacle }) = loop {
        let observed = object.observe(parsed, context, met).await?;
        let plan = object.plan(parsed, observed)?;
        match plan.apply(context, object).await? {
            Progress::Complete(written) => break (plan, written),
            Progress::Interrupted(it) => met = Some(it),
        }
    };
    if let Some(failure) = plan.failure {
        return Err(failure);
    }
    if obstacle.is_some() {
        plan.requeue = Requeue::Later;
    }
    let label = if plan.requeue == Requeue::Later { "blocked" } else { "ok" };
    let version = match plan.status.take() {
        Some((status, mut readiness)) => {
            if let Some(obstacle) = obstacle {
                readiness = K::obstructed(readiness, obstacle);
            }
            let version = status::write(context, object, status, &readiness).await?;
            if let Some(next) = context.reminders.next(object) {
                plan.requeue = plan.requeue.or_sooner(Requeue::At(next), context.clock.now());
            }
            version
        }
        None => None,
    };
    object.applied(context, &plan, version.as_deref());
    for event in std::mem::take(&mut plan.events) {
        events::log_and_publish(context, object, event).await;
    }
    let left = Left {
        version,
        children: plan.children.map(|_| children),
        publishes: plan.publishes.as_deref(),
        requeue: plan.requeue,
    };
    Ok((label, context.expectations.end(object, left, &context.replicas)))
}

/// Logs why a reconciliation failed, and returns after which time it is retried.
fn on_error<K: Reconcile>(object: &Guarded<K>, error: &Error, context: &Context) -> Duration {
    let pause = context.backoff.failed(object);
    let (kind, ObjectName { namespace, name }) = (K::kind(&()), object_name(object));
    if matches!(error, Error::Conflict { .. }) {
        debug!(%kind, %namespace, %name, %error, "object changed in the meantime; reconciling again");
    } else if error.is_gone() {
        debug!(%kind, %namespace, %name, %error, "object or namespace is being deleted");
    } else {
        warn!(%kind, %namespace, %name, %error, retry_in_ms = millis(pause), "reconciliation failed");
    }
    pause
}
