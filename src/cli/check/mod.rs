//! `check`: whether the installation of anon-operator is healthy.

mod installation;
mod judge;
mod outcome;
mod schema;

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::Streams;
use super::cluster::ClusterArgs;
use super::exit::End;
use super::output::{Cell, Format, Table, printable};
use super::terminal::{Terminal, Tone};
use super::wait::{self, Poll, WaitArgs};
use crate::clock::to_show;
use outcome::{Check, Grade};

/// Help text below the options.
pub const EXAMPLES: &str = "\
Checks what you may read, and skips the rest. Warnings do not change the exit code.

Examples:
  kubectl anon check

  # after `helm upgrade`, in a pipeline: wait until everything runs
  kubectl anon check --wait --timeout 5m";

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Namespace of the operator; found by its Deployments or Leases if unset
    #[arg(long, value_name = "NAMESPACE")]
    operator_namespace: Option<String>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Checks, and prints what was found.
pub async fn run(
    args: &CheckArgs,
    streams: &mut Streams<'_>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let cluster = args.cluster.connect().await?;
    let mut checks = Vec::new();
    let look = async |now: Timestamp| {
        let namespace = args.operator_namespace.as_deref();
        let installation = installation::read(&cluster, namespace).await?;
        anyhow::Ok(judge::judge(&installation, now))
    };
    if args.wait.wait {
        let checked = async || {
            // Time has passed since the command started.
            checks = look(to_show()).await?;
            let failed = checks.iter().find(|check| check.grade == Grade::Fail);
            Ok(failed.map_or(Poll::Reached(()), |check| Poll::Pending(check.line())))
        };
        let waited = wait::until(streams, args.wait.timeout, checked).await;
        print(args, &checks, streams)?;
        return waited;
    }
    checks = look(now).await?;
    print(args, &checks, streams)?;
    let failed = checks.iter().filter(|check| check.grade == Grade::Fail).count();
    if failed > 0 {
        return Err(End::No(format!("{failed} of {} checks failed", checks.len())).into());
    }
    Ok(())
}

fn print(args: &CheckArgs, checks: &[Check], streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let terminal = streams.terminal;
    let value = json!({ "checks": checks });
    args.output.print(streams.stdout, &value, || text(checks, &terminal))
}

/// A table of the checks, and below it what to do about those that did not pass.
fn text(checks: &[Check], terminal: &Terminal) -> String {
    let mut table = Table::new(&["CHECK", "RESULT", "MESSAGE"]);
    for check in checks {
        let (tone, word) = match check.grade {
            Grade::Ok => (Tone::Good, "ok"),
            Grade::Warn => (Tone::Warning, "warn"),
            Grade::Fail => (Tone::Bad, "FAIL"),
            Grade::Skip => (Tone::Dim, "skip"),
        };
        table.row([check.name.into(), Cell::new(tone, word), check.message.as_str().into()]);
    }
    let mut text = table.render(terminal);
    for check in checks {
        if let Some(remedy) = &check.remedy {
            let name = terminal.paint(Tone::Bold, check.name);
            // Writing into a String cannot fail.
            let _ = writeln!(text, "\n{name}: {}", printable(remedy));
        }
    }
    text
}

/// How long ago something may be before it is old.
fn fresh(duration_seconds: i32) -> Duration {
    // A renewal that is on its way, and clocks that differ.
    Duration::from_secs(u64::from(duration_seconds.unsigned_abs()) + 5)
}

#[cfg(test)]
mod tests;
