//! The public data of a webapp client, for the Link SDK (the script that opens Link in a web page):
//! the organization, and where Link may redirect to.
//!
//! Only pages of the client's `allowedOrigins` may read it (CORS, Fetch standard). Origins are
//! compared byte for byte with the `Origin` that the browser sends, in the form of RFC 6454 section
//! 6.2; an origin that the spec writes in capitals or with the default port is normalized first.
//! Credentialed requests are not allowed: nothing here depends on who is logged in.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::cacheable::cacheable;
use crate::domain::client::{ClientKind, SdkClient, Webapp};
use crate::domain::document::Document;
use crate::domain::ids::SdkClientId;
use crate::server::{ApiError, ValidatorState};

/// Short, so that suspending a client or removing an origin takes effect soon.
const CACHE: &str = "public, max-age=60";
/// Request headers that a page may send besides the CORS-safelisted ones: the Link SDK names its
/// client on every call.
const ALLOWED_HEADERS: &str = "content-type, x-anon-sdk-client-id";

/// The public data of a webapp client.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicData<'c> {
    sdk_client_id: String,
    organization_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<&'c str>,
    user_pool_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    logo_url: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chrome_extension_id: Option<&'c str>,
    redirect_urls: &'c [String],
}

/// `GET /v1/clients/{clientId}`.
pub async fn public_data(
    State(state): State<Arc<ValidatorState>>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let reply = move || {
        let client = find(&state, id)?;
        let webapp = webapp(&client)?;
        let organization = state.reader.organization(client.organization);
        let logo = organization.as_ref().and_then(|organization| organization.logo_url.as_deref());
        let data = PublicData {
            sdk_client_id: client.id.to_string(),
            organization_id: client.organization.to_string(),
            display_name: webapp.display_name.as_deref(),
            user_pool_id: webapp.pool_id.to_string(),
            logo_url: webapp.logo_url.as_deref().or(logo),
            chrome_extension_id: webapp.chrome_extension_id.as_deref(),
            redirect_urls: &webapp.redirect_urls,
        };
        let data = Document::of(&data).map_err(|_| ApiError::internal())?;
        let mut response = cacheable(&headers, "application/json", CACHE, &data)?;
        if let Some(origin) = allowed_origin(webapp, &headers) {
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        Ok(response)
    };
    varying(reply())
}

/// `OPTIONS /v1/clients/{clientId}`: the CORS preflight.
pub async fn preflight(
    State(state): State<Arc<ValidatorState>>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let reply = move || {
        let client = find(&state, id)?;
        let mut response = StatusCode::NO_CONTENT.into_response();
        if let Some(origin) = allowed_origin(webapp(&client)?, &headers) {
            let to = response.headers_mut();
            to.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            to.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET"));
            let names = HeaderValue::from_static(ALLOWED_HEADERS);
            to.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
        Ok(response)
    };
    varying(reply())
}

/// The one response for every id that is not a valid webapp client, so that it reveals nothing
/// about others.
fn not_found() -> ApiError {
    ApiError::not_found("webapp client not found")
}

fn find(
    state: &ValidatorState,
    id: Result<Path<String>, PathRejection>,
) -> Result<Arc<SdkClient>, ApiError> {
    state.reader.answers()?;
    // A header that is not text cannot be an id.
    let id = id.ok().and_then(|Path(id)| SdkClientId::parse(&id));
    id.and_then(|id| state.reader.client(id)).ok_or_else(not_found)
}

fn webapp(client: &SdkClient) -> Result<&Webapp, ApiError> {
    match &client.kind {
        ClientKind::Webapp(webapp) if !client.suspended => Ok(webapp),
        _ => Err(not_found()),
    }
}

/// The origin of the requesting page, if it is one of the client's.
fn allowed_origin(webapp: &Webapp, headers: &HeaderMap) -> Option<HeaderValue> {
    let mut sent = headers.get_all(header::ORIGIN).iter();
    let origin = sent.next().filter(|_| sent.next().is_none())?;
    let allowed =
        webapp.allowed_origins.iter().any(|allowed| allowed.as_str().as_bytes() == origin);
    allowed.then(|| origin.clone())
}

/// Every response, an error too, depends on the origin. Caches must know that.
fn varying(reply: Result<Response, ApiError>) -> Response {
    let mut response = reply.unwrap_or_else(IntoResponse::into_response);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Origin"));
    response
}
