//! `key`: makes ApiKeys whose plaintext no cluster ever stores, and gives a client a new one.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, Patch, PatchParams};
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::output::{self, Format};
use super::{Streams, read_input};
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

/// What can be done with ApiKeys.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make an ApiKey; print what `spec.service.apiKey.hashes` needs
    #[command(after_long_help = GENERATE_EXAMPLES)]
    Generate(Generate),
    /// Print the id and the SHA-256 of the ApiKey on standard input
    Id(Id),
    /// Give a service SdkClient a new ApiKey; the old one counts on
    #[command(after_long_help = ROTATE_EXAMPLES)]
    Rotate(Rotate),
}

const GENERATE_EXAMPLES: &str = "\
Standard output has the entry, which is no secret: put it into the SdkClient. The ApiKey itself is
shown once, on standard error, or written to the file of --key-file; it is stored nowhere else and
cannot be had again.

Examples:
  # an ApiKey for 90 days, in a file; the entry is shown, to go below `hashes:` of the client
  kubectl anon key generate --expires-in 2160h --key-file api-key

  # add it to a client at once (better: `kubectl anon key rotate`)
  kubectl anon key generate -o json --key-file api-key |
    jq '[{op: \"add\", path: \"/spec/service/apiKey/hashes/-\", value: .}]' |
    kubectl patch sdkclient ci -n acme --type json --patch-file /dev/stdin";

const ROTATE_EXAMPLES: &str = "\
A client with `delivery`: asks the operator, by the annotation anon.dev/rotate, for a new ApiKey in
the Secret. The old one counts for the overlap of the client.

A client with `hashes`: makes an ApiKey here, adds its hash to the client and shows the ApiKey once.
The old ones count until somebody removes their hashes. If the client is kept in Git, use
`kubectl anon key generate` and commit the entry instead.

Examples:
  kubectl anon key rotate backend -n acme --wait
  kubectl anon key rotate ci -n acme --expires-in 2160h --key-file api-key";

/// Options of `key generate`.
#[derive(Debug, Args)]
pub struct Generate {
    /// Form of the entry: an element of a YAML list, or a JSON object
    #[arg(short, long, value_enum, default_value_t = EntryFormat::Yaml)]
    output: EntryFormat,

    #[command(flatten)]
    made: MadeHere,
}

/// Options for a key that is made here.
#[derive(Debug, Args)]
struct MadeHere {
    /// How long the ApiKey counts, such as 2160h; for ever if left out
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<String>,

    /// Write the ApiKey to this new file, which nobody else may read, and not to standard error
    #[arg(long, value_name = "FILE")]
    key_file: Option<String>,
}

/// Form of an entry of `hashes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EntryFormat {
    /// An element of a list, to be pasted below `hashes:`.
    Yaml,
    /// An object.
    Json,
}

/// Options of `key id`.
#[derive(Debug, Args)]
pub struct Id {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

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

/// Runs a command at time `now`.
pub fn run(command: &Key, streams: &mut Streams<'_>, now: Timestamp) -> anyhow::Result<()> {
    match command {
        Key::Generate(args) => generate(args, streams, now),
        Key::Id(args) => id(args, streams),
        Key::Rotate(args) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(rotate(args, streams, now))
        }
    }
}

fn generate(args: &Generate, streams: &mut Streams<'_>, now: Timestamp) -> anyhow::Result<()> {
    let key = ApiKey::generate()?;
    let entry = entry(&key, &args.made, now)?;
    // The key first: an entry whose key nobody has is of no use.
    Handed::over(&key, &args.made, streams)?.keep(streams)?;
    match args.output {
        EntryFormat::Yaml => {
            write!(streams.stdout, "{}", serde_saphyr::to_string(&[&entry])?)?;
        }
        EntryFormat::Json => output::json(streams.stdout, &serde_json::to_value(&entry)?)?,
    }
    Ok(())
}

fn id(args: &Id, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let input = read_input("-", streams.stdin)?;
    let text = std::str::from_utf8(&input).unwrap_or_default().trim();
    let key = ApiKey::parse(text).ok_or_else(|| {
        anyhow!("standard input is not an ApiKey: `kubectl anon token inspect` says what is wrong")
    })?;
    let hash = key.hash();
    match args.output {
        Format::Text => writeln!(streams.stdout, "id      {}\nsha256  {hash}", hash.id())?,
        Format::Json => {
            let value = json!({"id": hash.id(), "sha256": hash.to_string()});
            output::json(streams.stdout, &value)?;
        }
    }
    Ok(())
}

/// The element of `hashes` for a key.
fn entry(key: &ApiKey, args: &MadeHere, now: Timestamp) -> anyhow::Result<ApiKeyHash> {
    let hash = key.hash();
    // Kubernetes keeps whole seconds.
    let now = Timestamp::from_second(now.as_second())?;
    let expires_at = args.expires_in.as_deref().map(|text| {
        let lifetime = duration::parse(text).filter(|lifetime| *lifetime > SignedDuration::ZERO);
        lifetime
            .and_then(|lifetime| now.checked_add(lifetime).ok())
            .ok_or_else(|| anyhow!("--expires-in must be a duration such as 2160h or 1h30m"))
    });
    Ok(ApiKeyHash {
        id: hash.id(),
        sha256: hash.to_string(),
        created_at: Some(Time(now)),
        expires_at: expires_at.transpose()?.map(Time),
    })
}

/// A key that somebody gets: now in a file, or later on standard error.
struct Handed<'k> {
    key: &'k ApiKey,
    file: Option<&'k str>,
}

impl<'k> Handed<'k> {
    /// Writes the file, if there is to be one.
    fn over(
        key: &'k ApiKey,
        args: &'k MadeHere,
        streams: &mut Streams<'_>,
    ) -> anyhow::Result<Self> {
        let file = args.key_file.as_deref();
        if let Some(path) = file {
            // Never over something else, and never readable for others, not even for a moment.
            let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let mut opened = opened.with_context(|| format!("cannot create `{path}`"))?;
            // Without a line break: it would become part of the key wherever the file is used whole.
            let written = opened.write_all(key.expose().as_bytes());
            written.with_context(|| format!("cannot write `{path}`"))?;
            writeln!(streams.stderr, "the ApiKey is in `{path}`, and stored nowhere else")?;
        }
        Ok(Self { key, file })
    }

    /// The key counts: shows it, if it is in no file.
    fn keep(self, streams: &mut Streams<'_>) -> anyhow::Result<()> {
        if self.file.is_none() {
            writeln!(streams.stderr, "the ApiKey, shown once and stored nowhere:")?;
            writeln!(streams.stderr, "{}", self.key.expose())?;
        }
        Ok(())
    }

    /// The key does not count: removes the file.
    fn withdraw(self, streams: &mut Streams<'_>) {
        if let Some(path) = self.file {
            let removed = fs::remove_file(path).is_ok();
            let done = if removed { "removed again" } else { "useless" };
            let _ = writeln!(streams.stderr, "`{path}` is {done}");
        }
    }
}

async fn rotate(args: &Rotate, streams: &mut Streams<'_>, now: Timestamp) -> anyhow::Result<()> {
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
            let generation = patched.metadata.generation;
            let accepted = |object: &SdkClient| {
                object.status.as_ref().is_some_and(|status| {
                    status.observed_generation >= generation
                        && condition::is_ready(&status.conditions)
                })
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
