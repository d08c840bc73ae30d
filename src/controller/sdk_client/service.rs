//! A service client: one ApiKey, delivered into one Secret.
//!
//! The order of the two writes is Secret, then status: a key whose hash is in status but which
//! nobody has would be lost for good, while a Secret whose hash is not in status yet is found
//! again by the next reconciliation.

use k8s_openapi::api::core::v1::Secret;
use tracing::info;

use super::delivery::{Current, DeliverySecret, Observed};
use crate::controller::apply::{self, Created};
use crate::controller::{Context, Error};
use crate::crd::ApiKeyStatus;
use crate::crd::condition::Standing;
use crate::domain::client::{SdkClient, Service};
use crate::domain::opaque::ApiKey;

/// What came of making a client: goes into its status.
pub struct Made {
    /// How the client stands.
    pub standing: Standing,
    /// The Secret with the keys, if it is ours.
    pub secret_name: Option<String>,
    /// The live keys.
    pub keys: Vec<ApiKeyStatus>,
}

/// Sees to it that the client's key is in its Secret.
pub async fn deliver(
    context: &Context,
    client: &SdkClient,
    service: &Service,
) -> Result<Made, Error> {
    let desired = DeliverySecret::new(client, service, &context.settings.public_url);
    let namespace = &client.name.namespace;

    // resolve; a client that has never had a key has no Secret either, and if it has, the POST
    // finds it
    let stored = if service.keys.is_empty() {
        create(context, namespace, &desired).await?
    } else {
        match apply::read_secret(&context.client, namespace, desired.name()).await? {
            Some(stored) => stored,
            None => create(context, namespace, &desired).await?,
        }
    };

    // desired
    let (current, corrected) = match desired.observe(&stored, &service.keys) {
        Observed::Foreign => return Ok(conflict(desired.name())),
        Observed::Ours(Some(current)) => {
            let corrected = desired.corrected(&stored, &current)?;
            (current, corrected)
        }
        Observed::Ours(None) => {
            info!(%namespace, client = %client.name.name, "the delivered key is gone, making a new one");
            let current = Current::new(ApiKey::generate()?, context.clock.now());
            let corrected = desired.corrected(&stored, &current)?;
            (current, corrected)
        }
    };

    // apply
    if let Some(corrected) = corrected {
        apply::replace_secret(&context.client, namespace, &corrected).await?;
    }
    Ok(Made {
        standing: Standing::ready(
            "KeyDelivered",
            format!("the ApiKey is in Secret `{}`", desired.name()),
        ),
        secret_name: Some(desired.name().to_owned()),
        keys: vec![current.status()],
    })
}

/// Creates the Secret with a new key, or reads what is in its place.
async fn create(
    context: &Context,
    namespace: &str,
    desired: &DeliverySecret<'_>,
) -> Result<Secret, Error> {
    let current = Current::new(ApiKey::generate()?, context.clock.now());
    let secret = desired.secret(&current)?;
    match apply::create_secret(&context.client, namespace, &secret).await? {
        Created::New(secret) | Created::Existing(secret) => Ok(secret),
    }
}

fn conflict(name: &str) -> Made {
    Standing::stalled(
        "SecretConflict",
        format!(
            "Secret `{name}` exists and was not made for this client, so it is not touched; choose another spec.service.apiKey.delivery.secretName, or delete the Secret"
        ),
    )
    .into()
}
