//! User pools, as validators use them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::jwk::JwkSet;

use super::algorithm::{Algorithm, VerifyingAlgorithm};
use super::document::Document;
use super::duration::later;
use super::ids::{ObjectName, OrganizationId, UserPoolId};
use super::jwk;
use super::policy::ClaimsPolicy;
use super::secret_ref::SecretEntry;
use super::signing_key_set::{PublishedKey, SigningKeyState};

/// A group of end users, and the keys by which their tokens are verified.
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
    /// The source of its keys.
    pub source: Source,
    /// The claim requirements of its tokens.
    pub claims: ClaimsPolicy,
    /// The keys used for verification, oldest first. Empty until the leader has published them.
    pub keys: Vec<PublishedKey>,
    /// The last fetch of these keys, if they are fetched.
    pub fetch: FetchState,
    /// Caches [`UserPool::published`].
    pub document: OnceLock<Document>,
}

/// What validators know of the last fetch of a key set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchState {
    /// When it began.
    pub at: Option<Timestamp>,
    /// The refetch requests that it answers: by requesting process, the number of the request.
    pub answers: BTreeMap<String, u64>,
}

/// The source of a pool's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The operator creates and stores them.
    Hosted(Hosted),
    /// The organization provides a JWKS with private keys, in a Secret.
    Provided(SecretEntry),
    /// The organization's identity provider serves them.
    Remote(Remote),
    /// They are in the spec.
    Inline,
}

/// A key set that the leader fetches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Where to fetch it.
    pub location: Location,
    /// The CA certificates that its server is verified with, instead of the platform's.
    pub ca: Option<SecretEntry>,
    /// How often it is fetched.
    pub refresh_interval: SignedDuration,
}

/// The location of a remote key set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// This URL.
    Jwks(String),
    /// The discovery document of this issuer specifies it (OpenID Connect Discovery 1.0 section 4).
    Issuer(String),
}

impl Source {
    /// The readable form in `status.source`. Keys in status are used only while it matches the
    /// spec.
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

    /// Whether the key set is fetched, so that it can be outdated.
    #[must_use]
    pub const fn is_fetched(&self) -> bool {
        matches!(self, Self::Remote(_))
    }

    /// Whether this operator publishes the key set. Others are published by their origin.
    #[must_use]
    pub const fn is_published_here(&self) -> bool {
        matches!(self, Self::Hosted(_) | Self::Provided(_))
    }
}

/// The settings of a hosted pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hosted {
    /// The algorithm of new keys.
    pub algorithm: Algorithm,
    /// Lifetime of a token whose request has no `exp`.
    pub default_lifetime: SignedDuration,
    /// The longest lifetime that a request may ask for.
    pub max_lifetime: SignedDuration,
    /// How often the signing key is rotated.
    pub rotation_interval: Option<SignedDuration>,
    /// Whether the signing keys are retained when the pool is deleted.
    pub retain_keys: bool,
}

impl UserPool {
    /// The key with this `kid` that is used with this algorithm. Keys of several algorithms may
    /// share a `kid`.
    #[must_use]
    pub fn key(&self, kid: &str, algorithm: VerifyingAlgorithm) -> Option<&PublishedKey> {
        self.keys.iter().find(|key| key.kid == kid && key.verifying.algorithm() == algorithm)
    }

    /// Whether the key set was fetched recently enough to be used for verification. A set that is
    /// not fetched always is.
    #[must_use]
    pub fn is_recent(&self, max_age: SignedDuration, now: Timestamp) -> bool {
        self.fetch.at.is_none_or(|at| now.duration_since(at) <= max_age)
    }

    /// When the key set becomes too old for verification; `None` if it is not fetched.
    #[must_use]
    pub fn recent_until(&self, max_age: SignedDuration) -> Option<Timestamp> {
        self.fetch.at.map(|at| later(at, max_age))
    }

    /// The key that signs.
    #[must_use]
    pub fn active_key(&self) -> Option<&PublishedKey> {
        self.keys.iter().find(|key| key.state == SigningKeyState::Active)
    }

    /// Whether a token signed by `key` may have this `iss`. Tokens of a hosted pool have the issuer
    /// of their key, and those of an OpenID provider always its own.
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

    /// The published key set as JSON, encoded once for all requests.
    ///
    /// # Errors
    /// Never in practice: a set of strings can be encoded.
    pub fn published(&self) -> serde_json::Result<&Document> {
        if let Some(document) = self.document.get() {
            return Ok(document);
        }
        let document = Document::of(&self.jwks()?)?;
        Ok(self.document.get_or_init(|| document))
    }

    /// The key set that is published.
    ///
    /// # Errors
    /// See [`jwk::public_set`].
    pub fn jwks(&self) -> serde_json::Result<JwkSet> {
        jwk::public_set(self.keys.iter().map(|key| &key.jwk))
    }
}
