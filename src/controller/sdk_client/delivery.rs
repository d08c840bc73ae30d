//! The desired delivery Secret, and the interpretation of a stored one. Pure.
//!
//! Anyone who can edit Secrets in the namespace can write anything into it. A key in it proves that
//! its writer has the key. The record of other keys is trusted only if it has a valid MAC.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::controller::Error;
use crate::domain::client::{Delivery, SdkClient};
use crate::domain::credential::{ApiKey, KeyHash};
use crate::domain::record_mac::{RecordKeys, SignedBy, Subject};
use crate::domain::rotation::api_keys::{ApiKeyState, StoredApiKey};
use crate::names;

/// The delivery Secret of a client.
pub struct DeliverySecret<'c> {
    name: &'c str,
    client: &'c SdkClient,
    delivery: &'c Delivery,
    base_url: &'c str,
    record_keys: &'c RecordKeys,
}

/// The interpretation of a stored Secret.
pub enum Observed {
    /// Not created by the operator for this client: never modified.
    Foreign,
    /// Created by the operator for this client.
    Ours(Contents),
}

/// The content of a Secret of ours.
pub struct Contents {
    /// The key. A value in any other format is treated as deleted.
    pub key: Option<ApiKey>,
    /// The delivered keys, of which the key above is the Current one.
    pub delivered: Vec<StoredApiKey>,
    /// The hashes in the record, if its MAC is valid.
    pub recorded: HashSet<KeyHash>,
    /// The MAC key of the record, if its MAC is valid.
    pub signed_by: Option<SignedBy>,
    /// The last completed rotation request; empty for none. `None` if it is not recorded.
    pub rotated: Option<String>,
}

/// The desired content of the Secret.
pub struct Desired<'k> {
    /// The key to deliver.
    pub key: &'k ApiKey,
    /// The keys to record.
    pub delivered: &'k [StoredApiKey],
    /// The last completed rotation request; empty for none.
    pub rotated: &'k str,
}

/// An entry of the annotation [`names::KEYS`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    id: String,
    sha256: String,
    state: ApiKeyState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// The content of the annotation [`names::OWNED_METADATA`]: the names of the labels and annotations
/// that come from the client's spec, so that they are removed when the spec drops them.
#[derive(Default, PartialEq, Eq, Serialize, Deserialize)]
struct Owned {
    labels: Vec<String>,
    annotations: Vec<String>,
}

impl<'c> DeliverySecret<'c> {
    /// The Secret of this service client.
    pub fn new(
        client: &'c SdkClient,
        delivery: &'c Delivery,
        base_url: &'c str,
        record_keys: &'c RecordKeys,
    ) -> Self {
        Self { name: delivery.secret_name.as_str(), client, delivery, base_url, record_keys }
    }

    /// The Secret of another name that the spec may have had before.
    pub const fn named<'n>(&'n self, name: &'n str) -> DeliverySecret<'n> {
        DeliverySecret { name, ..*self }
    }

    /// The name of the Secret, in the client's namespace.
    pub const fn name(&self) -> &'c str {
        self.name
    }

    /// The complete Secret. Its type is fixed: with a type of the user's choice, the API server
    /// could be made to add a ServiceAccount token to it (external-secrets CVE-2026-42876).
    ///
    /// # Errors
    /// The record of the keys could not be encoded.
    pub fn secret(&self, desired: &Desired<'_>) -> Result<Secret, Error> {
        Ok(Secret {
            metadata: ObjectMeta {
                name: Some(self.name().to_owned()),
                labels: Some(self.labels(desired)),
                annotations: Some(self.annotations(desired)?),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some(self.data(desired)),
            ..Secret::default()
        })
    }

    /// Determines whether the Secret is ours, and its content. It is ours according to its label,
    /// or, if that was removed, according to the MAC of its record or to a known key. `known` are
    /// the keys in the client's status. They replace the record if that has no valid MAC.
    pub fn observe(&self, secret: &Secret, known: &[StoredApiKey]) -> Observed {
        let client_id = self.client.id.to_string();
        let subject = Subject {
            client_id: &client_id,
            namespace: &self.client.name.namespace,
            secret: self.name(),
        };
        let signed = record_of(&secret.metadata, subject, self.record_keys);
        let signed_by = signed.as_ref().map(|(_, signed_by)| *signed_by);
        let records = signed.map_or_else(|| known.iter().map(record).collect(), |it| it.0);
        let key = self.key_in(secret, &records);
        let hash = key.as_ref().map(ApiKey::hash);
        let labelled = secret.metadata.labels.as_ref().and_then(|all| all.get(names::ID));
        let known = || known.iter().any(|stored| Some(stored.hash) == hash);
        let ours = match labelled {
            Some(label) => *label == client_id,
            None => signed_by.is_some() || known(),
        };
        if !ours {
            return Observed::Foreign;
        }
        let hashes = records.iter().filter_map(|record| KeyHash::parse(&record.sha256));
        let annotation = |name: &str| secret.metadata.annotations.as_ref()?.get(name);
        Observed::Ours(Contents {
            recorded: hashes.filter(|_| signed_by.is_some()).collect(),
            delivered: hash.map(|hash| self.delivered(&records, hash)).unwrap_or_default(),
            rotated: annotation(names::ROTATED).cloned(),
            signed_by,
            key,
        })
    }

    /// The delivered keys, given the one in the Secret. That is the Current key, whatever the
    /// record contains; another Current key of the record is treated as deleted.
    fn delivered(&self, records: &[Record], current: KeyHash) -> Vec<StoredApiKey> {
        let parse = |record: &Record| {
            Some(StoredApiKey {
                hash: KeyHash::parse(&record.sha256)?,
                state: record.state,
                created_at: record.created_at,
                expires_at: record.expires_at,
            })
        };
        let mut keys: Vec<_> = records.iter().filter_map(parse).collect();
        let in_secret = keys.iter().find(|key| key.hash == current).cloned();
        keys.retain(|key| key.state == ApiKeyState::Previous && key.hash != current);
        let in_secret = match in_secret {
            Some(key) if key.state == ApiKeyState::Current => Some(key),
            // Only status has a Next key: the operator crashed just after it had delivered the key.
            Some(key) if key.state == ApiKeyState::Next => Some(StoredApiKey {
                state: ApiKeyState::Current,
                expires_at: key.created_at.and_then(|at| self.delivery.rotation.expiry(at)),
                ..key
            }),
            _ => None,
        };
        keys.push(in_secret.unwrap_or(StoredApiKey {
            hash: current,
            state: ApiKeyState::Current,
            created_at: None,
            expires_at: None,
        }));
        keys
    }

    /// The key in a Secret: in the entry that the spec specifies, or, if there is no such entry
    /// because its name was changed, the recorded Current key in any other entry.
    fn key_in(&self, secret: &Secret, records: &[Record]) -> Option<ApiKey> {
        let data = secret.data.as_ref()?;
        let parse =
            |ByteString(value): &ByteString| ApiKey::parse(std::str::from_utf8(value).ok()?);
        let entry = &self.delivery.entries.api_key;
        let named = data.get(entry);
        let is_current = |key: &ApiKey| {
            let hash = key.hash().to_string();
            records.iter().any(|it| it.state == ApiKeyState::Current && it.sha256 == hash)
        };
        match named {
            Some(value) => parse(value),
            None => data.values().filter_map(parse).find(is_current),
        }
    }

    /// The stored Secret, corrected to the desired state; `None` if nothing differs. Labels and
    /// annotations of others are retained; other data is removed.
    ///
    /// # Errors
    /// The record of the keys could not be encoded.
    pub fn corrected(
        &self,
        stored: &Secret,
        desired: &Desired<'_>,
    ) -> Result<Option<Secret>, Error> {
        let mut corrected = stored.clone();
        let annotations = corrected.metadata.annotations.get_or_insert_default();
        let owned: Owned = annotations
            .remove(names::OWNED_METADATA)
            .and_then(|json| serde_json::from_str(&json).ok())
            .unwrap_or_default();
        annotations.retain(|name, _| !owned.annotations.contains(name));
        annotations.extend(self.annotations(desired)?);
        let labels = corrected.metadata.labels.get_or_insert_default();
        labels
            .retain(|name, _| !owned.labels.contains(name) && !name.starts_with(names::KEY_LABEL));
        labels.extend(self.labels(desired));
        corrected.data = Some(self.data(desired));
        Ok((corrected != *stored).then_some(corrected))
    }

    fn labels(&self, desired: &Desired<'_>) -> BTreeMap<String, String> {
        let mut labels = self.delivery.labels.clone();
        labels.extend(names::labels(names::API_KEY, &self.client.id));
        let key_label = |key: &StoredApiKey| (names::key_label(&key.hash.id()), String::new());
        labels.extend(desired.delivered.iter().map(key_label));
        labels
    }

    fn annotations(&self, desired: &Desired<'_>) -> Result<BTreeMap<String, String>, Error> {
        let mut annotations = self.delivery.annotations.clone();
        let owned = Owned {
            labels: self.delivery.labels.keys().cloned().collect(),
            annotations: self.delivery.annotations.keys().cloned().collect(),
        };
        if owned != Owned::default() {
            annotations.insert(names::OWNED_METADATA.to_owned(), encode(&owned)?);
        }
        let records: Vec<_> = desired.delivered.iter().map(record).collect();
        let record = encode(&records)?;
        let subject = Subject {
            client_id: &self.client.id.to_string(),
            namespace: &self.client.name.namespace,
            secret: self.name(),
        };
        let policy = names::deletion_policy(self.delivery.retain);
        annotations.extend([
            (names::OWNER_NAME.to_owned(), self.client.name.name.clone()),
            (names::DELETION_POLICY.to_owned(), policy.to_owned()),
            (names::KEYS_MAC.to_owned(), self.record_keys.sign(subject, &record)),
            (names::KEYS.to_owned(), record),
            (names::ROTATED.to_owned(), desired.rotated.to_owned()),
        ]);
        Ok(annotations)
    }

    fn data(&self, desired: &Desired<'_>) -> BTreeMap<String, ByteString> {
        let entries = &self.delivery.entries;
        let entry = |name: &String, value: &str| (name.clone(), ByteString(value.into()));
        BTreeMap::from([
            entry(&entries.api_key, desired.key.expose()),
            entry(&entries.client_id, &self.client.id.to_string()),
            entry(&entries.base_url, self.base_url),
            entry(&entries.organization_id, &self.client.organization.to_string()),
        ])
    }
}

/// A copy that is not immutable, to be created after the Secret itself was deleted.
pub fn mutable_copy(secret: &Secret) -> Secret {
    let ObjectMeta { name, labels, annotations, .. } = secret.metadata.clone();
    Secret {
        metadata: ObjectMeta { name, labels, annotations, ..ObjectMeta::default() },
        immutable: None,
        ..secret.clone()
    }
}

fn encode<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|source| Error::Encode { what: "key record", source })
}

fn record(key: &StoredApiKey) -> Record {
    Record {
        id: key.hash.id(),
        sha256: key.hash.to_string(),
        state: key.state,
        created_at: key.created_at,
        expires_at: key.expires_at,
    }
}

/// The record of a Secret and the key of its MAC, if the MAC is valid.
fn record_of(
    secret: &ObjectMeta,
    subject: Subject<'_>,
    keys: &RecordKeys,
) -> Option<(Vec<Record>, SignedBy)> {
    let annotations = secret.annotations.as_ref()?;
    let (json, mac) = (annotations.get(names::KEYS)?, annotations.get(names::KEYS_MAC)?);
    let signed_by = keys.verify(subject, json, mac)?;
    Some((serde_json::from_str(json).ok()?, signed_by))
}

/// Whether this Secret records the hash, with a valid MAC, for a client other than this one.
pub fn records_for_another(
    secret: &ObjectMeta,
    client: &SdkClient,
    hash: &KeyHash,
    keys: &RecordKeys,
) -> bool {
    let label = secret.labels.as_ref().and_then(|labels| labels.get(names::ID));
    let (Some(client_id), Some(namespace), Some(name)) = (label, &secret.namespace, &secret.name)
    else {
        return false;
    };
    let subject = Subject { client_id, namespace, secret: name };
    let hash = hash.to_string();
    *client_id != client.id.to_string()
        && record_of(secret, subject, keys)
            .is_some_and(|(records, _)| records.iter().any(|record| record.sha256 == hash))
}

#[cfg(test)]
mod tests;
