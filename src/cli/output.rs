//! Printing for people and for programs, without terminal escape injection from what is printed.

use std::fmt::Write as _;
use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use super::terminal::{Terminal, Tone};

/// Output format of a command with one result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For programs.
    Yaml,
}

impl Format {
    /// Prints `value` for programs, or `text` for people.
    pub fn print(
        self,
        to: &mut dyn Write,
        value: &Value,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        match self {
            Self::Text => write!(to, "{}", text())?,
            Self::Json => json(to, value)?,
            Self::Yaml => yaml(to, value)?,
        }
        Ok(())
    }
}

/// Output format of a command that lists objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// A table.
    #[default]
    #[value(alias = "table")]
    Text,
    /// A table with more columns.
    Wide,
    /// For programs.
    Json,
    /// For programs.
    Yaml,
    /// The names only, such as `sdkclient/backend`.
    Name,
}

/// Prints a value as JSON.
pub fn json(to: &mut dyn Write, value: &Value) -> io::Result<()> {
    writeln!(to, "{}", pretty(value))
}

/// Prints a value as YAML.
pub fn yaml(to: &mut dyn Write, value: &impl Serialize) -> anyhow::Result<()> {
    write!(to, "{}", yaml_text(value)?)?;
    Ok(())
}

/// The value as a YAML document that ends with a line break, without terminal escape sequences.
pub fn yaml_text(value: &impl Serialize) -> anyhow::Result<String> {
    let text = serde_saphyr::to_string(value)?;
    if text.chars().any(|char| char != '\n' && is_unsafe(char)) {
        // JSON is YAML, and in JSON every character can be escaped.
        return Ok(pretty(&serde_json::to_value(value)?) + "\n");
    }
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

/// Indented JSON without terminal escape sequences: its content was written by strangers. JSON itself
/// escapes only the control characters below U+0020. The others, and those that change the direction
/// of text, occur only within strings, so they can be escaped afterwards.
pub fn pretty(value: &Value) -> String {
    escaped(&format!("{value:#}"), &['\n'])
}

/// One line without what could control a terminal, or look like another line.
pub fn printable(text: &str) -> String {
    escaped(text, &[])
}

fn escaped(text: &str, but: &[char]) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        if is_unsafe(char) && !but.contains(&char) {
            // Writing into a String cannot fail.
            let _ = write!(safe, "\\u{:04x}", u32::from(char));
        } else {
            safe.push(char);
        }
    }
    safe
}

/// Whether a character controls the terminal or changes the direction of text.
fn is_unsafe(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A table for people: left-aligned columns, three spaces apart, as kubectl prints them.
#[derive(Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// The content of a cell.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell in the color of a tone.
    pub fn new(tone: Tone, text: &str) -> Self {
        Self { text: printable(text), tone }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(Tone::Plain, text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl Table {
    /// A table of these columns. Headings are in capital letters.
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. An empty cell is shown as `-`.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as text.
    pub fn render(&self, terminal: &Terminal) -> String {
        let header: Vec<Cell> =
            self.header.iter().map(|name| Cell::new(Tone::Bold, name)).collect();
        let lines: Vec<&Vec<Cell>> = std::iter::once(&header).chain(&self.rows).collect();
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.text.chars().count()).max().unwrap_or_default().max(1)
        };
        let widths: Vec<_> = (0..self.header.len()).map(width).collect();
        let mut text = String::new();
        for line in lines {
            let last = line.len().saturating_sub(1);
            for (column, cell) in line.iter().enumerate() {
                let shown = if cell.text.is_empty() { "-" } else { &cell.text };
                text.push_str(&terminal.paint(cell.tone, shown));
                if column < last {
                    let width = widths.get(column).copied().unwrap_or_default();
                    let gap = (width + 3).saturating_sub(shown.chars().count());
                    text.extend(std::iter::repeat_n(' ', gap));
                }
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const EVIL: &str = "\u{1b}[2J \u{9b}31m \u{7f} \u{202e}txt é";

    #[test]
    fn escapes_terminal_control_characters_and_keeps_the_value() {
        let value = json!({"sub": EVIL});
        let text = pretty(&value);
        assert!(text.chars().all(|char| char == '\n' || !char.is_control()), "{text}");
        assert!(!text.contains('\u{202e}') && text.contains('é'));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn yaml_is_safe_and_keeps_the_value() {
        for value in [json!({"sub": EVIL}), json!({"a": ["b", 1, null], "c": {}})] {
            let text = yaml_text(&value).unwrap();
            assert!(text.chars().all(|char| char == '\n' || !is_unsafe(char)), "{text}");
            assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), value, "{text}");
        }
    }

    #[test]
    fn tables_have_aligned_columns() {
        let mut table = Table::new(&["NAME", "STATE", "MESSAGE"]);
        table.row(["backend".into(), Cell::new(Tone::Good, "Current"), "é\u{1b}[2J\n".into()]);
        table.row(["x".into(), Cell::default(), "".into()]);
        let expected = "\
NAME      STATE     MESSAGE
backend   Current   é\\u001b[2J\\u000a
x         -         -
";
        assert_eq!(table.render(&Terminal::default()), expected);
        let colors = table.render(&Terminal { color: true, ..Terminal::default() });
        assert!(colors.contains("\u{1b}[32mCurrent\u{1b}[0m   é"), "{colors}");
    }
}
