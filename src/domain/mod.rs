//! The domain model: ids, keys, tokens, members, and the rules for them. Pure code without API
//! client, clock, async, kube or axum; times are passed as arguments.

pub mod algorithm;
pub mod client;
pub mod constraint;
pub mod credential;
pub mod credential_type;
pub mod digest;
pub mod document;
pub mod duration;
pub mod explanation;
pub mod fetch_error;
pub mod generation;
pub mod ids;
pub mod json;
pub mod jwk;
pub mod jwks_parser;
pub mod key_ownership;
pub mod member;
pub mod operation;
pub mod organization;
pub mod password;
pub mod policy;
pub mod pool;
pub mod principal;
pub mod reason;
pub mod record_mac;
pub mod revocation;
pub mod role;
pub mod rotation;
pub mod scope;
pub mod secret_ref;
pub mod session;
pub mod signing;
pub mod signing_key_set;
pub mod stored_key;
pub mod token;
