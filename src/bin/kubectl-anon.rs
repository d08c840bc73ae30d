//! The command line: `kubectl anon` when it is on PATH. Parses arguments, runs, turns the outcome
//! into an exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anon_operator::cli::{self, Cli, Streams};
use anon_operator::clock::{Clock as _, SystemClock};
use clap::Parser as _;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (mut stdin, mut stdout, mut stderr) = (io::stdin(), io::stdout(), io::stderr());
    let streams =
        Streams { stdin: &mut stdin, stdout: &mut stdout, stderr: &mut stderr.by_ref().lock() };
    match cli::run(cli, streams, SystemClock.now()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough, as `| head` does.
        Err(error) if cli::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "kubectl-anon: {error:#}");
            ExitCode::FAILURE
        }
    }
}
