//! Minutes of mixed requests while clients are created and deleted: memory must not grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anon_operator::testing::crd::SdkClient;
use anon_operator::testing::domain::algorithm::Algorithm;
use anyhow::ensure;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::load::{self, Load, Requests, SERVER_CORE};
use crate::report::Case;
use crate::shared::operator::{Launch, Operator, rss_of};
use crate::tokens::{Issuer, forged};
use crate::{Bench, objects};

const NAMESPACE: &str = "bench-mixed";
/// The interval of creations; each of them is followed by a deletion.
const CHURN_INTERVAL: Duration = Duration::from_millis(50);
/// The number of clients that exist at a time.
const LIVING: usize = 100;
/// How long each connection waits between two requests.
const PAUSE: Duration = Duration::from_millis(10);
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// More tokens than are sent within an hour by one connection.
const DISTINCT_TOKENS: usize = 100_000;
/// How long the operator keeps the Secret of a deleted client.
const ORPHAN_GRACE: Duration = Duration::from_secs(30);
/// The size of the cache of valid tokens: for those that are sent again, and few others.
const CACHE_MEBIBYTES: u32 = 4;
/// How long to wait until these Secrets are deleted.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(90);

pub async fn measure(bench: &Bench) -> anyhow::Result<Case> {
    let (cluster, duration) = (&bench.cluster, bench.options.mixed());
    objects::create_namespace(cluster, NAMESPACE).await?;
    // With the default, the cache of valid tokens would grow during the whole load.
    let flags = vec![
        format!("--orphan-grace={}s", ORPHAN_GRACE.as_secs()),
        format!("--token-cache-size={CACHE_MEBIBYTES}"),
    ];
    let launch = Launch { core: Some(SERVER_CORE), flags, ..Launch::default() };
    let operator = Operator::launch(cluster, &launch).await?;
    let loads = loads(bench, &operator).await?;
    eprintln!("measuring the mixed load for {} s", duration.as_secs());

    let before = operator.rss_bytes()?;
    let samples = tokio::spawn(sample(operator.pid(), duration));
    let stop = Arc::new(AtomicBool::new(false));
    let churn = tokio::spawn(churn(cluster.admin.clone(), Arc::clone(&stop)));
    let outcomes = load::run(loads, duration).await?;
    stop.store(true, Ordering::Relaxed);
    let created = churn.await??;
    let samples = samples.await??;
    let end = operator.rss_bytes()?;
    let swept = until_swept(&cluster.admin).await?;
    let after = operator.rss_bytes()?;
    operator.stop().await?;

    let warm = samples.get(samples.len() / 5).copied().unwrap_or(before);
    let responses: usize = outcomes.iter().map(load::Outcome::responses).sum();
    let failures: usize = outcomes.iter().map(|outcome| outcome.failures).sum();
    let cached = outcomes.into_iter().next().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "for display only")]
    let growth = end as f64 / warm as f64;
    Ok(Case::new("mixed", "mixed load with churn")
        .with("p50_ms", cached.quantile(0.5))
        .with("p99_ms", cached.quantile(0.99))
        .with("seconds", duration.as_secs_f64())
        .with("failed_requests", f64::from(u32::try_from(failures)?))
        .with_bytes("rss_start_bytes", before)
        .with_bytes("rss_after_a_fifth_bytes", warm)
        .with_bytes("rss_max_bytes", samples.iter().copied().max().unwrap_or(end))
        .with_bytes("rss_end_bytes", end)
        .with_bytes("rss_after_deletion_bytes", after)
        .with("rss_end_to_a_fifth", growth)
        .note(format!(
            "{responses} requests: tokens cached, not cached and forged, API keys, sessions, public data, unknown paths; {created} service clients created and deleted"
        ))
        .note(format!("after deletion: the clients and, {swept:.0} s later, their Secrets"))
        .note("p50 and p99: cached tokens"))
}

/// Every kind of request, the cached tokens first.
async fn loads(bench: &Bench, operator: &Operator) -> anyhow::Result<Vec<Load>> {
    let cluster = &bench.cluster;
    let mut rsa = Issuer::new(Algorithm::RS256)?;
    let mut eddsa = Issuer::new(Algorithm::EdDSA)?;
    let rsa_client = objects::inline_pool(cluster, NAMESPACE, "rsa", &rsa).await?;
    let eddsa_client = objects::inline_pool(cluster, NAMESPACE, "eddsa", &eddsa).await?;
    let keys = objects::service(cluster, NAMESPACE, "backend", 16).await?;
    let session = objects::member(cluster, NAMESPACE).await?;
    for name in ["rsa-web", "eddsa-web", "backend"] {
        objects::client_ready(cluster, NAMESPACE, name).await?;
    }
    let tokens = rsa.issue(1000)?;
    let forged: Vec<_> = tokens.iter().map(|token| forged(token)).collect();
    let keys = keys.iter().map(|key| key.expose().to_owned()).collect();
    let requests = [
        (16, Requests::validate(tokens, Some(&rsa_client))),
        (16, Requests::validate(eddsa.issue(DISTINCT_TOKENS)?, Some(&eddsa_client))),
        (8, Requests::validate(keys, None)),
        (4, Requests::validate(vec![session], None)),
        (8, Requests::validate(forged, Some(&rsa_client)).expecting(401)),
        (4, Requests::anonymous(&format!("/v1/clients/{rsa_client}"))),
        (4, Requests::anonymous("/v1/nothing").expecting(404)),
    ];
    let load = |(connections, requests)| Load {
        pause: PAUSE,
        ..Load::full(operator.address(), connections, &Arc::new(requests))
    };
    Ok(requests.map(load).into())
}

async fn sample(pid: u32, duration: Duration) -> anyhow::Result<Vec<u64>> {
    let (start, mut samples) = (Instant::now(), Vec::new());
    while start.elapsed() < duration {
        sleep(SAMPLE_INTERVAL).await;
        samples.push(rss_of(pid)?);
    }
    Ok(samples)
}

/// Creates and deletes service clients, for each of which the operator creates a Secret.
async fn churn(admin: Client, stop: Arc<AtomicBool>) -> anyhow::Result<usize> {
    let api: Api<SdkClient> = Api::namespaced(admin.clone(), NAMESPACE);
    let name = |index: usize| format!("churned-{index:06}");
    let mut ticks = interval(CHURN_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut created = 0;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let spec = json!({"service": {"role": "Member", "apiKey": {
            "delivery": {"secretName": name(created)},
        }}});
        objects::create::<SdkClient>(&admin, NAMESPACE, &name(created), spec).await?;
        created += 1;
        if let Some(oldest) = created.checked_sub(LIVING) {
            api.delete(&name(oldest), &DeleteParams::default()).await?;
        }
    }
    for index in (created + 1).saturating_sub(LIVING)..created {
        api.delete(&name(index), &DeleteParams::default()).await?;
    }
    Ok(created)
}

/// Waits until the Secrets of the deleted clients are deleted, and returns the seconds.
async fn until_swept(admin: &Client) -> anyhow::Result<f64> {
    let api: Api<Secret> = Api::namespaced(admin.clone(), NAMESPACE);
    let start = Instant::now();
    while !api.list_metadata(&ListParams::default()).await?.items.is_empty() {
        ensure!(start.elapsed() < SWEEP_TIMEOUT, "the Secrets of deleted clients still exist");
        sleep(Duration::from_secs(1)).await;
    }
    // The last watch events.
    sleep(Duration::from_secs(1)).await;
    Ok(start.elapsed().as_secs_f64())
}
