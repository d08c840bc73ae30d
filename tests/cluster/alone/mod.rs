//! Tests that have the cluster to themselves.

mod consumer;
mod crash;
mod crash_order;
mod last_admin;
mod logins;
mod remote_sets;
mod shutdown;
mod sign_up;
mod sweep;
mod two_leaders;
mod two_operators;
mod writes;
