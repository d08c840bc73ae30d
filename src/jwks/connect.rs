//! TLS connections to the host of a URL, at an address that the filter permits.
//!
//! The filter checks the very address to which a connection is opened, after resolution. So a name
//! that resolves to another address the second time (DNS rebinding) does not bypass it.

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

/// The maximum number of addresses of a host that are tried.
const MAX_ADDRESSES: usize = 4;

/// Resolves host names.
pub trait Resolve: Send + Sync {
    /// The addresses of a host, with `port`.
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
            if is_reserved(host) {
                return Ok(Vec::new());
            }
            Ok(tokio::net::lookup_host((host, port)).await?.collect())
        })
    }
}

/// Whether the name is under a reserved TLD (RFC 2606). Such names come from examples and are never
/// resolved.
fn is_reserved(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let top = host.rsplit('.').next().unwrap_or_default();
    ["example", "invalid"].iter().any(|reserved| top.eq_ignore_ascii_case(reserved))
}

/// Opens connections that the host filter and the address filter permit.
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
    /// Connects to addresses that `filter` permits, with a timeout for the whole connection.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolve>, filter: AddressFilter, timeout: Duration) -> Self {
        Self { resolver, hosts: HostFilter::default(), filter, timeout }
    }

    /// Restricts connections to these hosts.
    #[must_use]
    pub fn with_hosts(self, hosts: HostFilter) -> Self {
        Self { hosts, ..self }
    }

    /// A TLS connection to the host of `url`, verified by the CAs of `trust`.
    ///
    /// # Errors
    /// The host is not permitted or has no permitted address, or connection or TLS handshake fail.
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

    /// The only place that opens connections, so that no address bypasses the filter.
    async fn connect_tcp(&self, addresses: &[SocketAddr]) -> Result<TcpStream, FetchError> {
        let permitted = addresses.iter().filter(|address| self.filter.permits(address.ip()));
        let mut outcome = Err(FetchError::AddressRefused);
        for address in permitted.take(MAX_ADDRESSES) {
            // An address that does not respond must leave time for the next one.
            let attempt_timeout = self.timeout / 3;
            match timeout(attempt_timeout, TcpStream::connect(address)).await {
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
    fn reserved_names_are_not_resolved() {
        for reserved in ["id.acme.example", "ID.ACME.EXAMPLE.", "example", "a.invalid"] {
            assert!(is_reserved(reserved), "{reserved}");
        }
        for other in ["example.com", "id.acme.test", "localhost", "example.", "an-example"] {
            assert_eq!(is_reserved(other), other == "example.", "{other}");
        }
    }
}
