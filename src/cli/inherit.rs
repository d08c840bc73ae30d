//! `keys inherit`: marks the Secrets that are stored for a former namespace, so that the operator
//! hands them over to the namespace that has its name now.

mod former;

use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Resource;
use kube::api::{Api, ListParams, Patch};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::cli::Streams;
use crate::cli::cluster::{Cluster, ClusterArgs, WriteArgs, duration_arg};
use crate::cli::confirm::{ConfirmArgs, confirm};
use crate::cli::output::Format;
use crate::cli::wait::{Poll, until};
use crate::crd::condition;
use crate::crd::reasons::ConditionType;
use crate::crd::{Member, UserPool};
use crate::domain::signing_key_set::{StoredKey, StoredKeySet};
use crate::names;
use former::{Former, Owner, Stored, find, table};

const EXAMPLES: &str = "\
The operator stores signing keys and password hashes under the uid of the namespace, so a namespace
that was deleted and re-created, or restored into another cluster, does not have them. This command
sets the label anon.dev/inherited-by on the Secrets of the former uid. The operator then moves their
content to the current uid. A pool that has no key yet continues with the former ones; a pool that
signs with a key of its own only verifies with them.

It reads and labels Secrets in the namespace of the operator, which only a platform administrator may
do.

Examples:
  # show what is stored for the former namespace; without --from-uid, the error lists the former uids
  kubectl anon keys inherit --from-uid 0f0c8b5e-2d5c-4b5e-8a53-3c1d3f1d8a11 -n acme --dry-run

  # take it over
  kubectl anon keys inherit --from-uid 0f0c8b5e-2d5c-4b5e-8a53-3c1d3f1d8a11 -n acme";

/// Commands for what the operator stores in its own namespace.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Take over the signing keys and password hashes of a namespace that was re-created
    #[command(after_long_help = EXAMPLES)]
    Inherit(Box<Inherit>),
}

/// Options of `keys inherit`.
#[derive(Debug, Args)]
pub struct Inherit {
    /// Uid of the former namespace, with which the names of its Secrets begin
    #[arg(long, value_name = "UID")]
    from_uid: String,

    /// Take over only the signing keys of this UserPool, and no password hashes
    #[arg(long, value_name = "USERPOOL")]
    pool: Option<String>,

    /// Namespace of the operator
    #[arg(long, value_name = "NAMESPACE", default_value = "anon-system")]
    operator_namespace: String,

    /// How long to wait until the operator has taken everything over, such as 90s or 2m
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration_arg)]
    timeout: Duration,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    write: WriteArgs,

    #[command(flatten)]
    confirm: ConfirmArgs,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs a command at time `now`.
pub async fn run(command: &Keys, streams: &mut Streams<'_>, now: Timestamp) -> anyhow::Result<()> {
    match command {
        Keys::Inherit(args) => inherit(args, streams, now).await,
    }
}

/// Shows what is stored for the former namespace, marks it, and waits for the operator.
async fn inherit(args: &Inherit, streams: &mut Streams<'_>, now: Timestamp) -> anyhow::Result<()> {
    let cluster = args.cluster.connect().await?;
    let secrets = Api::namespaced(cluster.client.clone(), &args.operator_namespace);
    let run = Run { args, cluster, secrets };
    let uid = run.namespace_uid().await?;
    let found = run.find(&uid).await?;
    let shown = table(&found, now, &streams.terminal);
    write!(streams.stderr, "{shown}")?;
    let (count, namespace) = (found.len(), &run.cluster.namespace);
    let secrets = if count == 1 { "Secret" } else { "Secrets" };
    let what = format!(
        "hand {count} {secrets} of the former namespace `{namespace}` over to the current one"
    );
    if !args.write.dry_run {
        confirm(streams, &what, args.confirm.yes)?;
    }
    for former in &found {
        run.mark(former, &uid).await?;
    }
    let mut results = Vec::new();
    for former in &found {
        results.push(run.taken_over(former, &uid, streams).await?);
    }
    let value = json!({
        "namespace": namespace, "uid": uid, "fromUid": args.from_uid,
        "items": found.iter().map(Former::to_json).collect::<Vec<_>>(),
    });
    args.output.print(streams.stdout, &value, || results.concat())
}

struct Run<'a> {
    args: &'a Inherit,
    cluster: Cluster,
    /// In the namespace of the operator.
    secrets: Api<Secret>,
}

impl Run<'_> {
    async fn namespace_uid(&self) -> anyhow::Result<String> {
        let name = &self.cluster.namespace;
        let namespaces: Api<Namespace> = Api::all(self.cluster.client.clone());
        let read = namespaces.get(name).await;
        let namespace = read.map_err(self.cluster.explain(format!("read Namespace `{name}`")))?;
        let uid = namespace.metadata.uid.unwrap_or_default();
        if uid == self.args.from_uid {
            bail!(
                "--from-uid is the uid that Namespace `{name}` has now: its keys are in use already"
            );
        }
        Ok(uid)
    }

    async fn find(&self, uid: &str) -> anyhow::Result<Vec<Former>> {
        let mut secrets = Vec::new();
        for component in [names::SIGNING_KEYS, names::PASSWORD] {
            let parameters = ListParams::default().labels(&names::selector(component));
            let what = format!("list Secrets in namespace `{}`", self.args.operator_namespace);
            let listed = self.secrets.list(&parameters).await;
            secrets.extend(listed.map_err(self.cluster.explain(what))?);
        }
        let mut found = find(&secrets, &self.cluster.namespace, &self.args.from_uid, uid)?;
        if let Some(pool) = &self.args.pool {
            found.retain(|former| former.owner == Owner::UserPool(pool.clone()));
            if found.is_empty() {
                bail!("no signing keys of UserPool `{pool}` are stored under --from-uid");
            }
        }
        Ok(found)
    }

    async fn mark(&self, former: &Former, uid: &str) -> anyhow::Result<()> {
        // Only as it was shown.
        let patch = json!({"metadata": {
            "resourceVersion": former.resource_version,
            "labels": {names::INHERITED_BY: uid},
        }});
        let parameters = self.args.write.patch_params();
        let patched = self.secrets.patch(&former.secret, &parameters, &Patch::Merge(patch)).await;
        patched.map_err(self.cluster.explain(format!("label Secret `{}`", former.secret)))?;
        Ok(())
    }

    /// Waits until the operator has taken a Secret over. Returns a line for people.
    async fn taken_over(
        &self,
        former: &Former,
        uid: &str,
        streams: &mut Streams<'_>,
    ) -> anyhow::Result<String> {
        let (owner, suffix) = (&former.owner, self.args.write.suffix());
        let what = former.stored.describe();
        let exists = match owner {
            Owner::UserPool(name) => self.read::<UserPool>(name).await?.is_some(),
            Owner::Member(name) => self.read::<Member>(name).await?.is_some(),
        };
        if self.args.write.dry_run {
            return Ok(format!("{owner}: {what} would be taken over{suffix}\n"));
        }
        if !exists {
            return Ok(format!("{owner}: does not exist yet; {what} will be taken over then\n"));
        }
        let Owner::UserPool(pool) = owner else {
            let look = async || {
                let former = self.secret(&former.secret).await?;
                let pending = || Poll::Pending(format!("{owner}: waiting for the operator"));
                Ok::<_, anyhow::Error>(former.map_or(Poll::Reached(()), |_| pending()))
            };
            until(streams, self.args.timeout, look).await?;
            return Ok(format!("{owner}: {what} taken over\n"));
        };
        let look = async || {
            let object = self.read::<UserPool>(pool).await?;
            let message = object.as_ref().and_then(problem);
            let message = message.unwrap_or_else(|| "waiting for the operator".to_owned());
            let pending = Poll::Pending(format!("{owner}: {message}"));
            if self.secret(&former.secret).await?.is_some() {
                return Ok(pending);
            }
            let own = self.secret(&names::inherited(&former.secret, uid)).await?;
            let Some(own) = own.as_ref().and_then(former::key_set) else { return Ok(pending) };
            let status = object.and_then(|object| object.status).unwrap_or_default();
            let is_published = |kid: &str| status.keys.iter().any(|key| key.kid == kid);
            if own.keys.iter().all(|key| is_published(key.kid())) {
                return Ok(Poll::Reached(own));
            }
            Ok::<_, anyhow::Error>(pending)
        };
        let own = until(streams, self.args.timeout, look).await?;
        Ok(format!("{owner}: {}\n", outcome(&former.stored, &own)))
    }

    async fn secret(&self, name: &str) -> anyhow::Result<Option<Secret>> {
        let read = self.secrets.get_opt(name).await;
        read.map_err(self.cluster.explain(format!("read Secret `{name}`")))
    }

    async fn read<K>(&self, name: &str) -> anyhow::Result<Option<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let read = match self.cluster.api::<K>().get(name).await {
            // Also if the CustomResourceDefinition is not there yet, which is not a `NotFound`.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            read => read.map(Some),
        };
        read.map_err(self.cluster.explain(format!("read {} `{name}`", K::kind(&()))))
    }
}

/// Why a pool does not take keys over, if it says so.
fn problem(pool: &UserPool) -> Option<String> {
    let conditions = &pool.status.as_ref()?.conditions;
    let refused = condition::find(conditions, ConditionType::KeysNotInherited.as_str());
    let ready = condition::find(conditions, ConditionType::Ready.as_str());
    let problem = refused.or_else(|| ready.filter(|ready| ready.status != "True"))?;
    Some(problem.message.clone())
}

/// How many of the former keys the pool has now, and what they are used for.
fn outcome(stored: &Stored, own: &StoredKeySet) -> String {
    let kids = stored.kids();
    let count = own.keys.iter().filter(|key| kids.contains(&key.kid())).count();
    if count == 0 {
        return format!("none of {} keys taken over: they are revoked or have expired", kids.len());
    }
    let active = own.active().map(StoredKey::kid).unwrap_or_default();
    let use_ = if kids.contains(&active) {
        format!("{active} signs again")
    } else {
        format!("they only verify, and {active} signs")
    };
    format!("{count} of {} keys taken over; {use_}", kids.len())
}
