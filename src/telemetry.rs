//! Logging: one self-contained line per event, with stable fields to filter by. `span` has the
//! fields of the request or object in progress. Logs go to standard error and never contain tokens,
//! keys, e-mail addresses or claims.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError};

/// Log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line, for machines.
    Json,
    /// Plain text, for people.
    Text,
}

/// Starts logging for the whole process.
///
/// # Errors
/// `filter` is not a filter such as `info` or `anon_operator=debug,kube=warn`.
pub fn init(format: LogFormat, filter: &str) -> Result<(), ParseError> {
    // kube logs a response that it cannot decode in full, and that may be a Secret.
    let filter = EnvFilter::try_new(filter)?.add_directive("kube_client::client=error".parse()?);
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => subscriber
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .init(),
        LogFormat::Text => {
            // Colors are for terminals only.
            subscriber.with_ansi(std::io::stderr().is_terminal()).compact().init();
        }
    }
    Ok(())
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
