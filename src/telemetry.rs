//! Logs and traces.
//!
//! A log line is one self-contained event, with stable fields to filter by. `span` has the fields of
//! the request or object in progress. Logs go to standard error and never contain tokens, keys,
//! e-mail addresses or claims. Neither do [`traces`], which are exported only if that is configured.

pub mod fields;
#[cfg_attr(not(feature = "otlp"), path = "telemetry/no_otlp.rs")]
mod otlp;
pub mod traces;

use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

use clap::ValueEnum;
use tracing::error;
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use otlp::Exporter;

/// A layer of the one subscriber of the process.
type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line, for machines.
    Json,
    /// Plain text, for people.
    Text,
}

/// What was started for the whole process.
#[must_use]
pub struct Telemetry {
    exporter: Option<Exporter>,
}

impl Telemetry {
    /// Exports the traces that are still in memory, but waits only briefly. Blocks.
    pub fn flush(self) {
        if let Some(exporter) = self.exporter {
            exporter.shut_down();
        }
    }
}

/// Starts logging for the whole process, and traces if the environment configures an exporter.
///
/// # Errors
/// `filter` is not a filter such as `info` or `anon_operator=debug,kube=warn`.
pub fn init(format: LogFormat, filter: &str) -> Result<Telemetry, ParseError> {
    let filter = EnvFilter::try_new(filter)?
        // kube logs a response that it cannot decode in full, and that may be a Secret.
        .add_directive("kube_client::client=error".parse()?)
        .add_directive(traces::not_logged()?);
    let lines = fmt::layer().with_writer(stderr);
    let lines = match format {
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_filter(filter)
            .boxed(),
        // Colors are for terminals only.
        LogFormat::Text => {
            lines.with_ansi(stderr().is_terminal()).compact().with_filter(filter).boxed()
        }
    };
    let exporter = Exporter::from_environment();
    let mut layers: Vec<BoxedLayer> = vec![lines];
    layers.extend(
        exporter
            .as_ref()
            .ok()
            .and_then(Option::as_ref)
            .map(|exporter| exporter.layer(traces::only())),
    );
    tracing_subscriber::registry().with(layers).init();
    let exporter = exporter.unwrap_or_else(|error| {
        // Validation must not depend on traces.
        error!(error, "the OTEL_* variables are unusable; no traces are exported");
        None
    });
    Ok(Telemetry { exporter })
}

/// The duration for a log field. Of `u128`, the JSON format would write a string and not a number.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Parses a filter of `tracing-subscriber`. To that crate a bare word is the name of a target, so that
/// a misspelled level would silence everything; here it must be a level.
///
/// # Errors
/// It is not a filter; for people.
pub fn filter(text: &str) -> Result<String, String> {
    for directive in text.split(',').map(str::trim) {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        if level.is_empty() || level.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "`{level}` is not a level: use error, warn, info, debug, trace or off, alone or as `target=level`"
            ));
        }
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn refuses_log_levels_that_do_not_exist() {
        for text in [
            "info",
            "INFO",
            "off",
            "warn,anon_operator::controller=debug",
            "anon_operator[span]=trace",
        ] {
            assert_eq!(filter(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "infoo",
            "verbose",
            "info,",
            "anon_operator",
            "kube=loud",
            "info,loud",
            "=info=info[",
        ] {
            assert!(filter(text).is_err(), "{text}");
        }
    }
}
