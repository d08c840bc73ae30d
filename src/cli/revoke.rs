//! `revoke`: creates a Revocation, after it has shown what that will match.

mod args;
mod credential;
mod keys;
mod plan;

use std::time::Instant;

use anyhow::{anyhow, bail};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use uuid::Uuid;

use super::cluster::Cluster;
use super::confirm::confirm;
use super::exit::End;
use super::input::read_credential;
use super::output;
use super::wait::{self, Poll};
use super::{Streams, when};
use crate::crd::condition;
use crate::crd::reasons::{ConditionType, ReadyReason};
use crate::crd::{HasStatus as _, Kind, Member, Revocation, SdkClient, UserPool};
use args::{CommonArgs, KeyArgs, ManifestFormat, TokenArgs};
pub use args::{EXAMPLES, Revoke};
use credential::Credential;
use keys::Keys;
use plan::Plan;

/// Revokes at time `now`.
pub async fn run(
    command: &Revoke,
    streams: &mut Streams<'_>,
    now: Timestamp,
) -> anyhow::Result<()> {
    command.check()?;
    let common = command.common();
    let cluster = common.cluster.connect().await?;
    let plan = match command {
        Revoke::Key(args) => key(args, &cluster, now).await?,
        Revoke::Token(args) => token(args, &cluster, streams, now).await?,
        Revoke::User(args) => plan::users(&cluster.get(&args.pool).await?, &args.ids)?,
        Revoke::All(args) => {
            let pool: UserPool = cluster.get(&args.pool).await?;
            plan::issued_before(&pool, time("--before", &args.before, now)?)
        }
        Revoke::Sessions(args) => {
            let member: Member = cluster.get(&args.target.name).await?;
            plan::sessions(&member, time("--before", &args.before, now)?, now)?
        }
    };
    let revocation = revocation(&plan, common, &cluster, now);
    if let Some(format) = common.output {
        let manifest = serde_json::to_value(&revocation)?;
        return match format {
            ManifestFormat::Yaml => output::yaml(streams.stdout, &manifest),
            ManifestFormat::Json => Ok(output::json(streams.stdout, &manifest)?),
        };
    }
    write!(streams.stderr, "{}", plan.preview.render(&streams.terminal))?;
    if !common.write.dry_run {
        confirm(streams, &plan.preview.title, common.confirm.yes)?;
    }
    create(&revocation, common, &cluster, streams).await
}

async fn key(args: &KeyArgs, cluster: &Cluster, now: Timestamp) -> anyhow::Result<Plan> {
    let before = args.before.as_deref().map(|text| time("--before", text, now)).transpose()?;
    let selected = before.map_or(Keys::Ids(&args.ids), Keys::CreatedBefore);
    let name = &args.target.name;
    if args.target.kind == Kind::UserPool {
        keys::pool_keys(&cluster.get(name).await?, &selected, now)
    } else {
        keys::client_keys(&cluster.get(name).await?, &selected, now)
    }
}

/// Finds the object that the credential belongs to.
async fn token(
    args: &TokenArgs,
    cluster: &Cluster,
    streams: &mut Streams<'_>,
    now: Timestamp,
) -> anyhow::Result<Plan> {
    let text = read_credential(&args.file, streams.stdin)?;
    match Credential::read(&text)? {
        Credential::ApiKey(hash) => {
            let clients = cluster.list::<SdkClient>(false).await?;
            let mut clients = clients.items().iter().filter_map(|client| client.0.as_ref().ok());
            let owner = clients.find(|client| keys::has_key(client, &hash)).ok_or_else(|| {
                anyhow!(
                    "no SdkClient of namespace `{}` has the API key {}: check the namespace",
                    cluster.namespace,
                    hash.id()
                )
            })?;
            keys::client_keys(owner, &Keys::Ids(&[hash.id()]), now)
        }
        Credential::Token(token) => {
            let pool = if let Some(pool) = &args.pool {
                cluster.get(pool).await?
            } else {
                let pools = cluster.list::<UserPool>(false).await?;
                let mut pools = pools.items().iter().filter_map(|pool| pool.0.as_ref().ok());
                let pool = pools.find(|pool| token.is_of(pool)).ok_or_else(|| {
                    anyhow!(
                        "the token names no UserPool of namespace `{}`: set --pool",
                        cluster.namespace
                    )
                })?;
                pool.clone()
            };
            Ok(plan::token(&pool, &token))
        }
    }
}

/// Parses a TIME of the command line.
fn time(option: &str, text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    let time = when::past(text, now).ok_or_else(|| {
        End::Usage(format!(
            "{option} must be a time such as 2026-11-30T12:00:00Z, a duration such as 2h (that long ago), or now"
        ))
    })?;
    if time > now {
        let text = format!(
            "{option} is in the future; a Revocation covers only what exists when it is created"
        );
        return Err(End::Usage(text).into());
    }
    Ok(time)
}

fn revocation(plan: &Plan, args: &CommonArgs, cluster: &Cluster, now: Timestamp) -> Revocation {
    let mut spec = plan.spec.clone();
    spec.reason.clone_from(&args.reason);
    let end = args.expires_at.or(plan.obsolete_at);
    spec.expires_at = end.map(Time);
    let generated = || plan.name(now, Uuid::new_v4().as_fields().1);
    let name = args.name.clone().unwrap_or_else(generated);
    let mut revocation = Revocation::new(&name, spec);
    revocation.metadata.namespace = Some(cluster.namespace.clone());
    revocation
}

async fn create(
    revocation: &Revocation,
    args: &CommonArgs,
    cluster: &Cluster,
    streams: &mut Streams<'_>,
) -> anyhow::Result<()> {
    let name = format!("revocation/{}", revocation.name_any());
    let began = Instant::now();
    let api = cluster.api::<Revocation>();
    let created = api.create(&args.write.post_params(), revocation).await;
    created.map_err(cluster.explain(format!("create {name}")))?;
    writeln!(streams.stdout, "{name} created{}", args.write.suffix())?;
    if args.no_wait || args.write.dry_run {
        return Ok(());
    }
    let look = async || {
        let object: Revocation = cluster.get(&revocation.name_any()).await?;
        let ready = condition::find(object.current_conditions(), ConditionType::Ready.as_str());
        let Some(ready) = ready else {
            return Ok(Poll::Pending("the operator has not reconciled it yet".to_owned()));
        };
        if ready.reason == ReadyReason::NoMatch.as_str() {
            bail!("{name} was created, but nothing matches it: {}", ready.message);
        }
        let message = ready.message.clone();
        Ok(if ready.status == "True" { Poll::Reached(message) } else { Poll::Pending(message) })
    };
    let message = wait::until(streams, args.timeout, look).await?;
    let seconds = began.elapsed().as_secs_f32();
    writeln!(streams.stdout, "{} after {seconds:.1} s", output::printable(&message))?;
    Ok(())
}
