//! Reconciles `SdkClient`: a webapp waits for its user pool; a service gets an API key in a
//! delivery Secret, or lists the hashes of keys that were generated elsewhere.

pub mod api_key_rotation;
mod conflicts;
mod delivery;
pub mod hashes;
pub mod ownership;
pub mod pending;
pub mod record_keys;
mod webapp;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::watcher;

use super::driver::Reconcile;
use super::events::EventNote;
use super::expectations::Children;
use super::plan::{Met, Plan, Write};
use super::queue::Reference;
use super::triggers::{self, Triggers};
use super::{Context, Error, Guarded, GuardedMeta, Requeue, gauges, ours, owner, revoked};
use crate::crd::condition::{Readiness, ReadyState};
use crate::crd::reasons::ReadyReason;
use crate::crd::{ApiKeyStatus, ClientType, Revocation, SdkClient, SdkClientStatus, UserPool};
use crate::domain::client::{self, ClientKind, DeclaredClient, KeySource};
use crate::domain::credential::KeyHash;
use crate::domain::duration::later;
use crate::domain::ids::ObjectName;
use crate::domain::revocation::RevocationTarget;
use crate::kube_ext::name::object_name;
use crate::names;
use crate::validate::{self, Violations};

/// How often a client is reconciled whose keys may turn out to belong to another client, while a
/// new leader inspects all the others.
const INSPECTION_CHECK_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// The part of a plan that depends on the type of the client.
pub struct ClientPlan {
    /// The writes before that of status, in their order.
    writes: Vec<Write>,
    /// The readiness of the client.
    readiness: Readiness,
    /// The name of the delivery Secret, if it is ours.
    secret_name: Option<String>,
    /// The uid of the immutable Secret that will be replaced.
    replacing: Option<String>,
    /// The keys that are valid or about to be.
    keys: Vec<ApiKeyStatus>,
    /// When the next scheduled rotation is due.
    next_rotation: Option<Timestamp>,
    /// A key that the client lists or has in its Secret, and that belongs to another client.
    conflict: Option<KeyHash>,
    /// The Events to publish.
    events: Vec<EventNote>,
    /// See [`Plan::requeue`].
    requeue: Requeue,
    /// See [`Plan::children`].
    children: Option<Children>,
    /// The Next key among `keys`, which every validator must acknowledge before it is delivered.
    publishes: Option<KeyHash>,
}

impl ClientPlan {
    fn of(readiness: Readiness) -> Self {
        let requeue = if readiness.state() == ReadyState::Stalled {
            Requeue::Later
        } else {
            Requeue::OnChange
        };
        Self {
            writes: Vec::new(),
            readiness,
            secret_name: None,
            replacing: None,
            keys: Vec::new(),
            next_rotation: None,
            conflict: None,
            events: Vec::new(),
            requeue,
            children: None,
            publishes: None,
        }
    }
}

/// The facts that the plan of a client depends on.
pub struct Observed {
    /// The current time.
    pub now: Timestamp,
    /// When to reconcile again if other clients have to be inspected first.
    pub inspected_at: Requeue,
    /// The part that depends on the type of the client.
    pub facts: Facts,
}

/// The part of them that depends on the type of the client.
pub enum Facts {
    /// The readiness of a webapp, or of a client that may not have its clientId.
    Readiness(Readiness),
    /// See [`api_key_rotation`].
    Delivery(Box<api_key_rotation::Observed>),
    /// See [`hashes`].
    Hashes(Vec<hashes::Listed>),
    /// It is not known yet to which client a key belongs.
    Unknown,
}

pub(super) fn controller(context: &Context) -> Triggers<SdkClient> {
    let client = &context.client;
    let delivered: Vec<Api<GuardedMeta<Secret>>> = context.apis();
    let all = watcher::Config::default;
    let revocations: Vec<Api<Guarded<Revocation>>> = context.apis();
    let pools: Vec<Api<Guarded<UserPool>>> = context.apis();
    let controller = triggers::controller::<SdkClient>(client, &context.settings.scope, reference)
        .retaining(gauges::last_key_end);
    // Not the index: the controller knows every client that was reconciled here, so that a client
    // that waits for its pool is found when the pool is created.
    let (clients, consumers) = (controller.objects(), controller.objects());
    gauges::expose_expiring_keys(context, controller.objects());
    let observing = &context.expectations;
    controller
        .reconcile_on(observing.acknowledged::<SdkClient>(&context.replicas))
        .watches(
            delivered,
            &ours(names::API_KEY),
            observing.observing::<SdkClient, _, _>(move |secret: GuardedMeta<Secret>| {
                let (namespace, name) = (secret.namespace()?, secret.name_any());
                let noted = secret.annotations().get(names::OWNER_NAME).map(String::as_str);
                let delivered = Reference::secret(&name);
                owner::of(&consumers, &namespace, noted, |_, to| to == Some(&delivered))
            }),
        )
        .watches(
            revocations,
            &all(),
            observing.observing::<SdkClient, _, _>(|revocation: Guarded<Revocation>| {
                revoked(&revocation, RevocationTarget::SdkClient)
            }),
        )
        .watches(
            pools,
            &all(),
            observing.observing::<SdkClient, _, _>(move |pool: Guarded<UserPool>| {
                let namespace = pool.namespace().unwrap_or_default();
                clients.referrers(&namespace, &Reference::UserPool(pool.name_any().into()))
            }),
        )
}

/// The delivery Secret of a service, or the pool of a webapp.
fn reference(client: &SdkClient) -> Option<Reference> {
    let service = client.spec.service.as_ref();
    if let Some(delivery) = service.and_then(|service| service.api_key.delivery.as_ref()) {
        return Some(Reference::secret(&delivery.secret_name));
    }
    let webapp = client.spec.webapp.as_ref()?;
    Some(Reference::UserPool(webapp.user_pool_ref.name.as_str().into()))
}

impl Reconcile for SdkClient {
    type Parsed = DeclaredClient;
    type Observed = Observed;

    fn parse(&self) -> Result<Self::Parsed, Violations> {
        validate::declared_client(self)
    }

    async fn observe(
        &self,
        DeclaredClient { client, source }: &Self::Parsed,
        context: &Context,
        met: Option<Met>,
    ) -> Result<Observed, Error> {
        let version = self.resource_version().unwrap_or_default();
        let refused = conflicts::refused_id(context, client).await?;
        let facts = match (&client.kind, refused) {
            (_, Some(readiness)) => Facts::Readiness(readiness),
            (ClientKind::Webapp(webapp), None) => {
                Facts::Readiness(webapp::observe(context, &webapp.pool).await?)
            }
            (ClientKind::Service(service), None) => match source {
                Some(KeySource::Delivery(delivery)) => {
                    let observed =
                        api_key_rotation::observe(context, self, client, service, delivery, met);
                    Facts::Delivery(Box::new(observed.await?))
                }
                Some(KeySource::Hashes(listed)) => {
                    let determined = hashes::observe(context, client, &version, service, listed);
                    determined.await?.map_or(Facts::Unknown, Facts::Hashes)
                }
                None => Facts::Unknown,
            },
        };
        let now = context.clock.now();
        let inspected_at = if context.ownership.is_settled() {
            Requeue::Soon
        } else {
            Requeue::At(later(now, INSPECTION_CHECK_INTERVAL))
        };
        Ok(Observed { now, inspected_at, facts })
    }

    fn plan(
        &self,
        DeclaredClient { client, source }: &Self::Parsed,
        observed: Observed,
    ) -> Result<Plan<SdkClientStatus>, Error> {
        let planned = match (&client.kind, observed.facts) {
            (_, Facts::Readiness(readiness)) => {
                let children = Some(Children::new());
                Some(ClientPlan { children, ..ClientPlan::of(readiness) })
            }
            (ClientKind::Service(service), facts) => match (source, facts) {
                (Some(KeySource::Delivery(delivery)), Facts::Delivery(observed)) => {
                    api_key_rotation::plan(client, service, delivery, &observed)?
                }
                (Some(KeySource::Hashes(listed)), Facts::Hashes(determined)) => {
                    Some(hashes::plan(listed, &determined))
                }
                _ => None,
            },
            _ => None,
        };
        // Other clients have to be inspected first. That takes only a moment, so it is not reported.
        let Some(planned) = planned else { return Ok(Plan::wait(observed.inspected_at)) };
        Ok(self.complete(client, planned, observed.now))
    }

    fn applied(&self, context: &Context, plan: &Plan<SdkClientStatus>, version: Option<&str>) {
        let client = object_name(self);
        if let Some(version) = version {
            context.ownership.written(&client, version);
        }
        if plan.publishes.is_none() {
            context.pending.forget(&client);
        }
    }

    fn ended(&self, context: &Context, failed: bool) {
        context.ownership.inspected(&object_name(self), failed);
    }

    async fn forget(context: &Context, client: &ObjectName) {
        context.pending.forget(client);
        context.ownership.forget(&context.reader, client);
    }
}

impl SdkClient {
    /// Completes the plan by what all types of client have in common. Pure.
    fn complete(
        &self,
        client: &client::SdkClient,
        planned: ClientPlan,
        now: Timestamp,
    ) -> Plan<SdkClientStatus> {
        let ClientPlan { mut readiness, mut requeue, .. } = planned;
        if let (Some(hash), ReadyState::Ready) = (planned.conflict, readiness.state()) {
            readiness = conflicts::key_conflict(&hash);
        }
        // The outcome depends on something that is not watched.
        if planned.conflict.is_some() || client.id.is_chosen() {
            requeue = requeue.or_sooner(Requeue::Later, now);
        }
        if client.suspended && readiness.state() == ReadyState::Ready {
            readiness.reason = ReadyReason::Suspended;
            "the client is suspended: its credentials are rejected"
                .clone_into(&mut readiness.message);
        }
        let refused = matches!(
            readiness.reason,
            ReadyReason::ClientIdNotAllowed | ReadyReason::ClientIdConflict
        );
        let status = SdkClientStatus {
            client_id: (!refused).then(|| client.id.to_string()),
            type_: Some(match &client.kind {
                ClientKind::Webapp(_) => ClientType::Webapp,
                ClientKind::Service(_) => ClientType::Service,
            }),
            secret_name: planned.secret_name,
            replacing: planned.replacing,
            keys: planned.keys,
            next_rotation: planned.next_rotation.map(Time),
            observed_generation: self.metadata.generation,
            ..SdkClientStatus::default()
        };
        Plan {
            events: planned.events,
            requeue,
            children: planned.children,
            publishes: planned.publishes.map(|hash| hash.to_string()),
            ..Plan::publish(planned.writes, status, readiness)
        }
    }
}
