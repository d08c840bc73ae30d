//! Printing, without terminal escape injection from an inspected token.

use std::fmt::Write as _;
use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::Value;

/// Output format of a command.
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

/// Indented JSON without terminal escape sequences: its content was written by strangers. JSON itself
/// escapes only the control characters below U+0020. The others, and those that change the direction
/// of text, occur only within strings, so they can be escaped afterwards.
pub fn pretty(value: &Value) -> String {
    let mut safe = String::new();
    for char in format!("{value:#}").chars() {
        let changes_direction = matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if changes_direction || (char.is_control() && char != '\n') {
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
    fn escapes_terminal_control_characters_and_keeps_the_value() {
        let value = json!({"sub": "\u{1b}[2J \u{9b}31m \u{7f} \u{202e}txt é"});
        let text = pretty(&value);
        assert!(text.chars().all(|char| char == '\n' || !char.is_control()), "{text}");
        assert!(!text.contains('\u{202e}') && text.contains('é'));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
