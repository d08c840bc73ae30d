//! Where a credential is presented. Each [`Endpoint`] is declared here, once: which credentials it
//! accepts, where the client comes from, and whether it waits for a missing key. From the
//! declaration it gets [`Endpoint::authenticate`], which is the only way to a [`Verified`] in the
//! server, the limits on waiting, its label in the metrics, and its row in README.md.
//!
//! To add an endpoint: declare it, list it in [`ENDPOINTS`], and write an adapter like [`validate`]
//! that reads the request into [`Presented`] and turns the result into a response.

mod authenticate;
pub mod ext_authz;
pub mod forward_auth;
mod gateway;
pub mod identity;
pub mod introspect;
pub mod own_client;
pub mod token_review;
pub mod validate;
pub mod verification_queue;
pub mod verified_tokens;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{any, post};
use tokio::time::timeout;
use tracing::Instrument as _;
use zeroize::Zeroizing;

use super::{EndpointSettings, ValidatorState};
pub use crate::domain::credential_type::CredentialType;
use crate::domain::ids::{OrganizationId, SdkClientId};
use crate::domain::principal::Verified;
use crate::domain::reason::Reason;
use crate::telemetry::traces;
pub use authenticate::type_of;
use authenticate::{Authentication, Pending};

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
    pub accepts: Accepts,
    /// Where the client comes from that an appUserIdToken is validated for, in Markdown. Empty if
    /// it accepts none.
    pub client_from: &'static str,
    /// How long a token waits whose key is not known yet.
    pub waits_for_missing_key: Option<Duration>,
}

/// Every endpoint, as in the table of README.md.
pub const ENDPOINTS: [&Endpoint; 9] = [
    &VALIDATE,
    &AUTH,
    &EXT_AUTHZ,
    &INTROSPECT_CALLER,
    &INTROSPECT,
    &TOKEN_REVIEW,
    &EXPLAIN,
    &ORG,
    &LINK,
];

/// The caller is trusted to specify the client.
const VALIDATE: Endpoint = Endpoint {
    name: "validate",
    serves: "`POST /v1/validate`",
    accepts: Accepts::Only(&CredentialType::ALL),
    client_from: "the caller: `X-Anon-Sdk-Client-Id`, or `sdkClientId` in the body",
    waits_for_missing_key: Some(MISSING_KEY_TIMEOUT),
};

/// A gateway in front of a backend. The client is part of the gateway's configuration: the original
/// request cannot select another.
const AUTH: Endpoint = Endpoint {
    name: "auth",
    serves: "`/v1/auth/client/{clientId}`, any method: the original request of a gateway",
    accepts: Accepts::AsConfigured,
    client_from: "the configuration of the gateway: the path",
    waits_for_missing_key: Some(MISSING_KEY_TIMEOUT),
};

/// Envoy. The client is part of the configuration of the route.
const EXT_AUTHZ: Endpoint = Endpoint {
    name: "ext_authz",
    serves: "`envoy.service.auth.v3.Authorization/Check` (gRPC): the original request of Envoy",
    accepts: Accepts::AsConfigured,
    client_from: "the configuration of Envoy: `sdkClientId` in `context_extensions` of the route",
    waits_for_missing_key: Some(MISSING_KEY_TIMEOUT),
};

/// The resource server that introspects credentials.
const INTROSPECT_CALLER: Endpoint = Endpoint {
    name: "introspect_caller",
    serves: "`POST /v1/introspect`: the caller",
    accepts: Accepts::Only(&[CredentialType::ApiKey]),
    client_from: "",
    waits_for_missing_key: None,
};

/// The credential that it introspects. The caller can specify only clients of its own organization.
const INTROSPECT: Endpoint = Endpoint {
    name: "introspect",
    serves: "`POST /v1/introspect`: `token`",
    accepts: Accepts::Only(&CredentialType::ALL),
    client_from: "`client_id`, otherwise the token's own or the organization's default client",
    waits_for_missing_key: Some(MISSING_KEY_TIMEOUT),
};

/// kube-apiserver. The platform administrator lists the clients for which this is served.
const TOKEN_REVIEW: Endpoint = Endpoint {
    name: "token_review",
    serves: "`POST /v1/tokenreview/{clientId}`: `spec.token`",
    accepts: Accepts::Only(&[CredentialType::AppUserIdToken]),
    client_from: "the configuration of kube-apiserver: the path; only those of `--token-review-client`",
    waits_for_missing_key: Some(MISSING_KEY_TIMEOUT),
};

/// An Admin who wants to know why a credential is rejected.
pub const EXPLAIN: Endpoint = Endpoint {
    name: "explain",
    serves: "`POST /v1/explain`: `token`",
    accepts: Accepts::Only(&CredentialType::ALL),
    client_from: "`sdkClientId`, otherwise the token's own or the organization's default client",
    waits_for_missing_key: Some(MISSING_KEY_TIMEOUT),
};

/// The callers of the REST API.
pub const ORG: Endpoint = Endpoint {
    name: "org",
    serves: "`/org/*`, `GET /link/url` and `POST /v1/explain`: the caller",
    accepts: Accepts::Only(&[CredentialType::ApiKey, CredentialType::SessionToken]),
    client_from: "",
    waits_for_missing_key: None,
};

/// The end user for whom an authenticated caller asks for a URL. The caller can specify only clients
/// of its own organization.
pub const LINK: Endpoint = Endpoint {
    name: "link",
    serves: "`GET /link/url`: the end user, in `appUserIdToken`",
    accepts: Accepts::Only(&[CredentialType::AppUserIdToken]),
    client_from: "`clientId`, otherwise the token's own or the organization's default client",
    waits_for_missing_key: Some(MISSING_KEY_TIMEOUT),
};

/// The credential types that an endpoint accepts.
#[derive(Clone, Copy, Debug)]
pub enum Accepts {
    /// These.
    Only(&'static [CredentialType]),
    /// Those of `--gateway-accepts`.
    AsConfigured,
}

impl Accepts {
    fn types(self, settings: &EndpointSettings) -> &[CredentialType] {
        match self {
            Self::Only(types) => types,
            Self::AsConfigured => &settings.gateway_accepts,
        }
    }

    /// The types, in Markdown.
    #[must_use]
    pub fn documentation(self) -> String {
        let types: Vec<_> = match self {
            Self::Only(types) => types.iter().map(|it| it.as_str()).collect(),
            Self::AsConfigured => vec!["appUserIdToken; others with `--gateway-accepts`"],
        };
        types.join(", ")
    }
}

/// What a request presents.
#[derive(Clone, Copy)]
pub struct Presented<'r> {
    /// The credential.
    pub credential: &'r str,
    /// The client that an appUserIdToken is validated for, or why what the request specifies is
    /// none.
    pub client: Option<Result<SdkClientId, Reason>>,
    /// Accepts only credentials of this organization; none, if what the request specifies is no id.
    pub organization: Option<Result<OrganizationId, Reason>>,
}

/// A copy of what a request presents, so that nothing else of the request has to be kept while it
/// waits.
pub struct Kept {
    credential: Zeroizing<String>,
    client: Option<Result<SdkClientId, Reason>>,
    organization: Option<Result<OrganizationId, Reason>>,
}

impl From<Presented<'_>> for Kept {
    fn from(presented: Presented<'_>) -> Self {
        let Presented { credential, client, organization } = presented;
        Self { credential: credential.to_owned().into(), client, organization }
    }
}

impl Kept {
    fn presented(&self) -> Presented<'_> {
        let Self { credential, client, organization } = self;
        Presented { credential, client: *client, organization: *organization }
    }
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
        presented: Result<Presented<'_>, Reason>,
    ) -> Result<Verified, Reason> {
        let span = traces::authentication(self.name);
        let verdict = match presented {
            Ok(presented) if span.is_disabled() => self.wait_for_verdict(state, presented).await,
            Ok(presented) => self.wait_for_verdict(state, presented).instrument(span.clone()).await,
            Err(reason) => Err(reason),
        };
        traces::decided(&span, verdict.as_ref().map_or_else(|reason| reason.as_str(), |_| "valid"));
        state.metrics.verdict(self.name, verdict.as_ref().map(drop).map_err(|reason| *reason));
        verdict
    }

    /// The same, of a copy.
    ///
    /// # Errors
    /// Those of [`Self::authenticate`].
    pub async fn authenticate_kept(
        &self,
        state: &ValidatorState,
        kept: Result<Kept, Reason>,
    ) -> Result<Verified, Reason> {
        let presented = kept.as_ref().map(Kept::presented).map_err(|reason| *reason);
        self.authenticate(state, presented).await
    }

    /// A token whose key is not known yet waits briefly for it, so that users do not notice when
    /// their identity provider rotates its keys. Few requests wait at a time.
    async fn wait_for_verdict(
        &self,
        state: &ValidatorState,
        presented: Presented<'_>,
    ) -> Result<Verified, Reason> {
        let first = self.verdict(state, presented).await;
        match self.waits_for_missing_key {
            // In a box, so that the future of every other request is small.
            Some(limit) if first == Err(Reason::KeyNotYetKnown) => {
                Box::pin(self.wait_for_key(state, presented, limit)).await
            }
            _ => first,
        }
    }

    /// The verdict once the key is known, or after `limit`.
    async fn wait_for_key(
        &self,
        state: &ValidatorState,
        presented: Presented<'_>,
        limit: Duration,
    ) -> Result<Verified, Reason> {
        let reader = &state.reader;
        let unknown = Err(Reason::KeyNotYetKnown);
        let Some(_slot) = reader.refetch_requests().wait_slot() else { return unknown };
        // Before the next verdict, so that no change after it is missed.
        let mut changes = reader.applied().subscribe();
        let waiting = async {
            loop {
                let verdict = self.verdict(state, presented).await;
                if verdict != unknown || changes.changed().await.is_err() {
                    return verdict;
                }
            }
        };
        timeout(limit, waiting).await.unwrap_or(unknown)
    }

    /// The verdict on the state of now. After the wait for a turn, the state is read again: it may
    /// have changed, and another request may have verified the same token.
    async fn verdict(
        &self,
        state: &ValidatorState,
        presented: Presented<'_>,
    ) -> Result<Verified, Reason> {
        let accepts = self.accepts.types(&state.settings);
        let mut authentication = Authentication::new(presented);
        match authentication.verdict(state, accepts, None) {
            Err(Pending::Turn(organization)) => {
                // In a box, like the wait for a key.
                let turn = Box::pin(state.verification_queue.turn(organization)).await?;
                authentication.verdict(state, accepts, Some(turn)).map_err(Reason::from)
            }
            verdict => verdict.map_err(Reason::from),
        }
    }
}

/// The routes of the endpoints that are not part of the REST API.
pub fn routes() -> Router<Arc<ValidatorState>> {
    Router::new()
        .route(validate::PATH, post(validate::validate))
        .route("/v1/introspect", post(introspect::introspect))
        .route("/v1/tokenreview/{clientId}", post(token_review::review))
}

/// The routes for gateways, which are served behind [`forward_auth::verdicts_only`].
pub fn gateway_routes() -> Router<Arc<ValidatorState>> {
    // A client that is missing or malformed is a verdict, too.
    Router::new()
        .route(forward_auth::PREFIX, any(forward_auth::authorize))
        .route(forward_auth::ROUTE, any(forward_auth::authorize))
}

/// The route for Envoy, which is served behind [`ext_authz::verdicts_only`].
pub fn envoy_routes() -> Router<Arc<ValidatorState>> {
    Router::new().route(ext_authz::PATH, post(ext_authz::check))
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
            let settings = EndpointSettings::default();
            let types = endpoint.accepts.types(&settings);
            let app_users = types.contains(&CredentialType::AppUserIdToken);
            assert_eq!(app_users, !endpoint.client_from.is_empty(), "{}", endpoint.name);
            assert!(app_users || endpoint.waits_for_missing_key.is_none(), "{}", endpoint.name);
        }
    }
}
