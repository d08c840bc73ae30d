//! Tests that share one operator, each in a namespace of its own.

mod any_order;
mod api_keys;
mod bad_input;
mod chart;
mod children;
mod chosen_ids;
mod crds;
mod examples;
mod isolation;
mod keys;
mod maester;
mod quickstart;
mod rest;
mod rights;
mod secrecy;
mod unready;
