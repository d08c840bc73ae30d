//! `POST /v1/explain`: every step of the verdict on a credential, for an Admin who wants to know why
//! it is rejected. The verdict is that of the one verification core.

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::caller::Caller;
use super::fields::filled;
use super::route::{Reply, reply};
use crate::domain::credential::{ApiKey, SessionToken};
use crate::domain::credential_type::CredentialType;
use crate::domain::explanation::explain as steps_of;
use crate::domain::ids::OrganizationId;
use crate::domain::reason::{Class, Reason};
use crate::server::body::JsonBody;
use crate::server::endpoints::{EXPLAIN, Presented, own_client, type_of};
use crate::server::{ApiError, ApiState};

/// The credential to explain.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExplainRequest {
    /// An appUserIdToken, an API key or a session token.
    token: String,
    /// The client that an appUserIdToken is validated for. By default, the one that the token was
    /// issued for, or the organization's default client.
    sdk_client_id: Option<String>,
    /// The caller's own organization.
    #[serde(rename = "organizationId")]
    _organization_id: Option<String>,
}

/// The verdict, and how it came about.
#[derive(Serialize, JsonSchema)]
pub struct Explanation {
    /// `valid`, `invalid`, or `unknown` if that cannot be determined now.
    #[schemars(extend("enum" = ["valid", "invalid", "unknown"]))]
    verdict: &'static str,
    /// Why the credential is not accepted: a reason of `POST /v1/validate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Every step of the verification, in its order.
    steps: Vec<ExplainedStep>,
}

/// A step of the verification.
#[derive(Serialize, JsonSchema)]
pub struct ExplainedStep {
    /// The name of the step.
    name: &'static str,
    /// `notReached` if an earlier step has failed.
    #[schemars(extend("enum" = ["pass", "fail", "notReached"]))]
    result: &'static str,
    /// What the step requires; if it has failed, what is wrong.
    message: &'static str,
}

/// Explains the verdict on a credential of the caller's organization. Those of other organizations
/// look like unknown ones.
pub async fn explain(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(request): JsonBody<ExplainRequest>,
) -> Result<Reply<Explanation>, ApiError> {
    let credential = Zeroizing::new(request.token);
    let client = filled(request.sdk_client_id);
    let credential_type = type_of(&credential);
    let presented = presented(&state, caller.organization, &credential, client.as_deref());
    let failure = EXPLAIN.authenticate(&state, presented).await.err();
    Ok(reply(explanation(credential_type, failure)))
}

fn presented<'r>(
    state: &ApiState,
    organization: OrganizationId,
    credential: &'r str,
    client: Option<&str>,
) -> Result<Presented<'r>, Reason> {
    let client = match type_of(credential) {
        Some(CredentialType::AppUserIdToken) => {
            Some(Ok(own_client::find(state, organization, client, Some(credential))?.id))
        }
        Some(CredentialType::ApiKey) if is_foreign_key(state, organization, credential) => {
            return Err(Reason::ApiKeyUnknown);
        }
        Some(CredentialType::SessionToken)
            if is_foreign_session(state, organization, credential) =>
        {
            return Err(Reason::SessionUnknown);
        }
        _ => None,
    };
    Ok(Presented { credential, client, organization: Some(Ok(organization)) })
}

fn is_foreign_key(state: &ApiState, organization: OrganizationId, key: &str) -> bool {
    let client = ApiKey::parse(key).and_then(|key| state.reader.client_by_key(&key.hash()));
    client.is_some_and(|client| client.organization != organization)
}

fn is_foreign_session(state: &ApiState, organization: OrganizationId, token: &str) -> bool {
    let token = SessionToken::parse(token);
    let member = token.and_then(|token| state.reader.member_by_session(&token.hash()));
    member.is_some_and(|member| member.organization != organization)
}

fn explanation(credential_type: Option<CredentialType>, failure: Option<Reason>) -> Explanation {
    let verdict = match failure.map(Reason::class) {
        None => "valid",
        Some(Class::Unavailable) => "unknown",
        Some(Class::BadRequest | Class::Unauthorized) => "invalid",
    };
    let steps = steps_of(credential_type, failure).into_iter().map(|(step, result)| {
        let failed = failure.filter(|reason| reason.step() == step);
        ExplainedStep {
            name: step.as_str(),
            result: result.as_str(),
            message: failed.map_or_else(|| step.description(), Reason::message),
        }
    });
    Explanation { verdict, reason: failure.map(Reason::as_str), steps: steps.collect() }
}
