//! Asks before what cannot be undone.

use anyhow::bail;
use clap::Args;

use super::Streams;
use super::exit::End;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64;

/// Options of commands that ask.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct ConfirmArgs {
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
}

/// Asks a person whether to do `what`, such as "revoke 2 API keys". Without a terminal nobody can be
/// asked, so that `yes` is necessary.
///
/// # Errors
/// The person did not agree, or could not be asked.
pub fn confirm(streams: &mut Streams<'_>, what: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !streams.terminal.interactive {
        let text = format!("cannot ask whether to {what}, because there is no terminal; add --yes");
        return Err(End::Usage(text).into());
    }
    write!(streams.stderr, "About to {what}. This cannot be undone. Continue? [y/N] ")?;
    streams.stderr.flush()?;
    if !agrees(&line(streams)?) {
        bail!("not confirmed; nothing was changed");
    }
    Ok(())
}

/// One line of standard input. Byte by byte, so that nothing after it is consumed.
fn line(streams: &mut Streams<'_>) -> std::io::Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.len() < MAX_ANSWER && streams.stdin.read(&mut byte)? > 0 && byte != *b"\n" {
        line.extend(byte);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn agrees(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::Terminal;

    fn ask(interactive: bool, input: &str, yes: bool) -> (anyhow::Result<()>, String) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut streams = Streams {
            stdin: &mut input.as_bytes(),
            stdout: &mut stdout,
            stderr: &mut stderr,
            terminal: Terminal { interactive, ..Terminal::default() },
        };
        let result = confirm(&mut streams, "revoke 2 API keys", yes);
        (result, String::from_utf8(stderr).unwrap())
    }

    #[test]
    fn only_a_clear_yes_confirms() {
        for (input, confirmed) in
            [("y\n", true), ("Yes\nmore", true), ("n\n", false), ("\n", false), ("", false)]
        {
            let (result, asked) = ask(true, input, false);
            assert_eq!(result.is_ok(), confirmed, "{input:?}");
            assert!(asked.starts_with("About to revoke 2 API keys."), "{asked}");
        }
    }

    #[test]
    fn nobody_is_asked_without_a_terminal() {
        let (result, asked) = ask(false, "y\n", false);
        assert!(result.unwrap_err().to_string().ends_with("add --yes"));
        assert_eq!(asked, "");
        assert!(ask(false, "", true).0.is_ok());
    }
}
