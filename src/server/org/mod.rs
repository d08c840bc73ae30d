//! The Anon REST API under `/org`. The caller's organization is determined by its credential.

pub mod app_user_id_token;
mod audit;
mod caller;
mod client_id;
mod client_kind;
mod cors;
mod events;
mod explain;
mod fields;
mod gitops;
mod hash_workers;
mod idempotency;
mod last_admin;
mod link;
mod list;
mod login;
mod me;
pub mod members;
pub mod openapi;
mod organization;
mod passwords;
mod rate_limit;
mod reservation;
mod resources;
pub mod revocations;
mod route;
pub mod sdk_clients;
mod sessions;
mod sign_up;
pub mod signer;
mod user_pool_jwks;
mod user_pools;

use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::routing::{MethodFilter, get};
use axum::{Router, middleware};
use kube::{Client, ResourceExt};

use super::ValidatorState;
use crate::crd::{CustomKind, Kind};
use crate::domain::client::Origin;
use crate::domain::credential::ApiKey;
use crate::domain::operation::Operation;
use crate::names;
use crate::replicas::tracker::{ReplicaTracker, Write};
use passwords::Passwords;
use rate_limit::Limits;
pub use route::Route;
use signer::Signer;

/// What the REST API needs. It has all of a validator's state, too.
#[derive(Clone)]
pub struct ApiState {
    /// What it shares with the validator.
    pub validator: ValidatorState,
    /// Signs tokens of hosted pools.
    pub signer: Arc<Signer>,
    /// What it needs besides the index.
    pub platform: Arc<Platform>,
}

impl ApiState {
    /// Starts the threads that hash passwords. For processes with the role `api` only.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn new(
        validator: ValidatorState,
        client: Client,
        settings: PlatformSettings,
    ) -> io::Result<Self> {
        let signer = Signer::new(client.clone(), &settings.operator_namespace);
        let platform = Platform::new(client, &validator, settings)?;
        Ok(Self { validator, signer: Arc::new(signer), platform: Arc::new(platform) })
    }
}

impl Deref for ApiState {
    type Target = ValidatorState;

    fn deref(&self) -> &ValidatorState {
        &self.validator
    }
}

/// What the API needs besides the index.
pub struct Platform {
    /// Kubernetes client.
    client: Client,
    /// Password hashes.
    passwords: Passwords,
    /// Rate limits.
    limits: Limits,
    /// The accepted audiences of Kubernetes tokens.
    audiences: Vec<String>,
    /// Base URL of Link, if configured.
    link_url: Option<String>,
    /// Whether sign-up is allowed.
    allow_sign_up: bool,
    /// The namespace with password hashes and records of sign-ups.
    operator_namespace: String,
    /// How many proxies in front of us are trusted to report the client's address.
    proxy_hops: usize,
    /// The origins of web pages that may use the API.
    pub allowed_origins: Vec<Origin>,
    /// Name of this replica.
    identity: String,
    /// Tracks the other replicas.
    replicas: Option<Arc<ReplicaTracker>>,
}

/// Settings of a [`Platform`].
#[derive(Clone, Default)]
pub struct PlatformSettings {
    /// Name of this replica.
    pub identity: String,
    /// Tracks the other replicas; without it, replies do not wait for them.
    pub replicas: Option<Arc<ReplicaTracker>>,
    /// The namespace with the password hashes.
    pub operator_namespace: String,
    /// Base URL of Link.
    pub link_url: Option<String>,
    /// Whether sign-up is allowed.
    pub allow_sign_up: bool,
    /// How many proxies in front of us are trusted to report the client's address.
    pub proxy_hops: usize,
    /// The origins of web pages that may use the API.
    pub allowed_origins: Vec<Origin>,
}

impl Platform {
    /// The public URL is one of the accepted audiences.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn new(
        client: Client,
        validator: &ValidatorState,
        settings: PlatformSettings,
    ) -> io::Result<Self> {
        let public_url = validator.public_url.as_ref().to_owned();
        Ok(Self {
            passwords: Passwords::new(client.clone(), &settings.operator_namespace)?,
            client,
            limits: Limits::new(Arc::clone(&validator.metrics)),
            audiences: vec![public_url, names::MANAGER.to_owned()],
            link_url: settings.link_url,
            allow_sign_up: settings.allow_sign_up,
            operator_namespace: settings.operator_namespace,
            proxy_hops: settings.proxy_hops,
            allowed_origins: settings.allowed_origins,
            identity: settings.identity,
            replicas: settings.replicas,
        })
    }
}

/// How long a reply waits until this replica has applied a write.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(3);
/// How long it then waits for the others. Short, because a replica that was killed is waited for
/// until its Lease is removed.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(1);

/// Waits, bounded, until a write is visible: in this replica, and in the others.
async fn wait_until_visible<K: CustomKind>(state: &ApiState, object: &impl ResourceExt) {
    let write = Write {
        kind: K::KIND,
        namespace: object.namespace().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
        at: Instant::now(),
    };
    state.reader.wait_for(K::KIND, &write.namespace, &write.resource_version, LOCAL_TIMEOUT).await;
    if let Some(replicas) = &state.platform.replicas {
        replicas.wait_elsewhere(&state.platform.identity, &write, REMOTE_TIMEOUT).await;
    }
}

/// Waits, bounded, until a key whose hash was written into a spec may be used: the leader copies it
/// to status, and the replicas learn of that.
async fn accepted(state: &ApiState, namespace: &str, key: &ApiKey) {
    state.reader.wait_for_key(&key.hash(), LOCAL_TIMEOUT).await;
    let applied = state.reader.applied().version(Kind::SdkClient, namespace);
    if let (Some(replicas), Some(version)) = (&state.platform.replicas, applied) {
        let write = Write {
            kind: Kind::SdkClient,
            namespace: namespace.to_owned(),
            resource_version: version.to_string(),
            at: Instant::now(),
        };
        replicas.wait_elsewhere(&state.platform.identity, &write, REMOTE_TIMEOUT).await;
    }
}

/// The routes of every operation, and the OpenAPI document. Web pages of `allowed_origins` may use
/// those under `/org`.
pub fn routes(allowed_origins: &[Origin]) -> Router<ApiState> {
    let (mut org, mut others) = (Router::new(), Router::new());
    for &operation in Operation::ALL {
        let audited =
            middleware::from_fn(move |request, next| audit::audited(operation, request, next));
        let handler = route(operation).handler.layer(audited);
        if operation.path().starts_with("/org/") {
            org = org.route(operation.path(), handler);
        } else {
            others = others.route(operation.path(), handler);
        }
    }
    others.route("/openapi.json", get(openapi::serve)).merge(cors::allow(org, allowed_origins))
}

/// How an operation is served.
pub fn route(operation: Operation) -> Route {
    let method = match operation.method() {
        "POST" => MethodFilter::POST,
        "PATCH" => MethodFilter::PATCH,
        "DELETE" => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    };
    match operation {
        Operation::Login => route::route(method, login::login),
        Operation::Logout => route::route(method, login::logout),
        Operation::LogoutAll => route::route(method, login::logout_all),
        Operation::GetMe => route::route(method, me::me),
        Operation::CreateOrganization => route::route(method, sign_up::sign_up),
        Operation::GetOrganization => route::route(method, organization::get),
        Operation::PatchOrganization => route::route(method, organization::patch),
        Operation::DeleteOrganization => route::route(method, organization::delete),
        Operation::CreateMember => route::route(method, members::create),
        Operation::GetMember => route::route(method, members::get),
        Operation::PatchMember => route::route(method, members::patch),
        Operation::DeleteMember => route::route(method, members::delete),
        Operation::ListMembers => route::route(method, members::list),
        Operation::CreateUserPool => route::route(method, user_pools::create),
        Operation::GetUserPool => route::route(method, user_pools::get),
        Operation::PatchUserPool => route::route(method, user_pools::patch),
        Operation::DeleteUserPool => route::route(method, user_pools::delete),
        Operation::ListUserPools => route::route(method, user_pools::list),
        Operation::CreateSdkClient => route::route(method, sdk_clients::create),
        Operation::GetSdkClientAuth => route::route(method, sdk_clients::auth),
        Operation::GetSdkClient => route::route(method, sdk_clients::get),
        Operation::PatchSdkClient => route::route(method, sdk_clients::patch),
        Operation::DeleteSdkClient => route::route(method, sdk_clients::delete),
        Operation::RotateSdkClient => route::route(method, sdk_clients::rotate),
        Operation::ListSdkClients => route::route(method, sdk_clients::list),
        Operation::CreateRevocation => route::route(method, revocations::create),
        Operation::ListRevocations => route::route(method, revocations::list),
        Operation::ListEvents => route::route(method, events::list),
        Operation::MintAppUserIdToken => route::route(method, app_user_id_token::mint),
        Operation::GetLinkUrl => route::route(method, link::url),
        Operation::Explain => route::route(method, explain::explain),
    }
}
