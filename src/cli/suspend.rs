//! `suspend` and `resume`: turn an object off and on again, without losing anything of it.

use anyhow::anyhow;
use clap::Args;
use kube::Resource as _;
use kube::api::Patch;
use serde_json::json;

use super::Streams;
use super::cluster::{Cluster, ClusterArgs, WriteArgs};
use super::exit::End;
use super::output::printable;
use super::read::{Object, Readiness};
use super::target::{Target, singular};
use super::wait::{self, Poll, WaitArgs};
use crate::crd::{HasStatus, Kind, Member, SdkClient};
use crate::kube_ext::gitops;

/// Help text below the options of `suspend`.
pub const SUSPEND_EXAMPLES: &str = "\
An SdkClient: its API keys, and tokens for it, are rejected. A Member: it cannot log in, its sessions
are rejected, and its RoleBinding is deleted. Nothing is lost; `resume` undoes it.

Examples:
  kubectl anon suspend sdkclient/backend -n acme --wait
  kubectl anon suspend member/ada -n acme";

/// Help text below the options of `resume`.
pub const RESUME_EXAMPLES: &str = "\
Examples:
  kubectl anon resume sdkclient/backend -n acme --wait";

/// Options of `suspend` and `resume`.
#[derive(Debug, Args)]
pub struct SuspendArgs {
    /// sdkclient/NAME or member/NAME
    #[arg(value_name = "KIND/NAME")]
    target: Target,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    write: WriteArgs,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Suspends the object, or ends that.
pub async fn run(
    args: &SuspendArgs,
    suspend: bool,
    streams: &mut Streams<'_>,
) -> anyhow::Result<()> {
    match args.target.kind {
        Kind::SdkClient => set::<SdkClient>(args, suspend, streams).await,
        Kind::Member => set::<Member>(args, suspend, streams).await,
        kind => Err(End::Usage(cannot(kind)).into()),
    }
}

/// Why an object of this kind cannot be suspended, and what to do instead.
fn cannot(kind: Kind) -> String {
    let kind = singular(kind);
    format!(
        "only sdkclient/NAME and member/NAME can be suspended, not a {kind}; to turn away the users of a pool, suspend its clients or revoke their tokens"
    )
}

async fn set<K: HasStatus>(
    args: &SuspendArgs,
    suspend: bool,
    streams: &mut Streams<'_>,
) -> anyhow::Result<()> {
    let cluster = args.cluster.connect().await?;
    let target = &args.target;
    let api = cluster.api::<Object<K>>();
    let verb = if suspend { "suspend" } else { "resume" };
    let explain = || cluster.explain(format!("{verb} {target}"));
    let before = api.get(&target.name).await.map_err(explain())?;
    warn_of_tool(&before, target, streams)?;
    let patch = json!({ "spec": { "suspended": suspend } });
    let parameters = args.write.patch_params();
    let patched = api.patch(&target.name, &parameters, &Patch::Merge(&patch)).await;
    let patched = patched.map_err(explain())?;
    let done = match (suspend, before.meta().generation == patched.meta().generation) {
        (true, false) => "suspended",
        (true, true) => "was already suspended",
        (false, false) => "resumed",
        (false, true) => "was not suspended",
    };
    writeln!(streams.stdout, "{target} {done}{}", args.write.suffix())?;
    if args.wait.wait && !args.write.dry_run {
        wait_for::<K>(args, &cluster, patched.meta().generation, streams).await?;
        let state = if suspend { "suspended" } else { "not suspended" };
        writeln!(streams.stdout, "{target} is {state} in the operator")?;
    }
    Ok(())
}

/// Waits until the operator has reconciled the change. It may find that the object is not ready for
/// other reasons, which is no failure of this command.
async fn wait_for<K: HasStatus>(
    args: &SuspendArgs,
    cluster: &Cluster,
    generation: Option<i64>,
    streams: &mut Streams<'_>,
) -> anyhow::Result<()> {
    let target = &args.target;
    let look = async || {
        let read = cluster.api::<Object<K>>().get(&target.name).await;
        let read = read.map_err(cluster.explain(format!("read {target}")))?;
        let readiness = Readiness::of(&read);
        let object = read.0.map_err(|unreadable| anyhow!("cannot read {target}: {unreadable}"))?;
        let reconciled = object.status().and_then(K::observed_generation) >= generation;
        Ok(if reconciled { Poll::Reached(()) } else { Poll::Pending(readiness.message) })
    };
    wait::until(streams, args.wait.timeout, look).await
}

/// Warns of a tool that would undo the change.
fn warn_of_tool<K: kube::Resource>(
    object: &K,
    target: &Target,
    streams: &mut Streams<'_>,
) -> anyhow::Result<()> {
    if let Some(tool) = gitops::tool(object) {
        writeln!(
            streams.stderr,
            "warning: {} is managed by {tool}, which may revert this; change it there, too",
            printable(&target.to_string())
        )?;
    }
    Ok(())
}
