//! `rotate`: a new signing key for a hosted pool, or a new API key for a service client.

mod client;
mod pool;

use clap::Args;
use jiff::Timestamp;
use kube::api::Patch;
use serde_json::json;

use super::Streams;
use super::cluster::{Cluster, ClusterArgs, WriteArgs};
use super::confirm::ConfirmArgs;
use super::exit::End;
use super::key::NewKeyArgs;
use super::read::Object;
use super::target::{Target, singular};
use super::wait::WaitArgs;
use crate::clock::to_show;
use crate::crd::{CustomKind, Kind};
use crate::names;

/// Help text below the options.
pub const EXAMPLES: &str = "\
UserPool with `hosted`: requests a new signing key, by the annotation anon.dev/rotate. It is published
first, and signs once every validator has acknowledged it and 15 more minutes have passed. Existing
tokens stay valid until they expire.

SdkClient with `delivery`: requests a new API key in the Secret, by the same annotation. The old key
stays valid for the overlap of the client. If that is too short for its consumers, you are asked first.

SdkClient with `hashes`: generates an API key here, adds its hash to the client and shows the key once.
The old keys stay valid until you remove their hashes. If the client is managed in Git, use
`kubectl anon key generate` instead and commit the entry.

A rotation does not invalidate a leaked key; `kubectl anon revoke key` does.

Examples:
  kubectl anon rotate userpool/users -n acme --wait
  kubectl anon rotate sdkclient/backend -n acme --wait
  kubectl anon rotate sdkclient/ci -n acme --expires-in 2160h --key-file api-key";

/// Options of `rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    /// userpool/NAME or sdkclient/NAME
    #[arg(value_name = "KIND/NAME")]
    target: Target,

    /// With --wait for a UserPool: also wait until the new key signs, which takes more than 15 minutes
    #[arg(long, requires = "wait")]
    until_active: bool,

    #[command(flatten)]
    new_key: NewKeyArgs,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    confirm: ConfirmArgs,

    #[command(flatten)]
    write: WriteArgs,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Rotates a key of the object.
pub async fn run(args: &Rotate, streams: &mut Streams<'_>, now: Timestamp) -> anyhow::Result<()> {
    match args.target.kind {
        Kind::UserPool => pool::rotate(args, streams).await,
        Kind::SdkClient => client::rotate(args, streams, now).await,
        kind => {
            let text = format!(
                "only userpool/NAME and sdkclient/NAME have keys, not a {}",
                singular(kind)
            );
            Err(End::Usage(text).into())
        }
    }
}

/// Requests a rotation from the operator: any new value of the annotation is a request.
async fn request<K: CustomKind>(args: &Rotate, cluster: &Cluster) -> anyhow::Result<()> {
    // Not in whole seconds: the second request of a second would have no effect.
    let patch = json!({"metadata": {"annotations": {names::ROTATE: to_show().to_string()}}});
    let api = cluster.api::<Object<K>>();
    let patched =
        api.patch(&args.target.name, &args.write.patch_params(), &Patch::Merge(&patch)).await;
    patched.map_err(cluster.explain(format!("annotate {}", args.target)))?;
    Ok(())
}
