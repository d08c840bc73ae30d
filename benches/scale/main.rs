//! `make bench`, first part: measures the operator at scale, on a real API server.
//!
//! The baseline for times is a plain client that makes the same writes with the same concurrency,
//! against the same control plane, in the same run. The ratio to the baseline describes the
//! operator; seconds alone would describe the machine.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "a program for developers, not a library"
)]

mod cases;
mod load;
mod observer;
mod report;
#[path = "../shared/mod.rs"]
mod shared;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use shared::cluster::Cluster;

/// Measures the operator at scale; use `make bench`
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// Runs every case once, at a tenth of its size; the results are not representative
    #[arg(long)]
    quick: bool,
    /// Number of clients to create
    #[arg(long, env = "ANON_BENCH_CLIENTS")]
    clients: Option<usize>,
    /// Number of clients for the restart of the operator
    #[arg(long, env = "ANON_BENCH_RESTART_CLIENTS")]
    restart_clients: Option<usize>,
    /// Number of comparisons of operator and baseline; the pair with the median ratio is reported
    #[arg(long, env = "ANON_BENCH_ROUNDS")]
    rounds: Option<usize>,
    /// Runs only the cases whose names contain this
    #[arg(long)]
    only: Option<String>,
    /// Fails if the creation of clients takes too long
    #[arg(long)]
    bars: bool,
    /// File for the results
    #[arg(long, default_value = "target/bench/scale.json")]
    out: PathBuf,
    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// The sizes of the cases.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub clients: usize,
    pub restart_clients: usize,
    pub unrelated: usize,
    pub rounds: usize,
}

impl Options {
    fn sizes(&self) -> Sizes {
        let (clients, restart, rounds) =
            if self.quick { (200, 1000, 1) } else { (2000, 10_000, 3) };
        let clients = self.clients.unwrap_or(clients);
        Sizes {
            clients,
            unrelated: clients,
            restart_clients: self.restart_clients.unwrap_or(restart),
            rounds: self.rounds.unwrap_or(rounds).max(1),
        }
    }

    fn wants(&self, case: &str) -> bool {
        self.only.as_ref().is_none_or(|only| case.contains(only.as_str()))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let sizes = options.sizes();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cluster = Cluster::connect().await?;
    let mut cases = Vec::new();
    if options.wants("rss") {
        cases.extend(cases::memory(&cluster, sizes).await?);
    }
    if options.wants("create") || options.wants("rotate") {
        cases.extend(cases::create_and_rotate(&cluster, sizes).await?);
    }
    if options.wants("restart") {
        cases.push(cases::restart(&cluster, sizes).await?);
    }
    if cases.is_empty() {
        println!("no case of `scale` was requested");
        return Ok(ExitCode::SUCCESS);
    }
    report::write(&options.out, &cases)?;
    report::print(&cases);
    let passed = report::print_bar(&cases);
    println!("\n{}", options.out.display());
    Ok(if options.bars && !passed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
