//! TLS certificates from files, reloaded when they change.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
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
    pub fn load(&self) -> io::Result<TlsAcceptor> {
        parse(&self.read()?)
    }

    /// Reloads changed files into `acceptor`, and keeps the previous pair while the new one is
    /// unusable. Never returns.
    pub async fn keep_fresh(&self, acceptor: &watch::Sender<TlsAcceptor>) -> Infallible {
        let mut current = self.read().ok();
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            let read = self.read();
            if read.as_ref().ok() == current.as_ref() {
                continue;
            }
            match read.and_then(|pair| Ok((parse(&pair)?, pair))) {
                Ok((parsed, pair)) => {
                    acceptor.send_replace(parsed);
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

fn parse((cert, key): &(Vec<u8>, Vec<u8>)) -> io::Result<TlsAcceptor> {
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
    Ok(Arc::new(config).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(files: &TlsFiles) {
        let issued = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
        fs::write(&files.cert, issued.cert.pem()).unwrap();
        fs::write(&files.key, issued.signing_key.serialize_pem()).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn reloads_changed_files_and_keeps_the_old_pair_while_they_are_unusable() {
        let directory = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        fs::create_dir(&directory).unwrap();
        let files = TlsFiles { cert: directory.join("crt"), key: directory.join("key") };
        write(&files);
        let acceptor = watch::Sender::new(files.load().unwrap());
        let mut changes = acceptor.subscribe();
        let task_files = files.clone();
        let task = tokio::spawn(async move { task_files.keep_fresh(&acceptor).await });
        let mut changed = async || {
            tokio::time::sleep(2 * RELOAD_INTERVAL).await;
            let changed = changes.has_changed().unwrap();
            changes.mark_unchanged();
            changed
        };

        assert!(!changed().await);
        write(&files);
        assert!(changed().await);
        fs::write(&files.key, "half a key").unwrap();
        assert!(!changed().await);
        write(&files);
        assert!(changed().await);
        task.abort();
        fs::remove_dir_all(directory).unwrap();
    }
}
