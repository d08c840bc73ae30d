//! The operator binary: parses the arguments, runs the command and sets the exit code.

use std::io::Write as _;
use std::process::ExitCode;

use anon_operator::operator::{self, Config};
use clap::{Parser, Subcommand};

/// Identity platform that runs as a Kubernetes operator
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator
    Run(Box<Config>),
    /// Print the CustomResourceDefinitions as YAML
    Crds,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(config) => run_until_stopped(*config),
        Command::Crds => operator::print_crds(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "anon-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_until_stopped(config: Config) -> anyhow::Result<()> {
    let telemetry = operator::init_telemetry(config.log_format, &config.log_level)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // A thread has a queue of 256 tasks. By default it takes one of those beyond that per 61 others,
    // so of 512 busy connections on one processor, some waited for 70 ms, and most for 2.
    let runtime = runtime.global_queue_interval(2).enable_all().build()?;
    let result = runtime.block_on(run(config));
    // A name resolution in progress blocks a thread and cannot be cancelled; do not wait for it.
    runtime.shutdown_background();
    telemetry.flush();
    result
}

async fn run(config: Config) -> anyhow::Result<()> {
    // One provider for every TLS connection, chosen here and not by a feature that some dependency
    // enables.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = operator::client().await?;
    operator::run(config, client, operator::on_signal()?).await
}
