//! The HTTP routers, one request at a time.

mod admin;
mod frame;
mod keys;
mod mint;
mod mint_refusals;
mod reasons;
mod serve;
mod validate;
