//! The keys of pools and clients, as their status lists them. Never a secret: signing keys by `kid`,
//! API keys by the prefix of their hash.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use serde::Serialize;

use super::target::name_of;
use super::when;
use crate::crd::{Kind, SdkClient, UserPool};
use crate::domain::stored_key::ApiKeyState;

/// A key in a status.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// The namespace of the owner.
    pub namespace: String,
    /// The owner, such as `sdkclient/backend`.
    pub owner: String,
    /// SigningKey or ApiKey.
    #[serde(rename = "type")]
    pub type_: KeyType,
    /// The `kid` of a signing key, or the first 16 digits of the SHA-256 of an API key.
    pub id: String,
    /// The algorithm of a signing key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Next, Active or Retiring; Next, Current or Previous.
    pub state: String,
    /// When the key was published, delivered or generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    /// When a signing key started signing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_at: Option<Time>,
    /// When an API key expires, or a Retiring signing key is removed. Never, if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// When the next rotation is due, for the key in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Time>,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum KeyType {
    /// Verifies the tokens of a pool.
    SigningKey,
    /// Authenticates a service.
    ApiKey,
}

impl KeyType {
    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SigningKey => "SigningKey",
            Self::ApiKey => "ApiKey",
        }
    }
}

/// The keys of a pool, oldest first.
pub fn of_pool(pool: &UserPool) -> Vec<Key> {
    let Some(status) = &pool.status else { return Vec::new() };
    let key = |key: &crate::crd::SigningKeyStatus| {
        let state = name(&key.state);
        Key {
            namespace: pool.namespace().unwrap_or_default(),
            owner: name_of(Kind::UserPool, &pool.name_any()),
            type_: KeyType::SigningKey,
            id: key.kid.clone(),
            algorithm: Some(name(&key.algorithm)),
            created_at: Some(key.published_at.clone()),
            active_at: key.active_at.clone(),
            expires_at: key.retire_at.clone(),
            next_rotation: status.next_rotation.clone().filter(|_| state == "Active"),
            state,
        }
    };
    status.keys.iter().map(key).collect()
}

/// The keys of a client, oldest first.
pub fn of_client(client: &SdkClient) -> Vec<Key> {
    let Some(status) = &client.status else { return Vec::new() };
    let key = |key: &crate::crd::ApiKeyStatus| Key {
        namespace: client.namespace().unwrap_or_default(),
        owner: name_of(Kind::SdkClient, &client.name_any()),
        type_: KeyType::ApiKey,
        id: key.id.clone(),
        algorithm: None,
        state: name(&key.state),
        created_at: key.created_at.clone(),
        active_at: None,
        expires_at: key.expires_at.clone(),
        next_rotation: status.next_rotation.clone().filter(|_| key.state == ApiKeyState::Current),
    };
    status.keys.iter().map(key).collect()
}

/// The name of a value in JSON, such as `Active` or `ES256`.
fn name(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

impl Key {
    /// In a line: what is next in the life of the key.
    pub fn outlook(&self, now: Timestamp) -> String {
        let relative = |time: &Time| when::relative(now, time.0);
        let end = match self.type_ {
            KeyType::SigningKey => "removed",
            KeyType::ApiKey => "expires",
        };
        let mut parts = Vec::new();
        match (&self.active_at, &self.created_at) {
            (Some(time), _) if self.state == "Active" => {
                parts.push(format!("active for {}", when::age(now, Some(time))));
            }
            (_, Some(time)) => parts.push(format!("created {}", relative(time))),
            (_, None) => {}
        }
        if let Some(time) = &self.expires_at {
            let end = if time.0 <= now && self.type_ == KeyType::ApiKey { "expired" } else { end };
            parts.push(format!("{end} {}", relative(time)));
        }
        if let Some(time) = &self.next_rotation {
            parts.push(format!("next rotation {}", relative(time)));
        }
        parts.join(", ")
    }
}
