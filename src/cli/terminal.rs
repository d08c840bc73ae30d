//! What the terminal can show. Colors and redrawn lines are for people only: a pipe gets neither.

use std::io::{self, IsTerminal as _};

use anstyle::{AnsiColor, Style};
use terminal_size::{Width, terminal_size_of};

/// The terminal of this process, as far as there is one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terminal {
    /// Standard output is a terminal that shows colors.
    pub color: bool,
    /// Standard input and standard error are terminals: a person can be asked.
    pub interactive: bool,
    /// The width of standard error in columns if it is a terminal, on which a line can be redrawn.
    pub width: Option<usize>,
}

impl Terminal {
    /// Looks at the streams and the environment of this process. Any value of `NO_COLOR` but an
    /// empty one turns colors off (<https://no-color.org>).
    #[must_use]
    pub fn of_process() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        let error_is_terminal = io::stderr().is_terminal();
        let width = terminal_size_of(io::stderr()).map(|(Width(width), _)| usize::from(width));
        Self {
            color: io::stdout().is_terminal() && !dumb && set("NO_COLOR").is_none(),
            interactive: io::stdin().is_terminal() && error_is_terminal,
            width: width.filter(|_| error_is_terminal && !dumb),
        }
    }

    /// The text in the colors of its tone, if there are colors.
    #[must_use]
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let style = tone.style();
        if !self.color || text.is_empty() || style == Style::new() {
            return text.to_owned();
        }
        format!("{style}{text}{style:#}")
    }
}

/// What a piece of text tells, and so its color.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Neither good nor bad.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Deserves attention.
    Warning,
    /// Broken.
    Bad,
    /// Less important than what is beside it.
    Dim,
    /// A heading.
    Bold,
}

impl Tone {
    fn style(self) -> Style {
        let color = |color: AnsiColor| color.on_default();
        match self {
            Self::Plain => Style::new(),
            Self::Good => color(AnsiColor::Green),
            Self::Warning => color(AnsiColor::Yellow),
            Self::Bad => color(AnsiColor::Red),
            Self::Dim => Style::new().dimmed(),
            Self::Bold => Style::new().bold(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_only_where_they_are_shown() {
        let colors = Terminal { color: true, ..Terminal::default() };
        assert_eq!(colors.paint(Tone::Bad, "fail"), "\u{1b}[31mfail\u{1b}[0m");
        assert_eq!(colors.paint(Tone::Plain, "fail"), "fail");
        assert_eq!(Terminal::default().paint(Tone::Bad, "fail"), "fail");
    }
}
