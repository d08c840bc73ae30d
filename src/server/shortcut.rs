//! What a listener serves. Most requests are handled by the [`Router`]. Those to the endpoints that
//! backends and gateways call for each of their own requests bypass it: its allocations and copies
//! would take longer than the response, which usually comes from memory.

use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::{Bytes, HttpBody};
use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use futures::FutureExt as _;
use futures::future::Either;
use tower::{BoxError, Service as _};

use super::ValidatorState;
use super::arrival::Arrival;
use super::endpoints::{forward_auth, validate};
use super::frame::{Frame, response_of};

/// The maximum number of headers of a request that goes past the router. While it waits, it keeps all
/// of them; what the router handles keeps only the credential.
const MAX_HEADERS: usize = 64;

/// What a listener serves. Cheap to clone.
#[derive(Clone)]
pub struct Routes {
    router: Router,
    shortcut: Option<Arc<Shortcut>>,
}

/// The endpoints with a way around the router. Their routes handle all other requests to them in the
/// same way, such as those with a body.
pub struct Shortcut {
    /// The state of the endpoints.
    pub state: Arc<ValidatorState>,
    /// The frame of `POST /v1/validate`.
    pub validate: Frame,
    /// The frame of `/v1/auth/client/{clientId}`.
    pub auth: Frame,
}

/// An endpoint with a way around the router.
#[derive(Clone, Copy)]
enum Direct {
    Validate,
    Auth,
}

impl Direct {
    fn of<B: HttpBody>(request: &Request<B>) -> Option<Self> {
        let (path, method) = (request.uri().path(), request.method());
        if request.headers().len() > MAX_HEADERS {
            return None;
        }
        if path == validate::PATH {
            let fits = method == Method::POST && request.body().is_end_stream();
            return fits.then_some(Self::Validate);
        }
        // The router takes the body out of the response to HEAD, which hyper sends over HTTP/2.
        let fits = path.starts_with(forward_auth::PREFIX) && method != Method::HEAD;
        fits.then_some(Self::Auth)
    }
}

impl Shortcut {
    /// Handles a request, of which nothing but the head is read.
    async fn handle<B>(
        self: Arc<Self>,
        endpoint: Direct,
        request: Request<B>,
        arrival: Option<Arrival>,
    ) -> Response {
        let (head, _) = request.into_parts();
        let (state, headers) = (&self.state, &head.headers);
        match endpoint {
            Direct::Validate => {
                let work = pin!(validate::validate_head(state, headers));
                self.validate.handle(&head, arrival, work).await
            }
            Direct::Auth => {
                let work = pin!(forward_auth::authorize_head(state, head.uri.path(), headers));
                let response = self.auth.handle(&head, arrival, work).await;
                forward_auth::verdict_or_unavailable(response)
            }
        }
    }
}

impl Routes {
    /// A router, and a way around it.
    pub fn new(router: Router, shortcut: Option<Shortcut>) -> Self {
        Self { router, shortcut: shortcut.map(Arc::new) }
    }

    /// Handles a request, which has arrived like this if it has arrived over a connection.
    pub fn handle<B>(
        &self,
        mut request: Request<B>,
        arrival: Option<Arrival>,
    ) -> impl Future<Output = Response> + use<B>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        if let Some(shortcut) = &self.shortcut
            && let Some(endpoint) = Direct::of(&request)
        {
            return Either::Left(Arc::clone(shortcut).handle(endpoint, request, arrival).boxed());
        }
        if let Some(arrival) = arrival {
            request.extensions_mut().insert(arrival);
        }
        Either::Right(response_of(self.router.clone().call(request)))
    }
}

impl From<Router> for Routes {
    fn from(router: Router) -> Self {
        Self { router, shortcut: None }
    }
}

#[cfg(test)]
mod tests {
    use hyper::body::Incoming;

    use super::*;

    /// Each request allocates one, and copies it there.
    #[test]
    fn future_of_a_request_is_small() {
        fn size<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(Shortcut::handle::<Incoming>);
        assert!(size < 2560, "{size} bytes");
    }
}
