//! Audit log: one line for each requested write, whether it succeeded or was rejected, with the
//! caller, the operation, the object and the result. It contains ids only, never e-mail addresses,
//! display names or secrets.
//!
//! The line belongs to the span of its request, whose fields the handlers fill in as they learn
//! them, so every other line of a request has the request's id as well.

use std::fmt::Display;
use std::panic;

use axum::extract::Request;
use axum::http::HeaderName;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span, info, info_span};

use crate::domain::ids::OrganizationId;
use crate::domain::operation::Operation;
use crate::domain::role::Role;
use crate::server::arrival::Arrival;
use crate::server::body::Ignored;
use crate::server::error::ErrorName;
use crate::server::{ApiError, REQUEST_ID};

/// The response header with the members of the body that had no effect.
pub const IGNORED: HeaderName = HeaderName::from_static("x-anon-ignored");

/// Runs a handler in the span of its request and logs the outcome. A write runs to its end and is
/// logged even if its caller disconnects: it may have succeeded already, and half a write would be
/// worse than either.
///
/// The extractors find the operation in the extensions of the request, and put there which members
/// of the body had no effect.
#[expect(clippy::disallowed_methods, reason = "the write outlives a caller that disconnects")]
pub async fn audited(operation: Operation, mut request: Request, next: Next) -> Response {
    let ignored = Ignored::default();
    request.extensions_mut().insert(operation);
    request.extensions_mut().insert(Ignored::clone(&ignored));
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
    let place = request.extensions().get::<Arrival>().and_then(|arrival| arrival.slot.clone());
    let write = async move {
        let _place = place;
        let response = next.run(request).await;
        let status = response.status();
        let error = response.extensions().get::<ErrorName>().map(|name| name.0);
        let result = if status.is_success() { "request succeeded" } else { "request rejected" };
        info!(audit = operation.name(), status = status.as_u16(), error, "{result}");
        response
    };
    // Within the span of a trace, too, which does not follow into a task.
    match tokio::spawn(write.instrument(span).in_current_span()).await {
        Ok(mut response) => {
            let names = ignored.get().cloned();
            response.headers_mut().extend(names.map(|names| (IGNORED, names)));
            response
        }
        Err(ended) if ended.is_panic() => panic::resume_unwind(ended.into_panic()),
        Err(_) => ApiError::unavailable("the server is shutting down; try again").into_response(),
    }
}

/// Records the caller, once it is authenticated.
pub fn caller(of: OrganizationId, identity: &dyn Display, role: Role) {
    organization(of);
    who(identity);
    Span::current().record("role", role.as_str());
}

/// Records the organization.
pub fn organization(id: OrganizationId) {
    Span::current().record("organization", display(id));
}

/// Records the identity of the caller.
pub fn who(who: &dyn Display) {
    Span::current().record("caller", display(who));
}

/// Records the object, by its id.
pub fn object(id: &dyn Display) {
    Span::current().record("object", display(id));
}
