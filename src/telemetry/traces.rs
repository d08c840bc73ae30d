//! The spans of traces, with every name and attribute that they can have. They contain no credential
//! and nothing about a person: what an attribute is set to is chosen from a fixed set, or is the name
//! of an object.
//!
//! They are not part of the log. While nothing exports them, [`is_on`] is false, which costs two
//! atomic loads, and there are no spans.

use std::time::Duration;

use axum::http::{HeaderMap, Method};
use tracing::field::Empty;
use tracing::{Level, Span, enabled, info_span};
use tracing_subscriber::filter::{Directive, LevelFilter, ParseError, Targets};

use super::{millis, otlp};

/// The target of every span of a trace.
const TARGET: &str = "anon_operator::traces";

/// The filter of the exporter.
pub fn only() -> Targets {
    Targets::new().with_target(TARGET, LevelFilter::INFO)
}

/// The directive that excludes spans from the log.
///
/// # Errors
/// Never.
pub fn not_logged() -> Result<Directive, ParseError> {
    format!("{TARGET}=off").parse()
}

/// Whether anything exports spans.
fn is_on() -> bool {
    enabled!(target: TARGET, Level::INFO)
}

/// A request, as the semantic conventions for HTTP servers describe it. Its parent is the span of
/// the caller.
#[must_use]
pub fn request(endpoint: &'static str, method: &Method, headers: &HeaderMap) -> Span {
    if !is_on() {
        return Span::none();
    }
    let method = known(method);
    let span = info_span!(
        target: TARGET,
        "request",
        // Not the route: axum would store it in every request.
        otel.name = %format_args!("{method} {endpoint}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.response.status_code = Empty,
        anon.endpoint = endpoint,
        anon.result = Empty,
    );
    otlp::set_parent(&span, headers);
    span
}

/// Records the response to a request.
pub fn responded(span: &Span, status: u16, result: &'static str) {
    // tracing-opentelemetry turns unsigned numbers into text.
    span.record("http.response.status_code", i64::from(status));
    span.record("anon.result", result);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

/// The authentication of a credential, without the wait for a place in its request.
#[must_use]
pub fn authentication(endpoint: &'static str) -> Span {
    if !is_on() {
        return Span::none();
    }
    info_span!(
        target: TARGET,
        "authenticate",
        anon.endpoint = endpoint,
        anon.result = Empty,
    )
}

/// Records the verdict on a credential: `valid`, or the reason.
pub fn decided(span: &Span, result: &'static str) {
    span.record("anon.result", result);
}

/// A reconciliation of an object.
#[must_use]
pub fn reconciliation(kind: &'static str, namespace: &str, name: &str) -> Span {
    if !is_on() {
        return Span::none();
    }
    info_span!(
        target: TARGET,
        "reconcile",
        otel.name = %format_args!("reconcile {kind}"),
        otel.status_code = Empty,
        k8s.namespace.name = namespace,
        anon.kind = kind,
        anon.name = name,
        anon.result = Empty,
        anon.requeue_ms = Empty,
    )
}

/// Records how a reconciliation ended, and after which time there is another one without a change.
/// `None` if it failed.
pub fn reconciled(span: &Span, result: &'static str, requeue: Option<Duration>) {
    span.record("anon.result", result);
    match requeue {
        Some(requeue) => span.record("anon.requeue_ms", i64::try_from(millis(requeue)).ok()),
        None => span.record("otel.status_code", "ERROR"),
    };
}

/// A request to the API server, as part of a reconciliation: what the operator writes for itself, such
/// as Leases, has no span. What the REST API writes has none either: there, the client knows only the
/// span of the log lines.
#[must_use]
pub fn api_request(method: &Method, resource: &str) -> Span {
    let within = Span::current().metadata().is_some_and(|it| it.target() == TARGET);
    if !is_on() || !within {
        return Span::none();
    }
    let method = known(method);
    info_span!(
        target: TARGET,
        "api_request",
        otel.name = %format_args!("{method} {resource}"),
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = method,
        http.response.status_code = Empty,
        anon.resource = resource,
    )
}

/// Records the response of the API server; `None` if there is none.
pub fn api_responded(span: &Span, status: Option<u16>) {
    if let Some(status) = status {
        span.record("http.response.status_code", i64::from(status));
    }
    if status.is_none_or(|status| status >= 400) {
        span.record("otel.status_code", "ERROR");
    }
}

/// The method of a request. A caller can send any word.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        // As the semantic conventions ask for.
        _ => "_OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_spans_without_an_exporter() {
        assert!(!is_on());
        let span = request("validate", &Method::GET, &HeaderMap::new());
        assert!(span.is_none() && span.metadata().is_none());
        assert!(authentication("validate").is_none());
        assert!(reconciliation("UserPool", "a", "b").is_none());
        assert!(api_request(&Method::PUT, "secrets").is_none());
    }

    #[test]
    fn methods_are_bounded() {
        assert_eq!(known(&Method::PATCH), "PATCH");
        assert_eq!(known(&Method::from_bytes(b"SECRET").unwrap()), "_OTHER");
    }
}
