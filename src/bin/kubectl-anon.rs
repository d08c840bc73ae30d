//! The command-line tool, `kubectl anon` when it is on the PATH: parses the arguments, runs the
//! command and sets the exit code.

use std::env;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anon_operator::kubectl::{self, Cli, Clock as _, Streams, SystemClock, Terminal};
use clap::Parser as _;

/// The name by which kubectl runs this program to complete `kubectl anon`.
const COMPLETER: &str = "kubectl_complete-anon";

fn main() -> ExitCode {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    if Path::new(&name).file_stem().is_some_and(|name| name == COMPLETER) {
        let _ = kubectl::complete(arguments.collect(), &mut io::stdout());
        return ExitCode::SUCCESS;
    }
    let cli = Cli::parse();
    let (mut stdin, mut stdout, mut stderr) = (io::stdin(), io::stdout(), io::stderr());
    let streams = Streams {
        stdin: &mut stdin,
        stdout: &mut stdout,
        stderr: &mut stderr,
        terminal: Terminal::of_process(),
    };
    let result = kubectl::run(cli, streams, SystemClock.now());
    if let Err(error) = &result {
        // The reader of the output, such as `| head`, needs no more of it.
        if kubectl::is_broken_pipe(error) {
            return ExitCode::SUCCESS;
        }
        let _ = writeln!(io::stderr(), "kubectl-anon: {error:#}");
    }
    ExitCode::from(kubectl::exit_code(&result))
}
