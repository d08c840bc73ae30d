//! A flood of forged tokens against the client of one organization, and what the users of another
//! organization notice of it.

use std::sync::Arc;

use anon_operator::testing::domain::algorithm::Algorithm;
use anyhow::ensure;

use crate::load::{self, Load, Outcome, Requests, SERVER_CORE};
use crate::report::Case;
use crate::rounds::{CONNECTIONS, median};
use crate::shared::operator::{Launch, Operator};
use crate::tokens::{Issuer, forged};
use crate::{Bench, objects};

pub const CASES: &[&str] = &["flood-cached", "flood-uncached"];

/// Tokens of a flood: so many that a cache of rejected ones would not help.
const FORGED: usize = 5000;
/// The tokens of the others that are cached.
const CACHED_TOKENS: usize = 1000;
/// More uncached requests per second than a CPU can answer.
const HIGHEST_RATE: usize = 35_000;

pub async fn measure(bench: &Bench) -> anyhow::Result<Vec<Case>> {
    let cluster = &bench.cluster;
    let (mut attacked, mut other) =
        (Issuer::new(Algorithm::RS256)?, Issuer::new(Algorithm::EdDSA)?);
    objects::create_namespace(cluster, "bench-attacked").await?;
    objects::create_namespace(cluster, "bench-other").await?;
    let attacked_client =
        objects::inline_pool(cluster, "bench-attacked", "users", &attacked).await?;
    let other_client = objects::inline_pool(cluster, "bench-other", "users", &other).await?;
    let operator = Operator::launch(cluster, &Launch::validator(Some(SERVER_CORE))).await?;

    let flood = attacked.issue(FORGED)?.iter().map(|token| forged(token)).collect();
    let flood = Arc::new(Requests::validate(flood, Some(&attacked_client)).expecting(401));
    let cached = Requests::validate(other.issue(CACHED_TOKENS)?, Some(&other_client));
    let rounds = bench.options.rounds();
    let milliseconds = usize::try_from(rounds.duration.as_millis())?;
    let count = 2 * rounds.count * milliseconds * HIGHEST_RATE / 1000;
    let uncached = Requests::validate(other.issue(count)?, Some(&other_client)).once();

    let mut cases = Vec::new();
    for (name, title, requests) in [
        (
            "flood-cached",
            "token of another organization, cached, during a flood of forged ones",
            cached,
        ),
        (
            "flood-uncached",
            "token of another organization, not cached (EdDSA), during a flood",
            uncached,
        ),
    ] {
        if bench.options.wants(&[name]) {
            eprintln!("measuring {title}");
            cases.push(case(bench, &operator, name, title, requests, &flood).await?);
        }
    }
    operator.stop().await?;
    Ok(cases)
}

async fn case(
    bench: &Bench,
    operator: &Operator,
    name: &str,
    title: &str,
    requests: Requests,
    flood: &Arc<Requests>,
) -> anyhow::Result<Case> {
    let rounds = bench.options.rounds();
    let requests = Arc::new(requests);
    let load = |requests| Load::full(operator.address(), CONNECTIONS, requests);
    let (mut p50, mut p99, mut quiet_p99, mut ratios) = (vec![], vec![], vec![], vec![]);
    let (mut forged, mut rejected) = (0, 0);
    for _ in 0..rounds.count {
        let quiet = load::run(vec![load(&requests)], rounds.duration).await?;
        let quiet = of_others(quiet)?;
        let mut both = load::run(vec![load(&requests), load(flood)], rounds.duration).await?;
        let flood = both.pop().unwrap_or_default();
        forged += flood.responses();
        rejected += flood.failures;
        let others = of_others(both)?;
        p50.push(others.quantile(0.5));
        p99.push(others.quantile(0.99));
        quiet_p99.push(quiet.quantile(0.99));
        ratios.push(others.quantile(0.99) / quiet.quantile(0.99));
    }
    Ok(Case::new(name, title)
        .with("p50_ms", median(&p50))
        .with("p99_ms", median(&p99))
        .with("quiet_p99_ms", median(&quiet_p99))
        .with("p99_to_quiet", median(&ratios))
        .with_bytes("rss_bytes", operator.rss_bytes()?)
        .note(format!(
            "{CONNECTIONS} connections of the others, alone and beside {CONNECTIONS} that send forged RS256 tokens; {forged} forged tokens got 401, {rejected} another response"
        )))
}

fn of_others(mut outcomes: Vec<Outcome>) -> anyhow::Result<Outcome> {
    let outcome = outcomes.pop().unwrap_or_default();
    let (responses, failures) = (outcome.responses(), outcome.failures);
    ensure!(
        failures * 100 <= responses && responses > 0,
        "{failures} requests of the others failed, {responses} did not"
    );
    Ok(outcome)
}
