//! The API keys of a service as its spec and its status list them: by hash.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::crd::ApiKeyState;
use crate::crd::rules::{READABLE_FRACTION, expiry_time, key_id, matches, readable_time};
use crate::domain::credential::KeyHash;
use crate::domain::rotation::api_keys::StoredApiKey;

/// The hash of an API key that was generated elsewhere.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.id == self.sha256.substring(0, 16)")
        .message("id must be the first 16 digits of sha256, such as `6cfb9ed0778cd7e8`; `kubectl anon key generate` prints both")
)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyHash {
    /// The first 16 hexadecimal digits of `sha256`.
    #[schemars(length(max = 16))]
    #[x_kube(validation = key_id())]
    pub id: String,
    /// SHA-256 of the whole API key: 64 lower-case hexadecimal digits.
    #[schemars(length(max = 64))]
    #[x_kube(validation = matches(
        "^[0-9a-f]{64}$",
        "must be a SHA-256 hash: 64 lower-case hexadecimal digits, such as `6cfb9ed0778cd7e8c35a7321dd84df7f6e8b21e5b87ce2e631df784026c8f607`",
    ))]
    pub sha256: String,
    /// When the key was generated: a time before 9999-12-30 with at most nine fractional digits. A key
    /// without it, or with a time in the future, is treated as the oldest. Once the key has been
    /// accepted, an edit makes it older, never younger: to correct the time, remove the entry and add
    /// it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = READABLE_FRACTION))]
    #[x_kube(validation = readable_time())]
    pub created_at: Option<Time>,
    /// When the key expires: a time before 9999-12-30 with at most nine fractional digits. Never, if
    /// unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = READABLE_FRACTION))]
    #[x_kube(validation = expiry_time())]
    pub expires_at: Option<Time>,
}

impl ApiKeyHash {
    /// The key; `None` if the hash is malformed, which the schema rejects.
    #[must_use]
    pub fn key(&self) -> Option<StoredApiKey> {
        let hash = KeyHash::parse(&self.sha256).filter(|hash| hash.id() == self.id)?;
        let [created_at, expires_at] =
            [self.created_at.as_ref(), self.expires_at.as_ref()].map(time);
        Some(StoredApiKey::listed(hash, created_at, expires_at))
    }
}

impl From<StoredApiKey> for ApiKeyHash {
    fn from(key: StoredApiKey) -> Self {
        Self {
            id: key.hash.id(),
            sha256: key.hash.to_string(),
            created_at: key.created_at.map(Time),
            expires_at: key.expires_at.map(Time),
        }
    }
}

/// A valid API key of a service.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyStatus {
    /// The first 16 hexadecimal digits of `sha256`.
    #[schemars(length(min = 16, max = 16))]
    pub id: String,
    /// SHA-256 of the whole API key: 64 lower-case hexadecimal digits.
    #[schemars(length(min = 64, max = 64))]
    pub sha256: String,
    /// Next (known to validators, not delivered yet), Current (in the Secret) or Previous (replaced,
    /// valid until it expires).
    pub state: ApiKeyState,
    /// When the key was delivered; for a Next key, when it was generated; for a key whose hash the spec
    /// lists, the time in the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    /// When the key expires. Never, if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

impl ApiKeyStatus {
    /// The key; `None` if the hash is malformed, which the schema rejects.
    #[must_use]
    pub fn key(&self) -> Option<StoredApiKey> {
        let hash = KeyHash::parse(&self.sha256)?;
        let [created_at, expires_at] =
            [self.created_at.as_ref(), self.expires_at.as_ref()].map(time);
        Some(StoredApiKey { hash, state: self.state, created_at, expires_at })
    }
}

impl From<&StoredApiKey> for ApiKeyStatus {
    fn from(key: &StoredApiKey) -> Self {
        Self {
            id: key.hash.id(),
            sha256: key.hash.to_string(),
            state: key.state,
            created_at: key.created_at.map(Time),
            expires_at: key.expires_at.map(Time),
        }
    }
}

fn time(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|Time(time)| *time)
}
