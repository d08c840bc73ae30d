//! `/org/sdkClient`, `/org/sdkClients` and `/org/sdkClient/auth`.

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

use super::caller::{Caller, Who, authorize};
use super::gitops::Force;
use super::resources::{self, find, namespaced_api};
use super::{accepted, audit, reply, user_pools};
use crate::crd;
use crate::domain::credential::ApiKey;
use crate::domain::ids::{SdkClientId, UserPoolId};
use crate::domain::operation::Operation;
use crate::domain::role::Role;
use crate::server::request::Fields;
use crate::server::{ApiError, ApiState};

/// How long a key remains valid after `rotate` has replaced it.
const OVERLAP: SignedDuration = SignedDuration::from_hours(1);

/// Creates a client. The API key of a service is in the response and nowhere else.
pub async fn create(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let operation = Operation::CreateSdkClient;
    let caller = authorize(&state, &headers, operation).await?;
    let fields = caller.fields(body)?;
    let name = fields.name()?;
    let mut spec = crd::SdkClientSpec {
        display_name: Some(name.clone()),
        description: fields.description()?,
        ..crd::SdkClientSpec::default()
    };
    let pool = match kind(&fields)? {
        Kind::Service if fields.value("authorization").is_some() => {
            return Err(ApiError::invalid_field(
                "authorization",
                "`authorization` is valid for applications only: a service has no users",
            ));
        }
        Kind::Service => {
            spec.service = Some(service(&caller));
            None
        }
        Kind::Application(application) => {
            let webapp = webapp(&application)?;
            Some((webapp, chosen_pool(&state, &caller, &fields, &application)?))
        }
    };
    drop(fields);
    if let Some((webapp, pool)) = pool {
        // A new pool is created only after all fields have been read.
        let pool = match pool {
            Pool::Named(name) => name,
            Pool::New(pool) => user_pools::make(&state, &caller, *pool).await?.name_any(),
        };
        spec.webapp = Some(webapp(pool));
    }
    // Without the key: a repeated request gets another one.
    let content = serde_json::to_value(&spec).unwrap_or_default();
    let key = spec.service.is_some().then(ApiKey::generate).transpose();
    let key = key.map_err(|_| ApiError::internal())?;
    if let (Some(key), Some(service)) = (&key, &mut spec.service) {
        service.api_key.hashes = Some(vec![hash_of(key, state.clock.now())]);
    }
    let make = |name: &str| crd::SdkClient::new(name, spec.clone());
    let mut client = resources::create(&state, &caller, &name, &content, make).await?;
    if client.spec != spec
        && let Some(key) = &key
    {
        // A repeated request: the response with the first key may have been lost.
        let hashes = json!([hash_of(key, state.clock.now())]);
        let change = json!({"service": {"apiKey": {"hashes": hashes}}});
        client =
            resources::patch(&state, &namespaced_api(&state, &caller), &client, change).await?;
    }
    if let Some(key) = &key {
        accepted(&state, key).await;
    }
    audit::object(&id_of(&caller, &client));
    Ok(reply(&show(&caller, &client, key.as_ref())))
}

/// The type of the requested client.
enum Kind {
    Service,
    Application(Fields),
}

fn kind(fields: &Fields) -> Result<Kind, ApiError> {
    let bad =
        || ApiError::invalid_field("kind", "`kind` must be \"service\" or {\"application\": {…}}");
    match fields.value("kind") {
        None => Ok(Kind::Application(Fields::default())),
        Some(Value::String(kind)) if kind == "service" => Ok(Kind::Service),
        Some(Value::String(kind)) if kind == "application" => {
            Ok(Kind::Application(Fields::default()))
        }
        Some(Value::Object(kind)) => match kind.get("application") {
            Some(Value::Object(application)) => {
                Ok(Kind::Application(Fields::from(application.clone())))
            }
            _ => Err(bad()),
        },
        Some(_) => Err(bad()),
    }
}

/// A caller cannot grant a higher role than its own, and API keys of role Admin can be created only
/// with kubectl.
fn service(caller: &Caller) -> crd::Service {
    let api_key = crd::ApiKeySource { delivery: None, hashes: None };
    crd::Service { role: caller.role.min(Role::Member), api_key }
}

/// The pool of an application's users.
enum Pool {
    /// An existing one, by its name.
    Named(String),
    /// One that has to be created.
    New(Box<crd::UserPoolSpec>),
}

/// The pool of an application's users: the specified one, a new one for the specified key set, or
/// the organization's default.
fn chosen_pool(
    state: &ApiState,
    caller: &Caller,
    fields: &Fields,
    application: &Fields,
) -> Result<Pool, ApiError> {
    let new = fields.value("authorization").is_some();
    let Some(id) = application.string("userPoolId")? else {
        return if new {
            user_pools::spec(fields).map(|pool| Pool::New(Box::new(pool)))
        } else {
            default_pool(state, caller).map(Pool::Named)
        };
    };
    if new {
        return Err(ApiError::invalid_field(
            "authorization",
            "`authorization` creates a new pool; leave it or `kind.application.userPoolId` out",
        ));
    }
    let pool = UserPoolId::parse(id).and_then(|id| state.reader.pool(id));
    let pool = pool.filter(|pool| pool.organization == caller.organization);
    pool.map(|pool| Pool::Named(pool.name.name.clone())).ok_or_else(|| {
        ApiError::invalid_field("userPoolId", "`userPoolId` is not a pool of the organization")
    })
}

/// The spec of the requested application, which still lacks its pool.
fn webapp(application: &Fields) -> Result<impl FnOnce(String) -> crd::Webapp + use<>, ApiError> {
    let oauth = application.object("oauthConfig")?.unwrap_or_default();
    let redirect_urls = oauth.strings("redirectUrls")?;
    let logo_url = oauth.text("logoUrl")?;
    let chrome_extension_id = oauth.text("chromeExtensionId")?;
    Ok(|pool| crd::Webapp {
        user_pool_ref: crd::LocalRef { name: pool },
        allowed_origins: None,
        redirect_urls,
        logo_url,
        chrome_extension_id,
        strict_client: None,
    })
}

fn default_pool(state: &ApiState, caller: &Caller) -> Result<String, ApiError> {
    let organization = state.reader.organization(caller.organization);
    if let Some(name) = organization.and_then(|it| it.default_user_pool.clone()) {
        return Ok(name);
    }
    match state.reader.pools_of(caller.organization).as_slice() {
        [pool] => Ok(pool.name.name.clone()),
        _ => Err(ApiError::missing_field(
            "userPoolId",
            "`kind.application.userPoolId` is required: the organization has neither a default pool nor exactly one pool",
        )),
    }
}

fn hash_of(key: &ApiKey, now: Timestamp) -> crd::ApiKeyHash {
    let hash = key.hash();
    crd::ApiKeyHash {
        id: hash.id(),
        sha256: hash.to_string(),
        created_at: Some(Time(now)),
        expires_at: None,
    }
}

/// Returns a client.
pub async fn get(
    State(state): State<ApiState>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let caller = authorize(&state, &headers, Operation::GetSdkClient).await?;
    let client: crd::SdkClient = find(&state, &caller, path).await?;
    Ok(reply(&show(&caller, &client, None)))
}

/// Returns all clients.
pub async fn list(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, ApiError> {
    let caller = authorize(&state, &headers, Operation::ListSdkClients).await?;
    let clients: Vec<crd::SdkClient> = resources::list(&state, &caller).await?;
    let items: Vec<_> = clients.iter().map(|client| item(&caller, client)).collect();
    Ok(reply(&json!({"resource": "SdkClient", "items": items})))
}

/// Returns the id of the calling client or member.
pub async fn auth(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, ApiError> {
    let caller = authorize(&state, &headers, Operation::GetSdkClientAuth).await?;
    let id = match &caller.who {
        Who::Service(id) => id.to_string(),
        Who::Member { id, .. } => id.to_string(),
    };
    Ok(reply(&json!({"authenticatorId": id})))
}

/// Changes name, description and the settings of Link.
pub async fn patch(
    State(state): State<ApiState>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let operation = Operation::PatchSdkClient;
    let caller = authorize(&state, &headers, operation).await?;
    let fields = caller.fields(body)?;
    let mut spec = Map::new();
    fields.patch_texts(&mut spec)?;
    if let Some(oauth) = fields.object("oauthConfig")? {
        let mut webapp = Map::new();
        for field in ["logoUrl", "chromeExtensionId"] {
            oauth.patch_text(field, &mut webapp)?;
        }
        if let Some(urls) = oauth.strings("redirectUrls")? {
            webapp.insert("redirectUrls".to_owned(), json!(urls));
        }
        spec.insert("webapp".to_owned(), Value::Object(webapp));
    }
    drop(fields);
    let client: crd::SdkClient = find(&state, &caller, path).await?;
    if spec.contains_key("webapp") && client.spec.webapp.is_none() {
        return Err(ApiError::unprocessable("a service client has no `oauthConfig`"));
    }
    let client =
        resources::patch(&state, &namespaced_api(&state, &caller), &client, spec.into()).await?;
    audit::object(&id_of(&caller, &client));
    Ok(reply(&show(&caller, &client, None)))
}

/// Deletes a client. Its credentials become invalid immediately.
pub async fn delete(
    State(state): State<ApiState>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let operation = Operation::DeleteSdkClient;
    let caller = authorize(&state, &headers, operation).await?;
    let force = Force::read(&caller, query.as_deref())?;
    let client: crd::SdkClient = find(&state, &caller, path).await?;
    resources::delete(&state, &namespaced_api(&state, &caller), &client, force).await?;
    audit::object(&id_of(&caller, &client));
    Ok(reply(&true))
}

/// Creates a new API key. The previous ones stay valid for another hour at most.
pub async fn rotate(
    State(state): State<ApiState>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let operation = Operation::RotateSdkClient;
    let caller = authorize(&state, &headers, operation).await?;
    let client: crd::SdkClient = find(&state, &caller, path).await?;
    let service = client.spec.service.as_ref();
    let service =
        service.ok_or_else(|| ApiError::unprocessable("a webapp client has no API key"))?;
    if service.role > caller.role {
        // With the key the caller would gain that role.
        return Err(ApiError::forbidden("the client has a higher role than the caller"));
    }
    let Some(hashes) = &service.api_key.hashes else {
        return Err(ApiError::unprocessable(
            "the API key of this client is delivered into a Secret: to rotate it, annotate the SdkClient with `anon.dev/rotate: <any new value>`",
        ));
    };
    let now = state.clock.now();
    let end = now.checked_add(OVERLAP).unwrap_or(Timestamp::MAX);
    let key = ApiKey::generate().map_err(|_| ApiError::internal())?;
    let mut hashes = hashes.clone();
    hashes.retain(|hash| hash.expires_at.as_ref().is_none_or(|Time(at)| *at > now));
    for hash in &mut hashes {
        let sooner = hash.expires_at.as_ref().map_or(end, |Time(at)| end.min(*at));
        hash.expires_at = Some(Time(sooner));
    }
    hashes.push(hash_of(&key, now));
    if hashes.len() > crd::MAX_HASHES {
        return Err(ApiError::unprocessable(
            "the maximum number of previous API keys is still valid; try again in an hour",
        ));
    }
    let change = json!({"service": {"apiKey": {"hashes": hashes}}});
    let client =
        resources::patch(&state, &namespaced_api(&state, &caller), &client, change).await?;
    accepted(&state, &key).await;
    audit::object(&id_of(&caller, &client));
    Ok(reply(&show(&caller, &client, Some(&key))))
}

/// The client id: the one in the spec, or else the one derived from the name.
fn id_of(caller: &Caller, client: &crd::SdkClient) -> String {
    let derived = || SdkClientId::derive(&caller.namespace, &client.name_any()).to_string();
    client.spec.client_id.clone().unwrap_or_else(derived)
}

fn pool_of(caller: &Caller, webapp: &crd::Webapp) -> String {
    UserPoolId::derive(&caller.namespace, &webapp.user_pool_ref.name).to_string()
}

fn name_of(client: &crd::SdkClient) -> String {
    client.spec.display_name.clone().unwrap_or_else(|| client.name_any())
}

/// The settings of Link, as far as they are set.
fn oauth(webapp: &crd::Webapp) -> Map<String, Value> {
    let mut config = Map::new();
    config.extend(webapp.logo_url.iter().map(|it| ("logoUrl".to_owned(), json!(it))));
    let extension = webapp.chrome_extension_id.iter();
    config.extend(extension.map(|it| ("chromeExtensionId".to_owned(), json!(it))));
    config.extend(webapp.redirect_urls.iter().map(|it| ("redirectUrls".to_owned(), json!(it))));
    config
}

fn show(caller: &Caller, client: &crd::SdkClient, key: Option<&ApiKey>) -> Value {
    let mut auth = Map::new();
    if let Some(webapp) = &client.spec.webapp {
        auth.insert("type".to_owned(), json!("userPool"));
        auth.insert("userPoolId".to_owned(), json!(pool_of(caller, webapp)));
        // All of them or none: existing clients expect each of them to be present.
        if !oauth(webapp).is_empty() {
            let whole = json!({
                "logoUrl": webapp.logo_url.as_deref().unwrap_or_default(),
                "chromeExtensionId": webapp.chrome_extension_id.as_deref().unwrap_or_default(),
                "redirectUrls": webapp.redirect_urls.as_deref().unwrap_or_default(),
            });
            auth.insert("oauthConfig".to_owned(), whole);
        }
    } else {
        auth.insert("type".to_owned(), json!("apiKey"));
        auth.extend(key.map(|key| ("secret".to_owned(), json!(key.expose()))));
    }
    json!({
        "id": id_of(caller, client),
        "name": name_of(client),
        "description": client.spec.description.clone().unwrap_or_default(),
        "organizationId": caller.organization,
        "auth": auth,
    })
}

fn item(caller: &Caller, client: &crd::SdkClient) -> Value {
    let mut item = client.spec.webapp.as_ref().map(oauth).unwrap_or_default();
    item.insert("id".to_owned(), json!(id_of(caller, client)));
    item.insert("name".to_owned(), json!(name_of(client)));
    item.insert(
        "description".to_owned(),
        json!(client.spec.description.clone().unwrap_or_default()),
    );
    item.insert("createdAt".to_owned(), json!(client.metadata.creation_timestamp));
    if let Some(webapp) = &client.spec.webapp {
        item.insert("appUserPoolId".to_owned(), json!(pool_of(caller, webapp)));
    }
    Value::Object(item)
}
