//! Tests that have the cluster to themselves.

mod crash;
mod logins;
mod shutdown;
mod sweep;
mod two_operators;
mod writes;
