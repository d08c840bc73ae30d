//! Many clients, API keys and pools: requests, memory and the start of a process.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anon_operator::testing::crd::{SdkClient, UserPool};
use anon_operator::testing::domain::algorithm::Algorithm;
use anon_operator::testing::domain::credential::ApiKey;
use anon_operator::testing::domain::ids::{SdkClientId, UserPoolId};
use anyhow::{Context as _, ensure};
use kube::Client;
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::sleep;

use crate::load::{Requests, SERVER_CORE};
use crate::report::{Case, thousands};
use crate::rounds::{Subject, median};
use crate::shared::audit;
use crate::shared::operator::{Launch, Operator, SETTLE};
use crate::tokens::Issuer;
use crate::{Bench, objects};

pub const CASES: &[&str] =
    &["apikey-10000", "apikey-100000", "apikey-1000000", "cold-start", "memory"];

const NAMESPACE: &str = "bench-keys";
const POOLS: usize = 10_000;
/// Clients with one API key each.
const CLIENTS: usize = 100_000;
/// Clients with [`KEYS_PER_CLIENT`] API keys each: together with the others, a million keys.
const LARGE_CLIENTS: usize = 56_250;
/// The maximum in a client.
const KEYS_PER_CLIENT: usize = 16;
/// The number of keys that requests use.
const USED_KEYS: usize = 100_000;
/// The page size of the plain list.
const PAGE: u32 = 500;
/// The bytes of a SHA-256, which every index has to hold.
const HASH_BYTES: f64 = 32.0;
const RECONCILE_TIMEOUT: Duration = Duration::from_mins(5);

/// RSS in bytes, with more and more objects.
#[derive(Default)]
struct Memory {
    empty: f64,
    pools: f64,
    clients: f64,
    keys: f64,
    leader_pools: f64,
    leader_clients: f64,
}

pub async fn measure(bench: &Bench) -> anyhow::Result<Vec<Case>> {
    let options = &bench.options;
    let (pools, clients) = (options.size(POOLS), options.size(CLIENTS));
    let models = Models::create(bench).await?;
    let (mut cases, mut memory) = (Vec::new(), Memory::default());
    let mut keys = Vec::new();

    memory.empty = validator_rss(bench).await?;
    models.write_pools(bench, pools).await?;
    memory.pools = validator_rss(bench).await?;
    if options.wants(&["memory"]) {
        memory.leader_pools = leader_rss(bench, "UserPool", pools).await?.0;
    }
    models.write_clients(bench, 0..clients / 10, &mut keys).await?;
    if options.wants(&["apikey-10000"]) {
        cases.push(api_keys(bench, &models, "apikey-10000", clients / 10, &keys, &mut 0.0).await?);
    }
    if !options.wants(&["apikey-100000", "apikey-1000000", "cold-start", "memory"]) {
        return Ok(cases);
    }
    models.write_clients(bench, clients / 10..clients, &mut keys).await?;
    if options.wants(&["cold-start"]) {
        cases.push(cold_start(bench, pools, clients).await?);
    }
    cases.push(
        api_keys(bench, &models, "apikey-100000", clients, &keys, &mut memory.clients).await?,
    );
    let mut writes = String::new();
    if options.wants(&["memory"]) {
        (memory.leader_clients, writes) = leader_rss(bench, "SdkClient", clients).await?;
    }
    if options.wants(&["apikey-1000000", "memory"]) {
        let large = options.size(LARGE_CLIENTS);
        models.write_large_clients(bench, large, &mut keys).await?;
        let count = clients + large * KEYS_PER_CLIENT;
        cases.push(
            api_keys(bench, &models, "apikey-1000000", count, &keys, &mut memory.keys).await?,
        );
    }
    if options.wants(&["memory"]) {
        cases.push(memory.case(bench).note(format!("the leader, at its start: {writes}")));
    }
    Ok(cases)
}

impl Memory {
    #[expect(clippy::cast_precision_loss, reason = "counts of objects")]
    fn case(&self, bench: &Bench) -> Case {
        let options = &bench.options;
        let (pools, clients) = (options.size(POOLS) as f64, options.size(CLIENTS) as f64);
        let per_client = (self.clients - self.pools) / clients;
        let per_large = (self.keys - self.clients) / options.size(LARGE_CLIENTS) as f64;
        let per_key = (per_large - per_client) / (KEYS_PER_CLIENT - 1) as f64;
        Case::new("memory", "memory")
            .with("bytes_empty_validator", self.empty)
            .with("bytes_per_pool_in_validator", (self.pools - self.empty) / pools)
            .with("bytes_per_client_in_validator", per_client)
            .with("bytes_per_client_in_leader", (self.leader_clients - self.leader_pools) / clients)
            .with("bytes_per_further_apikey", per_key - HASH_BYTES)
            .note(format!(
                "differences of RSS after the start, with {pools} inline pools (EdDSA), then {clients} clients with one API key, then {} clients with {KEYS_PER_CLIENT}",
                options.size(LARGE_CLIENTS)
            ))
            .note("further API key: without the 32 bytes of its SHA-256")
    }
}

/// Objects that the operator has reconciled, as etcd stores them.
struct Models {
    pool: String,
    client: Model,
    large_client: Model,
    /// The id of a webapp client.
    web: String,
}

struct Model {
    name: &'static str,
    value: String,
    keys: Vec<ApiKey>,
}

impl Models {
    async fn create(bench: &Bench) -> anyhow::Result<Self> {
        let cluster = &bench.cluster;
        objects::create_namespace(cluster, NAMESPACE).await?;
        let operator = Operator::start(cluster).await?;
        let spec = objects::pool_spec(&Issuer::new(Algorithm::EdDSA)?)?;
        objects::create::<UserPool>(&cluster.admin, NAMESPACE, "model-pool", spec).await?;
        objects::pool_ready(cluster, NAMESPACE, "model-pool").await?;
        let client = Model::create(bench, "model-client", 1).await?;
        let large_client = Model::create(bench, "model-large", KEYS_PER_CLIENT).await?;
        let web = objects::webapp(cluster, NAMESPACE, "model-pool").await?;
        objects::client_ready(cluster, NAMESPACE, "model-pool-web").await?;
        sleep(SETTLE).await;
        operator.stop().await?;
        let pool = bench.etcd.read("userpools", NAMESPACE, "model-pool").await?;
        Ok(Self { pool, client, large_client, web })
    }

    async fn write_pools(&self, bench: &Bench, count: usize) -> anyhow::Result<()> {
        eprintln!("writing {count} pools");
        let id = |name: &str| UserPoolId::derive(NAMESPACE, name).to_string();
        let copy = |index| {
            let name = format!("pool-{index:06}");
            let value = with_uid(&self.pool, index)?
                .replace(&id("model-pool"), &id(&name))
                .replace("model-pool", &name);
            Ok((name, value))
        };
        bench.etcd.write("userpools", NAMESPACE, (0..count).map(copy)).await
    }

    async fn write_clients(
        &self,
        bench: &Bench,
        range: std::ops::Range<usize>,
        keys: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        eprintln!("writing {} clients with an API key", range.len());
        let copies =
            range.map(|index| self.client.copy(index, &format!("client-{index:06}"), keys));
        bench.etcd.write("sdkclients", NAMESPACE, copies).await
    }

    async fn write_large_clients(
        &self,
        bench: &Bench,
        count: usize,
        keys: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        eprintln!("writing {count} clients with {KEYS_PER_CLIENT} API keys");
        // The requests use keys of these clients, too.
        keys.truncate(USED_KEYS / 10);
        let copies = (0..count).map(|index| {
            self.large_client.copy(1_000_000 + index, &format!("large-{index:06}"), keys)
        });
        bench.etcd.write("sdkclients", NAMESPACE, copies).await
    }
}

impl Model {
    async fn create(bench: &Bench, name: &'static str, keys: usize) -> anyhow::Result<Self> {
        let keys = objects::service(&bench.cluster, NAMESPACE, name, keys).await?;
        objects::client_ready(&bench.cluster, NAMESPACE, name).await?;
        let value = bench.etcd.read("sdkclients", NAMESPACE, name).await?;
        Ok(Self { name, value, keys })
    }

    /// Another client like this one, with new keys, which are added to `used` if it has room.
    fn copy(
        &self,
        index: usize,
        name: &str,
        used: &mut Vec<String>,
    ) -> anyhow::Result<(String, String)> {
        let id = |name: &str| SdkClientId::derive(NAMESPACE, name).to_string();
        let mut value = with_uid(&self.value, index)?.replace(&id(self.name), &id(name));
        for old in &self.keys {
            let new = ApiKey::generate()?;
            let (from, to) = (old.hash(), new.hash());
            value = value.replace(&from.to_string(), &to.to_string()).replace(&from.id(), &to.id());
            if used.len() < USED_KEYS {
                used.push(new.expose().to_owned());
            }
        }
        Ok((name.to_owned(), value.replace(self.name, name)))
    }
}

/// The object with a uid of its own.
fn with_uid(value: &str, index: usize) -> anyhow::Result<String> {
    let object: Value = serde_json::from_str(value)?;
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str).context("no uid")?;
    Ok(value.replace(uid, &format!("00000000-0000-4000-8000-{index:012}")))
}

/// RSS of a validator after its start.
async fn validator_rss(bench: &Bench) -> anyhow::Result<f64> {
    let operator = Operator::launch(&bench.cluster, &Launch::validator(Some(SERVER_CORE))).await?;
    let rss = rss(&operator).await?;
    operator.stop().await?;
    Ok(rss)
}

/// RSS of a leader that has reconciled all objects of a kind, and the requests that it has sent.
async fn leader_rss(bench: &Bench, kind: &str, count: usize) -> anyhow::Result<(f64, String)> {
    eprintln!("measuring the memory of the leader with {count} objects of kind {kind}");
    let mark = audit::mark(&bench.cluster.audit)?;
    let start = Instant::now();
    let operator = Operator::start(&bench.cluster).await?;
    let (all, label) = (f64::from(u32::try_from(count)?), format!("kind=\"{kind}\""));
    while operator.metric_of("anon_reconciles_total", &label)? < all {
        ensure!(start.elapsed() < RECONCILE_TIMEOUT, "the leader does not reconcile all objects");
        sleep(Duration::from_millis(100)).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    let rss = rss(&operator).await?;
    let requests = audit::since(&bench.cluster.audit, &mark, &bench.cluster.user)?;
    operator.stop().await?;
    Ok((rss, format!("all clients reconciled after {seconds:.1} s; {}", requests.text())))
}

#[expect(clippy::cast_precision_loss, reason = "for display only")]
async fn rss(operator: &Operator) -> anyhow::Result<f64> {
    sleep(SETTLE).await;
    Ok(operator.rss_bytes()? as f64)
}

/// Requests with many keys.
async fn api_keys(
    bench: &Bench,
    models: &Models,
    name: &str,
    count: usize,
    keys: &[String],
    memory: &mut f64,
) -> anyhow::Result<Case> {
    let operator = Operator::launch(&bench.cluster, &Launch::validator(Some(SERVER_CORE))).await?;
    *memory = rss(&operator).await?;
    let subject = Subject::new(&operator, Requests::validate(shuffled(keys), None));
    let title = format!("API key, {} keys", thousands(count));
    let case = bench.comparison(&operator, &models.web).case(name, &title, &subject).await?;
    operator.stop().await?;
    Ok(case)
}

/// The keys in an order that has nothing to do with that of their creation.
fn shuffled(keys: &[String]) -> Vec<String> {
    // The keys are random, so their own order is.
    let mut keys = keys.to_vec();
    keys.sort_by_key(|key| key.bytes().rev().collect::<Vec<_>>());
    keys
}

/// The time until a validator is ready, beside a plain list of the same objects.
async fn cold_start(bench: &Bench, pools: usize, clients: usize) -> anyhow::Result<Case> {
    eprintln!("measuring the start with {pools} pools and {clients} clients");
    let (mut ratios, mut lists, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.options.starts() {
        let start = Instant::now();
        let listed = list::<UserPool>(&bench.cluster.admin).await?
            + list::<SdkClient>(&bench.cluster.admin).await?;
        ensure!(listed >= pools + clients, "only {listed} objects were listed");
        lists.push(start.elapsed().as_secs_f64());
        let operator = Operator::launch(&bench.cluster, &Launch::validator(None)).await?;
        starts.push(operator.ready_after.as_secs_f64());
        operator.stop().await?;
    }
    for (start, list) in starts.iter().zip(&lists) {
        ratios.push(start / list);
    }
    Ok(Case::new("cold-start", "start of a validator")
        .with("n_pools", f64::from(u32::try_from(pools)?))
        .with("n_clients", f64::from(u32::try_from(clients)?))
        .with("ready_s", median(&starts))
        .with("list_s", median(&lists))
        .with("ready_to_list", median(&ratios))
        .note(format!("list: all pools and clients, {PAGE} a page, by a plain client"))
        .note(format!("ratio of each round: {ratios:.2?}")))
}

async fn list<K>(client: &Client) -> anyhow::Result<usize>
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::all(client.clone());
    let (mut count, mut parameters) = (0, ListParams::default().limit(PAGE));
    loop {
        let page = api.list(&parameters).await?;
        count += page.items.len();
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => parameters.continue_token = Some(token),
            _ => return Ok(count),
        }
    }
}
