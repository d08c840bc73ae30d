//! CORS for web pages that use the API, such as a console on another origin (Fetch standard). Off
//! unless the platform administrator names their origins.

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::ApiState;
use super::audit::IGNORED;
use super::route::CHANGED;
use crate::domain::client::Origin;
use crate::server::REQUEST_ID;
use crate::server::error::no_such_method;
use crate::server::request::CLIENT_HEADER;

/// How long a browser may remember the response to a preflight.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_mins(10);

/// Lets pages of these origins use the routes. Origins are compared exactly. Credentials in the
/// sense of the Fetch standard (cookies) are not allowed: the API has none, and a bearer token is a
/// header.
pub fn allow(routes: Router<ApiState>, origins: &[Origin]) -> Router<ApiState> {
    if origins.is_empty() {
        return routes;
    }
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin.as_str()).ok());
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, CLIENT_HEADER, REQUEST_ID])
        .expose_headers([REQUEST_ID, header::RETRY_AFTER, CHANGED, IGNORED])
        .max_age(PREFLIGHT_MAX_AGE)
        .vary([header::ORIGIN]);
    // Inside the layer, so that the layer answers preflights.
    routes.method_not_allowed_fallback(no_such_method).layer(layer)
}
