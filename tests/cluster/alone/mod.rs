//! Tests that have the cluster to themselves.

mod admission;
mod crash;
mod crash_order;
mod crash_order_keys;
mod dead_validator;
mod key_ownership;
mod last_admin;
mod logins;
mod namespace_deletion;
mod namespaced;
mod odd_objects;
mod rotation;
mod shutdown;
mod sign_up;
mod structured_authentication;
mod suspended;
mod sweep;
mod traces;
mod two_leaders;
mod two_operators;
mod unreadable;
mod writes;
