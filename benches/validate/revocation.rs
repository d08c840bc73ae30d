//! How long a revoked credential remains valid, on three replicas.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anon_operator::testing::crd::{Revocation, condition};
use anon_operator::testing::domain::algorithm::Algorithm;
use anyhow::{Context as _, bail, ensure};
use futures::{StreamExt as _, pin_mut};
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::load::{Connection, Requests};
use crate::report::Case;
use crate::shared::operator::{Launch, Operator};
use crate::tokens::{Issuer, subject};
use crate::{Bench, objects};

const NAMESPACE: &str = "bench-revocation";
const REPLICAS: usize = 3;
/// The number of revocations: half of them of API keys, half of users of a pool.
const CHANGES: usize = 300;
/// The maximum in a client.
const KEYS_PER_CLIENT: usize = 15;
const USERS_PER_POOL: usize = 15;
/// How often each replica is asked whether it still accepts the credential.
const POLL_INTERVAL: Duration = Duration::from_millis(1);
const TIMEOUT: Duration = Duration::from_secs(20);

/// A credential, and what revokes it.
struct Target {
    requests: Requests,
    spec: Value,
}

pub async fn measure(bench: &Bench) -> anyhow::Result<Case> {
    let cluster = &bench.cluster;
    objects::create_namespace(cluster, NAMESPACE).await?;
    let mut replicas = Vec::new();
    for replica in 0..REPLICAS {
        replicas.push(Operator::launch(cluster, &Launch { replica, ..Launch::default() }).await?);
    }
    let addresses: Vec<_> = replicas.iter().map(Operator::address).collect();
    let targets = targets(bench, bench.options.size(CHANGES)).await?;
    let count = targets.len();
    eprintln!("measuring {count} revocations on {REPLICAS} replicas");

    let mut acknowledged = watch(bench);
    let (mut refusals, mut acknowledgements) = (Vec::new(), Vec::new());
    for (index, target) in targets.into_iter().enumerate() {
        let name = format!("revocation-{index:04}");
        let mut pollers = pollers(&addresses, &target.requests).await?;
        let start = Instant::now();
        objects::create::<Revocation>(&cluster.admin, NAMESPACE, &name, target.spec).await?;
        while let Some(refused) = pollers.join_next().await {
            refusals.push(milliseconds(refused??.saturating_duration_since(start)));
        }
        let at = timeout(TIMEOUT, until(&mut acknowledged, &name)).await;
        let at = at.with_context(|| format!("{name} is not acknowledged by {REPLICAS}"))??;
        acknowledgements.push(milliseconds(at.saturating_duration_since(start)));
    }
    for replica in replicas {
        replica.stop().await?;
    }
    refusals.sort_by(f64::total_cmp);
    acknowledgements.sort_by(f64::total_cmp);
    Ok(Case::new("revocation", "revocation, three replicas")
        .with("n", f64::from(u32::try_from(count)?))
        .with("refused_p50_ms", quantile(&refusals, 50))
        .with("refused_p99_ms", quantile(&refusals, 99))
        .with("refused_max_ms", quantile(&refusals, 100))
        .with("acknowledged_p50_ms", quantile(&acknowledgements, 50))
        .with("acknowledged_p99_ms", quantile(&acknowledgements, 99))
        .note("refused: from sending the creation of the Revocation to the first 401 of each replica, which is asked every millisecond or two")
        .note("acknowledged: until a watch shows that the status has `enforced by 3 of 3 validators`"))
}

/// Creates the credentials, each of which can be revoked by itself.
async fn targets(bench: &Bench, changes: usize) -> anyhow::Result<Vec<Target>> {
    let cluster = &bench.cluster;
    let mut targets = Vec::new();
    for index in 0..(changes / 2).div_ceil(KEYS_PER_CLIENT) {
        let name = format!("backend-{index:03}");
        let keys = objects::service(cluster, NAMESPACE, &name, KEYS_PER_CLIENT).await?;
        objects::client_ready(cluster, NAMESPACE, &name).await?;
        for key in keys {
            let ids = [key.hash().id()];
            let spec = json!({"sdkClient": {"name": name, "keyIds": ids}});
            let requests = Requests::validate(vec![key.expose().to_owned()], None);
            targets.push(Target { requests, spec });
        }
    }
    for index in 0..(changes / 2).div_ceil(USERS_PER_POOL) {
        let (name, mut issuer) = (format!("users-{index:03}"), Issuer::new(Algorithm::EdDSA)?);
        let client = objects::inline_pool(cluster, NAMESPACE, &name, &issuer).await?;
        objects::client_ready(cluster, NAMESPACE, &format!("{name}-web")).await?;
        for (user, token) in issuer.issue(USERS_PER_POOL)?.into_iter().enumerate() {
            let subjects = [subject(user)];
            let spec = json!({"userPool": {"name": name, "subjects": subjects}});
            targets.push(Target { requests: Requests::validate(vec![token], Some(&client)), spec });
        }
    }
    Ok(targets)
}

/// Asks every replica until it refuses the credential; each task returns when that was. All of them
/// accept it first.
async fn pollers(
    addresses: &[SocketAddr],
    requests: &Requests,
) -> anyhow::Result<JoinSet<anyhow::Result<Instant>>> {
    let mut pollers = JoinSet::new();
    let mut request = Vec::new();
    requests.write(&mut request).context("no request")?;
    for address in addresses {
        let mut connection = Connection::open(*address).await?;
        let start = Instant::now();
        while connection.exchange(&request).await? != 200 {
            ensure!(start.elapsed() < TIMEOUT, "a replica does not accept the credential");
            sleep(Duration::from_millis(20)).await;
        }
        let request = request.clone();
        pollers.spawn(async move {
            loop {
                match connection.exchange(&request).await? {
                    200 => ensure!(start.elapsed() < TIMEOUT, "a replica still accepts it"),
                    401 => return Ok(Instant::now()),
                    status => bail!("a replica responded with {status}"),
                }
                sleep(POLL_INTERVAL).await;
            }
        });
    }
    Ok(pollers)
}

/// The names of the Revocations that all replicas enforce, as soon as the status reports it.
fn watch(bench: &Bench) -> UnboundedReceiver<(String, Instant)> {
    let (sender, receiver) = unbounded_channel();
    let api: Api<Revocation> = Api::namespaced(bench.cluster.admin.clone(), NAMESPACE);
    tokio::spawn(async move {
        let objects = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
        pin_mut!(objects);
        while let Some(object) = objects.next().await {
            let Ok(object) = object else { continue };
            if is_enforced(&object) && sender.send((object.name_any(), Instant::now())).is_err() {
                return;
            }
        }
    });
    receiver
}

fn is_enforced(object: &Revocation) -> bool {
    let everywhere = format!("{REPLICAS} of {REPLICAS}");
    object.status.as_ref().is_some_and(|status| {
        condition::is_ready(&status.conditions)
            && status.conditions.iter().any(|condition| condition.message.contains(&everywhere))
    })
}

async fn until(
    acknowledged: &mut UnboundedReceiver<(String, Instant)>,
    name: &str,
) -> anyhow::Result<Instant> {
    loop {
        let (found, at) = acknowledged.recv().await.context("the watch ended")?;
        if found == name {
            return Ok(at);
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}
