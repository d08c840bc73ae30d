//! The fetcher against a real HTTPS server that misbehaves.

mod addresses;
mod answers;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anon_operator::testing::domain::pool::Location;
use anon_operator::testing::jwks::connect::{Connector, Resolve};
use anon_operator::testing::jwks::{AddressFilter, FetchError, Fetched, Fetcher, Trust};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::idp::Idp;

/// A resolver that answers what the test says: another answer each time, the last one from then on.
pub struct Names {
    answers: Vec<Vec<&'static str>>,
    asked: AtomicUsize,
}

impl Names {
    pub fn new<const N: usize>(answers: [&[&'static str]; N]) -> Arc<Self> {
        let answers = answers.map(<[_]>::to_vec).to_vec();
        Arc::new(Self { answers, asked: AtomicUsize::new(0) })
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let turn = self.asked.fetch_add(1, Ordering::Relaxed).min(self.answers.len() - 1);
        let addresses = &self.answers[turn];
        let parse = |text: &&str| SocketAddr::new(text.parse::<IpAddr>().unwrap(), port);
        let found = addresses.iter().map(parse).collect();
        Box::pin(async move { Ok(found) })
    }
}

/// A fetcher that may connect to `openings`, besides the Internet, and has much patience.
pub fn fetcher(names: Arc<Names>, openings: &[&str]) -> Fetcher {
    impatient_fetcher(names, openings, Duration::from_mins(1))
}

pub fn impatient_fetcher(names: Arc<Names>, openings: &[&str], patience: Duration) -> Fetcher {
    // As `main` does, for the whole process; the second time it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let openings = openings.iter().map(|net| net.parse().unwrap()).collect();
    let filter = AddressFilter::new(openings, Vec::new()).unwrap();
    Fetcher::new(Connector::new(names, filter, patience), Trust::platform(), patience)
}

/// A fetcher that may connect to the test's provider, by whatever name.
pub fn open_fetcher() -> Fetcher {
    fetcher(Names::new([&["127.0.0.1"]]), &["127.0.0.1/32"])
}

/// Fetches the key set of `idp` at this path.
pub async fn fetch(idp: &Idp, path: &str) -> Result<Fetched, FetchError> {
    let location = Location::Jwks(idp.url(path));
    open_fetcher().fetch(&location, Some(idp.ca.as_bytes()), None).await
}

/// Fetches the key set of `idp` by discovery.
pub async fn discover(idp: &Idp) -> Result<Fetched, FetchError> {
    let location = Location::Issuer(idp.issuer());
    open_fetcher().fetch(&location, Some(idp.ca.as_bytes()), None).await
}

pub fn some_key() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
}
