//! `get keys`: the keys of pools and clients in a table, the next to expire first.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::Streams;
use super::cluster::ClusterArgs;
use super::keys::{self, Key, KeyType};
use super::output::{self, Cell, ListFormat, Table};
use super::read::{Listed, Object};
use super::terminal::Tone;
use super::when;
use crate::crd::{SdkClient, UserPool};

/// What can be listed.
#[derive(Debug, Subcommand)]
pub enum Get {
    /// List signing keys and API keys, the next to expire first
    #[command(alias = "key", after_long_help = KEYS_EXAMPLES)]
    Keys(GetKeys),
}

const KEYS_EXAMPLES: &str = "\
A signing key is shown by its `kid`, an API key by the first 16 digits of its SHA-256. Neither is
secret. EXPIRES is when an API key expires, or when a Retiring signing key is removed.

Examples:
  kubectl anon get keys -n acme
  kubectl anon get keys -A -o wide

  # API keys that expire within 7 days
  kubectl anon get keys -A -o json |
    jq '.items[] | select(.expiresAt != null and (.expiresAt | fromdate) < now + 7 * 86400)'";

/// Options of `get keys`.
#[derive(Debug, Args)]
pub struct GetKeys {
    /// List the keys of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = ListFormat::Text)]
    output: ListFormat,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs a command at time `now`.
pub async fn run(command: &Get, streams: &mut Streams<'_>, now: Timestamp) -> anyhow::Result<()> {
    let Get::Keys(args) = command;
    let cluster = args.cluster.connect().await?;
    let (pools, clients) = futures::try_join!(
        cluster.list::<UserPool>(args.all_namespaces),
        cluster.list::<SdkClient>(args.all_namespaces),
    )?;
    for (resource, forbidden) in
        [("userpools", pools.is_forbidden()), ("sdkclients", clients.is_forbidden())]
    {
        if forbidden {
            writeln!(streams.stderr, "note: you may not list {resource} there")?;
        }
    }
    let keys = sorted(&pools, &clients);
    if keys.is_empty() && matches!(args.output, ListFormat::Text | ListFormat::Wide) {
        let scope = if args.all_namespaces { "any namespace" } else { &cluster.namespace };
        writeln!(streams.stderr, "no keys in {scope}")?;
        return Ok(());
    }
    match args.output {
        ListFormat::Text => {
            let table = table(&keys, args.all_namespaces, false, now);
            write!(streams.stdout, "{}", table.render(&streams.terminal))?;
        }
        ListFormat::Wide => {
            let table = table(&keys, args.all_namespaces, true, now);
            write!(streams.stdout, "{}", table.render(&streams.terminal))?;
        }
        ListFormat::Json => output::json(streams.stdout, &json!({ "items": keys }))?,
        ListFormat::Yaml => output::yaml(streams.stdout, &json!({ "items": keys }))?,
        ListFormat::Name => {
            for key in keys {
                writeln!(
                    streams.stdout,
                    "{}",
                    output::printable(&format!("{}/{}", key.owner, key.id))
                )?;
            }
        }
    }
    Ok(())
}

/// The keys of the objects that can be read, the next to expire first, and those that never do last.
fn sorted(pools: &Listed<Object<UserPool>>, clients: &Listed<Object<SdkClient>>) -> Vec<Key> {
    let pools = pools.items().iter().filter_map(|pool| pool.0.as_ref().ok());
    let clients = clients.items().iter().filter_map(|client| client.0.as_ref().ok());
    let mut keys: Vec<Key> =
        pools.flat_map(keys::of_pool).chain(clients.flat_map(keys::of_client)).collect();
    keys.sort_by_key(|key| {
        let end = key.expires_at.as_ref().map_or(Timestamp::MAX, |time| time.0);
        (end, key.namespace.clone(), key.owner.clone())
    });
    keys
}

fn table(keys: &[Key], namespaces: bool, wide: bool, now: Timestamp) -> Table {
    let mut header = vec!["OWNER", "TYPE", "ID", "STATE", "CREATED", "EXPIRES"];
    if namespaces {
        header.insert(0, "NAMESPACE");
    }
    if wide {
        header.extend(["ALGORITHM", "ACTIVE", "NEXT-ROTATION"]);
    }
    let mut table = Table::new(&header);
    for key in keys {
        let relative = |time: &Option<Time>| -> Cell {
            time.as_ref().map(|time| when::relative(now, time.0)).unwrap_or_default().into()
        };
        let mut row: Vec<Cell> = vec![
            key.owner.as_str().into(),
            key.type_.as_str().into(),
            // A thumbprint is long, and its beginning is enough to recognize it.
            if wide { key.id.clone() } else { key.id.chars().take(16).collect() }.into(),
            Cell::new(tone(key, now), &key.state),
            relative(&key.created_at),
            relative(&key.expires_at),
        ];
        if namespaces {
            row.insert(0, key.namespace.as_str().into());
        }
        if wide {
            row.push(key.algorithm.clone().unwrap_or_default().into());
            row.push(relative(&key.active_at));
            row.push(relative(&key.next_rotation));
        }
        table.row(row);
    }
    table
}

fn tone(key: &Key, now: Timestamp) -> Tone {
    let expired = key.expires_at.as_ref().is_some_and(|time| time.0 <= now);
    match key.state.as_str() {
        _ if expired && key.type_ == KeyType::ApiKey => Tone::Bad,
        "Active" | "Current" => Tone::Good,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;
    use crate::cli::terminal::Terminal;

    #[test]
    fn keys_are_sorted_by_expiry() {
        let keys = sorted(
            &Listed::Items(vec![samples::pool()]),
            &Listed::Items(vec![samples::service(), samples::unreadable_client()]),
        );
        let text = |namespaces, wide| {
            table(&keys, namespaces, wide, samples::now()).render(&Terminal::default())
        };
        insta::assert_snapshot!(text(false, false), @r"
        OWNER               TYPE         ID                 STATE      CREATED   EXPIRES
        sdkclient/backend   ApiKey       aaaaaaaaaaaaaaaa   Previous   30d ago   in 5h
        userpool/users      SigningKey   kWd7mLcFrQbJ8Xo-   Retiring   60d ago   in 90d
        sdkclient/backend   ApiKey       bbbbbbbbbbbbbbbb   Current    60m ago   -
        userpool/users      SigningKey   zJ1h9hPMqTqlQTcL   Active     3d ago    -
        ");
        insta::assert_snapshot!(text(true, true), @r"
        NAMESPACE   OWNER               TYPE         ID                         STATE      CREATED   EXPIRES   ALGORITHM   ACTIVE    NEXT-ROTATION
        acme        sdkclient/backend   ApiKey       aaaaaaaaaaaaaaaa           Previous   30d ago   in 5h     -           -         -
        acme        userpool/users      SigningKey   kWd7mLcFrQbJ8Xo-retired    Retiring   60d ago   in 90d    ES256       60d ago   -
        acme        sdkclient/backend   ApiKey       bbbbbbbbbbbbbbbb           Current    60m ago   -         -           -         -
        acme        userpool/users      SigningKey   zJ1h9hPMqTqlQTcLd8TFnGjR   Active     3d ago    -         ES256       2d ago    in 28d
        ");
        // Never a hash from which a key could be recognized elsewhere, let alone a key.
        assert!(!serde_json::to_string(&keys).unwrap().contains(&"a".repeat(64)));
    }
}
