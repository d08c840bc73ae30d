//! JWK Sets (RFC 7517 section 5) from strangers: which of their keys can verify tokens, and what
//! is the matter with the others.
//!
//! A bad key is dropped by name and the rest serve. Each key that serves has one algorithm, chosen
//! here and never by a token: its `alg`, or without one what its type and curve mean; for RSA,
//! which fits several, the first RSA algorithm of the pool's list, else RS256. A key without `kid`
//! is named by its RFC 7638 thumbprint. Two different keys of one `kid` are both dropped: a token
//! could not say which of them it means.

use std::collections::HashMap;
use std::fmt;

use thiserror::Error;

use super::algorithm::VerifyingAlgorithm;
use super::json;
use super::jwk::{Jwk, JwkError, VerifyingKey};
use raw::{Member, Operations};
pub use raw::{RawKey, RawSet};

mod raw;

/// The most keys that serve; what status can hold.
pub const MAX_KEYS: usize = 100;
/// The most keys that are looked at.
pub const MAX_READ: usize = 1000;
/// The longest `kid`, in bytes; what status can hold.
const MAX_KID_BYTES: usize = 256;
/// How many dropped keys a message names.
const MAX_NAMED: usize = 8;
/// How much of the `kid` of a dropped key is kept, in characters.
const MAX_SHOWN: usize = 64;

/// What a set is expected to be.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'p> {
    /// Whether private keys belong into the set. Only their public halves are read out.
    pub private_keys: bool,
    /// The algorithms that count; empty: all.
    pub algorithms: &'p [VerifyingAlgorithm],
}

/// The keys of a set that can verify tokens, in the order of the set, and those that cannot.
#[derive(Clone, Debug)]
pub struct JwkSet {
    /// At most [`MAX_KEYS`], each with a `kid` of its own.
    pub keys: Vec<SetKey>,
    /// The others.
    pub dropped: Vec<Dropped>,
}

/// A key that can verify tokens.
#[derive(Clone, Debug)]
pub struct SetKey {
    /// The key id.
    pub kid: String,
    /// The public key, with `kid`, `alg` and `use`.
    pub jwk: Jwk,
    /// The same, parsed.
    pub verifying: VerifyingKey,
}

/// A key that cannot. Its `Display` names it and says why; it holds nothing else of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Where it stands in the set, from 0.
    pub index: usize,
    /// The beginning of its `kid`, if it has one.
    pub kid: Option<String>,
    /// What is the matter with it.
    pub reason: DropReason,
}

/// Why a key of a set does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DropReason {
    /// Not an object, or a member has another type than RFC 7517 gives it.
    #[error("is not a JWK")]
    NotAJwk,
    /// A `kid` that status cannot hold.
    #[error("has an empty `kid` or one of more than 256 bytes")]
    Kid,
    /// `kty` is `oct`.
    #[error("is symmetric: whoever can verify with it can also sign")]
    Symmetric,
    /// Private members where only public ones belong.
    #[error("has private members: whoever has read them can sign; replace the key")]
    Private,
    /// `use` is not `sig`.
    #[error("is not for signatures (`use`)")]
    Use,
    /// `key_ops` lacks `verify`.
    #[error("is not for verifying (`key_ops`)")]
    Operations,
    /// An `alg` that is not supported, or without one a type or curve that is not.
    #[error("has an `alg`, `kty` or `crv` that is not supported")]
    Unsupported,
    /// The pool's `algorithms` do not have it.
    #[error("is for {}, which is not among the pool's `algorithms`", .0.as_str())]
    NotListed(VerifyingAlgorithm),
    /// The key itself is not right.
    #[error("cannot be used: {0}")]
    Key(#[from] JwkError),
    /// Another key has the same `kid`.
    #[error("has the same `kid` as another key")]
    Duplicate,
    /// There are enough.
    #[error("is one too many: at most 100 keys serve")]
    TooMany,
}

/// Why a text is no JWK Set. Says nothing of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotAJwkSet {
    /// Not JSON, not an object, a member occurs twice, or there is too much of it.
    #[error(
        "not a JSON object, or one in which a member occurs twice, or nested more than 16 levels deep, or with more than 256 members in one object"
    )]
    Json,
    /// No `keys`.
    #[error("has no member `keys` that is a list")]
    NoKeys,
    /// More than [`MAX_READ`] keys.
    #[error("has more than 1000 keys")]
    TooMany,
}

impl JwkSet {
    /// Reads a set.
    ///
    /// # Errors
    /// It is none. A set whose keys are all unusable is one.
    pub fn parse(json: &[u8], expected: Expected<'_>) -> Result<Self, NotAJwkSet> {
        let set = json::read(json).map_err(|_| NotAJwkSet::Json)?;
        let keys = match set {
            RawSet::NoObject => return Err(NotAJwkSet::Json),
            RawSet::NoKeys => return Err(NotAJwkSet::NoKeys),
            RawSet::Keys(keys) if keys.len() > MAX_READ => return Err(NotAJwkSet::TooMany),
            RawSet::Keys(keys) => keys,
        };
        Ok(Self::sort_out(keys, expected))
    }

    /// Sorts out keys that were read already.
    #[must_use]
    pub fn sort_out<K: Into<RawKey>>(keys: Vec<K>, expected: Expected<'_>) -> Self {
        let mut set = Self { keys: Vec::new(), dropped: Vec::new() };
        let mut usable = Vec::new();
        for (index, key) in keys.into_iter().map(K::into).enumerate() {
            // A stranger chose it, and what is dropped is kept: so only a part of it.
            let kid = key.kid.text().map(|kid| kid.chars().take(MAX_SHOWN).collect());
            match usable_key(key, expected) {
                Ok(key) => usable.push((index, key)),
                Err(reason) => set.dropped.push(Dropped { index, kid, reason }),
            }
        }
        let mut of_kid: HashMap<String, Jwk> = HashMap::new();
        let mut ambiguous: Vec<String> = Vec::new();
        for (_, key) in &usable {
            match of_kid.get(&key.kid) {
                Some(other) if *other != key.jwk => ambiguous.push(key.kid.clone()),
                Some(_) => {}
                None => drop(of_kid.insert(key.kid.clone(), key.jwk.clone())),
            }
        }
        for (index, key) in usable {
            let reason = if ambiguous.contains(&key.kid) {
                DropReason::Duplicate
            } else if of_kid.remove(&key.kid).is_none() {
                continue; // the very same key once more
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

    /// Which keys were dropped and why, for people; `None` if none was.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let named: Vec<_> = self.dropped.iter().take(MAX_NAMED).map(ToString::to_string).collect();
        let more = self.dropped.len().saturating_sub(MAX_NAMED);
        let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
        (!named.is_empty()).then(|| named.join("; ") + &rest)
    }
}

fn usable_key(key: RawKey, expected: Expected<'_>) -> Result<SetKey, DropReason> {
    let kty = key.kty.strict()?.ok_or(DropReason::NotAJwk)?;
    if kty == "oct" {
        return Err(DropReason::Symmetric);
    }
    if !expected.private_keys && key.has_private {
        return Err(DropReason::Private);
    }
    if key.use_.strict()?.is_some_and(|use_| use_ != "sig") {
        return Err(DropReason::Use);
    }
    if !may_verify(key.key_ops, expected)? {
        return Err(DropReason::Operations);
    }
    let rsa = expected.algorithms.iter().copied().find(|alg| alg.is_rsa());
    let rsa = rsa.unwrap_or(VerifyingAlgorithm::RS256);
    let (alg, crv) = (key.alg.strict()?, key.crv.strict()?);
    let algorithm = VerifyingAlgorithm::of_key(alg, Some(kty), crv, rsa);
    let algorithm = algorithm.ok_or(DropReason::Unsupported)?;
    if !expected.algorithms.is_empty() && !expected.algorithms.contains(&algorithm) {
        return Err(DropReason::NotListed(algorithm));
    }
    let mut jwk = Jwk {
        kty: kty.to_owned(),
        kid: key.kid.optional()?,
        alg: Some(algorithm.as_str().to_owned()),
        use_: Some("sig".to_owned()),
        crv: key.crv.optional()?,
        n: key.n.optional()?,
        e: key.e.optional()?,
        x: key.x.optional()?,
        y: key.y.optional()?,
    };
    jwk.keep_own_members();
    let verifying = jwk.verifying_key(algorithm)?;
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

    /// Absent or a string.
    fn strict(&self) -> Result<Option<&str>, DropReason> {
        match self {
            Self::Absent => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            Self::Null | Self::Other => Err(DropReason::NotAJwk),
        }
    }

    /// The same, but null counts as absent.
    fn optional(self) -> Result<Option<String>, DropReason> {
        match self {
            Self::Absent | Self::Null => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            Self::Other => Err(DropReason::NotAJwk),
        }
    }
}

/// `key_ops` of a private key says `sign`; its public half verifies.
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
            // A stranger chose it: whatever it is, it stays short and on its line.
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
