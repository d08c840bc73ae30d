//! What the handlers of a role share. The types say what a role can reach: [`ValidatorState`] has
//! neither a client for the API server nor a reader of Secrets, and a process without the role `api`
//! has no [`ApiState`](super::ApiState).

use std::sync::Arc;

use crate::clock::SharedClock;
use crate::domain::credential_type::CredentialType;
use crate::domain::ids::SdkClientId;
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
    /// The settings of the endpoints.
    pub settings: Arc<EndpointSettings>,
}

/// What the platform administrator configures about endpoints.
#[derive(Clone, Debug)]
pub struct EndpointSettings {
    /// The credential types that the endpoints for gateways accept.
    pub gateway_accepts: Vec<CredentialType>,
    /// The clients for which tokens are reviewed for kube-apiserver.
    pub token_review_clients: Vec<SdkClientId>,
}

impl Default for EndpointSettings {
    fn default() -> Self {
        Self {
            gateway_accepts: vec![CredentialType::AppUserIdToken],
            token_review_clients: Vec::new(),
        }
    }
}
