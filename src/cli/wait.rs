//! Waiting until something is so, with progress on standard error.

use std::io;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use super::Streams;
use super::cluster::duration_arg;
use super::exit::End;
use super::output::printable;

/// The time between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Options of commands that can wait.
#[derive(Clone, Copy, Debug, Args)]
pub struct WaitArgs {
    /// Wait until the change is in effect
    #[arg(long)]
    pub wait: bool,

    /// How long --wait waits, such as 90s or 2m
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration_arg)]
    pub timeout: Duration,
}

/// What a look found.
#[derive(Debug)]
pub enum Poll<T> {
    /// What was waited for.
    Reached(T),
    /// Not yet; for people, what is missing.
    Pending(String),
}

/// Looks again and again until `look` finds what it looks for, at most for `timeout`. What is
/// missing is shown as progress.
///
/// # Errors
/// That of `look`, at once, or [`End::TimedOut`] with what was missing last.
pub async fn until<T>(
    streams: &mut Streams<'_>,
    timeout: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<Poll<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    let mut progress = Progress::default();
    loop {
        let looked = look().await;
        let missing = match looked {
            Ok(Poll::Pending(missing)) => missing,
            Ok(Poll::Reached(found)) => {
                progress.clear(streams)?;
                return Ok(found);
            }
            Err(error) => {
                progress.clear(streams)?;
                return Err(error);
            }
        };
        if start.elapsed() >= timeout {
            progress.clear(streams)?;
            let text = format!("timed out after {}s: {missing}", timeout.as_secs());
            return Err(End::TimedOut(text).into());
        }
        progress.show(streams, &missing)?;
        sleep(POLL_INTERVAL.min(timeout)).await;
    }
}

/// What a command is doing now: one line that is redrawn on a terminal, and one line for each change
/// elsewhere.
#[derive(Debug, Default)]
pub struct Progress {
    shown: String,
}

impl Progress {
    /// Shows what is being done or awaited.
    pub fn show(&mut self, streams: &mut Streams<'_>, text: &str) -> io::Result<()> {
        let text = printable(text);
        if text == self.shown {
            return Ok(());
        }
        match streams.terminal.width {
            Some(width) => {
                // A line that wraps cannot be redrawn.
                let fits: String = text.chars().take(width.saturating_sub(1)).collect();
                write!(streams.stderr, "\r\u{1b}[K{fits}")?;
            }
            None => writeln!(streams.stderr, "{text}")?,
        }
        streams.stderr.flush()?;
        self.shown = text;
        Ok(())
    }

    /// Removes the line from the terminal.
    pub fn clear(&mut self, streams: &mut Streams<'_>) -> io::Result<()> {
        if streams.terminal.width.is_some() && !self.shown.is_empty() {
            write!(streams.stderr, "\r\u{1b}[K")?;
            streams.stderr.flush()?;
        }
        self.shown.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::exit_code;
    use crate::cli::terminal::Terminal;

    /// Waits for the third look, and returns the result and standard error.
    async fn third_look(timeout: u64, width: Option<usize>) -> (anyhow::Result<u32>, String) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut streams = Streams {
            stdin: &mut io::empty(),
            stdout: &mut stdout,
            stderr: &mut stderr,
            terminal: Terminal { width, ..Terminal::default() },
        };
        let mut looks = 0;
        let look = async || {
            looks += 1;
            let missing = || "enforced by 1 of 2 validators".to_owned();
            Ok(if looks == 3 { Poll::Reached(looks) } else { Poll::Pending(missing()) })
        };
        let result = until(&mut streams, Duration::from_secs(timeout), look).await;
        (result, String::from_utf8(stderr).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn waits_and_shows_each_change_once() {
        let (result, shown) = third_look(60, None).await;
        assert_eq!(result.unwrap(), 3);
        assert_eq!(shown, "enforced by 1 of 2 validators\n");
        let (_, shown) = third_look(60, Some(10)).await;
        assert_eq!(shown, "\r\u{1b}[Kenforced \r\u{1b}[K");
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_says_what_is_missing() {
        let (result, _) = third_look(0, None).await;
        let result = result.map(drop);
        assert_eq!(exit_code(&result), 4);
        let text = result.unwrap_err().to_string();
        assert_eq!(text, "timed out after 0s: enforced by 1 of 2 validators");
    }
}
