//! A client as it is served, and the proof that an ApiKey gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::api_key_life::{ApiKeyState, Schedule};
use super::decision::{ApiKeyHolder, Principal, Reason, Verified};
use super::ids::{ObjectName, OrganizationId, SdkClientId, UserPoolId};
use super::opaque::KeyHash;
use super::revocation::Revocation;
use super::role::Role;

/// An application of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdkClient {
    /// Its clientId.
    pub id: SdkClientId,
    /// The organization that its namespace is.
    pub organization: OrganizationId,
    /// The object that declares it.
    pub name: ObjectName,
    /// When that object was created: of two clients that choose one clientId, the older has it.
    pub created_at: Option<Timestamp>,
    /// Kept, and refused.
    pub suspended: bool,
    /// Frontend or backend.
    pub kind: ClientKind,
}

/// The two types of client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// A frontend: its users are those of the pool.
    Webapp(Webapp),
    /// A backend.
    Service(Service),
}

/// A frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webapp {
    /// The name that people see.
    pub display_name: Option<String>,
    /// The object that the client refers to; it may not exist.
    pub pool: ObjectName,
    /// The id of that pool, which follows from its name.
    pub pool_id: UserPoolId,
    /// The browser origins that may read the public data below, as browsers write them.
    pub allowed_origins: Vec<Origin>,
    /// Where Link may redirect back to.
    pub redirect_urls: Vec<String>,
    /// URL of the logo.
    pub logo_url: Option<String>,
    /// Id of the Chrome extension that belongs to the client.
    pub chrome_extension_id: Option<String>,
    /// Accept only tokens that were made for this client.
    pub strict: bool,
}

/// A backend with its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What its keys may do.
    pub role: Role,
    /// Where its keys come from.
    pub source: KeySource,
    /// The keys that may be used.
    pub keys: Vec<StoredApiKey>,
}

/// Where the keys of a service come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The operator makes and delivers them.
    Delivery(Box<Delivery>),
    /// They were made elsewhere; only their hashes are known. These are the hashes that the spec
    /// lists; a key may be used once the leader has copied its hash to status.
    Hashes(Vec<StoredApiKey>),
}

/// How the key of a service is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Name of the Secret, in the client's namespace.
    pub secret_name: String,
    /// Names of its entries.
    pub entries: Entries,
    /// Labels for it.
    pub labels: BTreeMap<String, String>,
    /// Annotations for it.
    pub annotations: BTreeMap<String, String>,
    /// How keys follow one another.
    pub schedule: Schedule,
    /// The rotation that somebody asks for: a digest of the annotation's value.
    pub requested_rotation: Option<String>,
    /// Whether the Secret outlives the client.
    pub retain: bool,
}

/// Names of the entries of a delivery Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    /// The ApiKey.
    pub api_key: String,
    /// The clientId.
    pub client_id: String,
    /// The URL of the API.
    pub base_url: String,
    /// The id of the organization.
    pub organization_id: String,
}

/// What is known of an ApiKey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredApiKey {
    /// SHA-256 of the key.
    pub hash: KeyHash,
    /// Where it is in its life. Keys made elsewhere are Current.
    pub state: ApiKeyState,
    /// When it was made. Unknown counts as oldest.
    pub created_at: Option<Timestamp>,
    /// When it stops to count.
    pub expires_at: Option<Timestamp>,
}

impl StoredApiKey {
    /// This key with the more restrictive of the times that both tell of it: an unknown creation is
    /// before every other, and a key without an expiry never expires.
    #[must_use]
    pub fn restricted_by(&self, other: &Self) -> Self {
        let created_at = self.created_at.zip(other.created_at);
        let expires_at = match (self.expires_at, other.expires_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            created_at: created_at.map(|(one, other)| one.min(other)),
            expires_at,
            ..self.clone()
        }
    }
}

/// An origin in the one form in which browsers send it (RFC 6454 section 6.2): scheme and host in
/// lower case, the port only where it is not the scheme's own. So two of them are compared byte
/// for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// The origin that somebody wrote, in that form.
    #[must_use]
    pub fn new(written: &str) -> Self {
        let lower = written.to_ascii_lowercase();
        let default_port = [("http://", ":80"), ("https://", ":443")];
        let port = default_port.iter().find(|(scheme, _)| lower.starts_with(scheme));
        let without = port.and_then(|(_, port)| lower.strip_suffix(port)).map(str::to_owned);
        Self(without.unwrap_or(lower))
    }

    /// As a browser sends it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SdkClient {
    /// The pool of a webapp that may be used.
    ///
    /// # Errors
    /// The client is suspended, or is not a webapp.
    pub const fn live_pool(&self) -> Result<UserPoolId, Reason> {
        match &self.kind {
            _ if self.suspended => Err(Reason::ClientSuspended),
            ClientKind::Webapp(webapp) => Ok(webapp.pool_id),
            ClientKind::Service(_) => Err(Reason::ClientNotWebapp),
        }
    }

    /// Whether only tokens count that were made for this client.
    #[must_use]
    pub const fn is_strict(&self) -> bool {
        matches!(&self.kind, ClientKind::Webapp(webapp) if webapp.strict)
    }

    /// The hashes by which this client is found.
    pub fn key_hashes(&self) -> impl Iterator<Item = KeyHash> + '_ {
        self.keys().iter().map(|key| key.hash)
    }

    /// The key that is published and not delivered yet.
    #[must_use]
    pub fn next_key(&self) -> Option<KeyHash> {
        self.keys().iter().find(|key| key.state == ApiKeyState::Next).map(|key| key.hash)
    }

    fn keys(&self) -> &[StoredApiKey] {
        match &self.kind {
            ClientKind::Service(service) => &service.keys,
            ClientKind::Webapp(_) => &[],
        }
    }

    /// Proves that the holder of the key with this hash is this client.
    ///
    /// # Errors
    /// The client is suspended, the key is not one of its keys, has expired at `now`, or one of
    /// the client's `revocations`, those in force, covers it.
    pub fn prove(
        &self,
        hash: &KeyHash,
        revocations: &[Arc<Revocation>],
        now: Timestamp,
    ) -> Result<Verified, Reason> {
        let ClientKind::Service(service) = &self.kind else {
            return Err(Reason::ApiKeyUnknown);
        };
        let key = service.keys.iter().find(|key| key.hash == *hash).ok_or(Reason::ApiKeyUnknown)?;
        if self.suspended {
            return Err(Reason::ClientSuspended);
        }
        if key.expires_at.is_some_and(|end| end <= now) {
            return Err(Reason::ApiKeyExpired);
        }
        if revocations.iter().any(|it| it.covers_key(&hash.id(), key.created_at, now)) {
            return Err(Reason::ApiKeyRevoked);
        }
        Ok(Verified::proven(Principal::ApiKey(ApiKeyHolder {
            organization: self.organization,
            client: self.id,
            role: service.role,
            key_id: hash.id(),
            created_at: key.created_at,
            expires_at: key.expires_at,
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::opaque::ApiKey;

    #[test]
    fn the_more_restrictive_time_wins() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let hash = ApiKey::generate().unwrap().hash();
        let key = |created_at, expires_at| StoredApiKey {
            hash,
            state: ApiKeyState::Current,
            created_at,
            expires_at,
        };
        for (one, other, both) in [
            (key(at(1), at(9)), key(at(2), at(8)), key(at(1), at(8))),
            (key(None, None), key(at(2), at(8)), key(None, at(8))),
            (key(at(1), None), key(at(1), None), key(at(1), None)),
        ] {
            assert_eq!(one.restricted_by(&other), both);
            assert_eq!(other.restricted_by(&one), both);
        }
    }

    #[test]
    fn origins_are_as_browsers_write_them() {
        for (written, sent) in [
            ("https://shop.acme.example", "https://shop.acme.example"),
            ("HTTPS://Shop.Acme.Example", "https://shop.acme.example"),
            ("https://shop.acme.example:443", "https://shop.acme.example"),
            ("http://shop.acme.example:80", "http://shop.acme.example"),
            ("https://shop.acme.example:80", "https://shop.acme.example:80"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("https://[::1]:443", "https://[::1]"),
            ("https://[fe80::443]", "https://[fe80::443]"),
            (
                "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
                "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            ),
        ] {
            assert_eq!(Origin::new(written).as_str(), sent);
        }
    }
}
