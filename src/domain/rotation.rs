//! The life of rotated keys, as pure state machines side by side: signing keys of hosted pools, and
//! delivered API keys. Each has a `Policy` (what the spec asks for), whose `step` computes from the
//! stored keys, the time and the [`Reach`] of the Next key what is to be stored next.

pub mod api_keys;
pub mod signing_keys;

/// How far the Next key has propagated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Not in status.
    Nowhere,
    /// In status.
    Published,
    /// Acknowledged by every validator.
    Everywhere,
}
