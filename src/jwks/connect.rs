//! A TLS connection to the host of a URL, to an address that the filter permits.
//!
//! The filter looks at the address that is connected to, after the name was resolved and never
//! before: a name that resolves to something else the second time gains nothing by it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use super::address::AddressFilter;
use super::trust::Trust;
use crate::domain::fetch_error::FetchError;

/// How many addresses of a host are tried.
const MAX_ADDRESSES: usize = 4;

/// Turns the name of a host into addresses.
pub trait Resolve: Send + Sync {
    /// The addresses of a host.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// Connects, where it may.
#[derive(Clone)]
pub struct Connector {
    resolver: Arc<dyn Resolve>,
    filter: AddressFilter,
    timeout: Duration,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl Connector {
    /// Connects to what `filter` permits, and gives up after `timeout`.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolve>, filter: AddressFilter, timeout: Duration) -> Self {
        Self { resolver, filter, timeout }
    }

    /// A TLS connection to the host of `url`, whose certificate `trust` vouches for.
    ///
    /// # Errors
    /// No address, none that is permitted, none that answers, or no TLS.
    pub async fn connect(
        &self,
        url: &Url,
        trust: &Trust,
    ) -> Result<TlsStream<TcpStream>, FetchError> {
        let connecting = async {
            let host = url.host().ok_or(FetchError::UrlRefused)?;
            let port = url.port_or_known_default().ok_or(FetchError::UrlRefused)?;
            let tcp = self.connect_tcp(&self.addresses(&host, port).await?).await?;
            let name = server_name(&host).ok_or(FetchError::UrlRefused)?;
            let tls = TlsConnector::from(Arc::clone(trust.config()));
            tls.connect(name, tcp).await.map_err(|_| FetchError::TlsFailed)
        };
        timeout(self.timeout, connecting).await.map_err(|_| FetchError::TimedOut)?
    }

    async fn addresses(&self, host: &Host<&str>, port: u16) -> Result<Vec<SocketAddr>, FetchError> {
        match host {
            Host::Ipv4(address) => Ok(vec![(*address, port).into()]),
            Host::Ipv6(address) => Ok(vec![(*address, port).into()]),
            Host::Domain(name) => {
                let found = self.resolver.resolve(name, port).await;
                found.ok().filter(|found| !found.is_empty()).ok_or(FetchError::NameNotResolved)
            }
        }
    }

    /// The only place that connects.
    async fn connect_tcp(&self, addresses: &[SocketAddr]) -> Result<TcpStream, FetchError> {
        let permitted = addresses.iter().filter(|address| self.filter.permits(address.ip()));
        let mut outcome = Err(FetchError::AddressRefused);
        for address in permitted.take(MAX_ADDRESSES) {
            // One that is silent must leave time for the next.
            let patience = self.timeout / 3;
            match timeout(patience, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(_)) => outcome = Err(FetchError::NotConnected),
                Err(_) => outcome = Err(FetchError::TimedOut),
            }
        }
        outcome
    }
}

fn server_name(host: &Host<&str>) -> Option<ServerName<'static>> {
    match host {
        Host::Ipv4(address) => Some(ServerName::from(std::net::IpAddr::from(*address))),
        Host::Ipv6(address) => Some(ServerName::from(std::net::IpAddr::from(*address))),
        Host::Domain(name) => ServerName::try_from((*name).to_owned()).ok(),
    }
}
