//! Fixtures: objects as the API server would give them ([`objects`]), an API server that answers
//! what the test says ([`api`]), and the public router over both ([`World`]).

pub mod api;
pub mod log;
pub mod objects;
pub mod script;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anon_operator::testing::clock::Clock;
use anon_operator::testing::config::Role;
use anon_operator::testing::crd::Kind;
use anon_operator::testing::domain::credential::ApiKey;
use anon_operator::testing::domain::ids::SdkClientId;
use anon_operator::testing::domain::scope::Scope;
use anon_operator::testing::domain::signing::SigningKey;
use anon_operator::testing::index::{Index, IndexSettings, Indexed, Reader};
use anon_operator::testing::metrics::Metrics;
use anon_operator::testing::server::{
    self, ApiState, PlatformSettings, RequestLimits, Routes, ValidatorState, VerificationQueue,
    VerifiedTokens,
};
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use api::FakeApi;

/// The challenge of a 401 (RFC 6750 section 3).
pub const CHALLENGE: &str = r#"Bearer realm="anon-operator""#;
/// The time of every test, unless it says another.
pub const NOW: i64 = 1_800_000_000;

/// The maximum age of a fetched key set.
pub const MAX_JWKS_AGE: SignedDuration = SignedDuration::from_hours(24);

/// An index that is never stale, because no API server feeds it.
pub const UNLIMITED: IndexSettings = IndexSettings {
    scope: Scope::CLUSTER,
    max_jwks_age: MAX_JWKS_AGE,
    max_staleness: None,
    for_admission: false,
};

/// A clock that stands still until it is set.
pub struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

/// The public side of a replica whose index the test fills by hand.
pub struct World {
    pub index: Arc<Index>,
    pub clock: Arc<TestClock>,
    pub state: ApiState,
    /// Where the signer reads Secrets.
    pub api: FakeApi,
}

impl World {
    /// A replica that has read the cluster and found nothing.
    pub fn new() -> Self {
        Self::unlisted().list()
    }

    fn list(self) -> Self {
        for kind in Kind::ALL {
            self.index.listed(kind, None);
        }
        self.index.namespaces_listed([]);
        self
    }

    /// A replica that has not read the cluster yet.
    pub fn unlisted() -> Self {
        Self::of(UNLIMITED)
    }

    fn of(limits: IndexSettings) -> Self {
        let index = Arc::new(Index::new(limits));
        let clock = Arc::new(TestClock(AtomicI64::new(NOW)));
        let api = FakeApi::default();
        let validator = ValidatorState {
            reader: Reader::new(Arc::clone(&index)),
            clock: clock.clone(),
            metrics: Arc::new(Metrics::default()),
            public_url: objects::PUBLIC_URL.into(),
            settings: Arc::default(),
            verified_tokens: Arc::new(VerifiedTokens::new(1 << 20)),
            verification_queue: VerificationQueue::new(NonZeroUsize::MIN),
        };
        let state = api_state(validator, &api, PlatformSettings::default());
        Self { index, clock, state, api }
    }

    /// A replica that has read the cluster and found nothing, with these settings.
    pub fn with(settings: PlatformSettings) -> Self {
        let mut world = Self::new();
        world.state = api_state(world.state.validator, &world.api, settings);
        world
    }

    /// A replica that was ready once and has lost touch with the cluster.
    pub fn stale() -> Self {
        let max_staleness = Some(std::time::Duration::from_hours(1));
        let world = Self::of(IndexSettings { max_staleness, ..UNLIMITED }).list();
        world.state.reader.applied().reported(std::time::Instant::now());
        world
    }

    /// The organization `acme` on a replica whose index becomes stale this long after it was heard
    /// of.
    pub fn acme_stale_after(limit: std::time::Duration) -> (Self, Acme) {
        let world = Self::of(IndexSettings { max_staleness: Some(limit), ..UNLIMITED }).list();
        let acme = world.add_acme();
        (world, acme)
    }

    /// The replica has just heard of every kind, and reported that.
    pub fn hear(&self) {
        let applied = self.state.reader.applied();
        for kind in Kind::ALL {
            applied.advanced(kind, None, "1");
        }
        applied.reported(std::time::Instant::now());
    }

    /// The organization `acme` with pool `users`, its webapp `web` and its backend `backend`.
    pub fn acme() -> (Self, Acme) {
        let world = Self::new();
        let acme = world.add_acme();
        (world, acme)
    }

    fn add_acme(&self) -> Acme {
        let web = SdkClientId::derive("acme", "web");
        let acme =
            Acme { web, signing: objects::signing_key(), api_key: ApiKey::generate().unwrap() };
        self.add(&objects::pool("acme", "users", acme.signing));
        self.add(&objects::webapp("acme", "web", "users"));
        self.add(&objects::service("acme", "backend", "Member", &acme.api_key));
        acme
    }

    pub fn add<K: Indexed>(&self, object: &K) {
        self.index.apply(object);
    }

    pub fn set_clock(&self, second: i64) {
        self.clock.0.store(second, Ordering::Relaxed);
    }

    pub fn routes(&self, roles: &[Role]) -> Routes {
        let validator = roles.contains(&Role::Validator).then(|| self.state.validator.clone());
        let api = roles.contains(&Role::Api).then(|| self.state.clone());
        server::routes(validator, api, RequestLimits::default())
    }

    /// Sends a request to a replica with the roles api and validator.
    pub async fn send(&self, request: Request<Body>) -> Reply {
        Reply::of(self.routes(&[Role::Api, Role::Validator]), request).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(get(path)).await
    }

    /// Posts JSON with a bearer, if there is one.
    pub async fn post(&self, path: &str, bearer: Option<&str>, body: &Value) -> Reply {
        let mut request = post(path, body.to_string());
        if let Some(bearer) = bearer {
            let value = format!("Bearer {bearer}").parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        self.send(request).await
    }
}

fn api_state(validator: ValidatorState, api: &FakeApi, settings: PlatformSettings) -> ApiState {
    let settings =
        PlatformSettings { operator_namespace: objects::OPERATOR.to_owned(), ..settings };
    ApiState::new(validator, api.client(), settings).unwrap()
}

/// The credentials of [`World::acme`].
pub struct Acme {
    pub web: SdkClientId,
    pub signing: &'static SigningKey,
    pub api_key: ApiKey,
}

impl Acme {
    pub fn client(&self) -> SdkClientId {
        self.web
    }

    pub fn key(&self) -> &str {
        self.api_key.expose()
    }
}

pub fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

pub fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(Method::POST).uri(path);
    request.header("content-type", "application/json").body(body.into()).unwrap()
}

/// A complete response.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub async fn of(routes: impl Into<Routes>, request: Request<Body>) -> Self {
        let (parts, body) = routes.into().handle(request, None).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Self { status: parts.status, headers: parts.headers, text }
    }

    pub fn json(&self) -> Value {
        let text = &self.text;
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The status, and the field `name` that says what sort of error it is.
    pub fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["name"].as_str().unwrap_or_default().to_owned())
    }
}
