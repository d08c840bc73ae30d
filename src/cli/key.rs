//! `key`: generates API keys whose plain text is never stored in a cluster.

use std::fs;
use std::path::Path;

use anyhow::anyhow;
use clap::{Args, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::output::{self, Format};
use super::{Streams, private_file, read_input};
use crate::crd::ApiKeyHash;
use crate::domain::credential::ApiKey;
use crate::domain::duration;
use crate::domain::stored_key::StoredApiKey;

/// Commands for API keys.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Generate an API key; print its entry for `spec.service.apiKey.hashes`
    #[command(after_long_help = GENERATE_EXAMPLES)]
    Generate(Generate),
    /// Print the id and the SHA-256 of the API key on standard input
    Id(Id),
}

const GENERATE_EXAMPLES: &str = "\
The entry is printed on standard output and is not secret: add it to the SdkClient. The API key itself
is shown once, on standard error, or written to the file of --key-file; it is not stored and cannot be
recovered.

Examples:
  # an API key for 90 days, in a file; add the printed entry to `hashes:` of the client
  kubectl anon key generate --expires-in 2160h --key-file api-key

  # add the entry to a client immediately (`kubectl anon rotate sdkclient/ci` is easier)
  kubectl anon key generate -o json --key-file api-key |
    jq '[{op: \"add\", path: \"/spec/service/apiKey/hashes/-\", value: .}]' |
    kubectl patch sdkclient ci -n acme --type json --patch-file /dev/stdin";

/// Options of `key generate`.
#[derive(Debug, Args)]
pub struct Generate {
    /// Format of the entry: an element of a YAML list, or a JSON object
    #[arg(short, long, value_enum, default_value_t = EntryFormat::Yaml)]
    output: EntryFormat,

    #[command(flatten)]
    new_key: NewKeyArgs,
}

/// Options for a key that this command generates.
#[derive(Debug, Args)]
pub struct NewKeyArgs {
    /// How long the API key is valid, such as 2160h; if unset, it does not expire
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<String>,

    /// Write the API key to this new file (mode 0600) instead of standard error
    #[arg(long, value_name = "FILE")]
    key_file: Option<String>,
}

/// Format of an entry of `hashes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EntryFormat {
    /// An element of a YAML list, for `hashes:`.
    Yaml,
    /// A JSON object.
    Json,
}

/// Options of `key id`.
#[derive(Debug, Args)]
pub struct Id {
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// Runs a command at time `now`.
pub fn run(command: &Key, streams: &mut Streams<'_>, now: Timestamp) -> anyhow::Result<()> {
    match command {
        Key::Generate(args) => generate(args, streams, now),
        Key::Id(args) => id(args, streams),
    }
}

fn generate(args: &Generate, streams: &mut Streams<'_>, now: Timestamp) -> anyhow::Result<()> {
    let key = ApiKey::generate()?;
    let entry = ApiKeyHash::from(listed(&key, &args.new_key, now)?);
    // The key first: an entry whose key nobody has is useless.
    KeyOutput::open(&key, &args.new_key, streams)?.finish(streams)?;
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
        anyhow!("standard input is not a valid API key; `kubectl anon token inspect` shows what is wrong")
    })?;
    let hash = key.hash();
    let value = json!({"id": hash.id(), "sha256": hash.to_string()});
    let text = || format!("id      {}\nsha256  {hash}\n", hash.id());
    args.output.print(streams.stdout, &value, text)
}

/// The key as it is listed in `spec.service.apiKey.hashes`.
pub fn listed(key: &ApiKey, args: &NewKeyArgs, now: Timestamp) -> anyhow::Result<StoredApiKey> {
    // Kubernetes stores whole seconds.
    let now = Timestamp::from_second(now.as_second())?;
    let expires_at = args.expires_in.as_deref().map(|text| {
        let lifetime = duration::parse(text).filter(|lifetime| *lifetime > SignedDuration::ZERO);
        lifetime
            .and_then(|lifetime| now.checked_add(lifetime).ok())
            .ok_or_else(|| anyhow!("--expires-in must be a positive duration in hours, minutes and seconds, such as 2160h or 1h30m"))
    });
    Ok(StoredApiKey::listed(key.hash(), Some(now), expires_at.transpose()?))
}

impl NewKeyArgs {
    /// Whether any of the options is set.
    pub const fn is_set(&self) -> bool {
        self.expires_in.is_some() || self.key_file.is_some()
    }
}

/// Where a new key goes: to a file, before the cluster knows it, or to standard error afterwards.
pub struct KeyOutput<'k> {
    key: &'k ApiKey,
    file: Option<&'k str>,
}

impl<'k> KeyOutput<'k> {
    /// Writes the file, if `--key-file` is set.
    pub fn open(
        key: &'k ApiKey,
        args: &'k NewKeyArgs,
        streams: &mut Streams<'_>,
    ) -> anyhow::Result<Self> {
        let file = args.key_file.as_deref();
        if let Some(path) = file {
            // Without a line break, which would become part of the key for programs that use the
            // whole file.
            private_file::create(Path::new(path), key.expose().as_bytes())?;
            writeln!(streams.stderr, "API key written to `{path}`; it is stored nowhere else")?;
        }
        Ok(Self { key, file })
    }

    /// The key is in use: shows it, unless it is in a file.
    pub fn finish(self, streams: &mut Streams<'_>) -> anyhow::Result<()> {
        if self.file.is_none() {
            writeln!(streams.stderr, "API key, shown only once and not stored:")?;
            writeln!(streams.stderr, "{}", self.key.expose())?;
        }
        Ok(())
    }

    /// The key is not in use: deletes the file.
    pub fn discard(self, streams: &mut Streams<'_>) {
        if let Some(path) = self.file {
            let _ = match fs::remove_file(path) {
                Ok(()) => writeln!(streams.stderr, "`{path}` was deleted again"),
                Err(error) => writeln!(
                    streams.stderr,
                    "cannot delete `{path}`: {error}; the API key in it is not valid"
                ),
            };
        }
    }
}
