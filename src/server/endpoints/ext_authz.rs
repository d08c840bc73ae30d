//! `envoy.service.auth.v3.Authorization/Check`, for the `ext_authz` filter of Envoy over gRPC, and so
//! for Istio, Contour and Envoy Gateway.
//!
//! The client comes from `context_extensions` of the route, which only the configuration of Envoy can
//! set; without it, every request is denied. Whatever the original request can cause, also a message
//! that is too large, is answered with a verdict: with `failure_mode_allow`, Envoy forwards a request
//! if the call fails.

mod grpc;
pub mod messages;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::Value;
use tower::util::MapResponseLayer;

use self::grpc::Unreadable;
use self::messages::{
    CheckRequest, CheckResponse, DeniedHttpResponse, HeaderOption, HttpRequest, HttpResponse,
    HttpStatus, OkHttpResponse, Status, Struct,
};
use super::validate::{Active, Inactive};
use super::{EXT_AUTHZ, gateway, identity};
use crate::domain::principal::Verified;
use crate::domain::reason::Reason;
use crate::server::response::CHALLENGE;
use crate::server::{REQUEST_ID, ValidatorState};

/// The path of the call.
pub const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";
/// The entry of `context_extensions` with the client.
const CLIENT: &str = "sdkClientId";

/// Codes of `google.rpc.Status`.
const OK: i32 = 0;
const INVALID_ARGUMENT: i32 = 3;
const PERMISSION_DENIED: i32 = 7;
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;

/// Allows or denies a request that Envoy has received.
pub async fn check(State(state): State<Arc<ValidatorState>>, body: Bytes) -> Response {
    let request = match grpc::read::<CheckRequest>(&body) {
        Ok(request) => request,
        // Only the configuration of Envoy can cause that.
        Err(Unreadable::Compressed) => return grpc::compression_unsupported(),
        Err(Unreadable::Malformed) => return grpc::reply(&answer(Err(Denial::MALFORMED), vec![])),
    };
    drop(body);
    let attributes = request.attributes.unwrap_or_default();
    let http = attributes.request.and_then(|request| request.http).unwrap_or_default();
    let client = attributes.context_extensions.get(CLIENT).map_or("", String::as_str);
    let headers = authorization(&http);
    let look_alikes = look_alikes(&http);
    drop(http);
    let presented = match &headers {
        Ok(headers) => gateway::presented(&state, client, headers),
        Err(reason) => Err(*reason),
    };
    let verdict = EXT_AUTHZ.authenticate(&state, presented).await;
    grpc::reply(&answer(verdict.as_ref().map_err(|reason| Denial::from(*reason)), look_alikes))
}

/// Its headers `Authorization`.
fn authorization(http: &HttpRequest) -> Result<HeaderMap, Reason> {
    let mut headers = HeaderMap::new();
    for (name, value) in all_headers(http) {
        if name.eq_ignore_ascii_case("authorization") {
            let value =
                HeaderValue::from_bytes(value).map_err(|_| Reason::AuthorizationMalformed)?;
            headers.append(header::AUTHORIZATION, value);
        }
    }
    Ok(headers)
}

/// The headers of the original request, with and without `encode_raw_headers`.
fn all_headers(http: &HttpRequest) -> impl Iterator<Item = (&str, &[u8])> {
    let joined = http.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let raw = http.header_map.iter().flat_map(|map| &map.headers);
    let raw = raw.map(|header| match header.raw_value.as_slice() {
        [] => (header.key.as_str(), header.value.as_bytes()),
        value => (header.key.as_str(), value),
    });
    joined.chain(raw)
}

/// Headers that a backend might mistake for an identity header, because it does not distinguish `-`
/// from `_` or `.`: those of the original request, and the usual spelling, in case Envoy is configured
/// to send only some headers.
fn look_alikes(http: &HttpRequest) -> Vec<String> {
    let names = identity::DOCUMENTATION.map(|(name, _)| name.to_ascii_lowercase());
    let mut found: Vec<String> = names.iter().map(|name| name.replace('-', "_")).collect();
    for (name, _) in all_headers(http) {
        let name = name.to_ascii_lowercase();
        let is_look_alike =
            !names.contains(&name) && names.contains(&name.replace(['_', '.'], "-"));
        if is_look_alike && !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

/// What a denied request gets.
struct Denial {
    status: StatusCode,
    body: Inactive,
}

impl Denial {
    /// The message cannot be read, which no retry changes.
    const MALFORMED: Self = Self {
        status: StatusCode::BAD_REQUEST,
        body: Inactive::of_request(
            "MalformedRequestError",
            "request_malformed",
            "the message is not a CheckRequest",
        ),
    };
    /// The message is too large: most likely, the headers of the original request are.
    const TOO_LARGE: Self = Self {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        body: Inactive::of_request(
            "RequestTooLargeError",
            "request_too_large",
            "the CheckRequest is larger than 64 KiB",
        ),
    };
}

impl From<Reason> for Denial {
    fn from(reason: Reason) -> Self {
        let (status, name) = gateway::rejection(reason);
        Self { status, body: Inactive::new(name, reason) }
    }
}

/// The answer to every call. To Envoy, an empty CheckResponse allows the request, so this starts as a
/// denial.
fn answer(verdict: Result<&Verified, Denial>, look_alikes: Vec<String>) -> CheckResponse {
    let mut answer = CheckResponse {
        status: Some(Status { code: PERMISSION_DENIED, message: String::new() }),
        http_response: Some(HttpResponse::Denied(DeniedHttpResponse::default())),
        dynamic_metadata: None,
    };
    match verdict {
        Ok(verified) => {
            answer.status = Some(Status { code: OK, message: String::new() });
            answer.http_response = Some(HttpResponse::Ok(OkHttpResponse {
                headers: identity_headers(verified),
                headers_to_remove: look_alikes,
            }));
            answer.dynamic_metadata = metadata(verified);
        }
        Err(denial) => {
            let message = denial.body.reason().to_owned();
            answer.status = Some(Status { code: code_of(denial.status), message });
            answer.http_response = Some(HttpResponse::Denied(denied(&denial)));
        }
    }
    answer
}

fn identity_headers(verified: &Verified) -> Vec<HeaderOption> {
    let headers = identity::headers(verified).into_iter();
    headers.map(|(name, value)| HeaderOption::overwrite(name.as_str(), value)).collect()
}

/// The principal, as `POST /v1/validate` describes it, for the filters after this one and for access
/// logs. Claims have at most `domain/json.rs::MAX_DEPTH` levels, each of which is three in Protocol
/// Buffers, whose readers stop at 100.
fn metadata(verified: &Verified) -> Option<Struct> {
    match serde_json::to_value(Active::of(verified)) {
        Ok(Value::Object(members)) => Some(members.into_iter().collect()),
        _ => None,
    }
}

/// What Envoy sends to its caller: the status, headers and body of `/v1/auth/client/{clientId}`.
fn denied(Denial { status, body }: &Denial) -> DeniedHttpResponse {
    let mut headers = vec![
        HeaderOption::overwrite("content-type", "application/json"),
        HeaderOption::overwrite("cache-control", "no-store"),
    ];
    match *status {
        StatusCode::UNAUTHORIZED => {
            headers.push(HeaderOption::overwrite("www-authenticate", CHALLENGE));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.push(HeaderOption::overwrite("retry-after", "1"));
        }
        _ => {}
    }
    DeniedHttpResponse {
        status: Some(HttpStatus { code: i32::from(status.as_u16()) }),
        headers,
        // Strings only, so this does not fail.
        body: serde_json::to_string(body).unwrap_or_default(),
    }
}

const fn code_of(status: StatusCode) -> i32 {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => INVALID_ARGUMENT,
        StatusCode::UNAUTHORIZED => UNAUTHENTICATED,
        StatusCode::SERVICE_UNAVAILABLE => UNAVAILABLE,
        _ => PERMISSION_DENIED,
    }
}

/// The route, with a denial for whatever fails below: limits, a body that is too large or does not
/// arrive, and panics.
pub fn verdicts_only(routes: Router) -> Router {
    routes.layer(MapResponseLayer::new(verdict_or_denial))
}

fn verdict_or_denial(response: Response) -> Response {
    let denial = match response.status() {
        // 405 is for other programs: gRPC uses only POST.
        StatusCode::OK | StatusCode::METHOD_NOT_ALLOWED => return response,
        StatusCode::PAYLOAD_TOO_LARGE => Denial::TOO_LARGE,
        // Another replica may be able to examine the credential.
        _ => Denial::from(Reason::Overloaded),
    };
    let mut denial = grpc::reply(&answer(Err(denial), Vec::new()));
    let id = response.headers().get(REQUEST_ID).cloned();
    denial.headers_mut().extend(id.map(|id| (REQUEST_ID, id)));
    denial
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use axum::routing::post;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::server::ApiError;

    #[test]
    fn every_reason_results_in_a_denial() {
        for &reason in Reason::ALL {
            let answer = answer(Err(reason.into()), Vec::new());
            assert_ne!(answer.status.unwrap().code, OK, "{reason:?}");
            let Some(HttpResponse::Denied(denied)) = answer.http_response else {
                panic!("{reason:?}");
            };
            assert!([401, 403, 503].contains(&denied.status.unwrap().code), "{reason:?}");
        }
    }

    #[test]
    fn look_alikes_in_every_spelling_are_removed_but_not_the_headers_themselves() {
        let mut http = HttpRequest::default();
        let names = ["x-anon_app-user_id", "x-anon-role", "X.Anon-Role", "x_anon_other", "cookie"];
        for name in names {
            http.headers.insert(name.to_owned(), "x".to_owned());
        }
        let found = look_alikes(&http);
        assert_eq!(found.len(), 9, "{found:?}");
        for name in ["x-anon_app-user_id", "x.anon-role", "x_anon_app_user_id"] {
            assert!(found.contains(&name.to_owned()), "{name}");
        }
    }

    #[tokio::test]
    async fn failures_are_denials() {
        let routes = Router::new()
            .route("/500", post(|| async { ApiError::internal() }))
            .route("/413", post(|| async { ApiError::too_large("x") }))
            .route("/503", post(|| async { ApiError::unavailable("x") }));
        for (path, code) in [
            ("/500", UNAVAILABLE),
            ("/413", INVALID_ARGUMENT),
            ("/503", UNAVAILABLE),
            ("/unknown", UNAVAILABLE),
        ] {
            let request = Request::post(path).body(Body::empty()).unwrap();
            let response = verdicts_only(routes.clone()).oneshot(request).await.unwrap();
            assert_eq!(response.status(), 200, "{path}");
            let body = response.into_body().collect().await.unwrap();
            assert_eq!(body.trailers().unwrap()["grpc-status"], "0", "{path}");
            let answer: CheckResponse = grpc::read(&body.to_bytes()).unwrap();
            assert_eq!(answer.status.unwrap().code, code, "{path}");
        }
    }
}
