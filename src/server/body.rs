//! Reads request bodies and queries into types, whose schemas the OpenAPI document has.
//!
//! A body is read twice. First it is skipped, within the limits of [`json`]: no repeated members,
//! not too many members and levels. Whatever a type declares can then be deserialized. A body takes
//! memory only while it is read: it is dropped once it is parsed.

mod strict;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderValue;
use axum::http::request::Parts;
use parking_lot::RwLock;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::{DeserializeOwned, MapAccess};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

pub use strict::{Object, Word};

use super::ApiError;
use crate::domain::ids::OrganizationId;
use crate::domain::json::{self, Names, Shape, Within};

/// A body that has been read.
pub struct JsonBody<T>(pub T);

/// A query that has been read. All members of `T` are optional strings; unknown parameters are
/// ignored.
pub struct Query<T>(pub T);

/// In the extensions of a request: the organization that an `organizationId` in its body must be.
#[derive(Clone, Copy, Debug)]
pub struct OwnOrganization(pub OrganizationId);

/// In the extensions of a request: the header that names the members of its body that had no
/// effect, if there are any.
pub type Ignored = Arc<OnceLock<HeaderValue>>;

/// How many ignored members are named in a response.
const MAX_IGNORED: usize = 32;

/// Members that clients of the platform send, and that have no effect: a matching organization, a
/// setting that this API does not have, and the kind of client that is the default.
const UNUSED: [(&str, Option<&str>); 3] =
    [("organizationId", None), ("oauthDisabled", None), ("kind", Some("application"))];

impl<T: DeserializeOwned + JsonSchema, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let extensions = request.extensions();
        let own = extensions.get::<OwnOrganization>().map(|own| own.0);
        let ignored = extensions.get::<Ignored>().cloned().unwrap_or_default();
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|_| ApiError::malformed("the body could not be read"))?;
        if body.is_empty() {
            return Err(ApiError::missing_body());
        }
        read(&body, own, &ignored).map(Self)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut members = Map::new();
        for (name, value) in
            url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        {
            if members.insert(name.into_owned(), Value::String(value.into_owned())).is_some() {
                return Err(ApiError::malformed("a query parameter occurs twice"));
            }
        }
        let query = serde_json::from_value(Value::Object(members));
        query.map(Self).map_err(|_| ApiError::malformed("the query is malformed"))
    }
}

/// Reads a body. `own` is the organization of the caller: older clients send it along.
///
/// # Errors
/// The body is not an object, exceeds a limit, does not fit the type, or belongs to another
/// organization.
pub fn read<T: DeserializeOwned + JsonSchema>(
    body: &[u8],
    own: Option<OrganizationId>,
    ignored: &Ignored,
) -> Result<T, ApiError> {
    let members = json::read::<Members>(body).map_err(|error| {
        // A message about syntax or a limit contains a position, but no input.
        ApiError::malformed(format!("the body is not a JSON object: {error}"))
    })?;
    let members = members.0.ok_or_else(|| ApiError::malformed("the body is not a JSON object"))?;
    let mut names = Vec::new();
    for (name, value) in &members {
        let text = if let Member::Text(text) = value { Some(text.as_str()) } else { None };
        if let (Some(own), "organizationId", Some(id)) = (own, name.as_str(), text)
            && OrganizationId::parse(id) != Some(own)
        {
            let message = "`organizationId` is not the organization of the caller; leave it out";
            return Err(ApiError::forbidden(message));
        }
        let is_unused =
            |it: &(&str, Option<&str>)| it.0 == name && (it.1.is_none() || it.1 == text);
        let is_unused = own.is_some() && UNUSED.iter().any(is_unused);
        if (is_unused || matches!(value, Member::Null)) && may_be_repeated(name) {
            names.push(name.as_str());
        }
    }
    names.truncate(MAX_IGNORED);
    if !names.is_empty()
        && let Ok(names) = HeaderValue::from_str(&names.join(", "))
    {
        ignored.get_or_init(|| names);
    }
    let deserializer = &mut serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(deserializer).map_err(|error| unfit(&schema::<T>(), &error))
}

/// The schema of a type, which is generated once.
fn schema<T: JsonSchema>() -> Arc<Value> {
    static SCHEMAS: RwLock<BTreeMap<Cow<'static, str>, Arc<Value>>> = RwLock::new(BTreeMap::new());
    let name = T::schema_name();
    if let Some(schema) = SCHEMAS.read().get(&name) {
        return Arc::clone(schema);
    }
    let settings = SchemaSettings::draft2020_12().with(|it| it.inline_subschemas = true);
    let schema = Arc::new(Value::from(settings.into_generator().into_root_schema_for::<T>()));
    SCHEMAS.write().insert(name, Arc::clone(&schema));
    schema
}

/// The schema of a field.
fn property<'s>(schema: &'s Value, path: &[&str]) -> Option<&'s Value> {
    let mut found = Some(schema);
    for name in path {
        found = found.and_then(|schema| schema.get("properties")?.get(name));
    }
    found
}

/// Whether a name may be in a response. A credential, put where a name belongs, is longer.
fn may_be_repeated(name: &str) -> bool {
    name.len() <= 24
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// The error for a member that its type does not have. Without it, a misspelled field would be
/// ignored and its default used, such as a lifetime of six months. `expected` is serde's list of the
/// known members.
fn unknown(path: &[&str], expected: &str) -> ApiError {
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let listed: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
    let listed = listed.join(", ");
    let name = path.last().copied().unwrap_or_default();
    if !may_be_repeated(name) {
        let message = format!("a field of the body is unknown; known fields: {listed}");
        return ApiError::unknown_field(message);
    }
    let likeness =
        |known: &&&str| strsim::jaro_winkler(&name.to_lowercase(), &known.to_lowercase());
    let nearest = known.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    let hint = nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
    let path = path.join(".");
    ApiError::unknown_field(format!("`{path}` is unknown{hint} Known fields: {listed}"))
        .of_field(name.to_owned())
}

/// The error for a body that does not fit its type. serde's text may contain input before its last
/// `, expected`, so only what follows is repeated. The description of the field says what to send.
fn unfit(schema: &Value, error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    let text = error.inner().to_string();
    let mut path: Vec<&str> = Vec::new();
    for segment in error.path() {
        if let Segment::Map { key } = segment {
            path.push(key);
        }
    }
    if text.starts_with("unknown field `") {
        let expected = text.rsplit_once(", expected ").map_or("", |(_, expected)| expected);
        return unknown(&path, expected);
    }
    let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
    path.extend(missing.map(|(name, _)| name));
    let is_missing = missing.is_some() || text.starts_with("invalid type: null");
    let (name, field) = (path.join("."), path.last().copied().unwrap_or_default().to_owned());
    let property = property(schema, &path);
    let description = property.and_then(|schema| schema.get("description")?.as_str());
    let description = description.map(|text| format!(". {text}")).unwrap_or_default();
    if is_missing {
        return ApiError::missing_field(field, format!("`{name}` is required{description}"));
    }
    // The error of a time quotes its text.
    let is_time = property.is_some_and(|schema| schema.get("format") == Some(&"date-time".into()));
    let expected = match text.rsplit_once(", expected ") {
        _ if is_time => "an RFC 3339 time, such as `2030-01-31T12:00:00Z`",
        Some((_, expected)) => expected,
        None => "of another type",
    };
    let expected = match expected.split(" at line ").next().unwrap_or_default() {
        "a boolean" => "true or false",
        "u32" => "an integer from 0 to 4294967295",
        "a sequence" => "a list",
        expected if expected.starts_with("struct ") => "an object",
        expected => expected,
    };
    ApiError::invalid_field(field, format!("`{name}` must be {expected}{description}"))
}

/// The members of an object that may have no effect, in order; `None` for any other value.
struct Members(Option<Vec<(String, Member)>>);

enum Member {
    Null,
    Text(String),
    Other,
}

impl Shape<'_> for Member {
    fn other() -> Self {
        Self::Other
    }

    fn null() -> Self {
        Self::Null
    }

    fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Whether a value is null.
struct IsNull(bool);

impl Shape<'_> for IsNull {
    fn other() -> Self {
        Self(false)
    }

    fn null() -> Self {
        Self(true)
    }
}

impl<'de> Shape<'de> for Members {
    fn other() -> Self {
        Self(None)
    }

    fn object<A: MapAccess<'de>>(mut object: A, depth: usize) -> Result<Self, A::Error> {
        let (mut names, mut members) = (Names::default(), Vec::new());
        while let Some(name) = object.next_key::<String>()? {
            names.add(&name)?;
            // Only these may have to be compared. The text of others is not copied: it may be a
            // password or a token.
            let value = if UNUSED.iter().any(|it| it.0 == name) {
                object.next_value_seed(Within::new(depth))?
            } else if object.next_value_seed(Within::<IsNull>::new(depth))?.0 {
                Member::Null
            } else {
                continue;
            };
            members.push((name, value));
        }
        Ok(Self(Some(members)))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::response::IntoResponse as _;

    use super::*;
    use crate::server::endpoints::validate::ValidateRequest;
    use crate::server::org::app_user_id_token::AppUserIdTokenRequest;
    use crate::server::org::members::MemberCreate;
    use crate::server::org::revocations::RevocationCreate;
    use crate::server::org::sdk_clients::SdkClientCreate;

    /// The error of a body, and the header that names what had no effect.
    async fn error<T: DeserializeOwned + JsonSchema>(body: &str) -> (Value, String) {
        let ignored = Ignored::default();
        let own = OrganizationId::derive("acme");
        let error = match read::<T>(body.as_bytes(), Some(own), &ignored) {
            Ok(_) => Value::Null,
            Err(error) => {
                let body = to_bytes(error.into_response().into_body(), usize::MAX).await;
                serde_json::from_slice(&body.unwrap()).unwrap()
            }
        };
        let header = ignored.get().map(|names| names.to_str().unwrap().to_owned());
        (error, header.unwrap_or_default())
    }

    const MEMBER: &str = r#""name": "Ada", "email": "ada@acme.example""#;

    #[tokio::test]
    async fn names_the_field_and_what_to_send() {
        for (body, name, field, text) in [
            ("{}", "MissingFieldError", "name", "`name` is required. Display name: 1 to 128"),
            (r#"{"name": null}"#, "MissingFieldError", "name", "`name` is required"),
            (r#"{"name": ["secret"]}"#, "InvalidFieldError", "name", "`name` must be a string. "),
            (
                &format!(r#"{{{MEMBER}, "password": "correct horse", "role": "secret"}}"#),
                "InvalidFieldError",
                "role",
                "`role` must be one of `ReadOnly`, `Member`, `Admin`. Permissions of the member",
            ),
        ] {
            let (error, _) = error::<MemberCreate>(body).await;
            assert_eq!((&error["name"], &error["field"]), (&name.into(), &field.into()), "{error}");
            let message = error["message"].as_str().unwrap();
            assert!(message.starts_with(text) && !message.contains("secret"), "{message}");
        }
        let (error, _) = error::<SdkClientCreate>(
            r#"{"name": "Web", "kind": {"application": {"oauthConfig": {"redirectUrls": [7]}}}}"#,
        )
        .await;
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("`kind.application.oauthConfig.redirectUrls`"), "{message}");
        assert_eq!(error["field"], "redirectUrls");
    }

    #[tokio::test]
    async fn accepts_no_list_for_an_object_and_no_object_for_a_word() {
        for (body, text) in [
            (r#"{"name": "a", "kind": {"application": [null, null]}}"#, "an object"),
            (r#"{"name": "a", "kind": {"application": {"oauthConfig": []}}}"#, "an object"),
            (r#"{"name": "a", "authorization": ["https://a.example/jwks", null]}"#, "an object"),
        ] {
            let (error, _) = error::<SdkClientCreate>(body).await;
            let message = error["message"].as_str().unwrap_or_default();
            assert!(message.contains(text), "{body}: {error}");
        }
        let body =
            format!(r#"{{{MEMBER}, "password": "correct horse", "role": {{"Admin": null}}}}"#);
        let (error, _) = error::<MemberCreate>(&body).await;
        assert_eq!(
            (&error["name"], &error["field"]),
            (&"InvalidFieldError".into(), &"role".into())
        );
    }

    #[tokio::test]
    async fn rejects_repeated_members_at_every_level() {
        for body in [
            r#"{"name": "a", "name": "b"}"#,
            r#"{"name": "a", "kind": {"application": {}, "application": {}}}"#,
            r#"{"name": "a", "authorization": {"jwksUri": "a", "jwksUri": "b"}}"#,
        ] {
            let (error, _) = error::<SdkClientCreate>(body).await;
            assert_eq!(error["name"], "MalformedRequestError", "{body}");
        }
    }

    #[tokio::test]
    async fn names_members_without_effect() {
        let own = OrganizationId::derive("acme");
        let body = format!(
            r#"{{"name": "Web", "organizationId": "{own}", "oauthDisabled": true, "description": null, "kind": "application"}}"#
        );
        let (rejected, ignored) = error::<SdkClientCreate>(&body).await;
        assert_eq!(rejected, Value::Null);
        assert_eq!(ignored, "organizationId, oauthDisabled, description, kind");
        let used = error::<SdkClientCreate>(r#"{"name": "a", "kind": "service"}"#);
        assert_eq!(used.await.1, "");
    }

    #[tokio::test]
    async fn rejects_unknown_members_and_names_the_nearest_one() {
        let (tokn, _) = error::<ValidateRequest>(r#"{"tokn": "x"}"#).await;
        let message = "`tokn` is unknown; did you mean `token`? Known fields: `token`, `sdkClientId`, `organizationId`";
        assert_eq!((&tokn["name"], &tokn["field"]), (&"UnknownFieldError".into(), &"tokn".into()));
        assert_eq!(tokn["message"], message);
        for (body, field, nearest) in [
            (
                r#"{"name": "a", "authorisation": {"jwksUri": "x"}}"#,
                "authorisation",
                "authorization",
            ),
            (r#"{"name": "a", "authorisation": null}"#, "authorisation", "authorization"),
            (
                r#"{"name": "a", "authorization": {"jwksUrl": "x"}}"#,
                "authorization.jwksUrl",
                "jwksUri",
            ),
            (
                r#"{"name": "a", "kind": {"application": {"oauthConfig": {"redirect_urls": []}}}}"#,
                "kind.application.oauthConfig.redirect_urls",
                "redirectUrls",
            ),
        ] {
            let (error, _) = error::<SdkClientCreate>(body).await;
            let message = error["message"].as_str().unwrap_or_default();
            let start = format!("`{field}` is unknown; did you mean `{nearest}`?");
            assert!(message.starts_with(&start), "{error}");
            assert_eq!(error["field"], field.rsplit('.').next().unwrap());
        }
        let (expires, _) = error::<AppUserIdTokenRequest>(r#"{"expiresIn": 60}"#).await;
        assert!(expires["message"].as_str().unwrap().contains("did you mean `exp`?"), "{expires}");
        let body = r#"{"userPoolId": "x", "tokensIssuedBefore": "yesterday"}"#;
        let (time, _) = error::<RevocationCreate>(body).await;
        let message = time["message"].as_str().unwrap();
        assert!(
            message.starts_with("`tokensIssuedBefore` must be an RFC 3339 time, "),
            "{message}"
        );
        let (secret, _) = error::<ValidateRequest>(r#"{"ory_apikey_which-is-no-name": 1}"#).await;
        assert!(!secret.to_string().contains("ory_apikey"), "{secret}");
    }
}
