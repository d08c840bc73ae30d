//! Parses untrusted JWK Sets (RFC 7517 section 5) into the keys that can verify tokens, and reports
//! why the others are ignored.
//!
//! One unusable key does not affect the others. Each usable key has exactly one algorithm, which is
//! determined here and never by a token: its `alg`, or else the algorithm of its type and curve.
//! For an RSA key without `alg` it is the first RSA algorithm in the pool's list, or else RS256.
//! The `kid` of a key without one is its RFC 7638 thumbprint.
//!
//! A token identifies its key by `kid` and algorithm. So several keys may have one `kid` (RFC 7517
//! section 4.5), such as one RSA key that is listed once per algorithm. Two different keys with the
//! same `kid` and algorithm are both ignored, because a token could mean either.
//!
//! A member that is null is absent: many libraries write each member of their type.

use std::collections::HashMap;
use std::fmt;

use thiserror::Error;

use super::algorithm::VerifyingAlgorithm;
use super::json;
use super::jwk::{Jwk, JwkError, VerifyingKey};
use raw::{Member, Operations};
pub use raw::{RawKey, RawSet};

mod raw;

/// The maximum number of usable keys, which is what status can hold.
pub const MAX_KEYS: usize = 100;
/// The maximum number of keys that are parsed.
pub const MAX_READ: usize = 1000;
/// The maximum length of a `kid` in bytes, which is what status can hold.
const MAX_KID_BYTES: usize = 256;
/// The maximum number of ignored keys that a message lists.
const MAX_NAMED: usize = 8;
/// The part of an ignored key's `kid` that is reported, in characters.
const MAX_SHOWN: usize = 64;

/// The requirements for a key set.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'p> {
    /// Whether the set may contain private keys, of which only the public members are read.
    pub private_keys: bool,
    /// The accepted algorithms; empty: all supported ones.
    pub algorithms: &'p [VerifyingAlgorithm],
}

/// The usable and the ignored keys of a set, in the order of the set.
#[derive(Clone, Debug)]
pub struct JwkSet {
    /// The usable keys: a maximum of [`MAX_KEYS`], each with a unique pair of `kid` and algorithm.
    pub keys: Vec<SetKey>,
    /// The ignored keys.
    pub dropped: Vec<Dropped>,
}

/// A key that can verify tokens.
#[derive(Clone, Debug)]
pub struct SetKey {
    /// The key id.
    pub kid: String,
    /// The public key in its canonical form, with `kid`, `alg` and `use`.
    pub jwk: Jwk,
    /// The same key, ready to verify signatures.
    pub verifying: VerifyingKey,
}

/// What a token identifies a key by.
type KeyName = (String, VerifyingAlgorithm);

impl SetKey {
    fn name(&self) -> KeyName {
        (self.kid.clone(), self.verifying.algorithm())
    }
}

/// A key that is ignored. Its `Display` identifies the key and gives the reason. It contains no
/// other part of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The position in the set, from 0.
    pub index: usize,
    /// The beginning of its `kid`, if it has one.
    pub kid: Option<String>,
    /// Why it is ignored.
    pub reason: DropReason,
}

/// Why a key of a set is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DropReason {
    /// Not an object, or a member does not have the type that RFC 7517 specifies.
    #[error("is not a JWK")]
    NotAJwk,
    /// A `kid` that status cannot hold.
    #[error("has an empty `kid` or one of more than 256 bytes")]
    Kid,
    /// `kty` is `oct`.
    #[error("is symmetric: anyone who can verify with it can also sign; use an asymmetric key")]
    Symmetric,
    /// Private members where only public ones belong.
    #[error("has private members: anyone who has read them can sign; replace the key")]
    Private,
    /// `use` is not `sig`.
    #[error("has a `use` other than `sig`")]
    Use,
    /// `key_ops` lacks `verify`.
    #[error("has `key_ops` without `verify`")]
    Operations,
    /// The `alg`, or without one the type or curve, is not supported.
    #[error("has an `alg`, `kty` or `crv` that is not supported")]
    Unsupported,
    /// The algorithm is not in the pool's `algorithms`.
    #[error("is for {}, which is not in the pool's `algorithms`", .0.as_str())]
    NotListed(VerifyingAlgorithm),
    /// The key itself is invalid or weak.
    #[error("cannot be used: {0}")]
    Key(#[from] JwkError),
    /// Another key has the same `kid` and algorithm.
    #[error("has the same `kid` and algorithm as another key")]
    Duplicate,
    /// The set has more than [`MAX_KEYS`] usable keys.
    #[error("exceeds the maximum of 100 usable keys")]
    TooMany,
}

/// Why a text is not a JWK Set. Contains no part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotAJwkSet {
    /// Not JSON, not an object, a duplicate member, or a limit is exceeded.
    #[error(
        "not a JSON object, or one that has a duplicate member, is nested more than 16 levels deep, or has an object with more than 256 members"
    )]
    Json,
    /// No array `keys`.
    #[error("has no array `keys` (RFC 7517 section 5)")]
    NoKeys,
    /// More than [`MAX_READ`] keys.
    #[error("has more than 1000 keys")]
    TooMany,
}

impl JwkSet {
    /// Parses a set. A set without usable keys is not an error.
    ///
    /// # Errors
    /// The text is not a JWK Set.
    pub fn parse(json: &[u8], expected: Expected<'_>) -> Result<Self, NotAJwkSet> {
        let set = json::read(json).map_err(|_| NotAJwkSet::Json)?;
        let keys = match set {
            RawSet::NoObject => return Err(NotAJwkSet::Json),
            RawSet::NoKeys => return Err(NotAJwkSet::NoKeys),
            RawSet::Keys(keys) if keys.len() > MAX_READ => return Err(NotAJwkSet::TooMany),
            RawSet::Keys(keys) => keys,
        };
        Ok(Self::parse_lenient(keys, expected))
    }

    /// Separates the usable keys from the ignored ones.
    #[must_use]
    pub fn parse_lenient<K: Into<RawKey>>(keys: Vec<K>, expected: Expected<'_>) -> Self {
        let mut set = Self { keys: Vec::new(), dropped: Vec::new() };
        let mut usable = Vec::new();
        for (index, key) in keys.into_iter().map(K::into).enumerate() {
            // The `kid` is untrusted and is stored in a report, so only a part of it is copied.
            let kid = key.kid.text().map(|kid| kid.chars().take(MAX_SHOWN).collect());
            match usable_key(key, expected) {
                Ok(key) => usable.push((index, key)),
                Err(reason) => set.dropped.push(Dropped { index, kid, reason }),
            }
        }
        let mut named: HashMap<KeyName, Jwk> = HashMap::new();
        let mut ambiguous: Vec<KeyName> = Vec::new();
        for (_, key) in &usable {
            match named.get(&key.name()) {
                Some(other) if *other != key.jwk => ambiguous.push(key.name()),
                Some(_) => {}
                None => drop(named.insert(key.name(), key.jwk.clone())),
            }
        }
        for (index, key) in usable {
            let reason = if ambiguous.contains(&key.name()) {
                DropReason::Duplicate
            } else if named.remove(&key.name()).is_none() {
                continue; // the same key once more
            } else if set.keys.len() == MAX_KEYS {
                DropReason::TooMany
            } else {
                set.keys.push(key);
                continue;
            };
            let kid = key.kid.chars().take(MAX_SHOWN).collect();
            set.dropped.push(Dropped { index, kid: Some(kid), reason });
        }
        set.dropped.sort_by_key(|dropped| dropped.index);
        set
    }

    /// A message that lists the ignored keys with the reasons; `None` if there are none.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let named: Vec<_> = self.dropped.iter().take(MAX_NAMED).map(ToString::to_string).collect();
        let more = self.dropped.len().saturating_sub(MAX_NAMED);
        let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
        (!named.is_empty()).then(|| named.join("; ") + &rest)
    }
}

fn usable_key(key: RawKey, expected: Expected<'_>) -> Result<SetKey, DropReason> {
    let kty = key.kty.string()?.ok_or(DropReason::NotAJwk)?;
    if kty == "oct" {
        return Err(DropReason::Symmetric);
    }
    if !expected.private_keys && key.has_private {
        return Err(DropReason::Private);
    }
    if key.use_.string()?.is_some_and(|use_| use_ != "sig") {
        return Err(DropReason::Use);
    }
    if !may_verify(key.key_ops, expected)? {
        return Err(DropReason::Operations);
    }
    let rsa = expected.algorithms.iter().copied().find(|alg| alg.is_rsa());
    let rsa = rsa.unwrap_or(VerifyingAlgorithm::RS256);
    let (alg, crv) = (key.alg.string()?, key.crv.string()?);
    let algorithm = VerifyingAlgorithm::of_key(alg, Some(kty), crv, rsa);
    let algorithm = algorithm.ok_or(DropReason::Unsupported)?;
    if !expected.algorithms.is_empty() && !expected.algorithms.contains(&algorithm) {
        return Err(DropReason::NotListed(algorithm));
    }
    let jwk = Jwk {
        kty: kty.to_owned(),
        kid: key.kid.owned()?,
        alg: Some(algorithm.as_str().to_owned()),
        use_: Some("sig".to_owned()),
        crv: key.crv.owned()?,
        n: key.n.owned()?,
        e: key.e.owned()?,
        x: key.x.owned()?,
        y: key.y.owned()?,
    };
    let verifying = jwk.verifying_key(algorithm)?;
    let mut jwk = jwk.canonical().ok_or(JwkError::Invalid)?;
    let kid = jwk.kid.take().or_else(|| jwk.thumbprint()).ok_or(DropReason::Kid)?;
    if kid.is_empty() || kid.len() > MAX_KID_BYTES {
        return Err(DropReason::Kid);
    }
    jwk.kid = Some(kid.clone());
    Ok(SetKey { kid, jwk, verifying })
}

impl Member {
    fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The string, or `None` if the member is absent.
    fn string(&self) -> Result<Option<&str>, DropReason> {
        match self {
            Self::Absent => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            Self::Other => Err(DropReason::NotAJwk),
        }
    }

    /// Like [`Self::string`].
    fn owned(self) -> Result<Option<String>, DropReason> {
        match self {
            Self::Absent => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            Self::Other => Err(DropReason::NotAJwk),
        }
    }
}

/// Whether `key_ops` allows verification. A private key has `sign`, and its public key verifies.
fn may_verify(operations: Operations, expected: Expected<'_>) -> Result<bool, DropReason> {
    match operations {
        Operations::Absent => Ok(true),
        Operations::List { verify, sign } => Ok(verify || (expected.private_keys && sign)),
        Operations::Other => Err(DropReason::NotAJwk),
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kid {
            // The `kid` is untrusted: it is shortened, and escaped so that it stays on one line.
            Some(kid) => {
                let shown: String =
                    kid.chars().take(MAX_SHOWN).flat_map(char::escape_debug).collect();
                write!(f, "key `{shown}` {}", self.reason)
            }
            None => write!(f, "key number {} {}", self.index.saturating_add(1), self.reason),
        }
    }
}

#[cfg(test)]
mod tests;
