//! The restricted fetcher of remote key sets: it sends HTTPS GET requests from inside the cluster
//! to URLs that tenants choose. It does not depend on kube or the custom resources, and its caller
//! decides when to fetch ([`schedule`]).
//!
//! Protection against SSRF: an allow-list of hosts ([`host`]), a filter on the address of each
//! connection ([`address`], [`connect`]), no redirects, no proxy (nothing here reads the
//! environment), limits on time and size ([`mod@get`]), and errors that reveal nothing about the
//! network or the response ([`FetchError`]).
//!
//! Not reqwest: its resolver is not asked about a URL with an IP address, so a filter there would be
//! bypassed, and it follows redirects and reads proxies from the environment unless told not to.

pub mod address;
pub mod connect;
mod discovery;
mod get;
pub mod host;
pub mod schedule;
pub mod trust;

use std::fmt;
use std::time::Duration;

use tokio::time::timeout;

pub use crate::domain::fetch_error::FetchError;
use crate::domain::json;
use crate::domain::jwks_parser::{RawKey, RawSet};
use crate::domain::pool::Location;
pub use address::AddressFilter;
use connect::Connector;
use get::{Answer, get, parse_url};
pub use host::HostFilter;
pub use trust::Trust;

/// The timeout of a connection, including name resolution and TLS handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout of a whole fetch, which with discovery is two requests.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Identifies the version of a key set, for a conditional request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    /// The URL that it was fetched from.
    url: String,
    /// The entity tag (RFC 9110 section 8.8.3).
    etag: String,
}

/// The result of a fetch.
#[derive(Clone, Debug, PartialEq)]
pub enum Fetched {
    /// The current key set.
    Set {
        /// The elements of `keys`, not validated yet.
        keys: Vec<RawKey>,
        /// The validator for the next fetch.
        validator: Option<Validator>,
        /// How long the set is fresh, according to the host.
        max_age: Option<Duration>,
    },
    /// Unchanged since the fetch that returned the validator.
    Unchanged {
        /// How long the set is fresh, according to the host.
        max_age: Option<Duration>,
    },
}

/// Fetches key sets.
#[derive(Clone)]
pub struct Fetcher {
    connector: Connector,
    platform: Trust,
    timeout: Duration,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("connector", &self.connector).finish_non_exhaustive()
    }
}

impl Fetcher {
    /// Fetches over `connector` with a timeout for each fetch. `platform` are the trusted CAs where
    /// a pool specifies none.
    #[must_use]
    pub const fn new(connector: Connector, platform: Trust, timeout: Duration) -> Self {
        Self { connector, platform, timeout }
    }

    /// Fetches a key set. `ca` is the PEM bundle that is trusted instead of the platform's CAs;
    /// `known` is the validator of the last fetch.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(
        &self,
        location: &Location,
        ca: Option<&[u8]>,
        known: Option<&Validator>,
    ) -> Result<Fetched, FetchError> {
        let trust = ca.map(Trust::bundle).transpose()?;
        let trust = trust.as_ref().unwrap_or(&self.platform);
        let fetching = async {
            let url = match location {
                Location::Jwks(url) => url.clone(),
                Location::Issuer(issuer) => self.discover(issuer, trust).await?,
            };
            let known = known.filter(|known| known.url == url);
            let answer = self.get(&url, trust, known.map(|known| known.etag.as_str())).await?;
            key_set(url, answer)
        };
        timeout(self.timeout, fetching).await.map_err(|_| FetchError::TimedOut)?
    }

    /// Looks the URL of an issuer's key set up in its discovery document.
    async fn discover(&self, issuer: &str, trust: &Trust) -> Result<String, FetchError> {
        match self.get(&discovery::url(issuer), trust, None).await? {
            Answer::Body { body, .. } => discovery::jwks_uri(issuer, &body),
            Answer::Unchanged { .. } => Err(FetchError::UnexpectedStatus),
        }
    }

    async fn get(
        &self,
        url: &str,
        trust: &Trust,
        etag: Option<&str>,
    ) -> Result<Answer, FetchError> {
        let url = parse_url(url)?;
        let stream = self.connector.connect(&url, trust).await?;
        get(stream, &url, etag).await
    }
}

fn key_set(url: String, answer: Answer) -> Result<Fetched, FetchError> {
    match answer {
        Answer::Unchanged { max_age } => Ok(Fetched::Unchanged { max_age }),
        Answer::Body { body, etag, max_age } => {
            let keys = match json::read(&body).map_err(|_| FetchError::NotJson)? {
                RawSet::NoObject => return Err(FetchError::NotJson),
                RawSet::NoKeys => return Err(FetchError::NotAKeySet),
                RawSet::Keys(keys) => keys,
            };
            Ok(Fetched::Set { keys, validator: etag.map(|etag| Validator { url, etag }), max_age })
        }
    }
}
