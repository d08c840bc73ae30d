//! The domain model: ids, keys, tokens, members, and the rules for them. Pure code without API
//! client, clock, async, kube or axum; times are passed as arguments.

pub mod algorithm;
pub mod api_key_life;
pub mod client;
pub mod decision;
pub mod digest;
pub mod document;
pub mod duration;
pub mod fetch_error;
pub mod ids;
pub mod json;
pub mod jwk;
pub mod jwk_set;
pub mod key_lifecycle;
pub mod key_ownership;
pub mod keyset;
pub mod opaque;
pub mod password;
pub mod permission;
pub mod policy;
pub mod pool;
pub mod record_mac;
pub mod revocation;
pub mod role;
pub mod session;
pub mod signing;
pub mod staff;
pub mod token;
