//! The controllers: the write path, run by the leader alone.
//!
//! One folder per kind. Each reconciliation has the same five steps:
//!
//! 1. **resolve**: read the referenced objects and the existing children (requires a client);
//! 2. **validate**: turn the spec into domain types, by [`crate::validate`] (pure);
//! 3. **desired**: compute the desired children and status (pure);
//! 4. **apply**: create or correct the children, by [`apply`] (requires a client);
//! 5. **status**: publish the result, by [`status`]. This is the last write, because validators use
//!    what it publishes immediately.
//!
//! An invalid spec is not an error: it is reported as a condition, and the next change is awaited.
//! A failed call is an error: it is retried with backoff, and a new leader starts over from what is
//! stored.

pub mod apply;
pub mod bindings;
mod error;
mod events;
mod gc;
mod kind;
mod labelled_secret;
mod member;
mod organization;
mod owner;
mod revocation;
mod sdk_client;
pub mod status;
pub mod tracker;
mod triggers;
mod user_pool;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::controller::{Action, Config, Controller, Error as ControllerError};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, Semaphore};
use tracing::{debug, warn};

use crate::clock::SharedClock;
use crate::crd::Revocation;
use crate::crd::condition::Readiness;
use crate::crd::reasons::ReadyReason;
use crate::domain::ids::ObjectName;
use crate::domain::revocation::RevocationTarget;
use crate::index::Reader;
use crate::jwks::Fetcher;
use crate::kube_ext::api::ReadExt as _;
use crate::kube_ext::name::object_name;
use crate::kube_ext::tolerant::{Lean, Tolerant};
use crate::metrics::Metrics;
use crate::names;
use crate::replicas::tracker::ReplicaTracker;
use crate::validate;
pub use error::Error;
use kind::HasStatus;
use sdk_client::expectations::Expectations;
use sdk_client::ownership::Ownership;
use sdk_client::pending::PendingKeys;
use sdk_client::record_keys::RecordKeyStore;
use tracker::ObjectTracker;
use user_pool::jwks_refresher::JwksRefresher;

/// How many objects of one kind are reconciled at the same time.
const CONCURRENCY: u16 = 16;
/// How often objects that are blocked by something unwatched are reconciled.
const POLL_INTERVAL: SignedDuration = SignedDuration::from_secs(30);
/// How often a propagation that takes long is re-checked.
const PROPAGATION_CHECK_INTERVAL: SignedDuration = SignedDuration::from_secs(5);
/// The minimum time after which an unchanged object is reconciled again; the maximum is twice this.
/// Needed because the watches of referenced objects do not report what was deleted while they were
/// interrupted.
const RESYNC_INTERVAL: Duration = Duration::from_mins(30);

/// Configuration of the controllers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace with the signing keys.
    pub operator_namespace: String,
    /// Base URL of the public endpoints, without a trailing slash.
    pub public_url: String,
    /// How long a Secret is retained after its owner was deleted.
    pub orphan_grace: Duration,
    /// Whether sign-ups may create organizations.
    pub allow_sign_up: bool,
    /// Maximum age of a fetched key set.
    pub max_jwks_age: Duration,
    /// HTTP client for key sets.
    pub fetcher: Fetcher,
}

/// Shared by all reconciliations of one term of leadership.
pub struct Context {
    /// Client of the API server.
    pub client: Client,
    /// See [`Settings`].
    pub settings: Settings,
    /// Source of the current time.
    pub clock: SharedClock,
    /// Metrics of this replica.
    pub metrics: Arc<Metrics>,
    /// Name of this replica, for Events.
    pub instance: String,
    /// See [`ObjectTracker`].
    pub tracker: ObjectTracker,
    /// This replica's own index, for decisions that depend on several objects.
    pub reader: Reader,
    /// See [`ReplicaTracker`].
    pub replicas: Arc<ReplicaTracker>,
    /// See [`PendingKeys`].
    pub pending: PendingKeys,
    /// See [`JwksRefresher`].
    pub refresher: JwksRefresher,
    /// See [`Expectations`].
    pub expectations: Arc<Expectations>,
    /// Notified when a RoleBinding may have become an orphan. See [`bindings`].
    pub orphaned: Arc<Notify>,
    /// See [`Ownership`].
    pub ownership: Ownership,
    /// See [`RecordKeyStore`].
    pub record_keys: RecordKeyStore,
    /// Serializes password hashing, because each hash takes 19 MiB.
    pub hashing: tokio::sync::Mutex<()>,
    /// Limits concurrent generation of signing keys to half the cores, so that creating many pools
    /// does not starve validation.
    pub generating: Semaphore,
}

impl Context {
    /// The uid of a namespace. The names of Secrets that are stored for a namespace contain it, so
    /// that a re-created namespace does not inherit them.
    async fn namespace_uid(&self, namespace: &str) -> Result<String, Error> {
        let api: Api<GuardedMeta<Namespace>> = Api::all(self.client.clone());
        let namespace = api.read(namespace).await.map_err(Error::api("read Namespace"))?;
        namespace.uid().ok_or(Error::Incomplete { what: "metadata.uid" })
    }

    /// Creates the context for one term of leadership of the replica `instance`.
    #[must_use]
    pub fn new(
        client: Client,
        settings: Settings,
        clock: SharedClock,
        metrics: Arc<Metrics>,
        reader: Reader,
        replicas: Arc<ReplicaTracker>,
        instance: String,
    ) -> Self {
        let max_age =
            SignedDuration::try_from(settings.max_jwks_age).unwrap_or(SignedDuration::MAX);
        let cores = std::thread::available_parallelism();
        Self {
            instance,
            refresher: JwksRefresher::new(
                settings.fetcher.clone(),
                Arc::clone(&clock),
                Arc::clone(&metrics),
                max_age,
            ),
            client,
            settings,
            clock,
            metrics,
            tracker: ObjectTracker::default(),
            reader,
            replicas,
            pending: PendingKeys::default(),
            expectations: Arc::default(),
            orphaned: Arc::default(),
            ownership: Ownership::default(),
            record_keys: RecordKeyStore::default(),
            hashing: tokio::sync::Mutex::default(),
            generating: Semaphore::new(cores.map_or(1, usize::from).div_ceil(2)),
        }
    }
}

/// An object as the controllers see it. An unreadable object, for example one that a newer version
/// has written, must not block all others of its kind.
type Guarded<K> = Tolerant<K, Lean>;

/// The metadata of an object, for kinds of which nothing else is needed.
type GuardedMeta<K> = Guarded<PartialObjectMeta<K>>;

/// A kind that is reconciled.
trait Reconcile: HasStatus {
    /// Brings the cluster to the state that the object specifies.
    fn reconcile(&self, context: &Context) -> impl Future<Output = Result<Outcome, Error>> + Send;

    /// Revokes the permissions that an object grants, as soon as its deletion has begun: a
    /// finalizer can delay the end of the deletion indefinitely, and the permissions must not last
    /// that long. Does not depend on the spec, which may be changed in the meantime or be
    /// unreadable.
    fn end(
        _context: &Context,
        _namespace: &str,
        _name: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Drops what the context holds, besides [`ObjectTracker`], about an object that was deleted.
    fn forget(_context: &Context, _namespace: &str, _name: &str) {}
}

/// The outcome of a reconciliation.
struct Outcome {
    /// Metric label.
    label: &'static str,
    /// When to reconcile again.
    requeue: Requeue,
}

impl Outcome {
    /// Nothing to do until something changes.
    const SETTLED: Self = Self { label: "ok", requeue: Requeue::OnChange };
    /// The spec is not valid; nothing to do until it changes.
    const INVALID: Self = Self { label: "invalid", requeue: Requeue::OnChange };
    /// Blocked by something that is not watched.
    const BLOCKED: Self = Self { label: "blocked", requeue: Requeue::Later };
    /// This version of the operator cannot read the object.
    const UNREADABLE: Self = Self { label: "unreadable", requeue: Requeue::OnChange };
}

/// When to reconcile an object again, if nothing changes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// Not before the next resync.
    OnChange,
    /// In a moment: something is in progress that triggers no event.
    Soon,
    /// After a while: something that is not watched may have changed by then.
    Later,
    /// At this time.
    At(Timestamp),
}

impl Requeue {
    /// The requeue of `object`. Resyncs are spread over time by object.
    fn action<K: Resource>(self, object: &K, now: Timestamp) -> Action {
        let recheck = RESYNC_INTERVAL + RESYNC_INTERVAL * tracker::spread(object) / tracker::SPREAD;
        let left = match self {
            Self::OnChange => recheck,
            Self::Soon => Duration::from_millis(200),
            Self::Later => POLL_INTERVAL.unsigned_abs(),
            Self::At(time) => {
                let left = Duration::try_from(time.duration_since(now)).unwrap_or_default();
                left.clamp(Duration::from_millis(200), recheck)
            }
        };
        Action::requeue(left)
    }

    /// This, or [`Self::Later`] if that is sooner.
    fn at_latest_later(self, now: Timestamp) -> Self {
        match self {
            Self::Soon => self,
            Self::At(time) if time.duration_since(now) < POLL_INTERVAL => self,
            _ => Self::Later,
        }
    }
}

/// Runs all controllers until dropped. Dropping it stops all work at the next await point.
pub async fn run(context: Arc<Context>) {
    // Decisions that depend on several objects rely on the index: in an empty one, every name and
    // hash would appear to be free.
    context.reader.listed().await;
    context.ownership.begin(context.reader.delivered_clients());
    tokio::join!(
        drive(organization::controller(&context), Arc::clone(&context)),
        drive(member::controller(&context), Arc::clone(&context)),
        drive(user_pool::controller(&context), Arc::clone(&context)),
        drive(sdk_client::controller(&context), Arc::clone(&context)),
        drive(revocation::controller(&context), Arc::clone(&context)),
        gc::run(&context),
        context
            .replicas
            .remove_stale_leases(context.client.clone(), &context.settings.operator_namespace),
        context.refresher.run(&context.replicas, &context.reader),
    );
}

/// The object whose credentials a Revocation covers, if it is of the kind `of`.
fn revoked(revocation: &Guarded<Revocation>, of: RevocationTarget) -> Option<ObjectName> {
    let revocation = validate::revocation(revocation.0.as_ref().ok()?).ok()?;
    (revocation.of == of).then_some(revocation.owner)
}

/// The watch configuration for children of `component`.
fn ours(component: &str) -> watcher::Config {
    watcher::Config::default().labels(&names::selector(component))
}

/// Runs one controller and handles its results.
async fn drive<K>(controller: Controller<Guarded<K>>, context: Arc<Context>)
where
    K: Reconcile + DeserializeOwned,
{
    let kind = K::kind(&()).into_owned();
    let tracking = Arc::clone(&context);
    controller
        .with_config(Config::default().concurrency(CONCURRENCY))
        .run(reconcile::<K>, on_error::<K>, context)
        .for_each(|result| {
            match result {
                // `on_error` has logged errors of a reconciliation.
                Ok(_) | Err(ControllerError::ReconcilerFailed(..)) => {}
                Err(ControllerError::ObjectNotFound(gone)) => {
                    let namespace = gone.namespace.as_deref().unwrap_or_default();
                    tracking.tracker.forget(&kind, namespace, &gone.name);
                    K::forget(&tracking, namespace, &gone.name);
                }
                Err(ControllerError::QueueError(error)) => {
                    warn!(kind, %error, "a watch of the controller failed; retrying");
                }
                Err(error) => warn!(kind, %error, "the controller reported an error"),
            }
            std::future::ready(())
        })
        .await;
}

async fn reconcile<K: Reconcile>(
    object: Arc<Guarded<K>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    if object.meta().deletion_timestamp.is_some() {
        let ObjectName { namespace, name } = object_name(object.as_ref());
        return K::end(&context, &namespace, &name).await.map(|()| Action::await_change());
    }
    if context.tracker.is_superseded(object.as_ref()) {
        return Ok(Action::await_change());
    }
    let start = Instant::now();
    let result = match &object.0 {
        Ok(object) => object.reconcile(&context).await,
        Err(invalid) => {
            let written = status::write_unreadable::<K>(&context, invalid).await;
            written.map(|()| Outcome::UNREADABLE)
        }
    };
    let (outcome, action) = match &result {
        Ok(outcome) => {
            (outcome.label, outcome.requeue.action(object.as_ref(), context.clock.now()))
        }
        Err(error) => (error.class(), Action::await_change()),
    };
    let refusal = result.as_ref().err().and_then(Error::refusal);
    if let (Some(refusal), Ok(object)) = (refusal, &object.0) {
        let unchanged = object.status().cloned().unwrap_or_default();
        let readiness = Readiness::new(ReadyReason::Refused, refusal);
        // Best effort: the refused request may have been a write of status.
        let _ = status::write(&context, object, unchanged, &readiness).await;
    }
    let kind = kind_name::<K>();
    context.metrics.reconciled(kind, outcome, start.elapsed());
    result.map(|_| {
        context.tracker.succeeded(object.as_ref());
        action
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that Controller::run asks for")]
fn on_error<K: Reconcile>(object: Arc<Guarded<K>>, error: &Error, context: Arc<Context>) -> Action {
    let pause = context.tracker.failed(object.as_ref());
    let (kind, ObjectName { namespace, name }) = (K::kind(&()), object_name(object.as_ref()));
    if matches!(error, Error::Conflict { .. }) {
        debug!(%kind, %namespace, %name, %error, "object changed in the meantime; reconciling again");
    } else {
        warn!(%kind, %namespace, %name, %error, retry_in_ms = pause.as_millis(), "reconciliation failed");
    }
    Action::requeue(pause)
}

/// The kind as a metric label.
fn kind_name<K: HasStatus>() -> &'static str {
    match K::kind(&()) {
        std::borrow::Cow::Borrowed(kind) => kind,
        std::borrow::Cow::Owned(_) => "unknown",
    }
}
