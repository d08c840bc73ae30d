//! Tests that have the cluster to themselves.

mod consumer;
mod crash;
mod crash_order;
mod logins;
mod rotation;
mod shutdown;
mod sweep;
mod structured_authentication;
mod two_leaders;
mod two_operators;
mod writes;
