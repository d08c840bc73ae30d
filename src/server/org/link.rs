//! `GET /link/url`: the URL at which an end user connects an account in Link, the hosted page that
//! `--link-url` specifies.
//!
//! Its parameters are checked first: the client, the redirect URL, and the user. The token is the
//! one credential of this API that is sent in a query, because that is its documented parameter;
//! queries are never logged.

use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::app_user_id_token::app_user_id;
use super::caller::Caller;
use super::fields::filled;
use super::route::{Reply, reply};
use crate::domain::client::{ClientKind, SdkClient, Webapp};
use crate::domain::principal::Principal;
use crate::domain::reason::{Class, Reason};
use crate::server::body::Query;
use crate::server::endpoints::{LINK, Presented, own_client};
use crate::server::{ApiError, ApiState};

/// The parameters.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkQuery {
    /// The application that the user connects an account of.
    #[schemars(required)]
    app: Option<String>,
    /// Exactly one of the client's `redirectUrls`.
    #[schemars(required)]
    redirect_url: Option<String>,
    /// The user. This or `appUserIdToken` is required.
    app_user_id: Option<String>,
    /// A token of the user, valid for the client.
    app_user_id_token: Option<String>,
    /// A webapp client of the organization. By default, the one that the token was issued for, or
    /// the organization's default client.
    client_id: Option<String>,
    /// That of the client.
    chrome_extension_id: Option<String>,
    /// By default, the logo of the organization.
    company_logo_url: Option<String>,
    /// By default, the name of the organization.
    company_name: Option<String>,
    /// JSON, passed back to `redirectUrl`. By default `{}`.
    state: Option<String>,
    /// Passed on.
    auth_url: Option<String>,
    /// Passed on.
    check_url: Option<String>,
    /// Passed on.
    display_name: Option<String>,
    /// Passed on.
    icon_url: Option<String>,
}

/// Where to send the user.
#[derive(Serialize, JsonSchema)]
pub struct LinkUrl {
    url: String,
}

/// Builds the URL.
pub async fn url(
    State(state): State<ApiState>,
    caller: Caller,
    Query(query): Query<LinkQuery>,
) -> Result<Reply<LinkUrl>, ApiError> {
    let base = state.platform.settings.link_url.as_deref().ok_or_else(|| {
        ApiError::not_found("link URLs are not enabled: the operator runs without `--link-url`")
    })?;
    let mut link = Link(Vec::new());
    link.add("app", bounded("app", query.app)?.ok_or_else(|| missing("app"))?);

    let token = filled(query.app_user_id_token);
    let client = client(&state, &caller, filled(query.client_id).as_deref(), token.as_deref())?;
    client.live_pool().map_err(|reason| ApiError::invalid_field("clientId", reason.message()))?;
    let ClientKind::Webapp(webapp) = &client.kind else {
        return Err(ApiError::invalid_field("clientId", Reason::ClientNotWebapp.message()));
    };
    link.add("clientId", client.id.to_string());
    link.add("redirectUrl", redirect_url(filled(query.redirect_url), webapp)?);
    link.add(
        "appUserId",
        user(&state, &caller, filled(query.app_user_id), &client, token.as_deref()).await?,
    );
    link.extend("appUserIdToken", token);
    link.extend("chromeExtensionId", extension(filled(query.chrome_extension_id), webapp)?);

    let organization = state.reader.organization(caller.organization);
    let name = bounded("companyName", query.company_name)?;
    let own = || organization.as_ref().map_or(&caller.namespace, |it| &it.display_name).clone();
    link.add("companyName", name.unwrap_or_else(own));
    let own = || organization.as_ref().and_then(|it| it.logo_url.clone());
    let logo = web_address("companyLogoUrl", query.company_logo_url)?;
    link.extend("companyLogoUrl", logo.or_else(own));
    link.add("state", json_text(query.state)?);
    link.extend("authUrl", web_address("authUrl", query.auth_url)?);
    link.extend("checkUrl", web_address("checkUrl", query.check_url)?);
    link.extend("iconUrl", web_address("iconUrl", query.icon_url)?);
    link.extend("displayName", bounded("displayName", query.display_name)?);
    Ok(reply(LinkUrl { url: link.at(base) }))
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
/// organization's default.
fn client(
    state: &ApiState,
    caller: &Caller,
    named: Option<&str>,
    token: Option<&str>,
) -> Result<Arc<SdkClient>, ApiError> {
    own_client::find(state, caller.organization, named, token).map_err(|reason| match reason {
        Reason::ClientMissing => missing("clientId"),
        Reason::ClientUnknown => ApiError::not_found("SdkClient not found"),
        reason => rejected_token(reason),
    })
}

/// A 401 would mean that the caller's own credential is invalid.
fn rejected_token(reason: Reason) -> ApiError {
    match reason.class() {
        Class::Unauthorized => ApiError::invalid_field("appUserIdToken", reason.message()),
        _ => reason.into(),
    }
}

/// The redirect URL must match a listed one exactly.
fn redirect_url(url: Option<String>, webapp: &Webapp) -> Result<String, ApiError> {
    let url = url.ok_or_else(|| missing("redirectUrl"))?;
    if !webapp.redirect_urls.contains(&url) {
        return Err(ApiError::invalid_field(
            "redirectUrl",
            "`redirectUrl` is not one of the client's `redirectUrls`",
        ));
    }
    Ok(url)
}

fn extension(id: Option<String>, webapp: &Webapp) -> Result<Option<String>, ApiError> {
    let own = &webapp.chrome_extension_id;
    match id {
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
    stated: Option<String>,
    client: &SdkClient,
    token: Option<&str>,
) -> Result<String, ApiError> {
    let Some(token) = token else {
        return app_user_id(Some(stated.ok_or_else(|| missing("appUserId"))?));
    };
    let presented = Presented {
        credential: token,
        client: Some(Ok(client.id)),
        organization: Some(Ok(caller.organization)),
    };
    let verified = LINK.authenticate(state, Ok(presented)).await.map_err(rejected_token)?;
    match verified.principal() {
        Principal::AppUser(user) if stated.is_none_or(|stated| stated == user.app_user_id) => {
            Ok(user.app_user_id.clone())
        }
        _ => Err(ApiError::invalid_field(
            "appUserId",
            "`appUserId` is not the user of `appUserIdToken`; leave one of them out",
        )),
    }
}

/// `state`: JSON, returned to the client unchanged.
fn json_text(text: Option<String>) -> Result<String, ApiError> {
    let text = bounded("state", text)?.unwrap_or_else(|| "{}".to_owned());
    match serde_json::from_str::<IgnoredAny>(&text) {
        Ok(IgnoredAny) => Ok(text),
        Err(_) => Err(ApiError::invalid_field("state", "`state` must be JSON")),
    }
}

/// A URL that a browser displays or follows: no `javascript:` and the like.
fn web_address(field: &'static str, url: Option<String>) -> Result<Option<String>, ApiError> {
    let url = bounded(field, url)?;
    let fits = |url: &String| url.starts_with("https://") || url.starts_with("http://");
    if url.as_ref().is_none_or(fits) {
        return Ok(url);
    }
    Err(ApiError::invalid_field(field, format!("`{field}` must be an http or https URL")))
}

/// An optional string of limited length.
fn bounded(field: &'static str, text: Option<String>) -> Result<Option<String>, ApiError> {
    let text = filled(text);
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
