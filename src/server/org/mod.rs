//! The Anon REST API under `/org`: the caller's organization follows from its credential.

mod app_user_id_token;
mod caller;
mod limits;
mod login;
mod passwords;
mod sessions;
pub mod signer;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, post};
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
            audiences: vec![public_url.to_owned(), names::MANAGER.to_owned()],
        }
    }
}

/// Every operation of the role table, and nothing else.
pub fn routes() -> Router<AppState> {
    let all = Operation::ALL.iter();
    all.fold(Router::new(), |router, operation| router.route(operation.path(), handler(*operation)))
}

fn handler(operation: Operation) -> MethodRouter<AppState> {
    match operation {
        Operation::Login => post(login::login),
        Operation::Logout => post(login::logout),
        Operation::LogoutAll => post(login::logout_all),
        Operation::MintAppUserIdToken => post(app_user_id_token::mint),
    }
}

/// 200 with this body.
fn reply(body: &impl Serialize) -> Response {
    finish(StatusCode::OK, Json(body).into_response())
}
