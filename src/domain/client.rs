//! SDK clients, and the verification of API keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::credential::KeyHash;
use super::ids::{ObjectName, OrganizationId, SdkClientId, UserPoolId};
use super::principal::{ApiKeyHolder, Principal, Verified};
use super::reason::Reason;
use super::revocation::Revocation;
use super::role::Role;
use super::rotation::api_keys::Policy;
use super::stored_key::{StoredApiKey, StoredApiKeys};

/// An application of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdkClient {
    /// The clientId.
    pub id: SdkClientId,
    /// The organization of its namespace.
    pub organization: OrganizationId,
    /// The object that declares it.
    pub name: ObjectName,
    /// When that object was created. If two clients choose the same clientId, the older one gets
    /// it.
    pub created_at: Option<Timestamp>,
    /// Whether every credential for this client is rejected, though the object is retained.
    pub suspended: bool,
    /// Frontend or backend.
    pub kind: ClientKind,
}

/// The two types of client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// A frontend, whose users are those of a pool.
    Webapp(Box<Webapp>),
    /// A backend.
    Service(Service),
}

/// A frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webapp {
    /// The display name.
    pub display_name: Option<String>,
    /// The UserPool that the client refers to; it may not exist.
    pub pool: ObjectName,
    /// The id of that pool, derived from its name.
    pub pool_id: UserPoolId,
    /// The browser origins that may read the public data below (CORS).
    pub allowed_origins: Vec<Origin>,
    /// The URLs to which Link may redirect.
    pub redirect_urls: Vec<String>,
    /// URL of the logo.
    pub logo_url: Option<String>,
    /// Id of the client's Chrome extension.
    pub chrome_extension_id: Option<String>,
    /// Whether only tokens that were issued for this client are accepted.
    pub strict: bool,
}

/// All of a client that the validation of a token depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenClient {
    /// The clientId.
    pub id: SdkClientId,
    /// The pool whose tokens the client accepts, or why it accepts none.
    pub pool: Result<UserPoolId, Reason>,
    /// Whether only tokens that were issued for this client are accepted.
    pub strict: bool,
}

/// A backend and its API keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The role of its keys.
    pub role: Role,
    /// Whether its keys are delivered into a Secret. Otherwise its spec lists their hashes.
    pub is_delivered: bool,
    /// The keys that status lists and the spec still allows. [`SdkClient::prove`] checks their
    /// expiry.
    pub keys: StoredApiKeys,
}

impl Service {
    /// Whether status lists this key.
    #[must_use]
    pub fn lists(&self, key: &KeyHash) -> bool {
        self.keys.find(key).is_some()
    }
}

/// A client as its object declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredClient {
    /// What validators use.
    pub client: SdkClient,
    /// The source of a service's keys, which only the leader uses.
    pub source: Option<KeySource>,
}

/// The source of a service's API keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The operator creates keys and delivers them into a Secret.
    Delivery(Box<Delivery>),
    /// Keys are created elsewhere, and the spec lists their hashes, which are these. A key is
    /// accepted once the leader has copied its hash to status.
    Hashes(Vec<StoredApiKey>),
}

/// How API keys are delivered into a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Name of the Secret, in the client's namespace.
    pub secret_name: String,
    /// Names of the Secret's entries.
    pub entries: Entries,
    /// Labels of the Secret.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Secret.
    pub annotations: BTreeMap<String, String>,
    /// The rotation settings.
    pub rotation: Policy,
    /// The rotation requested by annotation, as a digest of the annotation's value.
    pub requested_rotation: Option<String>,
    /// Whether the Secret is retained when the client is deleted.
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

/// An origin in the form in which browsers send it (RFC 6454 section 6.2): scheme and host in lower
/// case, and no default port. So origins can be compared byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// Normalizes an origin from a spec.
    #[must_use]
    pub fn new(written: &str) -> Self {
        let lower = written.to_ascii_lowercase();
        let default_port = [("http://", ":80"), ("https://", ":443")];
        let port = default_port.iter().find(|(scheme, _)| lower.starts_with(scheme));
        let without = port.and_then(|(_, port)| lower.strip_suffix(port)).map(str::to_owned);
        Self(without.unwrap_or(lower))
    }

    /// The origin as a browser sends it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SdkClient {
    /// The pool whose tokens this client accepts.
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

    /// What the validation of a token depends on.
    #[must_use]
    pub const fn for_tokens(&self) -> TokenClient {
        let strict = matches!(&self.kind, ClientKind::Webapp(webapp) if webapp.strict);
        TokenClient { id: self.id, pool: self.live_pool(), strict }
    }

    /// The backend, if it is one.
    #[must_use]
    pub const fn service(&self) -> Option<&Service> {
        match &self.kind {
            ClientKind::Service(service) => Some(service),
            ClientKind::Webapp(_) => None,
        }
    }

    /// Whether it has this API key.
    #[must_use]
    pub fn has_key(&self, hash: &KeyHash) -> bool {
        self.service().is_some_and(|service| service.lists(hash))
    }

    /// Verifies the API key with this hash. `revocations` are those of the client that are in force
    /// at `now`.
    ///
    /// # Errors
    /// The key is not one of this client's, the client is suspended, or the key has expired or is
    /// revoked.
    pub fn prove(
        &self,
        hash: &KeyHash,
        revocations: &[Arc<Revocation>],
        now: Timestamp,
    ) -> Result<Verified, Reason> {
        let service = self.service().ok_or(Reason::ApiKeyUnknown)?;
        let key = service.keys.find(hash).ok_or(Reason::ApiKeyUnknown)?;
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
