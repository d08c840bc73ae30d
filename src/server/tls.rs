//! The certificate of a listener, which is replaced while the listener serves.
//!
//! The source of certificate and key ([`TlsFiles`], or the Secret of the admission webhook) only
//! offers what it reads, again and again. [`Certificate::offer`] decides: a pair that
//! is half-written, does not belong together or has expired is reported, and the previous one
//! remains in use.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};
use zeroize::Zeroizing;

use crate::clock::SharedClock;
use crate::domain::certificate::{PemPair, Validity};
use crate::metrics::{Metrics, catalog};

/// How often files are read. A file watch would miss changes: a Secret volume is updated by
/// swapping a symbolic link beside the files.
const READ_INTERVAL: Duration = Duration::from_secs(5);

/// The paths of certificate and key.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Offers what the files contain, again and again. Never returns.
    pub async fn follow(&self, certificate: &Certificate) -> Infallible {
        loop {
            certificate.offer(self.read());
            tokio::time::sleep(READ_INTERVAL).await;
        }
    }

    /// Reads both files.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn read(&self) -> io::Result<PemPair> {
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })
        };
        Ok(PemPair { certificate: read(&self.cert)?, key: Zeroizing::new(read(&self.key)?) })
    }
}

/// The certificate of a listener. Without one, connections are closed before the handshake.
pub struct Certificate {
    /// The name of the listener, in the metrics and the log.
    listener: &'static str,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    served: Option<Served>,
    /// What is wrong with the pair that was offered last. Reported once, and not with every read.
    problem: Option<String>,
}

/// A pair in use.
struct Served {
    pair: PemPair,
    validity: Validity,
    acceptor: TlsAcceptor,
}

impl Certificate {
    /// The certificate of the listener of this name; there is none yet.
    #[must_use]
    pub fn new(listener: &'static str, clock: SharedClock, metrics: Arc<Metrics>) -> Arc<Self> {
        let state = Mutex::default();
        let new = Arc::new(Self { listener, clock, metrics, state });
        let exposed = Arc::downgrade(&new);
        new.metrics.sample(&catalog::TLS_CERTIFICATE_EXPIRY, listener, move || {
            let expiry = exposed.upgrade().and_then(|certificate| certificate.expiry());
            expiry.map(|at| (vec![listener], at.as_second())).into_iter().collect()
        });
        new
    }

    /// Uses this pair from the next connection on, if it is better than the one in use. Whatever is
    /// wrong with it is logged and counted.
    pub fn offer(&self, read: io::Result<PemPair>) {
        let mut state = self.state.lock();
        let same = |pair: &PemPair| state.served.as_ref().is_some_and(|it| it.pair == *pair);
        if read.as_ref().is_ok_and(same) {
            state.problem = None;
            return;
        }
        let in_use = state.served.as_ref().map(|served| served.validity);
        match read.and_then(|pair| parse(pair, in_use, self.clock.now())) {
            Ok(served) => {
                let (listener, expires) = (self.listener, served.validity.not_after);
                if served.validity.contains(self.clock.now()) {
                    info!(listener, %expires, "loaded a certificate");
                } else {
                    error!(listener, %expires, "the certificate has expired or is not valid yet; it is used because there is no better one");
                }
                self.metrics.certificate_read(self.listener, "loaded");
                *state = State { served: Some(served), problem: None };
            }
            Err(problem) => {
                let problem = problem.to_string();
                if state.problem.as_ref() != Some(&problem) {
                    let remains = if in_use.is_some() {
                        "the previous one remains in use"
                    } else {
                        "there is none"
                    };
                    error!(listener = self.listener, error = %problem, "the certificate is unusable; {remains}");
                    self.metrics.certificate_read(self.listener, "rejected");
                }
                state.problem = Some(problem);
            }
        }
    }

    /// What is wrong with the pair that was offered last.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.state.lock().problem.clone()
    }

    /// What accepts TLS connections with the pair in use.
    #[must_use]
    pub fn acceptor(&self) -> Option<TlsAcceptor> {
        self.state.lock().served.as_ref().map(|served| served.acceptor.clone())
    }

    fn expiry(&self) -> Option<Timestamp> {
        self.state.lock().served.as_ref().map(|served| served.validity.not_after)
    }
}

/// Checks a pair that is to replace one with the validity `in_use`.
fn parse(pair: PemPair, in_use: Option<Validity>, now: Timestamp) -> io::Result<Served> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let chain = CertificateDer::pem_slice_iter(&pair.certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid(format!("certificate: {error}")))?;
    let key = PrivateKeyDer::from_pem_slice(&pair.key)
        .map_err(|error| invalid(format!("private key: {error}")))?;
    let validity = chain.first().and_then(|certificate| Validity::of(certificate));
    let validity = validity.ok_or_else(|| invalid("certificate: not X.509".to_owned()))?;
    if !is_better(validity, in_use, now) {
        let Validity { not_before, not_after } = validity;
        return Err(invalid(format!("certificate: valid from {not_before} to {not_after} only")));
    }
    // Also checks that certificate and key belong together.
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| invalid(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Served { pair, validity, acceptor: Arc::new(config).into() })
}

/// Whether a certificate replaces the one in use: if it is valid now, or if that is not valid
/// either and ends earlier. The clock of this machine may be wrong, so a certificate that seems to
/// have expired is better than none.
fn is_better(offered: Validity, in_use: Option<Validity>, now: Timestamp) -> bool {
    offered.contains(now)
        || in_use.is_none_or(|it| !it.contains(now) && it.not_after <= offered.not_after)
}

#[cfg(test)]
mod tests;
