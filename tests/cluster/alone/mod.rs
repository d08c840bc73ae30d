//! Tests that have the cluster to themselves.

mod admission;
mod crash;
mod crash_order;
mod crash_order_keys;
mod key_ownership;
mod last_admin;
mod logins;
mod namespace_deletion;
mod namespaced;
mod odd_objects;
mod sign_up;
mod structured_authentication;
mod sweep;
mod traces;
mod unreadable;
mod writes;
