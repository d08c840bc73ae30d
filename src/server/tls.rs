//! Certificates from files, read again when they change.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{info, warn};

/// How often the files are compared. A watch on the files would see nothing: a Secret volume is
/// updated by swapping a symbolic link beside them.
const INTERVAL: Duration = Duration::from_secs(15);

/// Where certificate and key are.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM with the certificate chain.
    pub cert: PathBuf,
    /// PEM with the private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Reads both.
    ///
    /// # Errors
    /// A file cannot be read, or the two are not a pair.
    pub fn load(&self) -> io::Result<RustlsConfig> {
        Ok(RustlsConfig::from_config(parse(&self.read()?)?.into()))
    }

    /// Puts changed files into `config`; keeps the old pair as long as the new one is not good.
    /// Never returns.
    pub async fn keep_fresh(&self, config: &RustlsConfig) -> io::Result<()> {
        let mut current = self.read().ok();
        loop {
            tokio::time::sleep(INTERVAL).await;
            let read = self.read();
            if read.as_ref().ok() == current.as_ref() {
                continue;
            }
            match read.and_then(|pair| Ok((parse(&pair)?, pair))) {
                Ok((parsed, pair)) => {
                    config.reload_from_config(parsed.into());
                    current = Some(pair);
                    info!(cert = %self.cert.display(), "took up a new certificate");
                }
                Err(error) => {
                    warn!(cert = %self.cert.display(), %error, "the new certificate is not usable; serving the old one");
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
