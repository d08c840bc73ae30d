//! anon-operator: an identity platform that runs as a Kubernetes operator.
//!
//! `docs/architecture.md` describes the modules. Imports point downward only, which a test
//! enforces: `app -> {server, controller, leader} -> {index, replicas, jwks} -> validate -> {crd, domain}`.
//!
//! The modules are internal, so that rustc reports what nobody uses. [`operator`] and [`kubectl`]
//! are what the two programs use, [`testing`] is what the integration tests use.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests set up what they need"))]

pub mod testing;

mod app;
mod cli;
mod clock;
mod config;
mod controller;
mod crd;
mod domain;
mod index;
mod jwks;
mod kube_ext;
mod leader;
mod metrics;
mod names;
mod replicas;
mod server;
mod shutdown;
mod telemetry;
mod validate;
mod watch;

/// What the program `anon-operator` uses.
pub mod operator {
    pub use crate::app::{client, run};
    pub use crate::config::Config;
    pub use crate::crd::generate::print as print_crds;
    pub use crate::shutdown::on_signal;
    pub use crate::telemetry::init as init_telemetry;
}

/// What the program `kubectl-anon` uses.
pub mod kubectl {
    pub use crate::cli::{Cli, Streams, Terminal, complete, exit_code, is_broken_pipe, run};
    pub use crate::clock::{Clock, SystemClock};
}
