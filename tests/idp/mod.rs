//! A mock identity provider: a real HTTPS server with its own CA, which counts requests and
//! misbehaves on demand. Shared by the tests with and without a cluster.
#![allow(dead_code, reason = "each test binary uses only a part")]

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures::StreamExt as _;
use http::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A name in the certificate, besides `localhost` and 127.0.0.1, that no resolver can resolve.
pub const NAME: &str = "id.example.test";
/// Path of the key set.
pub const JWKS: &str = "/jwks.json";
/// Path of the discovery document.
pub const DISCOVERY: &str = "/.well-known/openid-configuration";

/// The response at a path.
#[derive(Clone, Debug)]
pub enum Page {
    /// 200 with this JSON and these headers; 304 for a request with its `ETag` in `If-None-Match`.
    Json(Value, Vec<(&'static str, String)>),
    /// This status, these headers and this body.
    Raw(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The response head, and then nothing.
    Hang,
    /// An endless body, one byte every 20 ms.
    Drip,
    /// An endless body, as fast as it is read.
    Endless,
}

impl Page {
    /// 200 with this JSON.
    pub fn json(value: Value) -> Self {
        Self::Json(value, Vec::new())
    }
}

#[derive(Default)]
struct Site {
    pages: Mutex<HashMap<String, Page>>,
    /// The paths of all requests, in order.
    requests: Mutex<Vec<String>>,
    heads: Mutex<Vec<http::HeaderMap>>,
}

/// A running provider; dropping it stops it.
pub struct Idp {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// The CA of its certificate, in PEM.
    pub ca: String,
    site: Arc<Site>,
    task: JoinHandle<()>,
}

impl Idp {
    /// Starts a provider that responds to every path with 404.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (config, ca) = certificates();
        let site = Arc::<Site>::default();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&site));
        let task = tokio::spawn(serve(listener, config, router));
        Self { port, ca, site, task }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    /// The issuer in its discovery document.
    pub fn issuer(&self) -> String {
        self.url("")
    }

    /// Responds to this path with this page from now on.
    pub fn serve(&self, path: &str, page: Page) {
        self.site.pages.lock().insert(path.to_owned(), page);
    }

    /// Serves this key set, and a discovery document that refers to it.
    pub fn serve_keys(&self, keys: &[Value]) {
        self.serve(JWKS, Page::json(json!({"keys": keys})));
        self.serve(
            DISCOVERY,
            Page::json(json!({"issuer": self.issuer(), "jwks_uri": self.url(JWKS)})),
        );
    }

    /// The number of requests for this path.
    pub fn hits(&self, path: &str) -> usize {
        self.site.requests.lock().iter().filter(|it| *it == path).count()
    }

    /// The number of requests for this path before the first one for `other`.
    pub fn hits_before(&self, path: &str, other: &str) -> usize {
        let requests = self.site.requests.lock();
        requests.iter().take_while(|it| *it != other).filter(|it| *it == path).count()
    }

    /// The number of all requests.
    pub fn all_hits(&self) -> usize {
        self.site.requests.lock().len()
    }

    /// The headers of the last request.
    pub fn last_head(&self) -> http::HeaderMap {
        self.site.heads.lock().last().cloned().unwrap()
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, config: ServerConfig, router: Router) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let http = auto::Builder::new(TokioExecutor::new());
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(State(site): State<Arc<Site>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    site.requests.lock().push(path.clone());
    site.heads.lock().push(request.headers().clone());
    let page = site.pages.lock().get(&path).cloned();
    let raw = |status: u16, headers: Vec<(&'static str, String)>, body: Body| {
        let builder = Response::builder().status(StatusCode::from_u16(status).unwrap());
        let with = |builder: http::response::Builder, (name, value)| builder.header(name, value);
        headers.into_iter().fold(builder, with).body(body).unwrap()
    };
    match page {
        None => raw(404, Vec::new(), Body::from("<html>nothing here</html>")),
        Some(Page::Json(json, headers)) => {
            let etag = headers.iter().find(|(name, _)| *name == "etag").map(|(_, value)| value);
            let asked = request.headers().get("if-none-match").and_then(|it| it.to_str().ok());
            if etag.is_some() && asked == etag.map(String::as_str) {
                return raw(304, headers, Body::empty());
            }
            raw(200, headers, Body::from(json.to_string()))
        }
        Some(Page::Raw(status, headers, body)) => raw(status, headers, Body::from(body)),
        Some(Page::Hang) => raw(200, Vec::new(), Body::from_stream(nothing())),
        Some(Page::Drip) => raw(200, Vec::new(), Body::from_stream(drip())),
        Some(Page::Endless) => raw(200, Vec::new(), Body::from_stream(endless())),
    }
}

type Chunk = Result<Bytes, std::convert::Infallible>;

fn nothing() -> impl futures::Stream<Item = Chunk> {
    futures::stream::pending()
}

fn drip() -> impl futures::Stream<Item = Chunk> {
    futures::stream::repeat(()).then(|()| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Bytes::from_static(b" "))
    })
}

fn endless() -> impl futures::Stream<Item = Chunk> {
    futures::stream::repeat(Ok(Bytes::from_static(&[b' '; 16 * 1024])))
}

/// A TLS configuration of the server, and the CA of its certificate in PEM.
fn certificates() -> (ServerConfig, String) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let names = ["localhost", "127.0.0.1", NAME].map(str::to_owned);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![leaf.der().clone()], private)
    .unwrap();
    (config, ca.pem())
}
