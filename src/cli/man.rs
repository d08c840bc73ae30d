//! `man`: manual pages, generated from the help texts.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};

use super::{Cli, Streams};

/// Help text below the options.
pub const EXAMPLES: &str = "\
Examples:
  kubectl-anon man --output-dir ~/.local/share/man/man1
  man kubectl-anon-status";

/// Options of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Directory for the pages, one for each command
    #[arg(long, value_name = "DIRECTORY")]
    output_dir: PathBuf,
}

/// Writes the pages.
pub fn run(args: &ManArgs, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let directory = &args.output_dir;
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
    written.with_context(|| format!("cannot write manual pages to `{}`", directory.display()))?;
    writeln!(streams.stderr, "wrote the manual pages to `{}`", directory.display())?;
    Ok(())
}
