//! The HTTP server: [`router`] has the routes of each role, [`admin`] those for the cluster, and
//! [`serve`] is the only place that listens.

mod body;
mod concurrency;
mod connection_limit;
pub mod endpoints;
mod error;
mod health;
mod host;
mod org;
mod public;
mod request;
mod state;
mod tls;
mod unread;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware;
use axum::routing::get;
use axum_server::Handle;
use tokio_util::sync::CancellationToken;
use tower_http::ServiceBuilderExt as _;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::MakeRequestUuid;

use concurrency::RequestLimiter;
use connection_limit::Limited;
pub use error::ApiError;
pub use org::openapi::document as openapi;
pub use org::{ApiState, PlatformSettings};
pub use state::ValidatorState;
pub use tls::TlsFiles;

/// The header with the id of a request, set on every response too.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How long a client may take to send a request head, the first one included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum number of concurrent connections; further ones are closed.
const MAX_CONNECTIONS: usize = 4096;
/// The maximum size of a request head, in bytes: a token of 16 KiB and as much again.
const MAX_HEAD: u32 = 32 * 1024;
/// The HTTP/2 flow control window, in bytes: how much of request bodies a connection may send
/// ahead, and how much of a response is buffered for sending.
const WINDOW: u32 = 64 * 1024;

/// The routes of the roles of this process: those with a state.
pub fn router(validator: Option<ValidatorState>, api: Option<ApiState>) -> Router {
    let mut router = Router::new();
    let bounded =
        || middleware::from_fn_with_state(RequestLimiter::default(), concurrency::bounded);
    if let Some(state) = validator {
        let routes = endpoints::routes().merge(public::routes());
        router = router.merge(routes.layer(bounded()).with_state(state));
    }
    if let Some(state) = api {
        let routes = org::routes(&state.platform.allowed_origins);
        router = router.merge(routes.layer(bounded()).with_state(state));
    }
    // Outermost layer first.
    let stack = tower::ServiceBuilder::new()
        .map_request(drop_unfit_id)
        .set_request_id(REQUEST_ID, MakeRequestUuid)
        .propagate_request_id(REQUEST_ID)
        .layer(CatchPanicLayer::custom(error::panicked));
    router
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(stack)
}

/// Callers may set the id of their request, if it consists of letters, digits and `-_.`; otherwise
/// the server does.
fn drop_unfit_id(mut request: Request) -> Request {
    let fits = |id: &HeaderValue| {
        let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        !id.is_empty() && id.len() <= 128 && id.as_bytes().iter().all(letter)
    };
    if !request.headers().get(REQUEST_ID).is_some_and(fits) {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

/// Health and metrics.
pub fn admin(state: ValidatorState) -> Router {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(error::no_such_path)
        .with_state(state)
}

/// Serves `router` on `listener` until `shutdown`, then waits for requests in flight, for at most
/// `drain`.
///
/// # Errors
/// The certificate cannot be read, or the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<TlsFiles>,
    shutdown: CancellationToken,
    drain: Duration,
) -> io::Result<()> {
    let handle = Handle::new();
    let stop = async {
        shutdown.cancelled().await;
        handle.graceful_shutdown(Some(drain));
        // Never completes: the other branch ends when the server does.
        std::future::pending().await
    };
    let router = router.layer(middleware::from_fn(host::required));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    match tls {
        None => {
            let mut server = axum_server::from_tcp(listener)?
                .acceptor(Limited::to(MAX_CONNECTIONS))
                .handle(handle.clone())
                .first_request_timeout(HEADER_TIMEOUT);
            limit(server.http_builder());
            tokio::select! {
                result = server.serve(service) => result,
                never = stop => never,
            }
        }
        Some(files) => {
            let config = files.load()?;
            let limited = Limited::to(MAX_CONNECTIONS);
            let mut server = axum_server::tls_rustls::from_tcp_rustls(listener, config.clone())?
                .map(|tls| tls.acceptor(limited))
                .handle(handle.clone())
                .first_request_timeout(HEADER_TIMEOUT);
            limit(server.http_builder());
            tokio::select! {
                result = server.serve(service) => result,
                never = stop => never,
                never = files.keep_fresh(&config) => never,
            }
        }
    }
}

/// Limits the cost of a connection before a request is complete.
fn limit(builder: &mut hyper_util::server::conn::auto::Builder<hyper_util::rt::TokioExecutor>) {
    builder
        .http1()
        .timer(hyper_util::rt::TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD as usize);
    builder
        .http2()
        .timer(hyper_util::rt::TokioTimer::new())
        .max_concurrent_streams(64)
        .max_header_list_size(MAX_HEAD)
        .max_send_buf_size(WINDOW as usize)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(Some(Duration::from_secs(30)));
}
