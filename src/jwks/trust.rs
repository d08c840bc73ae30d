//! The CAs that verify a server: those of the platform, or those of one bundle and no others.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tracing::warn;

use crate::domain::fetch_error::FetchError;

/// The trusted CAs of a connection.
#[derive(Clone, Debug)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// The CAs of the platform, from `/etc/ssl/certs` or from `SSL_CERT_FILE`. Blocks while it
    /// reads them.
    #[must_use]
    pub fn platform() -> Self {
        let mut roots = RootCertStore::empty();
        let (added, ignored) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 {
            warn!(
                ignored,
                "no CA certificates on this platform: only key sets with `caRef` can be fetched"
            );
        }
        Self::only(roots)
    }

    /// Only the CAs in a PEM bundle.
    ///
    /// # Errors
    /// The bundle contains no certificate.
    pub fn bundle(pem: &[u8]) -> Result<Self, FetchError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let mut roots = RootCertStore::empty();
        let (added, _) =
            roots.add_parsable_certificates(certificates.map_err(|_| FetchError::CaUnusable)?);
        if added == 0 { Err(FetchError::CaUnusable) } else { Ok(Self::only(roots)) }
    }

    pub(super) const fn config(&self) -> &Arc<ClientConfig> {
        &self.0
    }

    fn only(roots: RootCertStore) -> Self {
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        for pem in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(Trust::bundle(pem.as_bytes()).unwrap_err(), FetchError::CaUnusable, "{pem}");
        }
    }
}
