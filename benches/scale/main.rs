//! `make bench`: how much of the cluster's speed the operator uses up, on a real API server.
//!
//! Every case is compared with a plain client that makes the same writes with the same
//! concurrency on the same control plane, in the same run: the ratio says something about the
//! operator, where seconds only say something about the machine.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "a program for developers, not a library"
)]

mod audit;
mod cases;
mod cluster;
mod cpu;
mod load;
mod observer;
mod operator;
mod report;

use std::path::PathBuf;

use clap::Parser;

use cluster::Cluster;

/// Measures the operator at scale; run it by `make bench`
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// A tenth of everything, once: for a look, not for figures
    #[arg(long)]
    quick: bool,
    /// How many clients are created at once
    #[arg(long, env = "ANON_BENCH_CLIENTS")]
    clients: Option<usize>,
    /// How many clients there are when the operator is restarted
    #[arg(long, env = "ANON_BENCH_RESTART_CLIENTS")]
    restart_clients: Option<usize>,
    /// How often raw writes and operator are compared; the pair with the median ratio is reported
    #[arg(long, env = "ANON_BENCH_ROUNDS")]
    rounds: Option<usize>,
    /// Only the cases whose names contain this
    #[arg(long)]
    only: Option<String>,
    /// Where the results go
    #[arg(long, default_value = "target/bench/scale.json")]
    out: PathBuf,
    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// How much is done.
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
async fn main() -> anyhow::Result<()> {
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
    report::write(&options.out, &cases)?;
    report::print(&cases);
    println!("\n{}", options.out.display());
    Ok(())
}
