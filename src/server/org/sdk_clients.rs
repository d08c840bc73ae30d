//! `/org/sdkClient`, `/org/sdkClients` and `/org/sdkClient/auth`.

use axum::extract::State;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::caller::Caller;
use super::client_id::{id_of, name_of};
use super::client_kind::{Application, Kind};
use super::fields::{Authorization, Description, Name, OauthConfig, SpecPatch, filled};
use super::gitops::Force;
use super::list::{List, Range};
use super::resources::{self, ById, namespaced_api};
use super::route::{Reply, changed, reply};
use super::{audit, propagation, user_pools};
use crate::clock::to_show;
use crate::crd;
use crate::domain::credential::ApiKey;
use crate::domain::ids::{OrganizationId, UserPoolId};
use crate::domain::pool;
use crate::domain::role::Role;
use crate::domain::rotation::DEFAULT_OVERLAP;
use crate::domain::rotation::listed_keys::{self, MAX_LISTED, NoRoom};
use crate::domain::stored_key::StoredApiKey;
use crate::names;
use crate::server::body::{JsonBody, Object};
use crate::server::{ApiError, ApiState};

/// An application of the organization.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SdkClient {
    id: String,
    name: String,
    description: String,
    organization_id: OrganizationId,
    /// While true, the credentials of the client are rejected.
    suspended: bool,
    auth: Auth,
}

/// How the users of a frontend, or a backend, authenticate.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Auth {
    /// A frontend: its users have tokens of this pool.
    UserPool {
        user_pool_id: UserPoolId,
        #[serde(skip_serializing_if = "Option::is_none")]
        oauth_config: Option<LinkSettings>,
    },
    /// A backend: it has an API key.
    ApiKey {
        /// The API key, in the response that creates it only.
        #[serde(skip_serializing_if = "Option::is_none")]
        secret: Option<String>,
    },
}

/// Settings of Link for a client. All of them or none: existing clients expect each of them to be
/// present.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct LinkSettings {
    logo_url: String,
    chrome_extension_id: String,
    redirect_urls: Vec<String>,
    allowed_origins: Vec<String>,
}

/// A client in a list.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SdkClientItem {
    id: String,
    name: String,
    description: String,
    #[schemars(with = "String", extend("format" = "date-time"))]
    created_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_user_pool_id: Option<UserPoolId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logo_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chrome_extension_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_urls: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_origins: Option<Vec<String>>,
    suspended: bool,
}

/// The authenticated caller.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SdkClientAuth {
    /// The id of the calling client or member.
    authenticator_id: String,
}

/// A new client.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SdkClientCreate {
    name: Name,
    description: Option<Description>,
    kind: Option<Kind>,
    /// Creates a new pool for this application, with the key set of your own identity provider.
    authorization: Option<Object<Authorization>>,
    /// Has no effect.
    #[serde(rename = "oauthDisabled")]
    #[schemars(with = "Option<Value>")]
    _oauth_disabled: Option<IgnoredAny>,
    /// The caller's own organization.
    #[serde(rename = "organizationId")]
    _organization_id: Option<String>,
}

/// Changes to a client. What is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SdkClientPatch {
    name: Option<Name>,
    description: Option<Description>,
    /// Only for an application.
    oauth_config: Option<Object<OauthConfig>>,
    /// While true, the credentials of the client are rejected, and tokens of its users.
    suspended: Option<bool>,
    /// The caller's own organization.
    #[serde(rename = "organizationId")]
    _organization_id: Option<String>,
}

/// Creates a client. The API key of a service is in the response and nowhere else.
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<SdkClientCreate>,
) -> Result<Reply<SdkClient>, ApiError> {
    let name = body.name.checked()?;
    let mut spec = crd::SdkClientSpec {
        display_name: Some(name.clone()),
        description: filled(body.description.map(Description::checked).transpose()?),
        ..crd::SdkClientSpec::default()
    };
    match body.kind.unwrap_or_default() {
        Kind::Service if body.authorization.is_some() => {
            return Err(ApiError::invalid_field(
                "authorization",
                "`authorization` is valid for applications only: a service has no users",
            ));
        }
        Kind::Service => spec.service = Some(service(&caller)),
        Kind::Application(application) => {
            let new = body.authorization.map(|Object(authorization)| {
                user_pools::spec(name.clone(), spec.description.clone(), Some(authorization))
            });
            let pool = pool_name(&state, &caller, &application, new.transpose()?).await?;
            spec.webapp = Some(webapp(pool, application.oauth_config.unwrap_or_default().0));
        }
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
        propagation::key_accepted(&state, &caller.namespace, key).await;
    }
    audit::object(&id_of(&caller, &client));
    Ok(reply(show(&caller, &client, key.as_ref())))
}

/// A caller cannot grant a higher role than its own, and API keys of role Admin can be created only
/// with kubectl.
fn service(caller: &Caller) -> crd::Service {
    let api_key = crd::ApiKeySource { delivery: None, hashes: None };
    crd::Service { role: caller.role.min(Role::Member), api_key }
}

/// The name of the pool of an application's users: the specified one, the new one, which is created
/// here, or the organization's default.
async fn pool_name(
    state: &ApiState,
    caller: &Caller,
    application: &Application,
    new: Option<crd::UserPoolSpec>,
) -> Result<String, ApiError> {
    match (&application.user_pool_id, new) {
        (None, None) => default_pool(state, caller),
        (None, Some(new)) => Ok(user_pools::make(state, caller, new).await?.name_any()),
        (Some(_), Some(_)) => Err(ApiError::invalid_field(
            "authorization",
            "`authorization` creates a new pool; leave it or `kind.application.userPoolId` out",
        )),
        (Some(id), None) => {
            let pool = state.reader.own::<pool::UserPool>(caller.organization, id);
            pool.map(|pool| pool.name.name.clone()).ok_or_else(|| {
                ApiError::invalid_field(
                    "userPoolId",
                    "`kind.application.userPoolId` is not a pool of the organization",
                )
            })
        }
    }
}

fn webapp(pool: String, config: OauthConfig) -> crd::Webapp {
    crd::Webapp {
        user_pool_ref: crd::LocalRef { name: pool },
        allowed_origins: config.allowed_origins,
        logo_url: filled(config.logo_url),
        chrome_extension_id: filled(config.chrome_extension_id),
        redirect_urls: config.redirect_urls,
        strict_client: None,
    }
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
    StoredApiKey::listed(key.hash(), Some(now), None).into()
}

/// Returns a client.
pub async fn get(caller: Caller, id: ById<crd::SdkClient>) -> Result<Reply<SdkClient>, ApiError> {
    let client = id.read().await?;
    Ok(reply(show(&caller, &client, None)))
}

/// Returns the clients.
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    range: Range,
) -> Result<Reply<List<SdkClientItem>>, ApiError> {
    let clients: Vec<crd::SdkClient> = resources::list(&state, &caller).await?;
    let list = range.cut("SdkClient", clients, ResourceExt::name_any);
    Ok(reply(list.map(|client| item(&caller, client))))
}

/// Returns the id of the calling client or member.
pub async fn auth(caller: Caller) -> Result<Reply<SdkClientAuth>, ApiError> {
    Ok(reply(SdkClientAuth { authenticator_id: caller.who.id() }))
}

/// Changes name, description and the settings of Link, and suspends the client.
pub async fn patch(
    State(state): State<ApiState>,
    caller: Caller,
    id: ById<crd::SdkClient>,
    JsonBody(body): JsonBody<SdkClientPatch>,
) -> Result<Reply<SdkClient>, ApiError> {
    let has_config = body.oauth_config.is_some();
    let mut spec = SpecPatch::default();
    spec.texts(body.name, body.description)?;
    spec.set("suspended", body.suspended);
    if let Some(Object(config)) = body.oauth_config {
        let mut webapp = SpecPatch::default();
        webapp.text("logoUrl", config.logo_url);
        webapp.text("chromeExtensionId", config.chrome_extension_id);
        webapp.set("redirectUrls", config.redirect_urls);
        webapp.set("allowedOrigins", config.allowed_origins);
        spec.set("webapp", Some(webapp));
    }
    let before = id.read().await?;
    if has_config && before.spec.webapp.is_none() {
        return Err(ApiError::unprocessable("a service client has no `oauthConfig`"));
    }
    if let (Some(_), Some(service)) = (body.suspended, &before.spec.service) {
        ensure_role_of(&caller, service)?;
    }
    let after = resources::patch(&state, &id.api, &before, spec).await?;
    Ok(changed(resources::differ(&before, &after), show(&caller, &after, None)))
}

/// Deletes a client. Its credentials become invalid immediately.
pub async fn delete(
    State(state): State<ApiState>,
    id: ById<crd::SdkClient>,
    force: Force,
) -> Result<Reply<bool>, ApiError> {
    let client = id.read().await?;
    resources::delete(&state, &id.api, &client, force).await?;
    Ok(reply(true))
}

/// Creates a new API key. The previous ones stay valid for another hour at most. A key that the
/// operator delivers is replaced by the operator, and is not in the response.
pub async fn rotate(
    State(state): State<ApiState>,
    caller: Caller,
    id: ById<crd::SdkClient>,
) -> Result<Reply<SdkClient>, ApiError> {
    let client = id.read().await?;
    let service = client.spec.service.as_ref();
    let service =
        service.ok_or_else(|| ApiError::unprocessable("a webapp client has no API key"))?;
    ensure_role_of(&caller, service)?;
    let Some(hashes) = &service.api_key.hashes else {
        // Not in whole seconds: the second request of a second would have no effect.
        let request = json!({names::ROTATE: to_show().to_string()});
        let client = resources::patch_with(&state, &id.api, &client, request, json!({})).await?;
        return Ok(reply(show(&caller, &client, None)));
    };
    let now = state.clock.now();
    let key = ApiKey::generate().map_err(|_| ApiError::internal())?;
    let valid: Vec<_> = hashes.iter().filter_map(crd::ApiKeyHash::key).collect();
    let new = StoredApiKey::listed(key.hash(), Some(now), None);
    let rotated = listed_keys::rotate(&valid, new, Some(DEFAULT_OVERLAP), now).map_err(no_room)?;
    let hashes: Vec<_> = rotated.into_iter().map(crd::ApiKeyHash::from).collect();
    let change = json!({"service": {"apiKey": {"hashes": hashes}}});
    let client = resources::patch(&state, &id.api, &client, change).await?;
    propagation::key_accepted(&state, &caller.namespace, &key).await;
    Ok(reply(show(&caller, &client, Some(&key))))
}

/// A caller must not gain a higher role than its own, by a new key or by the end of a suspension.
fn ensure_role_of(caller: &Caller, service: &crd::Service) -> Result<(), ApiError> {
    if service.role > caller.role {
        return Err(ApiError::forbidden("the client has a higher role than the caller"));
    }
    Ok(())
}

fn no_room(NoRoom { until }: NoRoom) -> ApiError {
    let remedy = until.map_or_else(
        || "remove one that is no longer used from the SdkClient, with kubectl".to_owned(),
        |until| format!("try again after {until}"),
    );
    ApiError::unprocessable(format!(
        "{MAX_LISTED} API keys are still valid, which is the maximum; {remedy}"
    ))
}

fn pool_of(caller: &Caller, webapp: &crd::Webapp) -> UserPoolId {
    UserPoolId::derive(&caller.namespace, &webapp.user_pool_ref.name)
}

fn show(caller: &Caller, client: &crd::SdkClient, key: Option<&ApiKey>) -> SdkClient {
    let auth = match &client.spec.webapp {
        Some(webapp) => Auth::UserPool {
            user_pool_id: pool_of(caller, webapp),
            oauth_config: link_settings(webapp),
        },
        None => Auth::ApiKey { secret: key.map(|key| key.expose().to_owned()) },
    };
    SdkClient {
        id: id_of(caller, client),
        name: name_of(client),
        description: client.spec.description.clone().unwrap_or_default(),
        organization_id: caller.organization,
        suspended: client.spec.suspended.unwrap_or_default(),
        auth,
    }
}

fn link_settings(webapp: &crd::Webapp) -> Option<LinkSettings> {
    let crd::Webapp { logo_url, chrome_extension_id, redirect_urls, allowed_origins, .. } = webapp;
    let any = logo_url.is_some()
        || chrome_extension_id.is_some()
        || redirect_urls.is_some()
        || allowed_origins.is_some();
    any.then(|| LinkSettings {
        logo_url: logo_url.clone().unwrap_or_default(),
        chrome_extension_id: chrome_extension_id.clone().unwrap_or_default(),
        redirect_urls: redirect_urls.clone().unwrap_or_default(),
        allowed_origins: allowed_origins.clone().unwrap_or_default(),
    })
}

fn item(caller: &Caller, client: crd::SdkClient) -> SdkClientItem {
    let (id, name) = (id_of(caller, &client), name_of(&client));
    let webapp = client.spec.webapp;
    SdkClientItem {
        id,
        name,
        suspended: client.spec.suspended.unwrap_or_default(),
        description: client.spec.description.unwrap_or_default(),
        created_at: client.metadata.creation_timestamp,
        app_user_pool_id: webapp.as_ref().map(|webapp| pool_of(caller, webapp)),
        logo_url: webapp.as_ref().and_then(|webapp| webapp.logo_url.clone()),
        chrome_extension_id: webapp.as_ref().and_then(|it| it.chrome_extension_id.clone()),
        allowed_origins: webapp.as_ref().and_then(|webapp| webapp.allowed_origins.clone()),
        redirect_urls: webapp.and_then(|webapp| webapp.redirect_urls),
    }
}
