//! The one error body of the API: `{"name", "message", "field"?}`. Details of what went wrong
//! inside go to the log, never to the caller.

use std::any::Any;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::error;

use crate::domain::decision::{Class, Reason};

/// An answer other than success.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    body: Body,
    retry_after: Option<Duration>,
}

/// In the extensions of the response to an error: what sort of error it is.
#[derive(Clone, Copy, Debug)]
pub struct ErrorName(pub &'static str);

#[derive(Debug, Serialize)]
struct Body {
    name: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
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
            "the request needs a JSON object as its body",
        )
    }

    /// 400: a required field is missing.
    #[must_use]
    pub fn missing_field(field: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MissingFieldError", message).of_field(field)
    }

    /// 400: a field has a value that cannot be.
    #[must_use]
    pub fn invalid_field(field: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidFieldError", message).of_field(field)
    }

    /// 400: a field that the operation does not have.
    #[must_use]
    pub fn unknown_field(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "UnknownFieldError", message)
    }

    /// 400: not a request at all.
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

    /// 403: the caller is known and may not.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "ForbiddenError", message)
    }

    /// 404: does not exist, or belongs to another organization; the two are not told apart.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFoundError", message)
    }

    /// 401: whoever it is has not proven it.
    #[must_use]
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UnauthorizedError", message)
    }

    /// 422: understood, and not possible.
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

    /// 503: no answer can be given now.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UnavailableError", message)
    }

    /// 500: our fault.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            "the server failed; its log has more",
        )
    }

    fn of_field(mut self, field: &'static str) -> Self {
        self.body.field = Some(field);
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
        let mut response = finish(self.status, Json(self.body).into_response());
        response.extensions_mut().insert(name);
        if let Some(wait) = self.retry_after {
            // Whole seconds, and none too few.
            let seconds = HeaderValue::from(wait.as_secs().saturating_add(1));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

/// Sets the status and the headers that belong to it: a challenge with 401 (RFC 6750 section 3),
/// a time to try again with 503; and forbids caches to keep it.
pub fn finish(status: StatusCode, mut response: Response) -> Response {
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}

/// 404 for a path that is not served. The path is not repeated: people put credentials there.
pub async fn no_such_path() -> ApiError {
    // Sessions, actions and app users belong to other parts of the platform whose API this is.
    ApiError::not_found("this path is not served here")
}

/// 405.
pub async fn no_such_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "MethodNotAllowedError",
        "this path has another method",
    )
}

/// 500 for a handler that panicked. The panic hook has said where; what it panicked with may hold
/// anything, so it is not repeated.
pub fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    error!("a request handler panicked");
    ApiError::internal().into_response()
}
