//! `status`: an organization as a tree, with what is wrong and what to do.

mod tree;
mod view;

use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::{Api, ListParams};
use kube::core::PartialObjectMeta;

use super::Streams;
use super::cluster::{Cluster, ClusterArgs};
use super::exit::End;
use super::output::Format;
use super::read::{Listed, Object};
use super::target::Target;
use crate::crd::{Kind, Member, Organization, Revocation, SdkClient, UserPool};
use crate::names;
use view::Status;

/// Help text below the options.
pub const EXAMPLES: &str = "\
Kinds that you may not list are omitted, and named at the end. Values of API keys are never shown.

Examples:
  # everything in a namespace
  kubectl anon status -n acme

  # one client, with its pool
  kubectl anon status sdkclient/web -n acme

  # in a script: exit code 3 unless everything is ready
  kubectl anon status -n acme --exit-code";

/// Options of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show only this: organization, userpool/NAME, sdkclient/NAME, member/NAME or revocation/NAME
    #[arg(value_name = "KIND/NAME", value_parser = subject)]
    subject: Option<Target>,

    /// Exit with code 3 if an object that is shown is not ready
    #[arg(long)]
    exit_code: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// The name of the one Organization of a namespace.
const ORGANIZATION: &str = "default";

fn subject(text: &str) -> Result<Target, String> {
    if text.eq_ignore_ascii_case(Kind::Organization.as_str()) {
        return Ok(Target { kind: Kind::Organization, name: ORGANIZATION.to_owned() });
    }
    text.parse()
}

/// What was read of a namespace.
struct Namespace {
    name: String,
    organizations: Listed<Object<Organization>>,
    pools: Listed<Object<UserPool>>,
    clients: Listed<Object<SdkClient>>,
    members: Listed<Object<Member>>,
    revocations: Listed<Object<Revocation>>,
    /// The names of the Secrets with API keys.
    secrets: Listed<String>,
    /// The warnings about the operator's kinds.
    events: Listed<Event>,
}

/// Prints the status.
pub async fn run(
    args: &StatusArgs,
    streams: &mut Streams<'_>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let cluster = args.cluster.connect().await?;
    let read = read(&cluster).await?;
    let status = Status::of(&read);
    let status = match &args.subject {
        Some(subject) => status.only(subject).ok_or_else(|| {
            anyhow::anyhow!(
                "there is no {subject} in namespace `{}` of context `{}`; `kubectl anon status -n {0}` lists what there is",
                cluster.namespace, cluster.context
            )
        })?,
        None => status,
    };
    let value = serde_json::to_value(&status)?;
    let terminal = streams.terminal;
    let text = || tree::render(&status, &terminal, &cluster.context, now);
    args.output.print(streams.stdout, &value, text)?;
    let unready = status.unready();
    if args.exit_code && unready > 0 {
        return Err(End::No(format!("{unready} objects are not ready")).into());
    }
    Ok(())
}

async fn read(cluster: &Cluster) -> anyhow::Result<Namespace> {
    let (organizations, pools, clients, members, revocations, secrets, events) = futures::try_join!(
        cluster.list(false),
        cluster.list(false),
        cluster.list(false),
        cluster.list(false),
        cluster.list(false),
        secrets(cluster),
        events(cluster),
    )?;
    let name = cluster.namespace.clone();
    Ok(Namespace { name, organizations, pools, clients, members, revocations, secrets, events })
}

/// Only the metadata: values of Secrets do not leave the API server.
async fn secrets(cluster: &Cluster) -> anyhow::Result<Listed<String>> {
    let api: Api<Object<PartialObjectMeta<Secret>>> = cluster.api();
    let parameters = ListParams::default().labels(&names::selector(names::API_KEY));
    Ok(match cluster.list_of(&api, parameters).await? {
        Listed::Items(secrets) => {
            Listed::Items(secrets.iter().map(kube::ResourceExt::name_any).collect())
        }
        Listed::Forbidden => Listed::Forbidden,
    })
}

async fn events(cluster: &Cluster) -> anyhow::Result<Listed<Event>> {
    let api: Api<Object<Event>> = cluster.api();
    let parameters = ListParams::default().fields("type=Warning");
    Ok(match cluster.list_of(&api, parameters).await? {
        Listed::Items(events) => {
            let events = events.into_iter().filter_map(|event| event.0.ok());
            let ours = |event: &Event| {
                let about = event.involved_object.api_version.as_deref().unwrap_or_default();
                about.starts_with("anon.dev/")
            };
            Listed::Items(events.filter(ours).collect())
        }
        Listed::Forbidden => Listed::Forbidden,
    })
}

#[cfg(test)]
mod tests;
