//! Tests that need no cluster: generated files, the layering of the code, the HTTP routers, and
//! odd answers of an API server.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::missing_panics_doc,
    clippy::needless_pass_by_value,
    reason = "a panic is how a test fails, and json!() is written where it is used"
)]

mod chart;
mod cli;
mod clients;
mod crds;
mod docs;
mod documented_commands;
mod examples;
mod generated;
#[path = "../h2/mod.rs"]
mod h2;
mod http;
#[path = "../idp/mod.rs"]
mod idp;
mod imports;
mod integrations;
mod jwks;
mod key;
mod layering;
mod logs;
mod paths;
mod reference;
mod secret_scanning;
mod support;
mod wire;
mod workflows;
