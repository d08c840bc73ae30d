//! A user pool as it is served.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::algorithm::Algorithm;
use super::ids::{ObjectName, OrganizationId, UserPoolId};
use super::jwk::Jwk;
use super::keyset::{PublishedKey, SigningKeyState};
use super::policy::ClaimsPolicy;
use super::staff::SecretEntry;

/// A group of end users and the keys that their tokens are checked against.
#[derive(Clone, Debug)]
pub struct UserPool {
    /// Its id.
    pub id: UserPoolId,
    /// The organization that its namespace is.
    pub organization: OrganizationId,
    /// The object that declares it.
    pub name: ObjectName,
    /// When that object was created.
    pub created_at: Option<Timestamp>,
    /// Where its keys come from.
    pub source: Source,
    /// What the claims of its tokens have to say.
    pub claims: ClaimsPolicy,
    /// The keys that serve, oldest first. Empty until the leader has published them.
    pub keys: Vec<PublishedKey>,
    /// What is known of the fetch that brought them, if they are fetched.
    pub fetch: FetchState,
}

/// What validators know of the last fetch of a key set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchState {
    /// When it was.
    pub at: Option<Timestamp>,
    /// The questions of validators that it answers: who asked, and the number of the question.
    pub answers: BTreeMap<String, u64>,
}

/// Where the keys of a pool come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The operator makes and keeps them.
    Hosted(Hosted),
    /// The company brings a JWKS with private keys, in a Secret.
    Provided(SecretEntry),
    /// The company's identity provider serves them.
    Remote(Remote),
    /// They stand in the spec.
    Inline,
}

/// A key set that the leader fetches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Where it is found.
    pub location: Location,
    /// The CA certificates that its server is checked by, instead of the public ones.
    pub ca: Option<SecretEntry>,
    /// How often it is fetched.
    pub refresh_interval: SignedDuration,
}

/// Where a remote key set is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// At this URL.
    Jwks(String),
    /// Where the discovery document of this issuer says (OpenID Connect Discovery 1.0 section 4).
    Issuer(String),
}

impl Source {
    /// The readable form that stands in `status.source`. Keys serve only while the two agree.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Hosted(_) => "hosted".to_owned(),
            Self::Provided(SecretEntry { secret, entry }) => format!("provided {secret}/{entry}"),
            Self::Remote(Remote { location: Location::Jwks(url), .. }) => format!("jwks {url}"),
            Self::Remote(Remote { location: Location::Issuer(url), .. }) => format!("oidc {url}"),
            Self::Inline => "inline".to_owned(),
        }
    }

    /// Whether the key set is one that is fetched, so that it can be behind the truth.
    #[must_use]
    pub const fn is_fetched(&self) -> bool {
        matches!(self, Self::Remote(_))
    }

    /// Whether the key set is one that we publish to the world. Others are published where they
    /// come from.
    #[must_use]
    pub const fn is_published_here(&self) -> bool {
        matches!(self, Self::Hosted(_) | Self::Provided(_))
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

    /// Whether a token of `key` may carry this `iss`. The tokens of a hosted pool carry the issuer
    /// of their key, and those of an OpenID provider its own, always.
    #[must_use]
    pub fn accepts_issuer(&self, key: &PublishedKey, issuer: Option<&str>) -> bool {
        match &self.source {
            Source::Hosted(_) => issuer.is_some() && issuer == key.issuer.as_deref(),
            Source::Remote(Remote { location: Location::Issuer(own), .. }) => {
                issuer == Some(own.as_str())
            }
            Source::Provided(_) | Source::Remote(_) | Source::Inline => {
                let listed = &self.claims.issuers;
                listed.is_empty() || issuer.is_some_and(|iss| listed.iter().any(|it| it == iss))
            }
        }
    }

    /// The set that is served to the world.
    #[must_use]
    pub fn jwks(&self) -> Jwks {
        Jwks { keys: self.keys.iter().map(|key| key.jwk.clone()).collect() }
    }
}
