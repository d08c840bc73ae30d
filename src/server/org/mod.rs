//! The Anon REST API under `/org`: the caller's organization follows from its credential.

mod app_user_id_token;
mod authorization;
mod caller;
mod limits;
mod login;
mod members;
pub mod openapi;
mod organization;
mod passwords;
mod resources;
mod sdk_clients;
mod sessions;
pub mod signer;
mod user_pools;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};
use axum::{Json, Router};
use kube::Client;
use serde::Serialize;

use super::AppState;
use super::error::finish;
use crate::domain::permission::Operation;
use crate::names;
use limits::Limits;
use passwords::Passwords;

/// What the API has at hand besides the index.
pub struct Platform {
    /// The API server.
    client: Client,
    /// Password hashes.
    passwords: Passwords,
    /// Rate limits.
    limits: Limits,
    /// Where the world reaches us.
    pub public_url: String,
    /// The audiences of Kubernetes tokens that are meant for us.
    audiences: Vec<String>,
}

impl Platform {
    /// Hashes are in the operator's namespace; `public_url` is one of our names.
    #[must_use]
    pub fn new(client: Client, operator_namespace: &str, public_url: &str) -> Self {
        Self {
            passwords: Passwords::new(client.clone(), operator_namespace),
            client,
            limits: Limits::default(),
            public_url: public_url.to_owned(),
            audiences: vec![public_url.to_owned(), names::MANAGER.to_owned()],
        }
    }
}

/// Every operation of the role table, and the description of them.
pub fn routes() -> Router<AppState> {
    let all = Operation::ALL.iter();
    let router = Router::new().route("/openapi.json", get(openapi::serve));
    all.fold(router, |router, operation| router.route(operation.path(), handler(*operation)))
}

fn handler(operation: Operation) -> MethodRouter<AppState> {
    match operation {
        Operation::Login => post(login::login),
        Operation::Logout => post(login::logout),
        Operation::LogoutAll => post(login::logout_all),
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
    }
}

/// 200 with this body.
fn reply(body: &impl Serialize) -> Response {
    finish(StatusCode::OK, Json(body).into_response())
}
