//! Tests that need no cluster: generated files, the layering of the code, the HTTP routers, and
//! odd answers of an API server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::missing_panics_doc,
    reason = "a panic is how a test fails"
)]

mod cli;
mod clients;
mod generated;
mod key;
mod layering;
mod secret_scanning;
