//! `key`: makes ApiKeys whose plaintext no cluster ever stores, and gives a client a new one.

mod rotate;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::output::{self, Format};
use super::{Streams, read_input};
use crate::crd::ApiKeyHash;
use crate::domain::duration;
use crate::domain::opaque::ApiKey;
use rotate::{ROTATE_EXAMPLES, Rotate, rotate};

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
