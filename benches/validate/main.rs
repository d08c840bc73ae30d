//! `make bench`, second part: measures requests to the operator, on a real API server.
//!
//! The baseline is a bare axum server on the same CPU in the same run, over the same listener as the
//! operator's. The ratio to it describes the operator; requests per second alone would describe the
//! machine.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "a program for developers, not a library"
)]

mod bars;
mod baseline;
mod envoy;
mod etcd;
mod flood;
mod grpc;
mod keys;
mod load;
mod mixed;
mod objects;
mod report;
mod revocation;
mod rounds;
mod serving;
#[path = "../shared/mod.rs"]
mod shared;
mod tokens;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::Parser;
use jiff::Timestamp;

use baseline::{Listener, Server};
use etcd::Etcd;
use load::Requests;
use report::{Case, Report};
use rounds::{Comparison, Rounds, Subject};
use shared::cluster::Cluster;

/// Measures requests to the operator; use `make bench`
#[derive(Clone, Debug, Parser)]
#[command(name = "validate")]
pub struct Options {
    /// Runs every case once, at a tenth of its size; the results are not representative
    #[arg(long)]
    quick: bool,
    /// Runs only the cases whose names contain this
    #[arg(long)]
    only: Option<String>,
    /// Measures Envoy's own verification of tokens, too; needs `ANON_BENCH_ENVOY`, its program
    #[arg(long)]
    peers: bool,
    /// Fails if a result misses its bar
    #[arg(long)]
    bars: bool,
    /// Writes the tables into docs/performance.md
    #[arg(long)]
    write_docs: bool,
    /// Duration of the mixed load in seconds [default: 300]
    #[arg(long, env = "ANON_BENCH_MIXED_SECONDS")]
    mixed_seconds: Option<u64>,
    /// File for the results
    #[arg(long, default_value = "target/bench/validate.json")]
    out: PathBuf,
    /// Serves the baseline on this port, for the process that measures
    #[arg(long, hide = true)]
    baseline_server: Option<u16>,
    /// Who accepts its connections
    #[arg(long, hide = true, default_value = "axum")]
    listener: Listener,
    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn rounds(&self) -> Rounds {
        // Many short ones: what else a machine does takes longer than a round, so it changes few of them.
        Rounds { count: if self.quick { 1 } else { 9 }, duration: Duration::from_millis(700) }
    }

    /// How often a process is started to measure its start.
    fn starts(&self) -> usize {
        if self.quick { 1 } else { 3 }
    }

    /// The size of a case.
    fn size(&self, full: usize) -> usize {
        if self.quick { full / 10 } else { full }
    }

    fn mixed(&self) -> Duration {
        let default = if self.quick { 30 } else { 300 };
        Duration::from_secs(self.mixed_seconds.unwrap_or(default))
    }

    /// Whether one of these cases was requested.
    fn wants(&self, cases: &[&str]) -> bool {
        let wanted = |only: &String| cases.iter().any(|case| case.contains(only.as_str()));
        self.only.as_ref().is_none_or(wanted)
    }
}

/// What all cases use.
pub struct Bench {
    options: Options,
    cluster: Cluster,
    etcd: Etcd,
    baseline: Subject,
}

impl Bench {
    /// Compares with the baseline, and with a request without a credential to the same operator.
    fn comparison(&self, operator: &shared::operator::Operator, client: &str) -> Comparison<'_> {
        Comparison {
            rounds: self.options.rounds(),
            baseline: &self.baseline,
            stack: Subject::new(operator, Requests::anonymous(&format!("/v1/clients/{client}"))),
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(port) = options.baseline_server {
        // Like the operator on one CPU.
        let runtime = runtime.worker_threads(1).enable_all().build()?;
        return runtime
            .block_on(baseline::serve(port, options.listener))
            .map(|()| ExitCode::SUCCESS);
    }
    runtime.enable_all().build()?.block_on(measure(options))
}

async fn measure(options: Options) -> anyhow::Result<ExitCode> {
    ensure!(std::thread::available_parallelism()?.get() > 1, "the benchmark needs two CPUs");
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cluster = Cluster::connect().await?;
    let version = cluster.admin.apiserver_version().await?.git_version;
    let etcd = Etcd::connect(&cluster).await?;
    let server = Server::bare(Listener::Operator).await?;
    let credential = anon_operator::testing::domain::credential::ApiKey::generate()?;
    let requests = Requests::get("/", vec![credential.expose().to_owned()]);
    let baseline = Subject::server(&server, requests);
    let bench = Bench { options, cluster, etcd, baseline };

    let (cases, complete) = all(&bench).await;
    let options = &bench.options;
    if cases.is_empty() && complete {
        println!("no case of `validate` was requested");
        return Ok(ExitCode::SUCCESS);
    }
    let (at, machine) = (Timestamp::now(), report::machine(&version));
    let report = Report { machine, at, quick: options.quick, cases };
    report.write(&options.out)?;
    if options.write_docs {
        report.write_docs(Path::new("docs/performance.md"))?;
    }
    let (bars, passed) = report.bars();
    println!("\n{}", report.markdown());
    for case in &report.cases {
        println!("{}: {}", case.name, case.notes.join("; "));
    }
    println!("\n{bars}\n{}", options.out.display());
    let failed = !complete || (options.bars && !passed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// All requested cases that could be measured, and whether these are all. The cases with few objects
/// come first: those of `keys` leave very many behind.
async fn all(bench: &Bench) -> (Vec<Case>, bool) {
    let options = &bench.options;
    let (mut cases, mut complete) = (Vec::new(), true);
    let mut add = |group: &str, measured: anyhow::Result<Vec<Case>>| match measured {
        Ok(measured) => cases.extend(measured),
        // The other groups are measured nevertheless.
        Err(error) => {
            eprintln!("FAILED  {group}: {error:#}");
            complete = false;
        }
    };
    if options.wants(serving::CASES) {
        add("serving", serving::measure(bench).await);
    }
    if options.wants(flood::CASES) {
        add("flood", flood::measure(bench).await);
    }
    if options.wants(&["revocation"]) {
        add("revocation", revocation::measure(bench).await.map(|case| vec![case]));
    }
    if options.wants(&["mixed"]) {
        add("mixed", mixed::measure(bench).await.map(|case| vec![case]));
    }
    if options.wants(keys::CASES) {
        add("keys", keys::measure(bench).await);
    }
    (cases, complete)
}
