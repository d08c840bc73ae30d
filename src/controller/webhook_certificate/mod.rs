//! The certificate of the admission webhook, and the CA that the API servers verify it with, unless
//! something else provides them (`--webhook-configuration` is unset).
//!
//! [`plan`] decides on the next step; here it is carried out. The hosts come from the webhook
//! configuration itself: what the API servers connect to.

mod issue;
mod plan;

use std::collections::BTreeMap;
use std::time::Duration;

use data_encoding::BASE64;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};
use url::{Host, Url};
use zeroize::Zeroizing;

use super::{Context, Error, apply};
use crate::kube_ext::api::ReadExt as _;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;
use issue::{Issued, issue};
use plan::{Cas, Step, Stored, Trusted};

/// How often Secret and configuration are read.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// The pause after a step: a user may undo each of them.
const STEP_INTERVAL: Duration = Duration::from_secs(1);
/// Prefix of the entries of the next pair.
const NEXT: &str = "next-";

type Configurations = Api<Tolerant<ValidatingWebhookConfiguration>>;

/// Maintains the certificate while this replica leads.
pub async fn run(context: &Context) {
    let Some(configuration) = &context.settings.webhook_configuration else { return };
    let mut seen = (Trusted::default(), Instant::now());
    loop {
        match advance(context, configuration, &mut seen).await {
            Ok(true) => sleep(STEP_INTERVAL).await,
            Ok(false) => sleep(CHECK_INTERVAL).await,
            Err(error) => {
                warn!(%error, configuration, "failed to maintain the certificate of the webhook");
                sleep(CHECK_INTERVAL).await;
            }
        }
    }
}

/// Reads, decides and carries out one step; returns whether there was one. `seen` is what the
/// configuration trusts, and since when.
async fn advance(
    context: &Context,
    configuration: &str,
    seen: &mut (Trusted, Instant),
) -> Result<bool, Error> {
    let configurations: Configurations = Api::all(context.client.clone());
    let read = configurations.find(configuration).await;
    let read = read.map_err(Error::api("read ValidatingWebhookConfiguration"))?;
    let hosts = hosts(read.as_ref());
    let (Some(read), false) = (read, hosts.is_empty()) else {
        debug!(configuration, "there is no such webhook configuration");
        return Ok(false);
    };
    let (client, namespace) = (&context.client, &context.settings.operator_namespace);
    let secret = apply::read_secret(client, namespace, names::WEBHOOK_SECRET).await?;
    let mut stored = secret.as_ref().map(parse).unwrap_or_default();
    let trusted = trusted(&read);
    if seen.0 != trusted {
        *seen = (trusted, Instant::now());
    }
    let now = context.clock.now();
    match plan::step(&stored, &seen.0, seen.1.elapsed(), &hosts, now) {
        Step::Wait => return Ok(false),
        Step::Publish(cas) => {
            publish(&configurations, &read, &cas).await?;
            info!(configuration, cas = cas.len(), "changed the CAs of the webhook configuration");
        }
        Step::Issue => {
            stored.next = Some(issue(&hosts, now)?);
            store(context, secret, &stored).await?;
            info!(?hosts, "issued the next certificate of the webhook");
        }
        Step::Promote => {
            stored.current = stored.next.take();
            store(context, secret, &stored).await?;
            // The overlap of the two CAs begins now.
            seen.1 = Instant::now();
            info!(?hosts, "replaced the certificate of the webhook");
        }
    }
    Ok(true)
}

/// What the API servers connect to.
fn hosts(configuration: Option<&ValidatingWebhookConfiguration>) -> Vec<String> {
    let webhooks = configuration.and_then(|it| it.webhooks.as_deref()).unwrap_or_default();
    let mut hosts: Vec<_> = webhooks.iter().filter_map(|it| host(&it.client_config)).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

fn host(client: &WebhookClientConfig) -> Option<String> {
    if let Some(service) = &client.service {
        return Some(format!("{}.{}.svc", service.name, service.namespace));
    }
    let url = Url::parse(client.url.as_ref()?).ok()?;
    Some(match url.host()? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    })
}

/// The CAs that the configuration trusts. Anything else in a bundle is ignored.
fn trusted(configuration: &ValidatingWebhookConfiguration) -> Trusted {
    let bundles = configuration.webhooks.iter().flatten().map(|webhook| {
        let pem = webhook.client_config.ca_bundle.as_ref().map(|it| it.0.as_slice());
        let certificates = CertificateDer::pem_slice_iter(pem.unwrap_or_default());
        certificates.filter_map(|it| it.ok().map(|it| it.to_vec())).collect::<Cas>()
    });
    let bundles: Vec<_> = bundles.collect();
    let by_any: Cas = bundles.iter().flatten().cloned().collect();
    let by_all = by_any.iter().filter(|ca| bundles.iter().all(|it| it.contains(*ca)));
    Trusted { by_all: by_all.cloned().collect(), by_any }
}

/// Writes the bundle of every webhook, unless the configuration has changed since it was read. A
/// strategic merge patch: everything else in the configuration belongs to the chart.
async fn publish(
    api: &Configurations,
    read: &ValidatingWebhookConfiguration,
    cas: &Cas,
) -> Result<(), Error> {
    let bundle = BASE64.encode(cas.iter().map(|ca| pem(ca)).collect::<String>().as_bytes());
    let webhooks = read
        .webhooks
        .iter()
        .flatten()
        .map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": bundle}}));
    let patch = json!({
        "metadata": {"resourceVersion": read.metadata.resource_version},
        "webhooks": webhooks.collect::<Vec<_>>(),
    });
    let parameters =
        PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
    let patched = api.patch(&read.name_any(), &parameters, &Patch::Strategic(patch)).await;
    patched.map(drop).map_err(Error::api("patch ValidatingWebhookConfiguration"))
}

/// PEM (RFC 7468).
fn pem(certificate: &[u8]) -> String {
    let text = BASE64.encode(certificate);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = text.as_str();
    while let Some((line, after)) = rest.split_at_checked(64) {
        pem.extend([line, "\n"]);
        rest = after;
    }
    if !rest.is_empty() {
        pem.extend([rest, "\n"]);
    }
    pem + "-----END CERTIFICATE-----\n"
}

fn parse(secret: &Secret) -> Stored {
    let pair = |prefix: &str| {
        let entry = |name: &str| {
            let ByteString(bytes) = secret.data.as_ref()?.get(&format!("{prefix}{name}"))?;
            Some(bytes.clone())
        };
        let key = Zeroizing::new(entry(names::TLS_KEY)?);
        let (ca, certificate) = (entry(names::CA_CERTIFICATE)?, entry(names::TLS_CERTIFICATE)?);
        Some(Issued { ca, certificate, key })
    };
    Stored { current: pair(""), next: pair(NEXT) }
}

/// Writes the Secret: creates it, or replaces the one that was read.
async fn store(context: &Context, read: Option<Secret>, stored: &Stored) -> Result<(), Error> {
    let mut data = BTreeMap::new();
    for (prefix, pair) in [("", &stored.current), (NEXT, &stored.next)] {
        let Some(Issued { ca, certificate, key }) = pair else { continue };
        let entries = [
            (names::CA_CERTIFICATE, ca),
            (names::TLS_CERTIFICATE, certificate),
            (names::TLS_KEY, &**key),
        ];
        for (name, value) in entries {
            data.insert(format!("{prefix}{name}"), ByteString(value.clone()));
        }
    }
    let (client, namespace) = (&context.client, &context.settings.operator_namespace);
    let labels = names::labels(names::WEBHOOK_CERTIFICATE, &names::MANAGER);
    if let Some(mut secret) = read {
        secret.metadata.labels.get_or_insert_default().extend(labels);
        secret.data = Some(data);
        apply::replace_secret(client, namespace, &secret).await?;
        return Ok(());
    }
    let metadata = ObjectMeta {
        name: Some(names::WEBHOOK_SECRET.to_owned()),
        labels: Some(labels),
        ..ObjectMeta::default()
    };
    let type_ = Some("Opaque".to_owned());
    let secret = Secret { metadata, type_, data: Some(data), ..Secret::default() };
    // Of two leaders, one gets the Secret of the other, and decides again.
    apply::create_secret(client, namespace, &secret).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(client: &serde_json::Value) -> ValidatingWebhookConfiguration {
        let webhook = json!({"name": "a.anon.dev", "clientConfig": client,
            "admissionReviewVersions": ["v1"], "sideEffects": "None"});
        serde_json::from_value(json!({"webhooks": [webhook]})).unwrap()
    }

    #[test]
    fn certificate_is_for_what_the_api_server_connects_to() {
        for (client, host) in [
            (json!({"service": {"name": "hook", "namespace": "anon"}}), "hook.anon.svc"),
            (json!({"url": "https://127.0.0.1:8443/admission"}), "127.0.0.1"),
            (json!({"url": "https://[::1]:8443/admission"}), "::1"),
            (json!({"url": "https://hook.example/admission"}), "hook.example"),
        ] {
            assert_eq!(hosts(Some(&configuration(&client))), [host]);
        }
        assert!(hosts(None).is_empty());
    }

    #[test]
    fn bundle_is_read_as_it_is_written() {
        let now = "2026-11-30T12:00:00Z".parse().unwrap();
        let pair = || issue(&["127.0.0.1".to_owned()], now).unwrap().ca().unwrap().to_vec();
        let cas = Cas::from([pair(), pair()]);
        let bundle: String = cas.iter().map(|ca| pem(ca)).collect();
        let bundle = BASE64.encode(bundle.as_bytes());
        let client = json!({"url": "https://127.0.0.1/", "caBundle": bundle});
        let trusted = trusted(&configuration(&client));
        assert!(trusted.by_any == cas && trusted.by_all == cas);
    }

    #[test]
    fn secret_is_read_as_it_is_written_and_half_a_pair_is_none() {
        let data = |names: &[&str]| {
            let data = names.iter().map(|name| ((*name).to_owned(), ByteString(vec![1])));
            Secret { data: Some(data.collect()), ..Secret::default() }
        };
        let whole = parse(&data(&["tls.crt", "tls.key", "ca.crt", "next-tls.crt", "next-ca.crt"]));
        assert!(whole.current.is_some() && whole.next.is_none());
        assert!(parse(&data(&["tls.crt", "ca.crt"])).current.is_none());
        assert!(parse(&Secret::default()).current.is_none());
    }
}
