//! Logs: one line per thing that happened, readable alone, with stable fields to filter by; `span`
//! has those of the request or object that is worked on. They
//! go to standard error and never hold tokens, keys, e-mail addresses or claims.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// The form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// For people.
    Text,
}

/// Starts logging for the whole process.
///
/// # Errors
/// `filter` is not a filter such as `info` or `anon_operator=debug,kube=warn`.
pub fn init(format: LogFormat, filter: &str) -> Result<(), ParseError> {
    // kube logs a reply that it cannot decode whole, and a Secret may be one.
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
            // Colors are for terminals; in files and pipes they are noise.
            subscriber.with_ansi(std::io::stderr().is_terminal()).compact().init();
        }
    }
    Ok(())
}
