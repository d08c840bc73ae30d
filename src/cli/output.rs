//! What is printed, and how a terminal is kept safe from it.

use std::fmt::Write as _;
use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::Value;

/// Form of a command's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Prints a value as JSON.
pub fn json(to: &mut dyn Write, value: &Value) -> io::Result<()> {
    writeln!(to, "{}", pretty(value))
}

/// Readable JSON in which nothing can speak to a terminal: what is printed was written by
/// strangers. JSON itself escapes only the control characters below U+0020; the others, and those
/// that turn the direction of text, occur in strings only, so they can be escaped afterwards.
pub fn pretty(value: &Value) -> String {
    let mut safe = String::new();
    for char in format!("{value:#}").chars() {
        let turns = matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if turns || (char.is_control() && char != '\n') {
            // Writing into a String cannot fail.
            let _ = write!(safe, "\\u{:04x}", u32::from(char));
        } else {
            safe.push(char);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_speaks_to_the_terminal_and_the_value_stays() {
        let value = json!({"sub": "\u{1b}[2J \u{9b}31m \u{7f} \u{202e}txt é"});
        let text = pretty(&value);
        assert!(text.chars().all(|char| char == '\n' || !char.is_control()), "{text}");
        assert!(!text.contains('\u{202e}') && text.contains('é'));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
