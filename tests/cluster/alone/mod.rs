//! Tests that have the cluster to themselves.

mod consumer;
mod crash;
mod crash_order;
mod logins;
mod remote_sets;
mod shutdown;
mod sweep;
mod two_leaders;
mod two_operators;
mod writes;
