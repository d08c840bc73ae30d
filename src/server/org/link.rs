//! `GET /link/url`: the URL at which an end user connects an account in Link, the hosted page that
//! `--link-url` specifies.
//!
//! Its parameters are checked first: the client, the redirect URL, and the user. The token is the
//! one credential of this API that is sent in a query, because that is its documented parameter;
//! queries are never logged.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::de::IgnoredAny;
use serde_json::json;

use super::app_user_id_token::app_user_id;
use super::caller::{Caller, authorize};
use super::reply;
use crate::domain::client::{ClientKind, SdkClient, Webapp};
use crate::domain::ids::{ObjectName, SdkClientId};
use crate::domain::operation::Operation;
use crate::domain::principal::Principal;
use crate::domain::reason::{Class, Reason};
use crate::domain::token::UnverifiedToken;
use crate::server::endpoints::{LINK, Presented};
use crate::server::request::Fields;
use crate::server::{ApiError, ApiState};

/// The documented parameters, and whether each is required.
pub const PARAMETERS: &[(&str, bool)] = &[
    ("app", true),
    ("redirectUrl", true),
    ("appUserId", false),
    ("appUserIdToken", false),
    ("clientId", false),
    ("chromeExtensionId", false),
    ("companyLogoUrl", false),
    ("companyName", false),
    ("state", false),
    ("authUrl", false),
    ("checkUrl", false),
    ("displayName", false),
    ("iconUrl", false),
];

/// Builds the URL.
pub async fn url(
    State(state): State<ApiState>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let caller = authorize(&state, &headers, Operation::GetLinkUrl).await?;
    let base = state.platform.link_url.as_deref().ok_or_else(|| {
        ApiError::not_found("link URLs are not enabled: the operator runs without `--link-url`")
    })?;
    let fields = Fields::from_query(query.as_deref().unwrap_or_default())?;
    let mut link = Link(Vec::new());
    link.add("app", bounded(&fields, "app")?.ok_or_else(|| missing("app"))?);

    let token = fields.text("appUserIdToken")?;
    let client = client(&state, &caller, &fields, token.as_deref())?;
    client.live_pool().map_err(|reason| ApiError::invalid_field("clientId", reason.message()))?;
    let ClientKind::Webapp(webapp) = &client.kind else {
        return Err(ApiError::invalid_field("clientId", Reason::ClientNotWebapp.message()));
    };
    link.add("clientId", client.id.to_string());
    link.add("redirectUrl", redirect_url(&fields, webapp)?);
    link.add("appUserId", user(&state, &caller, &fields, &client, token.as_deref()).await?);
    link.extend("appUserIdToken", token);
    link.extend("chromeExtensionId", extension(&fields, webapp)?);

    let organization = state.reader.organization(caller.organization);
    let name = bounded(&fields, "companyName")?;
    let own = || organization.as_ref().map_or(&caller.namespace, |it| &it.display_name).clone();
    link.add("companyName", name.unwrap_or_else(own));
    let own = || organization.as_ref().and_then(|it| it.logo_url.clone());
    link.extend("companyLogoUrl", web_address(&fields, "companyLogoUrl")?.or_else(own));
    link.add("state", json_text(&fields)?);
    for field in ["authUrl", "checkUrl", "iconUrl"] {
        link.extend(field, web_address(&fields, field)?);
    }
    link.extend("displayName", bounded(&fields, "displayName")?);
    Ok(reply(&json!({ "url": link.at(base) })))
}

/// The query parameters of the URL.
struct Link(Vec<(&'static str, String)>);

impl Link {
    fn add(&mut self, name: &'static str, value: String) {
        self.0.push((name, value));
    }

    fn extend(&mut self, name: &'static str, value: Option<String>) {
        self.0.extend(value.map(|value| (name, value)));
    }

    fn at(&self, base: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        format!("{base}?{}", query.extend_pairs(&self.0).finish())
    }
}

/// The client given by `clientId`, by the client that the token was issued for, or by the
/// organization's default; always one of the caller's organization.
fn client(
    state: &ApiState,
    caller: &Caller,
    fields: &Fields,
    token: Option<&str>,
) -> Result<Arc<SdkClient>, ApiError> {
    let named = fields.text("clientId")?;
    // Unverified: the verification of the token, for this client, follows.
    let of_token = || token.and_then(|token| UnverifiedToken::parse(token).ok()?.made_for());
    let default = || {
        let organization = state.reader.organization(caller.organization)?;
        let name = organization.default_sdk_client.clone()?;
        Some(ObjectName { namespace: organization.namespace.clone(), name })
    };
    let id = named.as_deref().map(SdkClientId::parse).or_else(|| of_token().map(Some));
    let client = match id {
        Some(id) => id.and_then(|id| state.reader.client(id)),
        None => state.reader.client_named(&default().ok_or_else(|| missing("clientId"))?),
    };
    client
        .filter(|client| client.organization == caller.organization)
        .ok_or_else(|| ApiError::not_found("SdkClient not found"))
}

/// The redirect URL must match a listed one exactly.
fn redirect_url(fields: &Fields, webapp: &Webapp) -> Result<String, ApiError> {
    let url = fields.required("redirectUrl")?;
    if !webapp.redirect_urls.iter().any(|listed| listed == url) {
        return Err(ApiError::invalid_field(
            "redirectUrl",
            "`redirectUrl` is not one of the client's `redirectUrls`",
        ));
    }
    Ok(url.to_owned())
}

fn extension(fields: &Fields, webapp: &Webapp) -> Result<Option<String>, ApiError> {
    let own = &webapp.chrome_extension_id;
    match fields.text("chromeExtensionId")? {
        Some(id) if own.as_ref() != Some(&id) => Err(ApiError::invalid_field(
            "chromeExtensionId",
            "`chromeExtensionId` is not that of the client",
        )),
        _ => Ok(own.clone()),
    }
}

/// The appUserId: from the token, which must be valid for the client, or as the caller specifies.
async fn user(
    state: &ApiState,
    caller: &Caller,
    fields: &Fields,
    client: &SdkClient,
    token: Option<&str>,
) -> Result<String, ApiError> {
    let said = fields.text("appUserId")?;
    let Some(token) = token else {
        return said
            .map_or_else(|| Err(missing("appUserId")), |_| app_user_id(fields).map(str::to_owned));
    };
    let presented = Presented {
        credential: token.to_owned().into(),
        client: Some(client.id.to_string()),
        organization: Some(caller.organization.to_string()),
    };
    let verified =
        LINK.authenticate(state, Ok(presented)).await.map_err(|reason| match reason.class() {
            // A 401 would mean that the caller's own credential is invalid.
            Class::Unauthorized => ApiError::invalid_field("appUserIdToken", reason.message()),
            _ => reason.into(),
        })?;
    match verified.principal() {
        Principal::AppUser(user) if said.is_none_or(|said| said == user.app_user_id) => {
            Ok(user.app_user_id.clone())
        }
        _ => Err(ApiError::invalid_field(
            "appUserId",
            "`appUserId` is not the user of `appUserIdToken`; leave one of them out",
        )),
    }
}

/// `state`: JSON, returned to the client unchanged.
fn json_text(fields: &Fields) -> Result<String, ApiError> {
    let text = bounded(fields, "state")?.unwrap_or_else(|| "{}".to_owned());
    match serde_json::from_str::<IgnoredAny>(&text) {
        Ok(IgnoredAny) => Ok(text),
        Err(_) => Err(ApiError::invalid_field("state", "`state` must be JSON")),
    }
}

/// A URL that a browser displays or follows: no `javascript:` and the like.
fn web_address(fields: &Fields, field: &'static str) -> Result<Option<String>, ApiError> {
    let url = bounded(fields, field)?;
    let fits = |url: &String| url.starts_with("https://") || url.starts_with("http://");
    if url.as_ref().is_none_or(fits) {
        return Ok(url);
    }
    Err(ApiError::invalid_field(field, format!("`{field}` must be an http or https URL")))
}

/// An optional string of limited length.
fn bounded(fields: &Fields, field: &'static str) -> Result<Option<String>, ApiError> {
    let text = fields.text(field)?;
    if text.as_ref().is_some_and(|text| text.len() > 2048 || text.chars().any(char::is_control)) {
        let message = format!("`{field}` must have at most 2048 bytes and no control characters");
        return Err(ApiError::invalid_field(field, message));
    }
    Ok(text)
}

fn missing(field: &'static str) -> ApiError {
    let message = match field {
        "appUserId" => "`appUserId` or `appUserIdToken` is required".to_owned(),
        "clientId" => {
            "`clientId` is required: the token specifies none, and the organization has no default client"
                .to_owned()
        }
        _ => format!("`{field}` is required"),
    };
    ApiError::missing_field(field, message)
}
