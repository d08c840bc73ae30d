//! `/v1/auth/client/{clientId}`, for proxies that ask about each request before they forward it:
//! `auth_request` of nginx, `forward_auth` of Caddy, ForwardAuth of Traefik, HAProxy, and `ext_authz`
//! of Envoy over HTTP.
//!
//! The client is in the path, because the configuration of the proxy sets the path. Some proxies
//! append the path of the original request; it may follow `/-/` and is ignored, like the method, the
//! query and all headers but `Authorization`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tower::util::{MapRequestLayer, MapResponseLayer};

use super::validate::Inactive;
use super::{AUTH, Kept, gateway, identity};
use crate::domain::principal::Verified;
use crate::domain::reason::Reason;
use crate::server::response::{finish, json};
use crate::server::{ApiError, REQUEST_ID, ValidatorState};

/// What precedes the client in a path.
pub const PREFIX: &str = "/v1/auth/client/";
/// Everything below it.
pub const ROUTE: &str = "/v1/auth/client/{*path}";

/// Allows or rejects the original request of a gateway.
pub async fn authorize(State(state): State<Arc<ValidatorState>>, request: Request) -> Response {
    let client = client_of(request.uri().path());
    let kept = gateway::presented(&state, client, request.headers()).map(Kept::from);
    drop(request);
    reply(&AUTH.authenticate_kept(&state, kept).await)
}

/// The same, for a request below [`PREFIX`] with few headers.
pub async fn authorize_head(state: &ValidatorState, path: &str, headers: &HeaderMap) -> Response {
    let presented = gateway::presented(state, client_of(path), headers);
    reply(&AUTH.authenticate(state, presented).await)
}

/// The client in a path. Empty, so not the id of any client, if something else follows it than `/-`
/// and what a proxy has appended.
fn client_of(path: &str) -> &str {
    let path = path.strip_prefix(PREFIX).unwrap_or_default();
    match path.split_once('/') {
        None => path,
        Some((client, rest)) if rest == "-" || rest.starts_with("-/") => client,
        Some(_) => "",
    }
}

fn reply(verdict: &Result<Verified, Reason>) -> Response {
    match verdict {
        Ok(verified) => finish(StatusCode::OK, identity::headers(verified).into_response()),
        Err(reason) => {
            let (status, name) = gateway::rejection(*reason);
            json(status, &Inactive::new(name, *reason))
        }
    }
}

/// Routes whose responses are verdicts and nothing else. Whatever fails below, limits and panics
/// included, results in 503: proxies turn other statuses into errors of their own.
pub fn verdicts_only(routes: Router) -> Router {
    routes
        .layer(MapRequestLayer::new(without_body))
        .layer(MapResponseLayer::new(verdict_or_unavailable))
}

/// The response, unless it is no verdict.
pub fn verdict_or_unavailable(response: Response) -> Response {
    if matches!(response.status().as_u16(), 200 | 401 | 403 | 503) {
        return response;
    }
    let error = ApiError::unavailable("the request could not be processed; try again");
    let mut unavailable = error.into_response();
    let id = response.headers().get(REQUEST_ID).cloned();
    unavailable.headers_mut().extend(id.map(|id| (REQUEST_ID, id)));
    unavailable
}

/// The body of the original request, or its announced length, may have been forwarded. It is not
/// waited for.
fn without_body(request: Request) -> Request {
    request.map(|_| Body::empty())
}

#[cfg(test)]
mod tests {
    use axum::routing::any;
    use tower::ServiceExt as _;

    use super::*;

    #[test]
    fn the_client_is_the_first_segment() {
        for (path, client) in [
            ("/v1/auth/client/abc", "abc"),
            ("/v1/auth/client/abc/-", "abc"),
            ("/v1/auth/client/abc/-/", "abc"),
            ("/v1/auth/client/abc/-/x/../../../def", "abc"),
            ("/v1/auth/client/abc/-/v1/auth/client/def", "abc"),
            ("/v1/auth/client/", ""),
            ("/v1/auth/client/abc/", ""),
            ("/v1/auth/client/abc/x", ""),
            ("/v1/auth/client/abc/-x", ""),
            ("/v1/auth/client//-/abc", ""),
            ("/v1/auth/client/../abc", ""),
        ] {
            assert_eq!(client_of(path), client, "{path}");
        }
    }

    #[tokio::test]
    async fn failures_become_503() {
        let routes = Router::new()
            .route("/500", any(|| async { ApiError::internal() }))
            .route("/400", any(|| async { ApiError::malformed("x") }))
            .route("/413", any(|| async { ApiError::too_large("x") }))
            .route("/200", any(|| async {}))
            .route("/body", any(|_: axum::body::Bytes| async {}));
        for (path, status) in [
            ("/500", 503),
            ("/400", 503),
            ("/413", 503),
            ("/missing", 503),
            ("/200", 200),
            ("/body", 200),
        ] {
            // A body that never arrives.
            let body =
                Body::from_stream(futures::stream::pending::<Result<&[u8], std::io::Error>>());
            let request = Request::builder().uri(path).body(body).unwrap();
            let response = verdicts_only(routes.clone()).oneshot(request).await.unwrap();
            assert_eq!(response.status(), status, "{path}");
        }
    }
}
