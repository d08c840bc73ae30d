//! How many requests a replica answers with one second of CPU time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anon_operator::testing::crd::{SdkClient, UserPool};
use anon_operator::testing::domain::algorithm::Algorithm;
use serde_json::json;
use tokio::time::sleep;

use crate::baseline::{Listener, Server};
use crate::envoy::{self, Envoy};
use crate::etcd::Etcd;
use crate::load::{Requests, SERVER_CORE};
use crate::report::Case;
use crate::rounds::{Comparison, Rounds, Subject};
use crate::shared::operator::{Launch, Operator};
use crate::tokens::Issuer;
use crate::{Bench, objects};

pub const CASES: &[&str] = &[
    "no-auth",
    "axum-listener",
    "jwt-cached",
    "bare-validate",
    "jwt-rs256-uncached",
    "jwt-es256-uncached",
    "jwt-eddsa-uncached",
    "apikey-1",
    "session",
    "forward-auth",
    "introspect",
    "token-review",
    "ext-authz",
    "connections-8",
    "connections-512",
    "churn-1000",
    "mint",
    "envoy-cached",
    "envoy-uncached",
];

const NAMESPACE: &str = "bench-serving";
/// The tokens of the cached cases.
const CACHED_TOKENS: usize = 1000;
/// How long they are sent before the measurement.
const WARM_UP: Duration = Duration::from_millis(500);
/// Clients that are changed while requests are measured, each once a second.
const CHURN: usize = 1000;
/// Batches of changes per second.
const CHURN_BATCHES: u32 = 10;

/// What the cases validate.
struct Setup {
    rs256: (Issuer, String),
    es256: (Issuer, String),
    eddsa: (Issuer, String),
    api_key: String,
    session: String,
    hosted_client: String,
    /// A client to change, as etcd stores it.
    churned: String,
}

pub async fn measure(bench: &Bench) -> anyhow::Result<Vec<Case>> {
    let mut setup = setup(bench).await?;
    let mut cases = Vec::new();
    let mut launch = Launch::validator(Some(SERVER_CORE));
    launch.flags.push(format!("--token-review-client={}", setup.rs256.1));
    let operator = Operator::launch(&bench.cluster, &launch).await?;
    let comparison = bench.comparison(&operator, &setup.rs256.1);
    no_auth(bench, &comparison, &mut cases).await?;
    cached(bench, &operator, &comparison, &mut setup, &mut cases).await?;
    uncached(bench, &operator, &comparison, &mut setup, &mut cases).await?;
    for (name, title, credential) in [
        ("apikey-1", "API key, 1 key", &setup.api_key),
        ("session", "session token", &setup.session),
    ] {
        if bench.options.wants(&[name]) {
            let requests = Requests::validate(vec![credential.clone()], None);
            let subject = Subject::new(&operator, requests);
            cases.push(comparison.case(name, title, &subject).await?);
        }
    }
    integrations(bench, &operator, &comparison, &mut setup, &mut cases).await?;
    if bench.options.wants(&["churn-1000"]) {
        cases.push(churn(bench, &operator, &comparison, &mut setup).await?);
    }
    operator.stop().await?;
    if bench.options.wants(&["mint"]) {
        cases.push(mint(bench, &setup).await?);
    }
    Ok(cases)
}

/// Creates the objects, and lets an operator reconcile them.
async fn setup(bench: &Bench) -> anyhow::Result<Setup> {
    let cluster = &bench.cluster;
    objects::create_namespace(cluster, NAMESPACE).await?;
    let operator = Operator::start(cluster).await?;
    let mut pools = Vec::new();
    for (name, algorithm) in
        [("eddsa", Algorithm::EdDSA), ("es256", Algorithm::ES256), ("rs256", Algorithm::RS256)]
    {
        let issuer = Issuer::new(algorithm)?;
        let client = objects::inline_pool(cluster, NAMESPACE, name, &issuer).await?;
        objects::client_ready(cluster, NAMESPACE, &format!("{name}-web")).await?;
        pools.push((issuer, client));
    }
    let hosted = json!({"hosted": {}});
    objects::create::<UserPool>(&cluster.admin, NAMESPACE, "hosted", hosted).await?;
    let hosted_client = objects::webapp(cluster, NAMESPACE, "hosted").await?;
    let keys = objects::service(cluster, NAMESPACE, "backend", 1).await?;
    let session = objects::member(cluster, NAMESPACE).await?;
    let spec = json!({"displayName": "change-0", "webapp": {"userPoolRef": {"name": "eddsa"}}});
    objects::create::<SdkClient>(&cluster.admin, NAMESPACE, "churned", spec).await?;
    for name in ["hosted-web", "backend", "churned"] {
        objects::client_ready(cluster, NAMESPACE, name).await?;
    }
    objects::pool_ready(cluster, NAMESPACE, "hosted").await?;
    operator.stop().await?;
    let mut next = || pools.pop().ok_or_else(|| anyhow::anyhow!("three pools"));
    Ok(Setup {
        rs256: next()?,
        es256: next()?,
        eddsa: next()?,
        api_key: keys.first().map(|key| key.expose().to_owned()).unwrap_or_default(),
        session,
        hosted_client,
        churned: bench.etcd.read("sdkclients", NAMESPACE, "churned").await?,
    })
}

async fn no_auth(
    bench: &Bench,
    comparison: &Comparison<'_>,
    cases: &mut Vec<Case>,
) -> anyhow::Result<()> {
    if bench.options.wants(&["no-auth"]) {
        let title = "no credential: `GET /v1/clients/{clientId}`";
        cases.push(comparison.case("no-auth", title, &comparison.stack).await?);
    }
    if bench.options.wants(&["axum-listener"]) {
        let title = "bare axum: the requests of the baseline, over axum's own listener";
        let server = Server::bare(Listener::Axum).await?;
        cases.push(comparison.case("axum-listener", title, &bench.baseline.at(&server)).await?);
    }
    Ok(())
}

/// The same tokens again and again.
async fn cached(
    bench: &Bench,
    operator: &Operator,
    comparison: &Comparison<'_>,
    setup: &mut Setup,
    cases: &mut Vec<Case>,
) -> anyhow::Result<()> {
    let names = ["jwt-cached", "bare-validate", "connections-8", "connections-512", "envoy-cached"];
    if !bench.options.wants(&names) {
        return Ok(());
    }
    let (issuer, client) = &mut setup.rs256;
    let tokens = issuer.issue(CACHED_TOKENS)?;
    let subject = Subject::new(operator, Requests::validate(tokens.clone(), Some(client)));
    let envoy =
        if bench.options.peers { Some(Envoy::start(bench, issuer, true).await?) } else { None };
    let peer = envoy.as_ref().map(|envoy| envoy.subject(Requests::get("/", tokens.clone())));
    // Every token is in the caches before they are measured.
    for subject in peer.iter().chain([&subject]) {
        subject.measure(WARM_UP).await?;
    }
    let title = "token, cached (RS256)";
    let (case, measured) =
        comparison.with_peer("jwt-cached", title, &subject, peer.as_ref()).await?;
    if envoy.is_some() {
        cases.push(envoy::case("envoy-cached", "Envoy, token, cached (RS256)", &case, &measured));
    }
    cases.push(case);
    if bench.options.wants(&["bare-validate"]) {
        let title = "bare axum: the same requests, unread, and responses of the same size";
        let bare = bench.baseline.sending(Requests::validate(tokens, Some(client)));
        cases.push(comparison.case("bare-validate", title, &bare).await?);
    }
    for connections in [8, 512] {
        let name = format!("connections-{connections}");
        if bench.options.wants(&[name.as_str()]) {
            let title = format!("token, cached (RS256), {connections} connections");
            let subject = subject.clone().connections(connections);
            cases.push(comparison.case(&name, &title, &subject).await?);
        }
    }
    Ok(())
}

/// Tokens that are sent once.
async fn uncached(
    bench: &Bench,
    operator: &Operator,
    comparison: &Comparison<'_>,
    setup: &mut Setup,
    cases: &mut Vec<Case>,
) -> anyhow::Result<()> {
    let pools = [
        ("jwt-rs256-uncached", "RS256", 45_000, &mut setup.rs256),
        ("jwt-es256-uncached", "ES256", 25_000, &mut setup.es256),
        ("jwt-eddsa-uncached", "EdDSA", 35_000, &mut setup.eddsa),
    ];
    for (name, algorithm, highest_rate, (issuer, client)) in pools {
        let with_peer = bench.options.peers && algorithm == "RS256";
        let names = if with_peer { &[name, "envoy-uncached"][..] } else { &[name][..] };
        if !bench.options.wants(names) {
            continue;
        }
        let count = enough(bench.options.rounds(), highest_rate);
        eprintln!("issuing {count} {algorithm} tokens");
        let tokens = issuer.issue(count)?;
        let requests = Requests::validate(tokens.clone(), Some(client)).once();
        let subject = Subject::new(operator, requests);
        let envoy = if with_peer { Some(Envoy::start(bench, issuer, false).await?) } else { None };
        let peer = envoy.as_ref().map(|envoy| envoy.subject(Requests::get("/", tokens).once()));
        let title = format!("token, not cached ({algorithm})");
        let (case, measured) = comparison.with_peer(name, &title, &subject, peer.as_ref()).await?;
        if envoy.is_some() {
            let title = "Envoy, token, not cached (RS256)";
            cases.push(envoy::case("envoy-uncached", title, &case, &measured));
        }
        cases.push(case);
    }
    Ok(())
}

/// The endpoints for proxies, resource servers and kube-apiserver, with cached tokens.
async fn integrations(
    bench: &Bench,
    operator: &Operator,
    comparison: &Comparison<'_>,
    setup: &mut Setup,
    cases: &mut Vec<Case>,
) -> anyhow::Result<()> {
    let (issuer, client) = &mut setup.rs256;
    let token = issuer.issue(1)?.pop().unwrap_or_default();
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
    });
    let form = format!("token={token}&client_id={client}");
    let (path, key) = (format!("/v1/tokenreview/{client}"), setup.api_key.clone());
    for (name, title, requests) in [
        (
            "forward-auth",
            "`GET /v1/auth/client/{clientId}`",
            Requests::get(&format!("/v1/auth/client/{client}"), vec![token.clone()]),
        ),
        (
            "ext-authz",
            "`Check` of Envoy's ext_authz, over gRPC",
            Requests::ext_authz(&token, client),
        ),
        (
            "introspect",
            "`POST /v1/introspect`",
            Requests::post_form("/v1/introspect", key.clone(), &form),
        ),
        (
            "token-review",
            "`POST /v1/tokenreview/{clientId}`",
            Requests::post(&path, key, &review.to_string()),
        ),
    ] {
        if bench.options.wants(&[name]) {
            let subject = Subject::new(operator, requests);
            subject.measure(WARM_UP).await?;
            cases.push(comparison.case(name, title, &subject).await?);
        }
    }
    Ok(())
}

/// The number of credentials that a server can answer in all rounds, and some more.
fn enough(rounds: Rounds, highest_rate: usize) -> usize {
    let milliseconds = usize::try_from(rounds.duration.as_millis()).unwrap_or(usize::MAX);
    rounds.count * milliseconds * highest_rate / 1000
}

/// Cached tokens while clients change.
async fn churn(
    bench: &Bench,
    operator: &Operator,
    comparison: &Comparison<'_>,
    setup: &mut Setup,
) -> anyhow::Result<Case> {
    let (issuer, client) = &mut setup.rs256;
    let requests = Requests::validate(issuer.issue(CACHED_TOKENS)?, Some(client));
    let subject = Subject::new(operator, requests);
    subject.measure(WARM_UP).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let changes =
        tokio::spawn(change(bench.etcd.clone(), setup.churned.clone(), Arc::clone(&stop)));
    let title = "token, cached (RS256), during 1,000 changes of clients a second";
    let case = comparison.case("churn-1000", title, &subject).await;
    stop.store(true, Ordering::Relaxed);
    let rate = changes.await??;
    bench.etcd.delete("sdkclients", NAMESPACE, "churned-").await?;
    Ok(case?.with("changes_per_second", rate))
}

/// Changes clients until it is told to stop, and returns the number of changes per second.
async fn change(etcd: Etcd, model: String, stop: Arc<AtomicBool>) -> anyhow::Result<f64> {
    let (start, mut batch) = (Instant::now(), 0_u32);
    let size = CHURN / CHURN_BATCHES as usize;
    while !stop.load(Ordering::Relaxed) {
        let number = batch + 2;
        let first = (batch % CHURN_BATCHES) as usize * size;
        let object = |index| {
            let name = format!("churned-{index:04}");
            let value = model
                .replace("\"churned\"", &format!("\"{name}\""))
                .replace("change-0", &format!("change-{number}"))
                .replace("\"generation\":1", &format!("\"generation\":{number}"));
            Ok((name, value))
        };
        etcd.write("sdkclients", NAMESPACE, (first..first + size).map(object)).await?;
        batch += 1;
        let due = Duration::from_secs(1) / CHURN_BATCHES * batch;
        sleep(due.saturating_sub(start.elapsed())).await;
    }
    Ok(f64::from(batch) * f64::from(u32::try_from(size)?) / start.elapsed().as_secs_f64())
}

/// Issuing tokens, which needs the role `api`.
async fn mint(bench: &Bench, setup: &Setup) -> anyhow::Result<Case> {
    let launch = Launch { core: Some(SERVER_CORE), ..Launch::default() };
    let operator = Operator::launch(&bench.cluster, &launch).await?;
    let body = json!({"appUserId": "user-1", "sdkClientId": setup.hosted_client}).to_string();
    let requests = Requests::post("/org/appUserIdToken", setup.api_key.clone(), &body);
    let subject = Subject::new(&operator, requests);
    let comparison = bench.comparison(&operator, &setup.rs256.1);
    let title = "`POST /org/appUserIdToken` (RS256)";
    let case = comparison.case("mint", title, &subject).await?;
    operator.stop().await?;
    Ok(case)
}
