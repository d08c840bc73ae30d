//! A backend for end users: asks the validator of anon-operator about each request.

use std::error::Error;
use std::{env, sync::Arc, time::Duration};

use axum::extract::State;
use axum::http::header::{self, AUTHORIZATION, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use tower_http::cors::CorsLayer;

struct Settings {
    api_url: String,
    validator_url: String,
    /// The webapp client that the users come through.
    client_id: String,
    api_key_file: String,
    /// The only origin whose pages may read the responses.
    webapp_origin: String,
    http: Client,
}

enum Failure {
    Unauthorized,
    /// There is no answer, so the user is not let in (fail closed).
    Unavailable(String),
}

#[derive(Deserialize)]
#[serde(tag = "principal", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Principal {
    AppUser {
        app_user_id: String,
    },
    /// The validator also knows API keys and session tokens, which are not end users.
    #[serde(other)]
    Other,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = Arc::new(Settings {
        api_url: env::var("ANON_API_URL")?,
        validator_url: env::var("ANON_VALIDATOR_URL")?,
        client_id: env::var("ANON_CLIENT_ID")?,
        api_key_file: env::var("ANON_API_KEY_FILE")?,
        webapp_origin: env::var("WEBAPP_ORIGIN")?,
        http: Client::builder().timeout(Duration::from_secs(5)).build()?,
    });
    let cors = CorsLayer::new()
        .allow_origin(settings.webapp_origin.parse::<HeaderValue>()?)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION]);
    let host = env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port = env::var("PORT").unwrap_or_else(|_| "18214".to_owned());
    let app = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/me", get(me))
        .route("/link", post(link))
        .layer(cors)
        .layer(map_response(no_store))
        .with_state(settings);
    let listener = tokio::net::TcpListener::bind(format!("{host}:{port}")).await?;
    Ok(axum::serve(listener, app).await?)
}

async fn me(
    State(settings): State<Arc<Settings>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Failure> {
    let (app_user_id, _) = settings.authenticate(&headers).await?;
    Ok(Json(json!({ "appUserId": app_user_id })))
}

/// Creates the URL at which the user connects a calendar.
async fn link(
    State(settings): State<Arc<Settings>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Failure> {
    let (_, token) = settings.authenticate(&headers).await?;
    let redirect_url = format!("{}/linked", settings.webapp_origin);
    let query = [
        ("app", "calendar"),
        ("clientId", &settings.client_id),
        ("redirectUrl", &redirect_url),
        ("appUserIdToken", token),
    ];
    // Reads the file each time: the kubelet replaces it when the operator rotates the key.
    let api_key = tokio::fs::read_to_string(&settings.api_key_file).await?;
    let request = settings.http.get(format!("{}/link/url", settings.api_url)).query(&query);
    let reply = request.bearer_auth(api_key.trim()).send().await?;
    let status = reply.status();
    let body: Value = reply.json().await?;
    match status {
        StatusCode::OK => Ok(Json(json!({ "url": body["url"] }))),
        StatusCode::BAD_REQUEST if body["field"] == "appUserIdToken" => Err(Failure::Unauthorized),
        // This includes a rejected API key, which is not the fault of the user.
        _ => Err(Failure::Unavailable(format!("the API responded with status {status}"))),
    }
}

impl Settings {
    /// Returns the id and the token of the user.
    async fn authenticate<'a>(&self, headers: &'a HeaderMap) -> Result<(String, &'a str), Failure> {
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) =
            header.and_then(|it| it.split_once(' ')).ok_or(Failure::Unauthorized)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Failure::Unauthorized);
        }
        let request =
            self.http.post(format!("{}/v1/validate", self.validator_url)).bearer_auth(token);
        let reply = request.header("X-Anon-Sdk-Client-Id", &self.client_id).send().await?;
        match reply.status() {
            StatusCode::OK => match reply.json().await? {
                Principal::AppUser { app_user_id } => Ok((app_user_id, token)),
                Principal::Other => Err(Failure::Unauthorized),
            },
            StatusCode::UNAUTHORIZED => Err(Failure::Unauthorized),
            status => {
                Err(Failure::Unavailable(format!("the validator responded with status {status}")))
            }
        }
    }
}

impl<E: Error> From<E> for Failure {
    fn from(_: E) -> Self {
        // Not the message, which contains the query of the URL.
        Self::Unavailable(format!("unexpected {}", std::any::type_name::<E>()))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Unauthorized => {
                let headers = [(header::WWW_AUTHENTICATE, "Bearer realm=\"backend\"")];
                (StatusCode::UNAUTHORIZED, headers, Json(json!({ "error": "unauthorized" })))
                    .into_response()
            }
            Self::Unavailable(reason) => {
                eprintln!("cannot answer: {reason}");
                let headers = [(header::RETRY_AFTER, "1")];
                (StatusCode::SERVICE_UNAVAILABLE, headers, Json(json!({ "error": "unavailable" })))
                    .into_response()
            }
        }
    }
}

async fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
