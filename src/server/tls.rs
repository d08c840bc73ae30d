//! TLS certificates from files, reloaded when they change.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{info, warn};

/// How often the files are checked. A file watch would miss changes: a Secret volume is updated by
/// swapping a symbolic link beside the files.
const RELOAD_INTERVAL: Duration = Duration::from_secs(15);

/// The paths of certificate and key.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Reads both files.
    ///
    /// # Errors
    /// A file cannot be read, or certificate and key do not belong together.
    pub fn load(&self) -> io::Result<RustlsConfig> {
        Ok(RustlsConfig::from_config(parse(&self.read()?)?.into()))
    }

    /// Reloads changed files into `config`, and keeps the previous pair while the new one is
    /// unusable. Never returns.
    pub async fn keep_fresh(&self, config: &RustlsConfig) -> io::Result<()> {
        let mut current = self.read().ok();
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            let read = self.read();
            if read.as_ref().ok() == current.as_ref() {
                continue;
            }
            match read.and_then(|pair| Ok((parse(&pair)?, pair))) {
                Ok((parsed, pair)) => {
                    config.reload_from_config(parsed.into());
                    current = Some(pair);
                    info!(cert = %self.cert.display(), "loaded a new certificate");
                }
                Err(error) => {
                    warn!(cert = %self.cert.display(), %error, "the new certificate is unusable; keeping the previous one");
                }
            }
        }
    }

    fn read(&self) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })
        };
        Ok((read(&self.cert)?, read(&self.key)?))
    }
}

fn parse((cert, key): &(Vec<u8>, Vec<u8>)) -> io::Result<ServerConfig> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let chain = CertificateDer::pem_slice_iter(cert)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid(format!("certificate: {error}")))?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| invalid(format!("private key: {error}")))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| invalid(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
