//! The results: a JSON file for programs, a Markdown table for readers, and the bars.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;

use crate::bars::{BARS, Bar};

/// The figures that have a column in the first table; all others are in the second one.
const COLUMNS: [(&str, usize); 6] = [
    ("requests_per_cpu_second", 0),
    ("ratio", 2),
    ("ratio_stack", 2),
    ("p50_ms", 2),
    ("p99_ms", 2),
    ("rss_mb", 1),
];
const HEADER: &str = "\
| case | requests per CPU-second | ratio | ratio_stack | p50 ms | p99 ms | RSS MB |
| --- | --- | --- | --- | --- | --- | --- |
";
/// What surrounds the tables in the documentation.
const START: &str = "<!-- validate: written by `make bench ARGS=--write-docs` -->\n";
const END: &str = "<!-- end of validate -->";

/// The result of one case.
#[derive(Debug, Serialize)]
pub struct Case {
    pub name: String,
    pub title: String,
    /// Each name ends with its unit, except for ratios and counts.
    #[serde(flatten)]
    pub figures: BTreeMap<&'static str, f64>,
    /// How it was measured, and other remarks.
    pub notes: Vec<String>,
}

impl Case {
    pub fn new(name: &str, title: &str) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            figures: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    pub fn with(mut self, figure: &'static str, value: f64) -> Self {
        self.figures.insert(figure, value);
        self
    }

    #[expect(clippy::cast_precision_loss, reason = "for display only")]
    pub fn with_bytes(self, figure: &'static str, bytes: u64) -> Self {
        self.with(figure, bytes as f64)
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    fn column(&self, name: &str, digits: usize) -> String {
        let value = match name {
            "rss_mb" => self.figures.get("rss_bytes").map(|bytes| bytes / 1e6),
            name => self.figures.get(name).copied(),
        };
        let text =
            |value: f64| if digits == 0 { plain(value) } else { format!("{value:.digits$}") };
        value.map(text).unwrap_or_default()
    }
}

/// What was measured, and on which machine.
#[derive(Serialize)]
pub struct Report {
    pub machine: String,
    pub at: Timestamp,
    /// Whether the sizes were reduced, so that the figures are not representative.
    pub quick: bool,
    pub cases: Vec<Case>,
}

impl Report {
    /// Writes the JSON file.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let json = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The bars of the cases that were measured, and whether all of them pass.
    pub fn bars(&self) -> (String, bool) {
        let (mut text, mut passed) = (String::new(), true);
        for (bar, value) in BARS.iter().filter_map(|bar| Some((bar, self.value(bar)?))) {
            let verdict = if bar.limit.allows(value) { "pass" } else { "MISSED" };
            passed &= bar.limit.allows(value);
            let _ = writeln!(
                text,
                "{verdict:<7} {} {} = {value:.3}; bar: {}",
                bar.case, bar.figure, bar.limit
            );
        }
        (text, passed)
    }

    fn value(&self, bar: &Bar) -> Option<f64> {
        let case = self.cases.iter().find(|case| case.name == bar.case)?;
        case.figures.get(bar.figure).copied()
    }

    /// The tables, which can be pasted into the documentation.
    pub fn markdown(&self) -> String {
        let date = self.at.strftime("%Y-%m-%d");
        let mut text = format!("Measured on {date}: {}.", self.machine);
        if self.quick {
            text.push_str(" **With --quick, so the figures are not representative.**");
        }
        let _ = write!(text, "\n\n{HEADER}");
        for case in self.cases.iter().filter(|case| case.figures.contains_key("p50_ms")) {
            let columns = COLUMNS.map(|(name, digits)| case.column(name, digits));
            let _ = writeln!(text, "| {} | {} |", case.title, columns.join(" | "));
        }
        text.push_str("\n| case | figure | value | bar |\n| --- | --- | --- | --- |\n");
        for case in &self.cases {
            for (name, value) in &case.figures {
                let bar = BARS.iter().find(|bar| bar.case == case.name && bar.figure == *name);
                let has_column =
                    *name == "rss_bytes" || COLUMNS.iter().any(|(column, _)| column == name);
                let is_latency = case.figures.contains_key("p50_ms") && has_column;
                if is_latency && bar.is_none() {
                    continue;
                }
                let bar = bar.map_or_else(String::new, |bar| {
                    let missed = if bar.limit.allows(*value) { "" } else { ", **missed**" };
                    format!("{}{missed}", bar.limit)
                });
                let _ = writeln!(text, "| {} | {name} | {} | {bar} |", case.title, plain(*value));
            }
        }
        text
    }

    /// Replaces the tables in the documentation.
    pub fn write_docs(&self, path: &Path) -> anyhow::Result<()> {
        let page = fs::read_to_string(path)?;
        let (before, rest) = page.split_once(START).context("no comment before the tables")?;
        let (_, after) = rest.split_once(END).context("no comment after the tables")?;
        let text = format!("{before}{START}{}{END}{after}", self.markdown());
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A number with as many digits as are of interest.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for display only")]
fn plain(value: f64) -> String {
    if value >= 100.0 || (value >= 0.0 && value.fract() < f64::EPSILON) {
        thousands(value.round() as usize)
    } else {
        format!("{value:.2}")
    }
}

/// A count with separators between groups of three digits.
pub fn thousands(count: usize) -> String {
    let digits = count.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// The CPU, the kernel and the API server.
pub fn machine(apiserver: &str) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown CPU", |(_, model)| model.trim());
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores of {model}, Linux {}, kube-apiserver {apiserver}", kernel.trim())
}
