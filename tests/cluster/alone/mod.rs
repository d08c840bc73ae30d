//! Tests that have the cluster to themselves.

mod crash;
mod shutdown;
mod sweep;
mod two_operators;
mod writes;
