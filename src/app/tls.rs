//! The listeners that serve TLS, and the tasks that read their certificates again.

use std::sync::Arc;

use kube::Client;

use super::tasks::Tasks;
use super::{connection_limits, listen};
use crate::config::Config;
use crate::server::{self, AdmissionState, Certificate, Listener, TlsFiles, ValidatorState};
use crate::watch::webhook_certificate;

/// The certificate of --listen, if it has one.
pub fn public_certificate(
    tasks: &mut Tasks,
    config: &Config,
    state: &ValidatorState,
) -> anyhow::Result<Option<Arc<Certificate>>> {
    let files = config.tls_cert.clone().zip(config.tls_key.clone());
    let Some((cert, key)) = files else { return Ok(None) };
    let files = TlsFiles { cert, key };
    let certificate = unset_certificate("public", state);
    certificate.offer(files.read());
    if let (None, Some(problem)) = (certificate.acceptor(), certificate.problem()) {
        anyhow::bail!("{problem} (--tls-cert, --tls-key)");
    }
    spawn_follow(tasks, files, &certificate);
    Ok(Some(certificate))
}

/// Serves the admission webhook. Unlike for --listen, a missing certificate is no reason to stop:
/// the API server does without a webhook.
pub fn serve_webhook(
    tasks: &mut Tasks,
    config: &Config,
    client: &Client,
    state: &ValidatorState,
) -> anyhow::Result<()> {
    let socket = listen(config.webhook_listen, "--webhook-listen")?;
    let (reader, metrics) = (state.reader.clone(), Arc::clone(&state.metrics));
    let router = server::admission(AdmissionState { reader, metrics });
    let certificate = unset_certificate("webhook", state);
    let files = config.webhook_tls_cert.clone().zip(config.webhook_tls_key.clone());
    if let Some((cert, key)) = files {
        spawn_follow(tasks, TlsFiles { cert, key }, &certificate);
    } else {
        let certificate = Arc::clone(&certificate);
        let (client, namespace) = (client.clone(), config.namespace.clone());
        tasks.spawn(async move {
            webhook_certificate::follow(client, &namespace, |read| certificate.offer(read)).await
        });
    }
    let limits = connection_limits(config, config.drain_timeout);
    let listener = Listener { socket, name: "webhook", metrics: Arc::clone(&state.metrics) };
    tasks.spawn_with(|stop| async move {
        Ok(server::serve(listener, router.into(), Some(certificate), stop, limits).await?)
    });
    Ok(())
}

/// The certificate of a listener, without one yet.
fn unset_certificate(listener: &'static str, state: &ValidatorState) -> Arc<Certificate> {
    Certificate::new(listener, Arc::clone(&state.clock), Arc::clone(&state.metrics))
}

/// Spawns the task that offers to a listener the certificate in the files.
fn spawn_follow(tasks: &mut Tasks, files: TlsFiles, certificate: &Arc<Certificate>) {
    let certificate = Arc::clone(certificate);
    tasks.spawn(async move { files.follow(&certificate).await });
}
