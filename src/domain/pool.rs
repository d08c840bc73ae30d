//! A user pool as it is served.

use jiff::SignedDuration;
use serde::Serialize;

use super::algorithm::Algorithm;
use super::ids::{ObjectName, OrganizationId, UserPoolId};
use super::jwk::Jwk;
use super::keyset::{PublishedKey, SigningKeyState};

/// A group of end users and the keys that their tokens are checked against.
#[derive(Clone, Debug)]
pub struct UserPool {
    /// Its id.
    pub id: UserPoolId,
    /// The organization that its namespace is.
    pub organization: OrganizationId,
    /// The object that declares it.
    pub name: ObjectName,
    /// Where its keys come from.
    pub source: Source,
    /// Accepted `aud` values; empty: the pool's id or one of its live clients.
    pub audiences: Vec<String>,
    /// The published keys, oldest first. Empty until the leader has published them.
    pub keys: Vec<PublishedKey>,
}

/// Where the keys of a pool come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The operator makes and keeps them.
    Hosted(Hosted),
}

impl Source {
    /// The readable form that stands in `status.source`. Keys serve only while the two agree.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Hosted(_) => "hosted".to_owned(),
        }
    }
}

/// What a hosted pool is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hosted {
    /// The algorithm of new keys.
    pub algorithm: Algorithm,
    /// Lifetime of a token whose request names no `exp`.
    pub default_lifetime: SignedDuration,
    /// The longest lifetime that a request may ask for.
    pub max_lifetime: SignedDuration,
    /// How often the signing key is replaced.
    pub rotation_interval: Option<SignedDuration>,
    /// Whether the signing keys outlive the pool.
    pub retain_keys: bool,
}

/// A public JWKS (RFC 7517 section 5).
#[derive(Clone, Debug, Serialize)]
pub struct Jwks {
    /// The keys.
    pub keys: Vec<Jwk>,
}

impl UserPool {
    /// The key of this `kid`.
    #[must_use]
    pub fn key(&self, kid: &str) -> Option<&PublishedKey> {
        self.keys.iter().find(|key| key.kid == kid)
    }

    /// The key that signs now.
    #[must_use]
    pub fn active_key(&self) -> Option<&PublishedKey> {
        self.keys.iter().find(|key| key.state == SigningKeyState::Active)
    }

    /// The set that is served to the world.
    #[must_use]
    pub fn jwks(&self) -> Jwks {
        Jwks { keys: self.keys.iter().map(|key| key.jwk.clone()).collect() }
    }
}
