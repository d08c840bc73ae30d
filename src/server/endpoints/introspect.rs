//! `POST /v1/introspect`: OAuth 2.0 Token Introspection (RFC 7662), for resource servers with an API
//! key. For a caller, only credentials of its own organization exist.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::identity::claims;
use super::{INTROSPECT, INTROSPECT_CALLER, Presented, own_client};
use crate::domain::ids::{OrganizationId, SdkClientId};
use crate::domain::principal::{Principal, Verified};
use crate::domain::reason::{Class, Reason};
use crate::domain::token::{MAX_TOKEN_BYTES, looks_like_jwt};
use crate::server::request::{Authorization, authorization};
use crate::server::response::json;
use crate::server::{ApiError, ValidatorState};

/// The second challenge of a 401 (RFC 6749 section 5.2, RFC 7617).
const BASIC_CHALLENGE: HeaderValue = HeaderValue::from_static(r#"Basic realm="anon-operator""#);

/// The response for a valid credential of the caller's organization.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct ActiveToken {
    #[schemars(extend("const" = true))]
    active: bool,
    /// The appUserId of an end user; the id of a client or member.
    sub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    /// As in the token: a string or an array of strings.
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    /// The client that the credential was issued for, if it was issued for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[schemars(extend("const" = "Bearer"))]
    token_type: &'static str,
    /// The type of the holder: `appUser`, `apiKey` or `member`. The same `sub` of two types means
    /// two holders.
    principal: &'static str,
    /// The pool of an end user.
    #[serde(rename = "userPoolId", skip_serializing_if = "Option::is_none")]
    user_pool_id: Option<String>,
    /// The role of an API key or member.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
}

/// The response for anything else.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InactiveToken {
    #[schemars(extend("const" = false))]
    active: bool,
}

/// Introspects a credential.
pub async fn introspect(
    State(state): State<Arc<ValidatorState>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let organization = match caller(&state, headers).await {
        Ok(organization) => organization,
        Err(error) => return with_basic_challenge(error.into_response()),
    };
    let form = match Form::read(&body) {
        Ok(form) => form,
        Err(error) => return error.into_response(),
    };
    drop(body);
    match INTROSPECT.authenticate(&state, form.presented(&state, organization)).await {
        Ok(verified) => json(StatusCode::OK, &described(&verified)),
        // An unknown result must not be mistaken for an invalid credential.
        Err(reason) if reason.class() == Class::Unavailable => {
            ApiError::from(reason).into_response()
        }
        Err(_) => json(StatusCode::OK, &InactiveToken { active: false }),
    }
}

/// The organization of the caller, by its API key: the bearer token, or the password of its clientId
/// in HTTP Basic authentication.
async fn caller(state: &ValidatorState, headers: HeaderMap) -> Result<OrganizationId, ApiError> {
    let credentials = credentials(&headers);
    drop(headers);
    let (presented, user) = match &credentials {
        Ok((credential, user)) => {
            (Ok(Presented { credential, client: None, organization: None }), user.as_deref())
        }
        Err(reason) => (Err(*reason), None),
    };
    let verified = INTROSPECT_CALLER.authenticate(state, presented).await?;
    let Principal::ApiKey(key) = verified.principal() else {
        return Err(Reason::CredentialKindRefused.into());
    };
    if user.is_some_and(|user| SdkClientId::parse(user) != Some(key.client)) {
        let message = "the user of HTTP Basic authentication must be the clientId of the API key";
        return Err(ApiError::unauthorized(message));
    }
    Ok(key.organization)
}

/// The API key in the header, and the user of Basic.
fn credentials(headers: &HeaderMap) -> Result<(Zeroizing<String>, Option<String>), Reason> {
    match authorization(headers)? {
        Authorization::Bearer(key) => Ok((Zeroizing::new(key.to_owned()), None)),
        Authorization::Absent => Err(Reason::CredentialMissing),
        Authorization::Other => {
            let (user, key) = basic(headers).ok_or(Reason::AuthorizationMalformed)?;
            Ok((key, Some(user)))
        }
    }
}

/// User and password of HTTP Basic authentication (RFC 7617), each encoded like a form (RFC 6749
/// section 2.3.1).
fn basic(headers: &HeaderMap) -> Option<(String, Zeroizing<String>)> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = text.trim_matches(' ').split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim_matches(' ')).ok()?);
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((form_decoded(user).to_string(), form_decoded(password)))
}

fn form_decoded(text: &str) -> Zeroizing<String> {
    // Without `&` and `=`, a form has one name and no value.
    let text = Zeroizing::new(text.replace('&', "%26").replace('=', "%3D"));
    let name = url::form_urlencoded::parse(text.as_bytes()).next();
    Zeroizing::new(name.map(|(name, _)| name.into_owned()).unwrap_or_default())
}

/// What the form contains.
#[derive(Default)]
struct Form {
    token: Option<Zeroizing<String>>,
    client_id: Option<String>,
}

impl Form {
    /// Reads a body. Unknown parameters are ignored (RFC 6749 section 3.2), and so are empty ones.
    fn read(body: &[u8]) -> Result<Self, ApiError> {
        let mut form = Self::default();
        let repeated = |name: &'static str| {
            ApiError::malformed("a parameter of the form occurs twice").of_field(name)
        };
        for (name, value) in url::form_urlencoded::parse(body) {
            let value = Zeroizing::new(value.into_owned());
            match name.as_ref() {
                _ if value.is_empty() => {}
                "token" if form.token.replace(value.clone()).is_some() => {
                    return Err(repeated("token"));
                }
                "client_id" if form.client_id.replace(value.to_string()).is_some() => {
                    return Err(repeated("client_id"));
                }
                _ => {}
            }
        }
        if form.token.is_none() {
            let message =
                "`token` is required, in a body of type application/x-www-form-urlencoded";
            return Err(ApiError::missing_field("token", message));
        }
        Ok(form)
    }

    /// What is authenticated for a caller of this organization.
    fn presented(
        &self,
        state: &ValidatorState,
        organization: OrganizationId,
    ) -> Result<Presented<'_>, Reason> {
        let credential = self.token.as_ref().ok_or(Reason::CredentialMissing)?;
        if credential.len() > MAX_TOKEN_BYTES {
            return Err(Reason::CredentialTooLarge);
        }
        let client = looks_like_jwt(credential)
            .then(|| {
                own_client::find(state, organization, self.client_id.as_deref(), Some(credential))
            })
            .transpose()?;
        Ok(Presented {
            credential,
            client: client.map(|client| Ok(client.id)),
            organization: Some(Ok(organization)),
        })
    }
}

/// What is known about a valid credential.
fn described(verified: &Verified) -> ActiveToken {
    let common = ActiveToken { active: true, token_type: "Bearer", ..ActiveToken::default() };
    match verified.principal() {
        Principal::AppUser(user) => {
            let claims = claims(user);
            ActiveToken {
                sub: user.app_user_id.clone(),
                iss: text(&claims, "iss"),
                aud: claims.get("aud").filter(|aud| is_audience(aud)).cloned(),
                exp: Some(user.expires_at.as_second()),
                iat: user.issued_at.map(Timestamp::as_second),
                nbf: seconds(&claims, "nbf"),
                jti: text(&claims, "jti"),
                client_id: text(&claims, "sdkClientId"),
                principal: "appUser",
                user_pool_id: Some(user.pool.to_string()),
                ..common
            }
        }
        Principal::ApiKey(key) => ActiveToken {
            sub: key.client.to_string(),
            exp: key.expires_at.map(Timestamp::as_second),
            iat: key.created_at.map(Timestamp::as_second),
            client_id: Some(key.client.to_string()),
            principal: "apiKey",
            role: Some(key.role.as_str()),
            ..common
        },
        Principal::Member(session) => ActiveToken {
            sub: session.member.to_string(),
            exp: Some(session.expires_at.as_second()),
            iat: Some(session.created_at.as_second()),
            principal: "member",
            role: Some(session.role.as_str()),
            ..common
        },
    }
}

fn text(claims: &Map<String, Value>, name: &str) -> Option<String> {
    claims.get(name)?.as_str().map(str::to_owned)
}

/// A NumericDate, without its fraction.
fn seconds(claims: &Map<String, Value>, name: &str) -> Option<i64> {
    let value = claims.get(name)?;
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and verification has read it")]
    let whole = |seconds: f64| seconds.floor() as i64;
    value.as_i64().or_else(|| value.as_f64().map(whole))
}

/// One string, or several (RFC 7519 section 4.1.3).
fn is_audience(value: &Value) -> bool {
    let all_text = |items: &Vec<Value>| items.iter().all(Value::is_string);
    value.is_string() || value.as_array().is_some_and(all_text)
}

fn with_basic_challenge(mut response: Response) -> Response {
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().append(header::WWW_AUTHENTICATE, BASIC_CHALLENGE);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            basic(&headers).map(|(user, key)| (user, key.to_string()))
        };
        let encoded = |text: &str| format!("basic  {} ", STANDARD.encode(text));
        let pair = |user: &str, key: &str| Some((user.to_owned(), key.to_owned()));
        assert_eq!(read(&encoded("id:key")), pair("id", "key"));
        assert_eq!(read(&encoded("a%3Ab+c:k:e=y&")), pair("a:b c", "k:e=y&"));
        assert_eq!(read(&encoded(":")), pair("", ""));
        for bad in [&encoded("no colon"), "Basic %%%", "Basic", "Bearer aTpr", "Basic /w=="] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
