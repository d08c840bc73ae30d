//! Reconciles `SdkClient`: a webapp waits for its user pool; a service gets an API key in a
//! delivery Secret, or lists the hashes of keys that were generated elsewhere.

mod api_key_rotation;
mod conflicts;
mod delivery;
pub mod expectations;
mod hashes;
pub mod ownership;
pub mod pending;
pub mod record_keys;
mod webapp;

use std::sync::Arc;
use std::time::Instant;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;

use super::events::{self, EventNote};
use super::{
    Context, Error, Guarded, GuardedMeta, Outcome, Reconcile, Requeue, ours, owner, revoked,
    status, triggers,
};
use crate::crd::condition::{Readiness, ReadyState};
use crate::crd::reasons::{EventReason, ReadyReason};
use crate::crd::{
    ApiKeyStatus, ClientType, Kind, Revocation, SdkClient, SdkClientStatus, UserPool,
};
use crate::domain::client::{self, ClientKind, KeySource};
use crate::domain::credential::{ApiKey, KeyHash};
use crate::domain::duration::later;
use crate::domain::ids::ObjectName;
use crate::domain::revocation::RevocationTarget;
use crate::kube_ext::name::object_name;
use crate::replicas::tracker::Write;
use crate::{names, validate};
use expectations::Expected;
use pending::Pending;

/// How often a client is reconciled whose keys may turn out to belong to another client, while a
/// new leader inspects all the others.
const INSPECTION_CHECK_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// The result of reconciling a client, for its status.
pub struct ClientOutcome {
    /// The readiness of the client.
    readiness: Readiness,
    /// The name of the delivery Secret, if it is ours.
    secret_name: Option<String>,
    /// The resourceVersion of that Secret, as written or as read.
    secret_version: Option<String>,
    /// The keys that are valid or about to be.
    keys: Vec<ApiKeyStatus>,
    /// When the next scheduled rotation is due.
    next_rotation: Option<jiff::Timestamp>,
    /// A new key and its creation time. Its hash is among `keys`, and every validator must have
    /// acknowledged it before the key is delivered.
    publish: Option<(ApiKey, jiff::Timestamp)>,
    /// A key that the client lists or has in its Secret, and that belongs to another client.
    conflict: Option<KeyHash>,
    /// The Event to publish.
    news: Option<EventNote>,
    /// When to reconcile again.
    requeue: Requeue,
}

impl ClientOutcome {
    fn of(readiness: Readiness) -> Self {
        let requeue = if readiness.state() == ReadyState::Stalled {
            Requeue::Later
        } else {
            Requeue::OnChange
        };
        Self {
            readiness,
            secret_name: None,
            secret_version: None,
            keys: Vec::new(),
            next_rotation: None,
            publish: None,
            conflict: None,
            news: None,
            requeue,
        }
    }

    /// Whether the Event reports only that the Secret was repaired.
    fn is_repair(&self) -> bool {
        self.news.as_ref().is_some_and(|news| news.is(EventReason::SecretRepaired))
    }
}

pub(super) fn controller(context: &Context) -> Controller<Guarded<SdkClient>> {
    let client = &context.client;
    let delivered: Api<GuardedMeta<Secret>> = Api::all(client.clone());
    let all = watcher::Config::default;
    let revocations: Api<Guarded<Revocation>> = Api::all(client.clone());
    let pools: Api<Guarded<UserPool>> = Api::all(client.clone());
    let controller = triggers::controller::<SdkClient>(Api::all(client.clone()));
    // The controller's own store and not the index: it contains every client that was reconciled
    // here, so that a client that waits for its pool is found when the pool is created.
    let clients = controller.store();
    let consumers = controller.store();
    let (expectations, disturbed) =
        (Arc::clone(&context.expectations), Arc::clone(&context.expectations));
    controller
        .watches_stream(triggers::touched(delivered, ours(names::API_KEY)), move |secret| {
            let (namespace, name) = (secret.namespace()?, secret.name_any());
            let noted = secret.annotations().get(names::OWNER_NAME).map(String::as_str);
            let reference = owner::of(&consumers, &namespace, noted, |client: &SdkClient| {
                let service = client.spec.service.as_ref();
                let delivery = service.and_then(|service| service.api_key.delivery.as_ref());
                delivery.is_some_and(|delivery| delivery.secret_name == name)
            })?;
            let owner = ObjectName { namespace, name: reference.name.clone() };
            expectations.observe_secret(&owner, secret.resource_version());
            Some(reference)
        })
        .watches_stream(triggers::touched(revocations, all()), move |revocation| {
            let owner = revoked(&revocation, RevocationTarget::SdkClient)?;
            disturbed.invalidate(&owner);
            Some(ObjectRef::new(&owner.name).within(&owner.namespace))
        })
        .watches_stream(triggers::touched(pools, all()), move |pool| {
            let waiting = clients.state().into_iter().filter(move |client| {
                let client = client.0.as_ref().ok();
                let webapp = client.and_then(|client| client.spec.webapp.as_ref());
                client.and_then(kube::ResourceExt::namespace) == pool.namespace()
                    && webapp.is_some_and(|webapp| webapp.user_pool_ref.name == pool.name_any())
            });
            waiting.map(|client| ObjectRef::from_obj(client.as_ref())).collect::<Vec<_>>()
        })
}

impl Reconcile for SdkClient {
    fn forget(context: &Context, namespace: &str, name: &str) {
        let client = ObjectName { namespace: namespace.to_owned(), name: name.to_owned() };
        context.pending.forget(&client);
        context.expectations.forget(&client);
        context.ownership.forget(&client);
    }

    async fn reconcile(&self, context: &Context) -> Result<Outcome, Error> {
        let result = reconcile(self, context).await;
        context.ownership.inspected(&object_name(self), result.is_err());
        result
    }
}

async fn reconcile(object: &SdkClient, context: &Context) -> Result<Outcome, Error> {
    // validate
    let client = match validate::sdk_client(object) {
        Ok(client) => client,
        Err(violations) => {
            let unchanged = object.status.clone().unwrap_or_default();
            status::write(context, object, unchanged, &status::invalid(&violations)).await?;
            return Ok(Outcome::INVALID);
        }
    };

    let version = object.resource_version().unwrap_or_default();
    if let Some(requeue) = context.expectations.satisfied_by(&client.name, Some(&version)) {
        return Ok(Outcome { requeue, ..Outcome::SETTLED });
    }
    let observed = object.status.as_ref().and_then(|status| status.observed_generation);
    if observed == object.metadata.generation
        && context.pending.is_on_its_way(&client, &context.replicas)
    {
        return Ok(Outcome { requeue: Requeue::Soon, ..Outcome::SETTLED });
    }

    // resolve, desired, apply: depends on the type of the client
    context.expectations.start(&client.name);
    let chosen = conflicts::chosen_id(context, object, &client).await?;
    let made = match (&client.kind, chosen) {
        (_, Err(readiness)) => Some(ClientOutcome::of(readiness)),
        (ClientKind::Webapp(webapp), Ok(())) => {
            Some(ClientOutcome::of(webapp::resolve(context, &webapp.pool).await?))
        }
        (ClientKind::Service(service), Ok(())) => match &service.source {
            KeySource::Delivery(delivery) => {
                api_key_rotation::deliver(context, &client, &version, service, delivery).await?
            }
            KeySource::Hashes(listed) => {
                hashes::accept(context, &client, &version, service, listed).await?
            }
        },
    };
    let Some(mut made) = made else {
        // Other clients have to be inspected first. That takes only a moment, so it is not
        // reported.
        context.expectations.record(&client.name, None);
        let soon = context.ownership.is_settled();
        let later = Requeue::At(later(context.clock.now(), INSPECTION_CHECK_INTERVAL));
        return Ok(Outcome {
            requeue: if soon { Requeue::Soon } else { later },
            ..Outcome::SETTLED
        });
    };
    conflicts::settle(context, &client, &mut made);

    // status
    if client.suspended && made.readiness.state() == ReadyState::Ready {
        made.readiness.reason = ReadyReason::Suspended;
        "the client is suspended: its credentials are rejected"
            .clone_into(&mut made.readiness.message);
    }
    let desired = desired(object, &client, &made);
    let written = status::write(context, object, desired, &made.readiness).await?;
    if let Some(version) = &written {
        context.ownership.written(&client.name, version);
    }
    let expected =
        |(client, secret)| Expected { client, secret, requeue: made.requeue, at: Instant::now() };
    let settled = matches!(made.requeue, Requeue::OnChange | Requeue::At(_));
    let versions = written.clone().zip(made.secret_version).filter(|_| settled);
    context.expectations.record(&client.name, versions.map(expected));
    if let (Some((key, made_at)), Some(resource_version)) = (made.publish, written) {
        let write = Write { kind: Kind::SdkClient, resource_version, at: Instant::now() };
        context.pending.put_back(&client.name, Pending { key, made_at, write });
    }
    if let Some(happened) = made.news {
        events::log_and_publish(context, object, happened).await;
    }
    Ok(Outcome {
        label: if made.requeue == Requeue::Later { "blocked" } else { "ok" },
        requeue: made.requeue,
    })
}

/// The status without conditions. Pure.
fn desired(
    object: &SdkClient,
    client: &client::SdkClient,
    made: &ClientOutcome,
) -> SdkClientStatus {
    let refused = matches!(
        made.readiness.reason,
        ReadyReason::ClientIdNotAllowed | ReadyReason::ClientIdConflict
    );
    SdkClientStatus {
        client_id: (!refused).then(|| client.id.to_string()),
        type_: Some(match &client.kind {
            ClientKind::Webapp(_) => ClientType::Webapp,
            ClientKind::Service(_) => ClientType::Service,
        }),
        secret_name: made.secret_name.clone(),
        keys: made.keys.clone(),
        next_rotation: made.next_rotation.map(Time),
        observed_generation: object.metadata.generation,
        ..SdkClientStatus::default()
    }
}
