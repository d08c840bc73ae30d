//! The guarded fetcher of remote key sets: HTTPS GETs of URLs that tenants write, made from inside
//! the cluster. It knows neither kube nor the custom resources, and does nothing by itself: who
//! calls it decides when ([`schedule`]).
//!
//! What guards it: a list of hosts ([`host`]), an address filter on the address that is connected to
//! ([`address`], [`connect`]), no redirects, no proxy (nothing here reads the environment), bounds on time and
//! size ([`mod@get`]), and errors that repeat nothing of what was seen ([`FetchError`]).

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
use crate::domain::jwk_set::{RawKey, RawSet};
use crate::domain::pool::Location;
pub use address::AddressFilter;
use connect::Connector;
use get::{Answer, get, parse_url};
pub use host::HostFilter;
pub use trust::Trust;

/// How long a connection may take, name and TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a whole fetch may take; with discovery these are two requests.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// The state of a key set that was fetched before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    /// The URL that it was fetched from.
    url: String,
    /// Its entity tag (RFC 9110 section 8.8.3).
    etag: String,
}

/// A key set as it was fetched.
#[derive(Clone, Debug, PartialEq)]
pub enum Fetched {
    /// What is there now.
    Set {
        /// The member `keys`, of which nothing was validated.
        keys: Vec<RawKey>,
        /// To be given to the next fetch.
        validator: Option<Validator>,
        /// How long the host says that it is fresh.
        max_age: Option<Duration>,
    },
    /// The same as when the validator was given.
    Unchanged {
        /// How long the host says that it is fresh.
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
    /// Fetches over `connector`, trusting `platform` where no other CA is named, each for at most
    /// `timeout`.
    #[must_use]
    pub const fn new(connector: Connector, platform: Trust, timeout: Duration) -> Self {
        Self { connector, platform, timeout }
    }

    /// Fetches a key set. `ca` is the PEM bundle that is trusted instead of the platform's CAs;
    /// `known` is what the last fetch gave.
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

    /// The URL of an issuer's key set.
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
