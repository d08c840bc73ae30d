//! Where a credential is presented. Each [`Endpoint`] is declared here, once: which credentials it
//! accepts, where the client comes from, and whether it waits for a missing key. From the
//! declaration it gets [`Endpoint::authenticate`], which is the only way to a [`Verified`] in the
//! server, the limits on waiting, its label in the metrics, and its row in README.md.
//!
//! To add an endpoint: declare it, list it in [`ENDPOINTS`], and write an adapter like [`validate`]
//! that reads the request into [`Presented`] and turns the result into a response.

mod authenticate;
pub mod validate;
pub mod verification_queue;
pub mod verified_tokens;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::ValidatorState;
use crate::domain::principal::Verified;
use crate::domain::reason::Reason;
use authenticate::{Pending, authenticate};

/// How long a request waits for a missing key: slightly longer than a fetch usually takes.
const MISSING_KEY_TIMEOUT: Duration = Duration::from_millis(1500);

/// The declaration of an endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// The value of the label `endpoint` of the verdict counter.
    pub name: &'static str,
    /// The requests, and the part of them that is authenticated, in Markdown.
    pub serves: &'static str,
    /// The credential types that it accepts.
    pub accepts: &'static [CredentialType],
    /// Where the client comes from that an appUserIdToken is validated for, in Markdown. Empty if
    /// it accepts none.
    pub client_from: &'static str,
    /// How long a token waits whose key is not known yet.
    pub waits_for_missing_key: Option<Duration>,
}

/// Every endpoint, as in the table of README.md.
pub const ENDPOINTS: [&Endpoint; 3] = [&VALIDATE, &ORG, &LINK];

/// The caller is trusted to specify the client.
const VALIDATE: Endpoint = Endpoint {
    name: "validate",
    serves: "`POST /v1/validate`",
    accepts: &CredentialType::ALL,
    client_from: "the caller: `X-Anon-Sdk-Client-Id`, or `sdkClientId` in the body",
    waits_for_missing_key: Some(MISSING_KEY_TIMEOUT),
};

/// The callers of the REST API.
pub const ORG: Endpoint = Endpoint {
    name: "org",
    serves: "`/org/*` and `GET /link/url`: the caller",
    accepts: &[CredentialType::ApiKey, CredentialType::SessionToken],
    client_from: "",
    waits_for_missing_key: None,
};

/// The end user for whom an authenticated caller asks for a URL. The caller can specify only clients
/// of its own organization.
pub const LINK: Endpoint = Endpoint {
    name: "link",
    serves: "`GET /link/url`: the end user, in `appUserIdToken`",
    accepts: &[CredentialType::AppUserIdToken],
    client_from: "`clientId`, otherwise the token's own or the organization's default client",
    waits_for_missing_key: Some(MISSING_KEY_TIMEOUT),
};

/// The types of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialType {
    /// JWTs of end users.
    AppUserIdToken,
    /// API keys of backends.
    ApiKey,
    /// Session tokens of members.
    SessionToken,
}

impl CredentialType {
    const ALL: [Self; 3] = [Self::AppUserIdToken, Self::ApiKey, Self::SessionToken];

    /// Its name in the documentation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AppUserIdToken => "appUserIdToken",
            Self::ApiKey => "API key",
            Self::SessionToken => "session token",
        }
    }
}

/// What a request presents. It owns its parts, so that a request that waits for a key holds nothing
/// else.
pub struct Presented {
    /// The credential.
    pub credential: Zeroizing<String>,
    /// The client that an appUserIdToken is validated for.
    pub client: Option<String>,
    /// Accepts only credentials of this organization.
    pub organization: Option<String>,
}

impl Endpoint {
    /// Authenticates what a request presents, or explains why it presents nothing, and counts the
    /// verdict.
    ///
    /// # Errors
    /// Why the credential is missing or invalid, or why that cannot be determined.
    pub async fn authenticate(
        &self,
        state: &ValidatorState,
        presented: Result<Presented, Reason>,
    ) -> Result<Verified, Reason> {
        let verdict = match presented {
            Ok(presented) => self.wait_for_verdict(state, &presented).await,
            Err(reason) => Err(reason),
        };
        state.metrics.verdict(self.name, verdict.as_ref().map(drop).map_err(|reason| *reason));
        verdict
    }

    /// A token whose key is not known yet waits briefly for it, so that users do not notice when
    /// their identity provider rotates its keys. Few requests wait at a time.
    async fn wait_for_verdict(
        &self,
        state: &ValidatorState,
        presented: &Presented,
    ) -> Result<Verified, Reason> {
        let reader = &state.reader;
        let first = self.verdict(state, presented).await;
        let Some(limit) = self.waits_for_missing_key else { return first };
        if first != Err(Reason::KeyNotYetKnown) {
            return first;
        }
        let Some(_slot) = reader.refetch_requests().wait_slot() else { return first };
        // Before the next verdict, so that no change after it is missed.
        let mut changes = reader.applied().subscribe();
        let waiting = async {
            loop {
                let verdict = self.verdict(state, presented).await;
                if verdict != Err(Reason::KeyNotYetKnown) || changes.changed().await.is_err() {
                    return verdict;
                }
            }
        };
        timeout(limit, waiting).await.unwrap_or(Err(Reason::KeyNotYetKnown))
    }

    /// The verdict on the state of now. After the wait for a turn, everything is read again: the
    /// state may have changed, and another request may have verified the same token.
    async fn verdict(
        &self,
        state: &ValidatorState,
        presented: &Presented,
    ) -> Result<Verified, Reason> {
        match authenticate(state, self.accepts, presented, None) {
            Err(Pending::Turn(organization)) => {
                let turn = state.verification_queue.turn(organization).await?;
                authenticate(state, self.accepts, presented, Some(turn)).map_err(Reason::from)
            }
            verdict => verdict.map_err(Reason::from),
        }
    }
}

/// The routes of the endpoints that are not part of the REST API.
pub fn routes() -> Router<Arc<ValidatorState>> {
    Router::new().route("/v1/validate", post(validate::validate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_of_every_endpoint_are_counted() {
        assert_eq!(ENDPOINTS.map(|endpoint| endpoint.name), crate::metrics::ENDPOINTS);
    }

    #[test]
    fn endpoints_for_app_users_declare_where_the_client_comes_from() {
        for endpoint in ENDPOINTS {
            let app_users = endpoint.accepts.contains(&CredentialType::AppUserIdToken);
            assert_eq!(app_users, !endpoint.client_from.is_empty(), "{}", endpoint.name);
            assert!(app_users || endpoint.waits_for_missing_key.is_none(), "{}", endpoint.name);
        }
    }
}
