//! Tests against a real API server, with the chart installed and the operator running under the
//! chart's ServiceAccount. `make test-cluster`, or for one's own iterations:
//!
//! ```text
//! dev/cluster up --no-operator && source target/dev/env && cargo test --test cluster NAME
//! ```
//!
//! `shared` has the tests that get on with others: each in a namespace of its own, all with one
//! operator. `alone` has those that start operators of their own, `failover` those in which one of
//! several fails, or the API server does, `remote_sets` those in which an identity provider does, and
//! `load` those that take long because they do much: these have the cluster to themselves, one after
//! the other. `restore` deletes everything that there is. `tests/cluster/run` divides them among the
//! clusters that it starts.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    clippy::needless_pass_by_value,
    reason = "a panic is how a test fails, and json!() is written where it is used"
)]

mod alone;
mod failover;
#[path = "../h2/mod.rs"]
mod h2;
mod harness;
#[path = "../idp/mod.rs"]
mod idp;
mod load;
mod remote_sets;
mod restore;
mod shared;
