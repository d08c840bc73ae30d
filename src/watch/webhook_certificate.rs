//! Reads the certificate of the admission webhook from the Secret that the leader maintains:
//! [`names::WEBHOOK_SECRET`].

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::domain::certificate::PemPair;
use crate::kube_ext::api::ReadExt as _;
use crate::kube_ext::error::short;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;

/// How often the Secret is read. Read and not watched: that needs the permission `get` for this one
/// Secret and no more.
const READ_INTERVAL: Duration = Duration::from_secs(10);
/// How long the API server may take to answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Offers what the Secret contains, again and again. Never returns.
pub async fn follow(
    client: Client,
    namespace: &str,
    offer: impl Fn(io::Result<PemPair>),
) -> Infallible {
    let api: Api<Tolerant<Secret>> = Api::namespaced(client, namespace);
    loop {
        match timeout(REQUEST_TIMEOUT, api.find(names::WEBHOOK_SECRET)).await {
            // Without a pair, the leader has not issued one yet.
            Ok(Ok(secret)) => {
                if let Some(pair) = secret.and_then(pair) {
                    offer(Ok(pair));
                }
            }
            Ok(Err(error)) => offer(Err(io::Error::other(short(&error).to_string()))),
            Err(_) => offer(Err(io::ErrorKind::TimedOut.into())),
        }
        tokio::time::sleep(READ_INTERVAL).await;
    }
}

fn pair(secret: Secret) -> Option<PemPair> {
    let mut data = secret.data?;
    let ByteString(certificate) = data.remove(names::TLS_CERTIFICATE)?;
    let ByteString(key) = data.remove(names::TLS_KEY)?;
    Some(PemPair { certificate, key: Zeroizing::new(key) })
}
