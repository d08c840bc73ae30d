//! Tests that share one operator, each in a namespace of its own.

mod any_order;
mod api_keys;
mod bad_input;
mod chart;
mod children;
mod chosen_ids;
mod contract;
mod crds;
mod examples;
mod inline_pools;
mod isolation;
mod keys;
mod maester;
mod people;
mod provided_pools;
mod quickstart;
mod remote_pools;
mod rest;
mod revocations;
mod rights;
mod roles;
mod secrecy;
mod signing_keys;
mod tenancy;
mod unready;
mod walk_through;
