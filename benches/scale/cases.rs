//! The benchmark cases.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anon_operator::testing::crd::SdkClient;
use anyhow::{Context as _, ensure};
use kube::{Client, ResourceExt as _};
use tokio::sync::Mutex;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::sleep;

use crate::Sizes;
use crate::load::{self, Raw, Template};
use crate::observer::Observer;
use crate::report::{CREATE, Case, MAX_CREATE_RATIO};
use crate::shared::audit;
use crate::shared::cluster::Cluster;
use crate::shared::cpu;
use crate::shared::operator::{Operator, SETTLE};

/// Size of an unrelated Secret.
const UNRELATED_BYTES: usize = 20_000;

/// One measurement of the operator.
struct Measured {
    seconds: f64,
    /// Of all processes involved.
    all_cpu_seconds: f64,
    cpu_seconds: f64,
    rss_bytes: u64,
    requests: audit::Requests,
}

/// One measurement of a plain client.
struct Baseline {
    seconds: f64,
    all_cpu_seconds: f64,
}

/// Memory of an idle operator, first in an empty cluster, then with many unrelated Secrets.
pub async fn memory(cluster: &Cluster, sizes: Sizes) -> anyhow::Result<Vec<Case>> {
    let operator = Operator::start(cluster).await?;
    sleep(SETTLE).await;
    let empty = Case {
        name: "rss empty",
        rss_bytes: Some(operator.rss_bytes()?),
        cpu_seconds: Some(operator.cpu_seconds()?),
        seconds: Some(operator.ready_after.as_secs_f64()),
        notes: vec!["goal: 25 MB; seconds: from the start of the process to /readyz".to_owned()],
        ..Case::default()
    };
    load::create_unrelated(cluster, sizes.unrelated, UNRELATED_BYTES).await?;
    sleep(SETTLE).await;
    let running = operator.rss_bytes()?;
    operator.stop().await?;
    let operator = Operator::start(cluster).await?;
    sleep(SETTLE).await;
    let unrelated = Case {
        name: "rss unrelated Secrets",
        n: sizes.unrelated,
        rss_bytes: Some(operator.rss_bytes()?),
        notes: vec![
            format!("{} Secrets of {UNRELATED_BYTES} bytes; goal: as empty", sizes.unrelated),
            format!("RSS of the operator that ran while they were created: {running} bytes"),
        ],
        ..Case::default()
    };
    operator.stop().await?;
    load::clear(cluster).await?;
    Ok(vec![empty, unrelated])
}

/// Creates many clients at once, then rotates all their keys at once. The baseline of both is a
/// plain client that makes the same writes.
pub async fn create_and_rotate(cluster: &Cluster, sizes: Sizes) -> anyhow::Result<Vec<Case>> {
    let n = sizes.clients;
    let template = template(cluster).await?;
    let raw = Raw::new(cluster, template);
    let (mut creations, mut rotations) = (Vec::new(), Vec::new());
    for round in 1..=sizes.rounds {
        eprintln!("round {round} of {}", sizes.rounds);
        let (raw_create, raw_rotate) = raw_round(cluster, &raw, n).await?;
        let (create, rotate) = operator_round(cluster, n).await?;
        creations.push((create, raw_create));
        rotations.push((rotate, raw_rotate));
    }
    let mut create = compared(CREATE, n, creations);
    create.notes.insert(
        0,
        format!("16 creators, until all are Ready; goal: ratio {MAX_CREATE_RATIO}, 2 writes"),
    );
    let mut rotate = compared("rotate all at once", n, rotations);
    rotate.notes.insert(
        0,
        "by annotation, until every Current key is a new one; baseline: the annotations, and PATCH status, PUT Secret, PATCH status, POST Event".to_owned(),
    );
    Ok(vec![create, rotate])
}

/// The objects that the operator writes for a client.
async fn template(cluster: &Cluster) -> anyhow::Result<Template> {
    let operator = Operator::start(cluster).await?;
    let observer = Observer::start(cluster.admin.clone());
    load::create(&cluster.admin, 0).await?;
    observer.until_ready(1).await?;
    let template = Template::read(cluster, 0).await?;
    operator.stop().await?;
    load::clear(cluster).await?;
    Ok(template)
}

/// The requests of the users, and the operator's reaction to them.
#[derive(Clone, Copy)]
enum Step {
    Create,
    Rotate,
}

/// Measures creation and rotation by a plain client.
async fn raw_round(cluster: &Cluster, raw: &Raw, n: usize) -> anyhow::Result<(Baseline, Baseline)> {
    let observer = Observer::start(cluster.admin.clone());
    // The operator waits as long before its measurement, for the previous case to finish.
    sleep(SETTLE).await;
    let create = baseline(cluster, async {
        raw_pass(cluster, raw, n, Step::Create).await?;
        observer.until_ready(n).await
    })
    .await?;
    let before = observer.snapshot();
    let rotate = baseline(cluster, async {
        raw_pass(cluster, raw, n, Step::Rotate).await?;
        observer.until_rotated(&before).await
    })
    .await?;
    drop(observer);
    load::clear(cluster).await?;
    sleep(SETTLE).await;
    Ok((create, rotate))
}

async fn baseline(
    cluster: &Cluster,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Baseline> {
    let (cpu, start) = (cpu::of_others(cluster)?, Instant::now());
    work.await?;
    let seconds = start.elapsed().as_secs_f64();
    sleep(SETTLE).await;
    Ok(Baseline { seconds, all_cpu_seconds: cpu::of_others(cluster)? - cpu })
}

/// Runs the users, and concurrently a plain client in place of the operator: as soon as an object
/// exists, a writer processes it, as the operator would.
async fn raw_pass(cluster: &Cluster, raw: &Raw, n: usize, step: Step) -> anyhow::Result<()> {
    let (sender, receiver) = unbounded_channel::<(usize, Option<String>)>();
    let (admin, receiver) = (cluster.admin.clone(), Arc::new(Mutex::new(receiver)));
    let users = load::for_each(n, move |index| {
        let (admin, sender) = (admin.clone(), sender.clone());
        async move {
            let object = user_request(&admin, index, step, "1").await?;
            sender.send((index, object.resource_version()))?;
            Ok(())
        }
    });
    let raw = raw.clone();
    let writers = load::for_each(n, move |_| {
        let (raw, receiver) = (raw.clone(), Arc::clone(&receiver));
        async move {
            let (index, version) = receiver.lock().await.recv().await.context("no more objects")?;
            match step {
                Step::Create => raw.deliver(index, version).await,
                Step::Rotate => raw.rotate(index, version).await,
            }
        }
    });
    tokio::try_join!(users, writers)?;
    Ok(())
}

async fn user_request(
    admin: &Client,
    index: usize,
    step: Step,
    value: &str,
) -> anyhow::Result<SdkClient> {
    match step {
        Step::Create => load::create(admin, index).await,
        Step::Rotate => load::annotate(admin, index, value).await,
    }
}

/// Runs only the users: the operator does the rest.
async fn users(cluster: &Cluster, n: usize, step: Step, value: &str) -> anyhow::Result<()> {
    let (admin, value) = (cluster.admin.clone(), value.to_owned());
    load::for_each(n, move |index| {
        let (admin, value) = (admin.clone(), value.clone());
        async move { user_request(&admin, index, step, &value).await.map(drop) }
    })
    .await
}

/// Measures creation and rotation by the operator.
async fn operator_round(cluster: &Cluster, n: usize) -> anyhow::Result<(Measured, Measured)> {
    let operator = Operator::start(cluster).await?;
    let observer = Observer::start(cluster.admin.clone());
    // The watches of the operator must be established before the measurement starts.
    sleep(SETTLE).await;
    let create = measure(cluster, &operator, async {
        users(cluster, n, Step::Create, "").await?;
        observer.until_ready(n).await
    })
    .await?;
    let before = observer.snapshot();
    let rotate = measure(cluster, &operator, async {
        users(cluster, n, Step::Rotate, "1").await?;
        observer.until_rotated(&before).await
    })
    .await?;
    operator.stop().await?;
    drop(observer);
    load::clear(cluster).await?;
    sleep(SETTLE).await;
    Ok((create, rotate))
}

/// Measures the time until `work` is done, and CPU and requests until [`SETTLE`] later, so that
/// late or superfluous writes are counted as well.
async fn measure(
    cluster: &Cluster,
    operator: &Operator,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Measured> {
    let (mark, others) = (audit::mark(&cluster.audit)?, cpu::of_others(cluster)?);
    let (cpu, start) = (operator.cpu_seconds()?, Instant::now());
    work.await?;
    let seconds = start.elapsed().as_secs_f64();
    sleep(SETTLE).await;
    let cpu_seconds = operator.cpu_seconds()? - cpu;
    Ok(Measured {
        seconds,
        all_cpu_seconds: cpu_seconds + cpu::of_others(cluster)? - others,
        cpu_seconds,
        rss_bytes: operator.rss_bytes()?,
        requests: audit::since(&cluster.audit, &mark, &cluster.user)?,
    })
}

/// The pair of operator and baseline with the median ratio; the notes list the ratios of all pairs.
fn compared(name: &'static str, n: usize, mut pairs: Vec<(Measured, Baseline)>) -> Case {
    pairs.sort_by(|one, other| ratio(one).total_cmp(&ratio(other)));
    let text = |pair: &(Measured, Baseline)| {
        let (measured, baseline) = pair;
        let (seconds, baseline_seconds) = (measured.seconds, baseline.seconds);
        let (seconds_ratio, cpu) = (ratio(pair), cpu_ratio(pair));
        format!("{seconds_ratio:.2} ({seconds:.2} s / {baseline_seconds:.2} s; CPU {cpu:.2})")
    };
    let all: Vec<_> = pairs.iter().map(text).collect();
    let mut cpu_ratios: Vec<_> = pairs.iter().map(cpu_ratio).collect();
    cpu_ratios.sort_by(f64::total_cmp);
    let median = pairs.swap_remove(pairs.len() / 2);
    let ratio = ratio(&median);
    let (measured, baseline) = median;
    Case {
        name,
        n,
        seconds: Some(measured.seconds),
        baseline_seconds: Some(baseline.seconds),
        ratio: Some(ratio),
        cpu_ratio: cpu_ratios.get(cpu_ratios.len() / 2).copied(),
        writes_per_object: Some(per_object(measured.requests.write_count(), n)),
        cpu_seconds: Some(measured.cpu_seconds),
        rss_bytes: Some(measured.rss_bytes),
        notes: vec![format!("all ratios: {}", all.join(", ")), measured.requests.text()],
    }
}

fn ratio((measured, baseline): &(Measured, Baseline)) -> f64 {
    measured.seconds / baseline.seconds
}

fn cpu_ratio((measured, baseline): &(Measured, Baseline)) -> f64 {
    measured.all_cpu_seconds / baseline.all_cpu_seconds
}

#[expect(clippy::cast_precision_loss, reason = "counts of objects")]
fn per_object(count: usize, n: usize) -> f64 {
    count as f64 / n as f64
}

/// Restarts the operator with many clients, none of which needs a change.
pub async fn restart(cluster: &Cluster, sizes: Sizes) -> anyhow::Result<Case> {
    let n = sizes.restart_clients;
    let operator = Operator::start(cluster).await?;
    let observer = Observer::start(cluster.admin.clone());
    users(cluster, n, Step::Create, "").await?;
    observer.until_ready(n).await?;
    drop(observer);
    sleep(SETTLE).await;
    operator.stop().await?;

    let mark = audit::mark(&cluster.audit)?;
    let start = Instant::now();
    let operator = Operator::start(cluster).await?;
    // Until every client has been reconciled.
    let all = f64::from(u32::try_from(n)?);
    let reconciled = || operator.metric_of("anon_reconciles_total", "kind=\"SdkClient\"");
    while reconciled()? < all {
        ensure!(
            start.elapsed() < Duration::from_mins(5),
            "the operator does not reconcile all clients"
        );
        sleep(Duration::from_millis(50)).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    sleep(SETTLE).await;
    let requests = audit::since(&cluster.audit, &mark, &cluster.user)?;
    let case = Case {
        name: "restart",
        n,
        seconds: Some(seconds),
        writes_per_object: Some(per_object(requests.write_count(), n)),
        cpu_seconds: Some(operator.cpu_seconds()?),
        rss_bytes: Some(operator.rss_bytes()?),
        notes: vec![
            "seconds: until every client was reconciled; goal: no writes".to_owned(),
            format!("ready to serve after {:.2} s", operator.ready_after.as_secs_f64()),
            requests.text(),
        ],
        ..Case::default()
    };
    operator.stop().await?;
    load::clear(cluster).await?;
    Ok(case)
}
