//! The HTTP routers, one request at a time.

mod abuse;
mod admin;
mod audit;
mod cors;
mod explain;
mod ext_authz;
mod flood;
mod forward_auth;
mod frame;
mod introspect;
mod junk;
mod keys;
mod link;
mod login;
mod mint;
mod mint_refusals;
mod missing_keys;
mod no_effect;
mod permissions;
mod reasons;
mod refusals;
mod serve;
mod staff;
mod token_review;
mod unread;
mod validate;
