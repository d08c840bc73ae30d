//! One log line for each write that was asked for, done or refused: who, what, to what, with what
//! result. Ids only, never e-mail addresses, names that people chose, or secrets.
//!
//! The line belongs to the span of its request, whose fields the handlers fill in as they learn
//! them; so every other line of a request has the request's id, too.

use std::fmt::Display;
use std::panic;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span, info, info_span};

use super::caller::Caller;
use crate::domain::ids::OrganizationId;
use crate::domain::permission::Operation;
use crate::server::error::ErrorName;
use crate::server::load::Place;
use crate::server::{ApiError, REQUEST_ID};

/// Runs a handler in the span of its request, and says what came of it. A write goes on to its end,
/// and has its line, also when who asked for it does not wait: it may have been done already, and
/// half of it would be worse than either.
pub async fn audited(operation: Operation, request: Request, next: Next) -> Response {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let span = info_span!(
        "request",
        request = id,
        operation = operation.name(),
        organization = Empty,
        caller = Empty,
        role = Empty,
        object = Empty,
    );
    if !operation.writes() {
        return next.run(request).instrument(span).await;
    }
    let place = request.extensions().get::<Place>().cloned();
    let write = async move {
        let _place = place;
        let response = next.run(request).await;
        let status = response.status();
        let error = response.extensions().get::<ErrorName>().map(|name| name.0);
        let result = if status.is_success() { "done" } else { "refused" };
        info!(audit = operation.name(), status = status.as_u16(), error, "{result}");
        response
    };
    match tokio::spawn(write.instrument(span)).await {
        Ok(response) => response,
        Err(ended) if ended.is_panic() => panic::resume_unwind(ended.into_panic()),
        Err(_) => ApiError::unavailable("the server is stopping; try again").into_response(),
    }
}

/// Notes who asks, once that is proven.
pub fn caller(caller: &Caller) {
    organization(caller.organization);
    who(&caller.who);
    Span::current().record("role", caller.role.as_str());
}

/// Notes which organization it is about.
pub fn organization(id: OrganizationId) {
    Span::current().record("organization", display(id));
}

/// Notes who it turned out to be.
pub fn who(who: &dyn Display) {
    Span::current().record("caller", display(who));
}

/// Notes what it is about, by its id.
pub fn object(id: &dyn Display) {
    Span::current().record("object", display(id));
}
