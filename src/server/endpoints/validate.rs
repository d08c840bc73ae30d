//! `POST /v1/validate`, for any backend. The caller is trusted to specify its client, in the header
//! `X-Anon-Sdk-Client-Id` or in the body.

use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Kept, Presented, VALIDATE};
use crate::domain::ids::{MemberId, OrganizationId, SdkClientId, UserPoolId};
use crate::domain::principal::{Claims, Principal, Verified};
use crate::domain::reason::Reason;
use crate::domain::token::MAX_TOKEN_BYTES;
use crate::server::body::{self, Ignored};
use crate::server::error::class_of;
use crate::server::request::{Authorization, authorization, bearer, client_header, is_same_client};
use crate::server::response::{finished_json, json, json_text};
use crate::server::{ApiError, ValidatorState};

/// The path of the endpoint.
pub const PATH: &str = "/v1/validate";

/// A credential, if it is not in the header, and what it is validated for.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValidateRequest {
    /// The credential. Not together with a bearer token.
    token: Option<String>,
    /// The client that a token of an end user is validated for. The same as in the header
    /// `X-Anon-Sdk-Client-Id`, if both are sent.
    sdk_client_id: Option<String>,
    /// Accept only credentials of this organization.
    organization_id: Option<String>,
}

/// The response for a valid credential.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Active<'v> {
    #[schemars(extend("const" = true))]
    active: bool,
    /// The type of the holder: `appUser`, `apiKey` or `member`.
    principal: &'static str,
    organization_id: OrganizationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_pool_id: Option<UserPoolId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sdk_client_id: Option<SdkClientId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_user_id: Option<&'v str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member_id: Option<MemberId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'v str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    issued_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Map<String, Value>>")]
    claims: Option<&'v Claims>,
}

impl<'v> Active<'v> {
    const fn new(principal: &'static str, organization_id: OrganizationId) -> Self {
        Self {
            active: true,
            principal,
            organization_id,
            user_pool_id: None,
            sdk_client_id: None,
            app_user_id: None,
            member_id: None,
            role: None,
            key_id: None,
            issued_at: None,
            expires_at: None,
            claims: None,
        }
    }

    /// The response for a valid credential.
    pub fn of(verified: &'v Verified) -> Self {
        let active = |principal| Self::new(principal, verified.organization());
        match verified.principal() {
            Principal::AppUser(user) => Self {
                user_pool_id: Some(user.pool),
                sdk_client_id: Some(user.client),
                app_user_id: Some(&user.app_user_id),
                issued_at: user.issued_at,
                expires_at: Some(user.expires_at),
                claims: Some(&user.claims),
                ..active("appUser")
            },
            Principal::ApiKey(key) => Self {
                sdk_client_id: Some(key.client),
                role: Some(key.role.as_str()),
                key_id: Some(&key.key_id),
                issued_at: key.created_at,
                expires_at: key.expires_at,
                ..active("apiKey")
            },
            Principal::Member(session) => Self {
                member_id: Some(session.member),
                role: Some(session.role.as_str()),
                issued_at: Some(session.created_at),
                expires_at: Some(session.expires_at),
                ..active("member")
            },
        }
    }
}

/// The response for an invalid credential, and for a result that is currently unknown.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Inactive {
    #[schemars(extend("const" = false))]
    active: bool,
    name: &'static str,
    reason: &'static str,
    message: &'static str,
}

impl Inactive {
    /// The response with the error `name`.
    pub const fn new(name: &'static str, reason: Reason) -> Self {
        Self::of_request(name, reason.as_str(), reason.message())
    }

    /// The response to a request that could not be read, so that no credential was examined.
    pub const fn of_request(
        name: &'static str,
        reason: &'static str,
        message: &'static str,
    ) -> Self {
        Self { active: false, name, reason, message }
    }

    /// The reason.
    pub const fn reason(&self) -> &'static str {
        self.reason
    }
}

/// Validates the credential of a request.
pub async fn validate(State(state): State<Arc<ValidatorState>>, request: Request) -> Response {
    // Not the extractor for headers, which would copy them.
    let (Parts { headers, .. }, body) = request.into_parts();
    match read(body).await {
        Ok(request) => {
            let kept = presented(&headers, &request).map(Kept::from);
            drop((headers, request));
            reply(&VALIDATE.authenticate_kept(&state, kept).await)
        }
        Err(error) => error.into_response(),
    }
}

/// Validates the credential of a request without a body and with few headers.
pub async fn validate_head(state: &ValidatorState, headers: &HeaderMap) -> Response {
    let request = ValidateRequest::default();
    reply(&VALIDATE.authenticate(state, presented(headers, &request)).await)
}

async fn read(body: Body) -> Result<ValidateRequest, ApiError> {
    if body.is_end_stream() {
        return Ok(ValidateRequest::default());
    }
    // It is in memory already: `server/frame.rs`.
    let body = body.collect().await.map_err(|_| ApiError::malformed("the body could not be read"));
    match body?.to_bytes().as_ref() {
        [] => Ok(ValidateRequest::default()),
        body => body::read(body, None, &Ignored::default()),
    }
}

/// What the request presents, or why it presents nothing.
fn presented<'r>(
    headers: &'r HeaderMap,
    request: &'r ValidateRequest,
) -> Result<Presented<'r>, Reason> {
    let ValidateRequest { token, sdk_client_id, organization_id } = request;
    let body_client = sdk_client_id.as_deref().filter(|client| !client.is_empty());
    let credential = match token {
        None => bearer(headers)?,
        Some(token) if authorization(headers)? == Authorization::Absent => token,
        Some(_) => return Err(Reason::TwoCredentials),
    };
    let client = match (client_header(headers)?, body_client) {
        (Some(header), Some(body)) if !is_same_client(header, body) => {
            return Err(Reason::ClientAmbiguous);
        }
        (header, body) => header.or(body),
    };
    if credential.len() > MAX_TOKEN_BYTES {
        return Err(Reason::CredentialTooLarge);
    }
    let organization = |id| OrganizationId::parse(id).ok_or(Reason::OrganizationMismatch);
    Ok(Presented {
        credential,
        client: client.map(|id| SdkClientId::parse(id).ok_or(Reason::ClientUnknown)),
        organization: organization_id.as_deref().map(organization),
    })
}

fn reply(verdict: &Result<Verified, Reason>) -> Response {
    match verdict {
        Ok(verified) => finished_json(StatusCode::OK, described(verified)),
        Err(reason) => {
            let (status, name) = class_of(reason.class());
            json(status, &Inactive::new(name, *reason))
        }
    }
}

/// The body for a valid credential. Many requests have the same token, so what precedes its claims
/// is kept with it.
fn described(verified: &Verified) -> serde_json::Result<Vec<u8>> {
    let Principal::AppUser(user) = verified.principal() else {
        return json_text(&Active::of(verified));
    };
    let claims = user.claims.text().as_bytes();
    if let Some(start) = user.description.get() {
        return Ok([start, claims, b"}"].concat());
    }
    let mut text = json_text(&Active { claims: None, ..Active::of(verified) })?;
    // Claims are the last member.
    text.pop();
    text.extend_from_slice(br#","claims":"#);
    user.description.keep(&text);
    text.extend_from_slice(claims);
    text.push(b'}');
    Ok(text)
}
