//! The life of rotated keys, as pure state machines side by side: signing keys of hosted pools, and
//! delivered API keys.

pub mod api_keys;
pub mod signing_keys;
