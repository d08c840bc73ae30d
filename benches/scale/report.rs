//! The results: a JSON file for programs, and a table for readers.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// The case that creates clients.
pub const CREATE: &str = "create service clients";
/// Its ratio to the same writes by a plain client must not be higher.
pub const MAX_CREATE_RATIO: f64 = 1.15;

/// The result of one case.
#[derive(Debug, Default, Serialize)]
pub struct Case {
    pub name: &'static str,
    /// Number of objects.
    pub n: usize,
    pub seconds: Option<f64>,
    /// The same writes by a plain client.
    pub baseline_seconds: Option<f64>,
    pub ratio: Option<f64>,
    /// Ratio of the CPU seconds of all processes involved (control plane, operator, this program).
    /// On a busy machine, it varies less than `ratio`.
    pub cpu_ratio: Option<f64>,
    /// Successful writes of the operator, except Leases.
    pub writes_per_object: Option<f64>,
    pub cpu_seconds: Option<f64>,
    pub rss_bytes: Option<u64>,
    /// The goals, and other remarks.
    pub notes: Vec<String>,
}

/// Writes the JSON file.
pub fn write(path: &Path, cases: &[Case]) -> anyhow::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let json = serde_json::to_string_pretty(cases)? + "\n";
    fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
}

/// Prints the table.
pub fn print(cases: &[Case]) {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    println!(
        "\n{:<24}{:>7}{:>9}{:>10}{:>7}{:>11}{:>12}{:>9}{:>12}{:>8}",
        "case",
        "n",
        "seconds",
        "baseline",
        "ratio",
        "CPU ratio",
        "writes/obj",
        "CPU s",
        "CPU ms/obj",
        "RSS MB"
    );
    for case in cases {
        #[expect(clippy::cast_precision_loss, reason = "for display only")]
        let (megabytes, per_object) = (
            case.rss_bytes.map(|bytes| bytes as f64 / 1e6),
            case.cpu_seconds.filter(|_| case.n > 0).map(|cpu| cpu * 1000.0 / case.n as f64),
        );
        println!(
            "{:<24}{:>7}{:>9}{:>10}{:>7}{:>11}{:>12}{:>9}{:>12}{:>8}",
            case.name,
            case.n,
            number(case.seconds, 2),
            number(case.baseline_seconds, 2),
            number(case.ratio, 2),
            number(case.cpu_ratio, 2),
            number(case.writes_per_object, 2),
            number(case.cpu_seconds, 2),
            number(per_object, 2),
            number(megabytes, 1),
        );
    }
    for case in cases {
        println!("\n{}", case.name);
        for note in &case.notes {
            println!("  {note}");
        }
    }
}

/// Prints whether the creation of clients keeps its bar, and returns it.
pub fn print_bar(cases: &[Case]) -> bool {
    let case = cases.iter().find(|case| case.name == CREATE);
    let Some(ratio) = case.and_then(|case| case.ratio) else { return true };
    let passed = ratio <= MAX_CREATE_RATIO;
    let verdict = if passed { "pass" } else { "MISSED" };
    println!("\n{verdict:<7} {CREATE} ratio = {ratio:.3}; bar: at most {MAX_CREATE_RATIO}");
    passed
}
