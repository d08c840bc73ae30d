//! What the handlers of a role share. The types say what a role can reach: [`ValidatorState`] has
//! neither a client for the API server nor a reader of Secrets, and a process without the role `api`
//! has no [`ApiState`](super::ApiState).

use std::sync::Arc;

use super::endpoints::verification_queue::VerificationQueue;
use super::endpoints::verified_tokens::VerifiedTokens;
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
    /// The cache of valid tokens.
    pub verified_tokens: Arc<VerifiedTokens>,
    /// The order in which signatures are verified.
    pub verification_queue: VerificationQueue,
}
