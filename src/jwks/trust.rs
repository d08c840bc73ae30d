//! Whose certificates are believed: those of the platform's CAs, or of one bundle and no other.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tracing::warn;

use crate::domain::fetch_error::FetchError;

/// The certificate authorities of a connection.
#[derive(Clone, Debug)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// The CAs of the platform: `/etc/ssl/certs`, or where `SSL_CERT_FILE` says. Blocks while it
    /// reads them.
    #[must_use]
    pub fn platform() -> Self {
        let mut roots = RootCertStore::empty();
        let (added, ignored) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 {
            warn!(
                ignored,
                "the platform has no CA certificates: key sets can be fetched with `caRef` only"
            );
        }
        Self::only(roots)
    }

    /// The CAs in a PEM bundle, and no other.
    ///
    /// # Errors
    /// There is none in it.
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
