//! The one error body of the API: `{"name", "message", "field"?}`. Internal details go to the log
//! and never to the caller.

use std::any::Any;
use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::error;

use super::response::json;
use crate::domain::reason::{Class, Reason};

/// A response other than success.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    body: Body,
    retry_after: Option<Duration>,
}

/// In the extensions of an error response: its name.
#[derive(Clone, Copy, Debug)]
pub struct ErrorName(pub &'static str);

#[derive(Debug, Serialize)]
struct Body {
    name: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl ApiError {
    fn new(status: StatusCode, name: &'static str, message: impl Into<String>) -> Self {
        let body = Body { name, message: message.into(), field: None, reason: None };
        Self { status, body, retry_after: None }
    }

    /// 400: the request has no body.
    #[must_use]
    pub fn missing_body() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "MissingBodyError",
            "the request requires a JSON object as its body",
        )
    }

    /// 400: a required field is missing.
    #[must_use]
    pub fn missing_field(field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MissingFieldError", message).of_field(field)
    }

    /// 400: a field has an invalid value.
    #[must_use]
    pub fn invalid_field(field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidFieldError", message).of_field(field)
    }

    /// 400: the operation has no such field.
    #[must_use]
    pub fn unknown_field(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "UnknownFieldError", message)
    }

    /// 400: the request is malformed.
    #[must_use]
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MalformedRequestError", message)
    }

    /// 408: the client took too long to send the request.
    #[must_use]
    pub fn too_slow(message: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeoutError", message)
    }

    /// 413.
    #[must_use]
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeError", message)
    }

    /// 403: the caller is authenticated and not allowed.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "ForbiddenError", message)
    }

    /// 404: does not exist, or belongs to another organization; indistinguishable.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFoundError", message)
    }

    /// 401: the caller is not authenticated.
    #[must_use]
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UnauthorizedError", message)
    }

    /// 422: the request is well-formed but cannot be fulfilled.
    #[must_use]
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "UnprocessableError", message)
    }

    /// 429: try again after `wait`.
    #[must_use]
    pub fn too_many(message: impl Into<String>, wait: Duration) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsError", message);
        Self { retry_after: Some(wait), ..error }
    }

    /// 503: the result is currently unknown.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UnavailableError", message)
    }

    /// 500: an internal error.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            "internal server error; see the server's log",
        )
    }

    /// The status of the response.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Names the field that the error is about.
    #[must_use]
    pub fn of_field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.body.field = Some(field.into());
        self
    }
}

/// The status and name of a class of reasons.
pub const fn class_of(class: Class) -> (StatusCode, &'static str) {
    match class {
        Class::BadRequest => (StatusCode::BAD_REQUEST, "BadRequestError"),
        Class::Unauthorized => (StatusCode::UNAUTHORIZED, "UnauthorizedError"),
        Class::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UnavailableError"),
    }
}

impl From<Reason> for ApiError {
    fn from(reason: Reason) -> Self {
        let (status, name) = class_of(reason.class());
        let mut error = Self::new(status, name, reason.message());
        error.body.reason = Some(reason.as_str());
        error
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let name = ErrorName(self.body.name);
        let mut response = json(self.status, &self.body);
        response.extensions_mut().insert(name);
        if let Some(wait) = self.retry_after {
            // Whole seconds, rounded up.
            let seconds = HeaderValue::from(wait.as_secs().saturating_add(1));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

/// 404 for an unknown path. The path is not repeated: people put credentials there.
pub async fn no_such_path() -> ApiError {
    // The hosted platform whose API this implements also has paths for sessions, actions and app
    // users.
    ApiError::not_found("unknown path")
}

/// 405.
pub async fn no_such_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowedError", "method not allowed")
}

/// 500 for a handler that panicked. The panic hook has logged where; the panic message may contain
/// anything, so it is not repeated.
pub fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    error!("a request handler panicked");
    ApiError::internal().into_response()
}
