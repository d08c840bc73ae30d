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
mod organization;
mod passwords;
mod propagation;
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

use axum::routing::{MethodFilter, get};
use axum::{Router, middleware};
use kube::Client;

use super::{ValidatorState, openapi};
use crate::domain::client::Origin;
use crate::domain::operation::Operation;
use crate::names;
use crate::replicas::tracker::ReplicaTracker;
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
    /// What the process was started with.
    pub settings: PlatformSettings,
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
            settings,
        })
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
