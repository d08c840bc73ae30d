//! The controllers: the write path, run by the leader alone.
//!
//! One folder per kind. Each reconciliation reads as the same five steps:
//!
//! 1. **resolve**: read what the object refers to and what exists already (client required);
//! 2. **validate**: from the spec to what is meant, by [`crate::validate`] (pure);
//! 3. **desired**: what has to be there (pure);
//! 4. **apply**: make it so, by [`apply`] (client required);
//! 5. **status**: say so, by [`status`], the last write of all, because what it publishes is
//!    served at once.
//!
//! A failed validation is data: a condition, then a wait for the next change. A failed call is an
//! error: retried with backoff, and a fresh leader starts over from what is stored.

pub mod apply;
pub mod bindings;
mod consent;
mod error;
mod member;
pub mod memory;
mod news;
mod organization;
mod owner;
mod revocation;
mod sdk_client;
mod sign_ups;
pub mod status;
mod sweep;
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
use crate::crd::condition::Standing;
use crate::domain::ids::ObjectName;
use crate::domain::revocation::Of;
use crate::index::Reader;
use crate::index::propagation::{self, Propagation};
use crate::jwks::Fetcher;
use crate::kube_ext::api::ReadExt as _;
use crate::kube_ext::tolerant::{Lean, Tolerant};
use crate::metrics::Metrics;
use crate::names;
use crate::validate;
pub use error::Error;
use memory::Memory;
use sdk_client::echo::Echoes;
use sdk_client::ownership::Ownership;
use sdk_client::pending::PendingKeys;
use sdk_client::record_keys::RecordKeyStore;
use status::HasStatus;
use user_pool::fetches::Fetches;

/// How many objects of one kind are reconciled at the same time.
const CONCURRENCY: u16 = 16;
/// When something that is not watched is looked at again.
const LATER: SignedDuration = SignedDuration::from_secs(30);
/// How often validators are asked for that take long to learn of something.
const PATIENCE: SignedDuration = SignedDuration::from_secs(5);
/// After how long, or twice that, everything is looked at again. The watches of what objects refer
/// to say nothing of what was deleted while they were interrupted.
const RECHECK: Duration = Duration::from_mins(30);

/// What the controllers need to know besides the cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace with the signing keys.
    pub operator_namespace: String,
    /// Where the public endpoints are reached, without a trailing slash.
    pub public_url: String,
    /// How long a Secret whose owner is gone is kept.
    pub orphan_grace: Duration,
    /// Whether organizations are made by sign-up.
    pub allow_sign_up: bool,
    /// How old a fetched key set may become.
    pub max_jwks_age: Duration,
    /// Fetches key sets.
    pub fetcher: Fetcher,
}

/// What every reconciliation has at hand.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// See [`Settings`].
    pub settings: Settings,
    /// The time.
    pub clock: SharedClock,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Name of this replica, for Events.
    pub instance: String,
    /// See [`Memory`].
    pub memory: Memory,
    /// What this replica's own index knows, for what is decided across objects.
    pub reader: Reader,
    /// See [`Propagation`].
    pub propagation: Arc<Propagation>,
    /// See [`PendingKeys`].
    pub pending: PendingKeys,
    /// See [`Fetches`].
    pub fetches: Fetches,
    /// See [`Echoes`].
    pub echoes: Arc<Echoes>,
    /// Told when a RoleBinding may have lost its Member. See [`bindings`].
    pub orphaned: Arc<Notify>,
    /// See [`Ownership`].
    pub ownership: Ownership,
    /// See [`RecordKeyStore`].
    pub record_keys: RecordKeyStore,
    /// Held by who hashes a password.
    pub hashing: tokio::sync::Mutex<()>,
    /// Held by who makes a signing key: half the cores at most, so that a hundred new pools leave
    /// the rest to who validates.
    pub generating: Semaphore,
}

impl Context {
    /// The uid of a namespace: names of what is kept for it hold that, so that one which is deleted
    /// and made again starts afresh.
    async fn namespace_uid(&self, namespace: &str) -> Result<String, Error> {
        let api: Api<GuardedMeta<Namespace>> = Api::all(self.client.clone());
        let namespace = api.read(namespace).await.map_err(Error::api("read Namespace"))?;
        namespace.uid().ok_or(Error::Incomplete { what: "metadata.uid" })
    }

    /// A context for one term of leadership of the replica called `instance`.
    #[must_use]
    pub fn new(
        client: Client,
        settings: Settings,
        clock: SharedClock,
        metrics: Arc<Metrics>,
        reader: Reader,
        propagation: Arc<Propagation>,
        instance: String,
    ) -> Self {
        let max_age =
            SignedDuration::try_from(settings.max_jwks_age).unwrap_or(SignedDuration::MAX);
        let cores = std::thread::available_parallelism();
        Self {
            instance,
            fetches: Fetches::new(
                settings.fetcher.clone(),
                Arc::clone(&clock),
                Arc::clone(&metrics),
                max_age,
            ),
            client,
            settings,
            clock,
            metrics,
            memory: Memory::default(),
            reader,
            propagation,
            pending: PendingKeys::default(),
            echoes: Arc::default(),
            orphaned: Arc::default(),
            ownership: Ownership::default(),
            record_keys: RecordKeyStore::default(),
            hashing: tokio::sync::Mutex::default(),
            generating: Semaphore::new(cores.map_or(1, usize::from).div_ceil(2)),
        }
    }
}

/// An object as the controllers see it. One that cannot be read, because a newer version has
/// written it, say, must not hold up all others of its kind.
type Guarded<K> = Tolerant<K, Lean>;

/// The metadata of such an object, of a kind of which nothing else is looked at.
type GuardedMeta<K> = Guarded<PartialObjectMeta<K>>;

/// A kind that is reconciled.
trait Reconcile: HasStatus {
    /// Brings the cluster to what the object says.
    fn reconcile(&self, context: &Context) -> impl Future<Output = Result<Outcome, Error>> + Send;

    /// Takes away what an object gave, once it is being deleted. A finalizer, anyone's, can keep
    /// such an object for as long as it likes; the rights that it gives must not last as long.
    /// Whatever its spec says: it may be changed meanwhile, or not be readable.
    fn end(
        _context: &Context,
        _namespace: &str,
        _name: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Forgets what the context has, besides [`Memory`], of an object that is gone.
    fn forget(_context: &Context, _namespace: &str, _name: &str) {}
}

/// What a reconciliation came to.
struct Outcome {
    /// For metrics.
    label: &'static str,
    /// When to look again.
    look: Look,
}

impl Outcome {
    /// Nothing to do until something changes.
    const SETTLED: Self = Self { label: "ok", look: Look::OnChange };
    /// The spec is not valid; nothing to do until it changes.
    const INVALID: Self = Self { label: "invalid", look: Look::OnChange };
    /// Something that is not watched is in the way.
    const BLOCKED: Self = Self { label: "blocked", look: Look::Later };
    /// This version of the operator cannot read the object.
    const UNREADABLE: Self = Self { label: "unreadable", look: Look::OnChange };
}

/// When to look at an object again, if nothing changes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Not for long.
    OnChange,
    /// In a moment: something is under way that brings no event.
    Soon,
    /// After a while: something that is not watched may have changed.
    Later,
    /// At this time.
    At(Timestamp),
}

impl Look {
    /// When to look at `object`, and each object at another time.
    fn action<K: Resource>(self, object: &K, now: Timestamp) -> Action {
        let recheck = RECHECK + RECHECK * memory::spread(object) / memory::SPREAD;
        let left = match self {
            Self::OnChange => recheck,
            Self::Soon => Duration::from_millis(200),
            Self::Later => LATER.unsigned_abs(),
            Self::At(time) => {
                let left = Duration::try_from(time.duration_since(now)).unwrap_or_default();
                left.clamp(Duration::from_millis(200), recheck)
            }
        };
        Action::requeue(left)
    }

    /// As soon as something that is not watched has to be looked at.
    fn at_latest_later(self, now: Timestamp) -> Self {
        match self {
            Self::Soon => self,
            Self::At(time) if time.duration_since(now) < LATER => self,
            _ => Self::Later,
        }
    }
}

/// Runs every controller until dropped. Dropping it stops all work at the next await point.
pub async fn run(context: Arc<Context>) {
    // What is decided across objects is asked of the index: an empty one would say "free" of
    // everything.
    context.reader.listed().await;
    context.ownership.begin(context.reader.delivered_clients());
    tokio::join!(
        drive(organization::controller(&context), Arc::clone(&context)),
        drive(member::controller(&context), Arc::clone(&context)),
        drive(user_pool::controller(&context), Arc::clone(&context)),
        drive(sdk_client::controller(&context), Arc::clone(&context)),
        drive(revocation::controller(&context), Arc::clone(&context)),
        sweep::run(&context),
        context.propagation.sweep(context.client.clone(), &context.settings.operator_namespace),
        context.fetches.run(&context.propagation, &context.reader),
    );
}

/// Whose credentials a Revocation is about, if it is about those of such a kind.
fn revoked(revocation: &Guarded<Revocation>, of: Of) -> Option<ObjectName> {
    let revocation = validate::revocation(revocation.0.as_ref().ok()?).ok()?;
    (revocation.of == of).then_some(revocation.owner)
}

/// The watch configuration for children of `component`.
fn ours(component: &str) -> watcher::Config {
    watcher::Config::default().labels(&names::selector(component))
}

/// Runs one controller: counts, logs, backs off.
async fn drive<K>(controller: Controller<Guarded<K>>, context: Arc<Context>)
where
    K: Reconcile + DeserializeOwned,
{
    let kind = K::kind(&()).into_owned();
    let memory = Arc::clone(&context);
    controller
        .with_config(Config::default().concurrency(CONCURRENCY))
        .run(reconcile::<K>, on_error::<K>, context)
        .for_each(|result| {
            match result {
                // Reconcile errors were logged by `on_error`.
                Ok(_) | Err(ControllerError::ReconcilerFailed(..)) => {}
                Err(ControllerError::ObjectNotFound(gone)) => {
                    let namespace = gone.namespace.as_deref().unwrap_or_default();
                    memory.memory.forget(&kind, namespace, &gone.name);
                    K::forget(&memory, namespace, &gone.name);
                }
                Err(ControllerError::QueueError(error)) => {
                    warn!(kind, %error, "a watch of the controller failed; it goes on by itself");
                }
                Err(error) => warn!(kind, %error, "the controller reports an error"),
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
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        return K::end(&context, &namespace, &name).await.map(|()| Action::await_change());
    }
    if context.memory.is_superseded(object.as_ref()) {
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
        Ok(outcome) => (outcome.label, outcome.look.action(object.as_ref(), context.clock.now())),
        Err(error) => (error.class(), Action::await_change()),
    };
    let refusal = result.as_ref().err().and_then(Error::refusal);
    if let (Some(refusal), Ok(object)) = (refusal, &object.0) {
        let unchanged = object.status().cloned().unwrap_or_default();
        let standing = Standing::reconciling("Refused", refusal);
        // Best effort: what was refused may be the right to write status.
        let _ = status::write(&context, object, unchanged, &standing).await;
    }
    let kind = kind_name::<K>();
    context.metrics.reconciled(kind, outcome, start.elapsed());
    result.map(|_| {
        context.memory.succeeded(object.as_ref());
        action
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that Controller::run asks for")]
fn on_error<K: Reconcile>(object: Arc<Guarded<K>>, error: &Error, context: Arc<Context>) -> Action {
    let pause = context.memory.failed(object.as_ref());
    let (kind, namespace, name) =
        (K::kind(&()), object.namespace().unwrap_or_default(), object.name_any());
    if matches!(error, Error::Conflict { .. }) {
        debug!(%kind, %namespace, %name, %error, "reconciling again");
    } else {
        warn!(%kind, %namespace, %name, %error, retry_in_ms = pause.as_millis(), "reconciliation failed");
    }
    Action::requeue(pause)
}

/// The kind as a label of metrics.
fn kind_name<K: HasStatus>() -> &'static str {
    match K::kind(&()) {
        std::borrow::Cow::Borrowed(kind) => kind,
        std::borrow::Cow::Owned(_) => "unknown",
    }
}
