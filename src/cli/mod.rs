//! The command-line tool `kubectl-anon`, which is also the kubectl plugin `kubectl anon`.
//!
//! Each module has the arguments of a command and the code that runs it. Streams and time are passed
//! in, so that tests need no process. Code that reads the cluster is apart from the code that makes
//! text of what was read.
//!
//! What commands share: [`cluster`] connects and explains errors, [`output`] prints, [`target`] names
//! objects, [`wait`] waits, [`confirm`] asks, and [`exit`] has the exit codes.

mod api;
mod check;
mod cluster;
mod completion;
mod confirm;
mod exit;
mod explain;
mod export;
mod get;
mod import;
mod inherit;
mod input;
mod inspect;
mod jwks;
mod key;
mod keys;
mod login;
mod man;
mod mint;
mod output;
mod private_file;
mod read;
mod reference;
mod revoke;
mod rotate;
#[cfg(test)]
mod samples;
mod server;
mod session_file;
mod status;
mod suspend;
mod target;
mod terminal;
mod validate;
mod wait;
mod when;
mod whoami;

use std::io::{self, Read, Write};

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use jiff::Timestamp;
use serde_json::json;

pub use completion::answer as complete;
pub use exit::exit_code;
use input::read_input;
use output::Format;
pub use reference::reference;
pub use terminal::Terminal;

/// Manage organizations, tokens and API keys of anon-operator
///
/// A command needs no rights in the cluster but yours. If `kubectl-anon` is on the PATH, it is also a
/// kubectl plugin: `kubectl anon …`.
#[derive(Debug, Parser)]
#[command(name = "kubectl-anon", version, bin_name = "kubectl anon", after_long_help = exit::EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show an organization as a tree: pools, clients, keys, what is wrong and what to do
    #[command(after_long_help = status::EXAMPLES)]
    Status(status::StatusArgs),
    /// List keys
    #[command(subcommand)]
    Get(get::Get),
    /// Suspend an SdkClient or a Member; `resume` undoes it
    #[command(after_long_help = suspend::SUSPEND_EXAMPLES)]
    Suspend(suspend::SuspendArgs),
    /// End the suspension of an SdkClient or a Member
    #[command(after_long_help = suspend::RESUME_EXAMPLES)]
    Resume(suspend::SuspendArgs),
    /// Rotate the signing key of a UserPool or the API key of an SdkClient
    #[command(after_long_help = rotate::EXAMPLES)]
    Rotate(Box<rotate::Rotate>),
    /// Revoke keys, tokens, users or sessions, and wait until every validator enforces it
    #[command(subcommand, after_long_help = revoke::EXAMPLES)]
    Revoke(Box<revoke::Revoke>),
    /// Check whether the installation in the cluster is healthy
    #[command(after_long_help = check::EXAMPLES)]
    Check(check::CheckArgs),
    /// Print an organization's objects as manifests that can be applied elsewhere
    #[command(after_long_help = export::EXAMPLES)]
    Export(export::ExportArgs),
    /// Convert the objects of another system into manifests
    #[command(subcommand, after_long_help = import::EXAMPLES)]
    Import(Box<import::Import>),
    /// Mint tokens with your own key, inspect tokens, validate credentials and explain verdicts
    #[command(subcommand)]
    Token(Token),
    /// Generate key sets of your own
    #[command(subcommand)]
    Jwks(jwks::Jwks),
    /// Log in to the REST API as a Member
    #[command(after_long_help = login::EXAMPLES)]
    Login(Box<login::Login>),
    /// End the session of `login`
    Logout(login::Logout),
    /// Show who you are, and what you may do
    #[command(after_long_help = whoami::EXAMPLES)]
    Whoami(Box<whoami::Whoami>),
    /// Generate and identify API keys
    #[command(subcommand)]
    Key(key::Key),
    /// Take over the signing keys of a former namespace
    #[command(subcommand)]
    Keys(inherit::Keys),
    /// Print the version of this program
    Version(Version),
    /// Print a shell completion script
    #[command(after_long_help = completion::HELP)]
    Completions {
        /// The shell that runs the script
        shell: Shell,
    },
    /// Write manual pages
    #[command(after_long_help = man::EXAMPLES)]
    Man(man::ManArgs),
}

#[derive(Debug, Subcommand)]
enum Token {
    /// Sign an appUserIdToken with a private key from a file, offline
    #[command(after_long_help = mint::EXAMPLES)]
    Mint(Box<mint::Mint>),
    /// Decode a token or check the format of an API key, without verifying it
    #[command(after_long_help = inspect::EXAMPLES)]
    Inspect(inspect::Inspect),
    /// Ask the operator whether a credential is valid
    #[command(after_long_help = validate::EXAMPLES)]
    Validate(Box<validate::Validate>),
    /// Show why the operator accepts or rejects a credential, step by step
    #[command(after_long_help = explain::EXAMPLES)]
    Explain(Box<explain::Explain>),
}

#[derive(Debug, clap::Args)]
struct Version {
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// Where a command reads and writes.
pub struct Streams<'s> {
    /// Read for the file name `-`.
    pub stdin: &'s mut dyn Read,
    /// The result and nothing else, so that it can be piped.
    pub stdout: &'s mut dyn Write,
    /// Notes for people.
    pub stderr: &'s mut dyn Write,
    /// What the terminal can show.
    pub terminal: Terminal,
}

/// Runs a command at time `now`.
///
/// # Errors
/// What is wrong, where, and what to do. Never contains a private key or an API key.
pub fn run(cli: Cli, mut streams: Streams<'_>, now: Timestamp) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_command(cli.command, &mut streams, now))?;
    streams.stdout.flush()?;
    Ok(())
}

async fn run_command(
    command: Command,
    streams: &mut Streams<'_>,
    now: Timestamp,
) -> anyhow::Result<()> {
    match command {
        Command::Status(args) => status::run(&args, streams, now).await,
        Command::Get(command) => get::run(&command, streams, now).await,
        Command::Suspend(args) => suspend::run(&args, true, streams).await,
        Command::Resume(args) => suspend::run(&args, false, streams).await,
        Command::Rotate(args) => rotate::run(&args, streams, now).await,
        Command::Revoke(command) => revoke::run(&command, streams, now).await,
        Command::Check(args) => check::run(&args, streams, now).await,
        Command::Export(args) => export::run(&args, streams).await,
        Command::Import(command) => import::run(&command, streams).await,
        Command::Token(Token::Mint(args)) => mint::run(&args, streams, now),
        Command::Token(Token::Inspect(args)) => inspect::run(&args, streams, now),
        Command::Token(Token::Validate(args)) => validate::run(&args, streams).await,
        Command::Token(Token::Explain(args)) => explain::run(&args, streams).await,
        Command::Jwks(command) => jwks::run(&command, streams),
        Command::Login(args) => login::login(&args, streams).await,
        Command::Logout(args) => login::logout(&args, streams).await,
        Command::Whoami(args) => whoami::run(&args, streams).await,
        Command::Key(command) => key::run(&command, streams, now),
        Command::Keys(command) => inherit::run(&command, streams, now).await,
        Command::Version(args) => version(&args, streams),
        Command::Completions { shell } => Ok(completion::script(shell, streams)?),
        Command::Man(args) => man::run(&args, streams),
    }
}

/// Whether a command failed only because the reader of its output has closed the pipe.
#[must_use]
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn version(args: &Version, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let value = json!({ "clientVersion": { "version": version } });
    args.output.print(streams.stdout, &value, || format!("kubectl-anon {version}\n"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Runs a command line with `input` on stdin. Returns stdout and stderr.
    #[expect(clippy::unwrap_in_result, reason = "the error is that of the command")]
    pub(super) fn run_with(line: &[&str], input: &str) -> Result<(String, String), String> {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let cli = Cli::try_parse_from([&["kubectl-anon"], line].concat())
            .map_err(|error| error.to_string())?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let streams = Streams {
            stdin: &mut input.as_bytes(),
            stdout: &mut stdout,
            stderr: &mut stderr,
            terminal: Terminal::default(),
        };
        run(cli, streams, now).map_err(|error| format!("{error:#}"))?;
        Ok((String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap()))
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn version_in_both_forms() {
        let text = format!("kubectl-anon {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(run_with(&["version"], "").unwrap().0, text);
        let (json, _) = run_with(&["version", "-o", "json"], "").unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["clientVersion"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn completions_for_every_shell() {
        for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
            let (script, _) = run_with(&["completions", shell], "").unwrap();
            assert!(script.contains("kubectl-anon"), "{shell}");
        }
    }

    #[test]
    fn an_endless_input_is_refused() {
        let error = run_with(&["token", "inspect"], &"x".repeat(2 << 20)).unwrap_err();
        assert!(error.contains("1 MiB"), "{error}");
    }

    #[test]
    fn only_a_broken_pipe_is_one() {
        let broken = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_broken_pipe(&broken));
        assert!(!is_broken_pipe(&anyhow::anyhow!("else")));
    }
}
