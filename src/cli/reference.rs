//! The reference of all commands, `docs/cli-reference.md`, generated from their help texts.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use super::Cli;

/// What is before the first command.
const HEAD: &str = "\
# Commands of `kubectl anon`

<!-- Written by `make generate`; do not edit. -->

The same as `kubectl anon COMMAND --help`. [cli.md](cli.md) describes the commands by task.
";

/// The reference, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut command = Cli::command();
    command.build();
    let mut text = HEAD.to_owned();
    describe(&command, "kubectl anon", &mut text);
    text
}

fn describe(command: &Command, name: &str, text: &mut String) {
    // A fixed width: that of the terminal is unknown where the reference is generated.
    let help = command.clone().term_width(100).render_long_help().to_string();
    let lines: Vec<_> = help.lines().map(str::trim_end).collect();
    // Writing into a String cannot fail.
    let _ = write!(text, "\n## {name}\n\n```text\n{}\n```\n", lines.join("\n").trim());
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        describe(command, &format!("{name} {}", command.get_name()), text);
    }
}
