//! anon-operator: an identity platform that runs as a Kubernetes operator.
//!
//! `docs/architecture.md` describes the modules. Imports point downward only, which a test
//! enforces: `app -> {server, controller, leader} -> {index, replicas, jwks} -> validate -> {crd, domain}`.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod controller;
pub mod crd;
pub mod domain;
pub mod index;
pub mod jwks;
pub mod kube_ext;
pub mod leader;
pub mod metrics;
pub mod names;
pub mod replicas;
pub mod server;
pub mod shutdown;
pub mod telemetry;
pub mod validate;
pub mod watch;
