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
use super::host::HostFilter;
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
        Box::pin(async move {
            if is_nobodys(host) {
                return Ok(Vec::new());
            }
            Ok(tokio::net::lookup_host((host, port)).await?.collect())
        })
    }
}

/// Whether a name belongs to nobody for ever (RFC 2606): it comes from an example, and nobody is
/// asked for it.
fn is_nobodys(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let top = host.rsplit('.').next().unwrap_or_default();
    ["example", "invalid"].iter().any(|reserved| top.eq_ignore_ascii_case(reserved))
}

/// Connects, where it may.
#[derive(Clone)]
pub struct Connector {
    resolver: Arc<dyn Resolve>,
    hosts: HostFilter,
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
        Self { resolver, hosts: HostFilter::default(), filter, timeout }
    }

    /// The same, for these hosts only.
    #[must_use]
    pub fn with_hosts(self, hosts: HostFilter) -> Self {
        Self { hosts, ..self }
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
            if !self.hosts.permits(&host) {
                return Err(FetchError::HostRefused);
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_examples_belong_to_nobody() {
        for nobodys in ["id.acme.example", "ID.ACME.EXAMPLE.", "example", "a.invalid"] {
            assert!(is_nobodys(nobodys), "{nobodys}");
        }
        for somebodys in ["example.com", "id.acme.test", "localhost", "example.", "an-example"] {
            assert_eq!(is_nobodys(somebodys), somebodys == "example.", "{somebodys}");
        }
    }
}
