//! The Anon REST API under `/org`. The caller's organization is determined by its credential.

mod app_user_id_token;
mod audit;
mod caller;
mod gitops;
mod hash_workers;
mod idempotency;
mod last_admin;
mod link;
mod login;
mod members;
pub mod openapi;
mod organization;
mod passwords;
mod rate_limit;
mod reservation;
mod resources;
mod sdk_clients;
mod sessions;
mod sign_up;
pub mod signer;
mod user_pool_jwks;
mod user_pools;

use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};
use axum::{Json, Router, middleware};
use kube::Client;
use serde::Serialize;

use super::ValidatorState;
use super::error::finish;
use crate::crd::Kind;
use crate::domain::credential::ApiKey;
use crate::domain::operation::Operation;
use crate::names;
use crate::replicas::tracker::{ReplicaTracker, Write};
use passwords::Passwords;
use rate_limit::Limits;
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
        let platform = Platform::new(client, &validator.public_url, settings)?;
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
}

impl Platform {
    /// `public_url` is one of the accepted audiences.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn new(client: Client, public_url: &str, settings: PlatformSettings) -> io::Result<Self> {
        Ok(Self {
            passwords: Passwords::new(client.clone(), &settings.operator_namespace)?,
            client,
            limits: Limits::default(),
            audiences: vec![public_url.to_owned(), names::MANAGER.to_owned()],
            link_url: settings.link_url,
            allow_sign_up: settings.allow_sign_up,
            operator_namespace: settings.operator_namespace,
            proxy_hops: settings.proxy_hops,
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
async fn wait_until_visible(state: &ApiState, kind: Kind, resource_version: &str) {
    let write = Write { kind, resource_version: resource_version.to_owned(), at: Instant::now() };
    state.reader.wait_for(kind, resource_version, LOCAL_TIMEOUT).await;
    if let Some(replicas) = &state.platform.replicas {
        replicas.wait_elsewhere(&state.platform.identity, &write, REMOTE_TIMEOUT).await;
    }
}

/// Waits, bounded, until a key whose hash was written into a spec may be used: the leader copies it
/// to status, and the replicas learn of that.
async fn accepted(state: &ApiState, key: &ApiKey) {
    state.reader.wait_for_key(&key.hash(), LOCAL_TIMEOUT).await;
    let applied = state.reader.applied().versions().get(Kind::SdkClient.as_str()).copied();
    if let (Some(replicas), Some(version)) = (&state.platform.replicas, applied) {
        let resource_version = version.to_string();
        let write = Write { kind: Kind::SdkClient, resource_version, at: Instant::now() };
        replicas.wait_elsewhere(&state.platform.identity, &write, REMOTE_TIMEOUT).await;
    }
}

/// The routes of every operation, and the OpenAPI document.
pub fn routes() -> Router<ApiState> {
    let all = Operation::ALL.iter();
    let router = Router::new().route("/openapi.json", get(openapi::serve));
    all.fold(router, |router, &operation| {
        let audited =
            middleware::from_fn(move |request, next| audit::audited(operation, request, next));
        router.route(operation.path(), handler(operation).layer(audited))
    })
}

fn handler(operation: Operation) -> MethodRouter<ApiState> {
    match operation {
        Operation::Login => post(login::login),
        Operation::Logout => post(login::logout),
        Operation::LogoutAll => post(login::logout_all),
        Operation::CreateOrganization => post(sign_up::sign_up),
        Operation::GetOrganization => get(organization::get),
        Operation::PatchOrganization => patch(organization::patch),
        Operation::DeleteOrganization => delete(organization::delete),
        Operation::CreateMember => post(members::create),
        Operation::GetMember => get(members::get),
        Operation::PatchMember => patch(members::patch),
        Operation::DeleteMember => delete(members::delete),
        Operation::ListMembers => get(members::list),
        Operation::CreateUserPool => post(user_pools::create),
        Operation::GetUserPool => get(user_pools::get),
        Operation::PatchUserPool => patch(user_pools::patch),
        Operation::DeleteUserPool => delete(user_pools::delete),
        Operation::ListUserPools => get(user_pools::list),
        Operation::CreateSdkClient => post(sdk_clients::create),
        Operation::GetSdkClientAuth => get(sdk_clients::auth),
        Operation::GetSdkClient => get(sdk_clients::get),
        Operation::PatchSdkClient => patch(sdk_clients::patch),
        Operation::DeleteSdkClient => delete(sdk_clients::delete),
        Operation::RotateSdkClient => post(sdk_clients::rotate),
        Operation::ListSdkClients => get(sdk_clients::list),
        Operation::MintAppUserIdToken => post(app_user_id_token::mint),
        Operation::GetLinkUrl => get(link::url),
    }
}

/// 200 with this body.
fn reply(body: &impl Serialize) -> Response {
    finish(StatusCode::OK, Json(body).into_response())
}
