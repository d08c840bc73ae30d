//! `key rotate`: a new ApiKey for a client of the cluster, made by the operator or made here.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, Patch, PatchParams};
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Handed, MadeHere, entry};
use crate::cli::Streams;
use crate::crd::condition::{self, READY};
use crate::crd::{ApiKeyHash, SdkClient};
use crate::domain::api_key_life::ApiKeyState;
use crate::domain::duration;
use crate::domain::opaque::ApiKey;
use crate::names;
use crate::said::Said;

/// How often a change is looked for.
const POLL: Duration = Duration::from_millis(250);
/// How often a list of hashes is read again that others change at the same time.
const TRIES: usize = 5;

pub const ROTATE_EXAMPLES: &str = "\
A client with `delivery`: asks the operator, by the annotation anon.dev/rotate, for a new ApiKey in
the Secret. The old one counts for the overlap of the client.

A client with `hashes`: makes an ApiKey here, adds its hash to the client and shows the ApiKey once.
The old ones count until somebody removes their hashes. If the client is kept in Git, use
`kubectl anon key generate` and commit the entry instead.

Examples:
  kubectl anon key rotate backend -n acme --wait
  kubectl anon key rotate ci -n acme --expires-in 2160h --key-file api-key";

/// Options of `key rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    /// Name of the service SdkClient
    #[arg(value_name = "SDKCLIENT")]
    name: String,

    /// Its namespace; that of the kubeconfig's context if left out
    #[arg(short, long)]
    namespace: Option<String>,

    /// The context of the kubeconfig
    #[arg(long)]
    context: Option<String>,

    /// Wait until the new ApiKey is in the Secret, or its hash is accepted
    #[arg(long)]
    wait: bool,

    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    timeout: String,

    #[command(flatten)]
    made: MadeHere,
}

/// Gives the client a new ApiKey, in its own way.
pub async fn rotate(
    args: &Rotate,
    streams: &mut Streams<'_>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let timeout = duration::parse(&args.timeout)
        .and_then(|timeout| Duration::try_from(timeout).ok())
        .ok_or_else(|| anyhow!("--timeout must be a duration such as 2m or 90s"))?;
    let (client, namespace) = connect(args).await?;
    let rotation = Rotation { api: Api::namespaced(client, &namespace), args, timeout };
    let object = rotation.read().await?;
    let service = object.spec.service.as_ref();
    let source = service.map(|service| &service.api_key).ok_or_else(|| {
        anyhow!("SdkClient `{}` is a webapp: only a service has an ApiKey", args.name)
    })?;
    if source.hashes.is_some() {
        return rotation.add_hash(object, streams, now).await;
    }
    ensure!(
        args.made.expires_in.is_none() && args.made.key_file.is_none(),
        "--expires-in and --key-file are for clients with `hashes`; the ApiKey of `{}` goes into its Secret",
        args.name
    );
    rotation.ask_operator(&object, streams, now).await
}

async fn connect(args: &Rotate) -> anyhow::Result<(Client, String)> {
    // The one provider of TLS, as in the operator.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = match &args.context {
        Some(context) => {
            let options = KubeConfigOptions {
                context: Some(context.clone()),
                ..KubeConfigOptions::default()
            };
            Config::from_kubeconfig(&options).await.context("cannot use the kubeconfig")?
        }
        None => Config::infer().await.context("no kubeconfig is usable")?,
    };
    let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).context("cannot use the kubeconfig")?;
    Ok((client, namespace))
}

struct Rotation<'a> {
    api: Api<SdkClient>,
    args: &'a Rotate,
    timeout: Duration,
}

impl Rotation<'_> {
    async fn read(&self) -> anyhow::Result<SdkClient> {
        let read = self.api.get(&self.args.name).await;
        read.map_err(|error| {
            anyhow!("cannot read SdkClient `{}`: {}", self.args.name, Said(&error))
        })
    }

    /// A client with `delivery`.
    async fn ask_operator(
        &self,
        object: &SdkClient,
        streams: &mut Streams<'_>,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let name = &self.args.name;
        let Some(before) = current(object) else {
            bail!("SdkClient `{name}` has no ApiKey yet: {}", standing(object));
        };
        let patch = json!({"metadata": {"annotations": {names::ROTATE: now.to_string()}}});
        let patched = self.patch(&patch).await;
        patched.map_err(|error| anyhow!("cannot annotate SdkClient `{name}`: {}", Said(&error)))?;
        if !self.args.wait {
            writeln!(
                streams.stdout,
                "sdkclient/{name}: asked for a new ApiKey in place of {before}"
            )?;
            return Ok(());
        }
        let replaced =
            |object: &SdkClient| current(object).is_some_and(|current| current != before);
        let object = self.wait(replaced).await?;
        let after = current(&object).unwrap_or_default();
        let status = object.status.as_ref();
        let secret = status.and_then(|status| status.secret_name.as_deref()).unwrap_or_default();
        let mut keys = status.into_iter().flat_map(|status| &status.keys);
        let end = keys.find(|key| key.id == before).and_then(|key| key.expires_at.as_ref());
        let end = end.map_or_else(
            || "does not count any more".to_owned(),
            |Time(end)| format!("counts until {end}"),
        );
        writeln!(
            streams.stdout,
            "sdkclient/{name}: ApiKey {after} is in Secret `{secret}`; {before} {end}"
        )?;
        Ok(())
    }

    /// A client with `hashes`.
    async fn add_hash(
        &self,
        mut object: SdkClient,
        streams: &mut Streams<'_>,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let name = &self.args.name;
        let key = ApiKey::generate()?;
        let entry = entry(&key, &self.args.made, now)?;
        let handed = Handed::over(&key, &self.args.made, streams)?;
        let mut tries = 1;
        let patched = loop {
            match self.patch(&with_hash(&object, &entry)).await {
                Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES => {
                    tries += 1;
                    match self.read().await {
                        Ok(fresh) => object = fresh,
                        Err(error) => break Err(error),
                    }
                }
                result => {
                    break result
                        .with_context(|| format!("cannot add a hash to SdkClient `{name}`"));
                }
            }
        };
        let patched = match patched {
            Ok(patched) => patched,
            Err(error) => {
                handed.withdraw(streams);
                return Err(error);
            }
        };
        handed.keep(streams)?;
        let count = hashes(&patched).len();
        writeln!(
            streams.stdout,
            "sdkclient/{name}: ApiKey {} added; {count} in the list",
            entry.id
        )?;
        if self.args.wait {
            // Not Ready: another key of the client may be what keeps it from that.
            let accepted = |object: &SdkClient| {
                let mut keys = object.status.iter().flat_map(|status| &status.keys);
                keys.any(|key| key.sha256 == entry.sha256)
            };
            self.wait(accepted).await?;
            writeln!(streams.stdout, "sdkclient/{name}: accepted")?;
        }
        Ok(())
    }

    async fn patch(&self, patch: &serde_json::Value) -> Result<SdkClient, kube::Error> {
        let parameters = PatchParams {
            field_manager: Some("kubectl-anon".to_owned()),
            ..PatchParams::default()
        };
        self.api.patch(&self.args.name, &parameters, &Patch::Merge(patch)).await
    }

    async fn wait(&self, done: impl Fn(&SdkClient) -> bool) -> anyhow::Result<SdkClient> {
        let start = Instant::now();
        loop {
            let object = self.read().await?;
            if done(&object) {
                return Ok(object);
            }
            ensure!(
                start.elapsed() < self.timeout,
                "not after {}: {}",
                self.args.timeout,
                standing(&object)
            );
            sleep(POLL).await;
        }
    }
}

/// The id of the key that is in the Secret.
fn current(object: &SdkClient) -> Option<String> {
    let keys = &object.status.as_ref()?.keys;
    keys.iter().find(|key| key.state == ApiKeyState::Current).map(|key| key.id.clone())
}

fn hashes(object: &SdkClient) -> &[ApiKeyHash] {
    let service = object.spec.service.as_ref();
    service.and_then(|service| service.api_key.hashes.as_deref()).unwrap_or_default()
}

/// The merge patch that adds a hash to exactly the object that was read: a list is replaced whole,
/// so what somebody else adds in between would be lost without the precondition.
fn with_hash(object: &SdkClient, entry: &ApiKeyHash) -> serde_json::Value {
    let mut all = hashes(object).to_vec();
    all.push(entry.clone());
    json!({
        "metadata": {"resourceVersion": object.metadata.resource_version},
        "spec": {"service": {"apiKey": {"hashes": all}}},
    })
}

/// How the client stands, for people: what holds a rotation up, else what Ready says.
fn standing(object: &SdkClient) -> String {
    let conditions = object.status.as_ref().map(|status| status.conditions.as_slice());
    let find = |type_| condition::find(conditions.unwrap_or_default(), type_);
    find("RotationDeferred").or_else(|| find(READY)).map_or_else(
        || "the operator has not seen it yet".to_owned(),
        |condition| format!("{} ({})", condition.message, condition.reason),
    )
}
