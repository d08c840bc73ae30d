//! The controllers: the write path, run by the leader alone.
//!
//! One file or folder per kind, all of one shape ([`driver::Reconcile`]), which [`driver`] calls:
//!
//! 1. **parse**: turn the spec into domain types, by [`crate::validate`] (pure);
//! 2. **observe**: read the referenced objects and the existing children (GET and LIST only);
//! 3. **plan**: compute the writes, in their order, and the status ([`plan::Plan`], pure);
//! 4. **apply**: execute the writes;
//! 5. **status**: publish the result, by [`status`]. This is the last write, because validators use
//!    what it publishes immediately.
//!
//! An invalid spec is not an error: it is reported as a condition, and the next change is awaited.
//! A failed call is an error: it is retried with backoff, and a new leader starts over from what is
//! stored.

pub mod apply;
mod backoff;
pub mod bindings;
mod driver;
mod error;
mod events;
pub mod expectations;
mod former;
mod gauges;
mod gc;
mod labelled_secret;
mod matched;
mod member;
mod organization;
mod owner;
mod plan;
mod queue;
mod reminders;
mod requeue;
mod revocation;
mod sdk_client;
pub mod status;
mod triggers;
mod user_pool;
mod webhook_certificate;

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt as _};
use tokio::sync::{Notify, Semaphore};

use crate::clock::SharedClock;
use crate::crd::Revocation;
use crate::domain::ids::ObjectName;
use crate::domain::revocation::RevocationTarget;
use crate::domain::scope::Scope;
use crate::index::Reader;
use crate::jwks::Fetcher;
use crate::kube_ext::api::ReadExt as _;
use crate::kube_ext::scope;
use crate::kube_ext::tolerant::{Lean, Tolerant};
use crate::metrics::Metrics;
use crate::names;
use crate::replicas::tracker::ReplicaTracker;
use crate::validate;
use backoff::Backoff;
pub use error::Error;
use expectations::Expectations;
use former::FormerSecrets;
use reminders::Reminders;
pub use requeue::Requeue;
use revocation::Withdrawals;
use sdk_client::ownership::Ownership;
use sdk_client::pending::PendingKeys;
use sdk_client::record_keys::RecordKeyStore;
use user_pool::jwks_refresher::JwksRefresher;

/// How often a propagation that takes long is re-checked.
const PROPAGATION_CHECK_INTERVAL: SignedDuration = SignedDuration::from_secs(5);

/// Configuration of the controllers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace with the signing keys.
    pub operator_namespace: String,
    /// The namespaces whose objects are reconciled.
    pub scope: Scope,
    /// Base URL of the public endpoints, without a trailing slash.
    pub public_url: String,
    /// How long a Secret is retained after its owner was deleted.
    pub orphan_grace: Duration,
    /// Whether sign-ups may create organizations.
    pub allow_sign_up: bool,
    /// Maximum age of a fetched key set.
    pub max_jwks_age: Duration,
    /// The ValidatingWebhookConfiguration whose certificate is maintained.
    pub webhook_configuration: Option<String>,
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
    /// See [`Expectations`].
    pub expectations: Arc<Expectations>,
    backoff: Backoff,
    /// This replica's own index, for decisions that depend on several objects.
    pub reader: Reader,
    /// See [`ReplicaTracker`].
    pub replicas: Arc<ReplicaTracker>,
    /// See [`PendingKeys`].
    pub pending: PendingKeys,
    /// See [`JwksRefresher`].
    pub refresher: JwksRefresher,
    /// See [`Reminders`].
    pub reminders: Reminders,
    /// See [`Withdrawals`].
    pub withdrawals: Withdrawals,
    /// Notified when a RoleBinding may have become an orphan. See [`bindings`].
    pub orphaned: Arc<Notify>,
    /// See [`Ownership`].
    pub ownership: Ownership,
    /// See [`FormerSecrets`].
    pub former: Arc<FormerSecrets>,
    /// See [`RecordKeyStore`].
    pub record_keys: RecordKeyStore,
    /// Serializes password hashing, because each hash takes 19 MiB.
    pub hashing: tokio::sync::Mutex<()>,
    /// Limits concurrent generation of signing keys to half the cores, so that creating many pools
    /// does not starve validation.
    pub generating: Semaphore,
}

impl Context {
    /// The APIs that together cover the watched namespaces.
    fn apis<K>(&self) -> Vec<Api<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        scope::apis(&self.client, &self.settings.scope)
    }

    /// The uid of a namespace. The names of Secrets that are stored for a namespace contain it, so
    /// that a re-created namespace does not inherit them by itself (see [`former`]).
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
            expectations: Arc::default(),
            backoff: Backoff::default(),
            reader,
            replicas,
            pending: PendingKeys::default(),
            reminders: Reminders::default(),
            withdrawals: Withdrawals::default(),
            orphaned: Arc::default(),
            ownership: Ownership::default(),
            former: Arc::default(),
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

/// Runs all controllers until dropped. Dropping it stops all work at the next await point.
pub async fn run(context: Arc<Context>) {
    // Decisions that depend on several objects rely on the index: in an empty one, every name and
    // hash would appear to be free.
    context.reader.listed().await;
    context.ownership.begin(context.reader.delivered_clients());
    let _exposed = gauges::Exposed(Arc::clone(&context.metrics));
    tokio::join!(
        driver::drive(organization::controller(&context), Arc::clone(&context)),
        driver::drive(member::controller(&context), Arc::clone(&context)),
        driver::drive(user_pool::controller(&context), Arc::clone(&context)),
        driver::drive(sdk_client::controller(&context), Arc::clone(&context)),
        driver::drive(revocation::controller(&context), Arc::clone(&context)),
        gc::run(&context),
        context
            .replicas
            .remove_stale_leases(context.client.clone(), &context.settings.operator_namespace),
        context.refresher.run(&context.replicas, &context.reader),
        webhook_certificate::run(&context),
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
