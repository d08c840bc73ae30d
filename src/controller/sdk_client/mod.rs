//! `SdkClient`: a webapp waits for its pool; a service gets an ApiKey in a delivery Secret.

mod delivery;
mod service;
mod webapp;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::controller::Controller;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;

use super::{Context, Error, Outcome, Reconcile, ours, status};
use crate::crd::condition::{Standing, State};
use crate::crd::{ClientType, SdkClient, SdkClientStatus, UserPool};
use crate::domain::client::ClientKind;
use crate::names;
use crate::validate;

pub(super) fn controller(context: &Context) -> Controller<SdkClient> {
    let client = &context.client;
    let delivered: Api<PartialObjectMeta<Secret>> = Api::all(client.clone());
    let controller =
        Controller::<SdkClient>::new(Api::all(client.clone()), watcher::Config::default());
    // The controller's own store, not the index: it holds every client that was ever reconciled
    // here, so that a client that found no pool is found again when the pool comes.
    let clients = controller.store();
    controller
        .watches(delivered, ours(names::API_KEY), |secret| {
            let name = secret.annotations().get(names::OWNER_NAME)?;
            Some(ObjectRef::new(name).within(&secret.namespace()?))
        })
        .watches(Api::<UserPool>::all(client.clone()), watcher::Config::default(), move |pool| {
            let waiting = clients.state().into_iter().filter(move |client| {
                let webapp = client.spec.webapp.as_ref();
                client.namespace() == pool.namespace()
                    && webapp.is_some_and(|webapp| webapp.user_pool_ref.name == pool.name_any())
            });
            waiting.map(|client| ObjectRef::from_obj(client.as_ref())).collect::<Vec<_>>()
        })
}

impl Reconcile for SdkClient {
    async fn reconcile(&self, context: &Context) -> Result<Outcome, Error> {
        // validate
        let client = match validate::sdk_client(self) {
            Ok(client) => client,
            Err(violations) => {
                let unchanged = self.status.clone().unwrap_or_default();
                status::write(context, self, unchanged, &status::invalid(&violations)).await?;
                return Ok(Outcome::Invalid);
            }
        };

        // resolve, desired, apply: what the type of client asks for
        let (type_, made) = match &client.kind {
            ClientKind::Webapp { pool, .. } => {
                (ClientType::Webapp, webapp::resolve(context, pool).await?.into())
            }
            ClientKind::Service(service) => {
                (ClientType::Service, service::deliver(context, &client, service).await?)
            }
        };

        // status
        let standing = match made.standing.state {
            State::Ready if client.suspended => {
                Standing::ready("Suspended", "the client is suspended: its credentials are refused")
            }
            _ => made.standing,
        };
        let desired = SdkClientStatus {
            client_id: Some(client.id.to_string()),
            type_: Some(type_),
            secret_name: made.secret_name,
            keys: made.keys,
            ..SdkClientStatus::default()
        };
        status::write(context, self, desired, &standing).await?;
        Ok(if standing.state == State::Stalled { Outcome::Blocked } else { Outcome::Settled })
    }
}
