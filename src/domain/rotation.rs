//! The life of rotated keys, as pure functions side by side: signing keys of hosted pools, delivered
//! API keys, and API keys that are listed by their hashes. Each of the first two has a `Policy` (what the spec asks for), whose `step` computes from the
//! stored keys, the time and the [`Reach`] of the Next key what is to be stored next.

pub mod api_keys;
pub mod inheritance;
pub mod listed_keys;
pub mod signing_keys;

use jiff::SignedDuration;

/// How long an API key stays valid after its replacement, by default.
pub const DEFAULT_OVERLAP: SignedDuration = SignedDuration::from_hours(1);

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
