//! What the handlers of a role share. The types say what a role can reach: [`ValidatorState`] has
//! neither a client for the API server nor a reader of Secrets, and a process without the role `api`
//! has no [`ApiState`].

use std::io;
use std::ops::Deref;
use std::sync::Arc;

use kube::Client;

use super::org::signer::Signer;
use super::org::{Platform, PlatformSettings};
use crate::clock::SharedClock;
use crate::index::Reader;
use crate::metrics::Metrics;

/// What every process has, and all that endpoints and public documents need.
#[derive(Clone)]
pub struct ValidatorState {
    /// Access to the index.
    pub reader: Reader,
    /// The clock.
    pub clock: SharedClock,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Public base URL.
    pub public_url: Arc<str>,
}

/// What the REST API needs. It has all of a validator's state, too.
#[derive(Clone)]
pub struct ApiState {
    /// What it shares with the validator.
    pub validator: ValidatorState,
    /// Signs tokens of hosted pools.
    pub signer: Arc<Signer>,
    /// What it needs besides the index.
    pub platform: Arc<Platform>,
}

impl ApiState {
    /// Starts the threads that hash passwords. For processes with the role `api` only.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn new(
        validator: ValidatorState,
        client: Client,
        settings: PlatformSettings,
    ) -> io::Result<Self> {
        let signer = Signer::new(client.clone(), &settings.operator_namespace);
        let platform = Platform::new(client, &validator.public_url, settings)?;
        Ok(Self { validator, signer: Arc::new(signer), platform: Arc::new(platform) })
    }
}

impl Deref for ApiState {
    type Target = ValidatorState;

    fn deref(&self) -> &ValidatorState {
        &self.validator
    }
}
