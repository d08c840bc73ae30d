//! The identity provider of an organization in a test: its keys, its tokens, and a pool that uses
//! its keys.

use std::sync::Arc;

use anon_operator::testing::domain::algorithm::Algorithm;
use anon_operator::testing::domain::signing::SigningKey;
use anon_operator::testing::domain::token::sign;
use anon_operator::testing::jwks::connect::{Connector, SystemResolver};
use anon_operator::testing::jwks::{AddressFilter, CONNECT_TIMEOUT, FETCH_TIMEOUT, Fetcher, Trust};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::operator::Setup;
use super::{Operator, Space, webapp, with};
use crate::idp::Idp;

/// The flag that allows an operator to fetch from the test's provider.
pub const OPENING: &str = "--allow-fetch-from=127.0.0.1/32";

/// An operator that may fetch from the test's provider. Its environment specifies proxies that are
/// unreachable, so a fetch through a proxy would fail.
pub async fn fetching_operator(replica: usize, flags: &[&str]) -> Operator {
    let flags = flags.iter().chain(&[OPENING]).map(|flag| (*flag).to_owned()).collect();
    let proxies = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let proxies = proxies.map(|name| (name.to_owned(), "http://127.0.0.1:9".to_owned()));
    // The launcher's environment exempts loopback from proxies, and with that exemption this test
    // would prove nothing.
    let no_exceptions = ["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), String::new()));
    let env = proxies.into_iter().chain(no_exceptions).collect();
    Operator::launch(Setup { replica, flags, env, ..Setup::default() }).await
}

/// The fetcher of key sets, for tests that run controllers without the rest of the operator.
pub fn fetcher() -> Fetcher {
    let filter = AddressFilter::new(Vec::new(), Vec::new()).unwrap();
    let connector = Connector::new(Arc::new(SystemResolver), filter, CONNECT_TIMEOUT);
    Fetcher::new(connector, Trust::platform(), FETCH_TIMEOUT)
}

/// A key of the provider.
pub struct Key {
    key: SigningKey,
    pub kid: String,
}

impl Key {
    pub fn new() -> Self {
        let key = SigningKey::generate(Algorithm::ES256).unwrap();
        let kid = key.public_jwk().kid.unwrap();
        Self { key, kid }
    }

    /// The public key as a JWK.
    pub fn jwk(&self) -> Value {
        serde_json::to_value(self.key.public_jwk()).unwrap()
    }

    /// A token signed by this key.
    pub fn token(&self) -> String {
        self.token_with_kid(&self.kid)
    }

    /// A token signed by this key whose header has another `kid`.
    pub fn token_with_kid(&self, kid: &str) -> String {
        self.sign(kid, "any")
    }

    /// A token signed by this key, with this issuer.
    pub fn token_of(&self, issuer: &str) -> String {
        self.sign(&self.kid, issuer)
    }

    fn sign(&self, kid: &str, issuer: &str) -> String {
        let now = Timestamp::now().as_second();
        let claims = json!({"sub": "user-1", "iss": issuer, "iat": now, "exp": now + 3600});
        sign(&self.key, kid, &claims).unwrap()
    }
}

/// A pool that fetches its key set from this URL of the provider.
pub fn remote_pool(name: &str, url: &str) -> Value {
    let ca = json!({"name": "id-ca", "key": "ca.crt"});
    json!({
        "apiVersion": "anon.dev/v1beta1", "kind": "UserPool", "metadata": {"name": name},
        "spec": {"jwks": {"url": url, "caRef": ca}, "anyAudience": true},
    })
}

/// The Secret with the CA of the provider.
pub fn ca_secret(idp: &Idp) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "id-ca", "labels": {"anon.dev/use": "ca"}},
        "stringData": {"ca.crt": idp.ca},
    })
}

/// Creates the pool `name` with the key set at this path of the provider, and a client of the same
/// name.
pub async fn follow(space: &Space, idp: &Idp, name: &str, path: &str) {
    space.apply(&ca_secret(idp)).await;
    space.apply(&remote_pool(name, &idp.url(path))).await;
    space.apply(&with(webapp(name, name), "/spec/displayName", json!(name))).await;
}
