//! What the results must be: `--bars` fails if one of them is not.

use std::fmt;

/// The limit of a figure.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Limit {
    pub fn allows(self, value: f64) -> bool {
        match self {
            Self::AtLeast(limit) => value >= limit,
            Self::AtMost(limit) => value <= limit,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(limit) => write!(f, "at least {limit}"),
            Self::AtMost(limit) => write!(f, "at most {limit}"),
        }
    }
}

/// The limit of one figure of a case.
pub struct Bar {
    pub case: &'static str,
    pub figure: &'static str,
    pub limit: Limit,
}

const fn at_least(case: &'static str, figure: &'static str, limit: f64) -> Bar {
    Bar { case, figure, limit: Limit::AtLeast(limit) }
}

const fn at_most(case: &'static str, figure: &'static str, limit: f64) -> Bar {
    Bar { case, figure, limit: Limit::AtMost(limit) }
}

/// All bars.
pub const BARS: &[Bar] = &[
    at_least("jwt-cached", "ratio", 0.85),
    at_least("jwt-rs256-uncached", "ratio", 0.22),
    at_least("apikey-100000", "ratio", 0.85),
    at_least("apikey-1000000", "ratio", 0.80),
    at_least("envoy-uncached", "operator_to_envoy", 2.0),
    at_least("envoy-cached", "operator_to_envoy", 3.0),
    at_most("flood-cached", "p99_to_quiet", 3.0),
    at_most("flood-uncached", "p99_to_quiet", 3.0),
    at_most("revocation", "refused_p99_ms", 25.0),
    at_most("revocation", "acknowledged_p50_ms", 100.0),
    at_most("mixed", "failed_requests", 0.0),
    at_most("mixed", "rss_end_to_a_fifth", 1.2),
    at_most("cold-start", "ready_to_list", 1.5),
    at_most("memory", "bytes_per_client_in_validator", 1500.0),
    at_most("memory", "bytes_per_client_in_leader", 3000.0),
    at_most("memory", "bytes_per_further_apikey", 100.0),
];
