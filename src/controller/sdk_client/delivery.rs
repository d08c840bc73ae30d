//! The delivery Secret: what it has to look like, and what one that was read says. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::controller::Error;
use crate::crd::{ApiKeyState, ApiKeyStatus};
use crate::domain::client::{SdkClient, Service, StoredApiKey};
use crate::domain::opaque::ApiKey;
use crate::names;

const API_KEY: &str = "apiKey";
const CLIENT_ID: &str = "clientId";
const BASE_URL: &str = "baseUrl";
const ORGANIZATION_ID: &str = "organizationId";

/// What the delivery Secret of a client has to be.
pub struct DeliverySecret<'c> {
    client: &'c SdkClient,
    service: &'c Service,
    base_url: &'c str,
}

/// What a Secret that was read is to us.
pub enum Observed {
    /// Somebody else's: never touched.
    Foreign,
    /// Ours, with the key that it holds. A value that is not exactly in our format counts as
    /// deleted.
    Ours(Option<Current>),
}

/// The key in a Secret.
pub struct Current {
    key: ApiKey,
    created_at: Option<Timestamp>,
}

/// What the annotation [`names::KEYS`] records of a key.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    id: String,
    sha256: String,
    state: ApiKeyState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
}

impl Current {
    /// A key that was made now.
    pub fn new(key: ApiKey, now: Timestamp) -> Self {
        Self { key, created_at: Some(now) }
    }

    /// What status says of it.
    pub fn status(&self) -> ApiKeyStatus {
        let hash = self.key.hash();
        ApiKeyStatus {
            id: hash.id(),
            sha256: hash.to_string(),
            state: ApiKeyState::Current,
            created_at: self.created_at.map(Time),
        }
    }

    fn record(&self) -> Result<String, Error> {
        let hash = self.key.hash();
        let records = [Record {
            id: hash.id(),
            sha256: hash.to_string(),
            state: ApiKeyState::Current,
            created_at: self.created_at,
        }];
        serde_json::to_string(&records)
            .map_err(|source| Error::Encode { what: "key record", source })
    }
}

impl<'c> DeliverySecret<'c> {
    /// For this service client.
    pub fn new(client: &'c SdkClient, service: &'c Service, base_url: &'c str) -> Self {
        Self { client, service, base_url }
    }

    /// Its name, in the client's namespace.
    pub fn name(&self) -> &'c str {
        &self.service.delivery.secret_name
    }

    /// The whole Secret. Its type is fixed: a type of the user's choice could make the API server
    /// put a ServiceAccount token into it (external-secrets CVE-2026-42876).
    ///
    /// # Errors
    /// The record of the key could not be encoded.
    pub fn secret(&self, current: &Current) -> Result<Secret, Error> {
        Ok(Secret {
            metadata: ObjectMeta {
                name: Some(self.name().to_owned()),
                labels: Some(self.labels()),
                annotations: Some(self.annotations(current)?),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some(self.data(current)),
            ..Secret::default()
        })
    }

    /// Whose the Secret is and which key it holds. It is ours by its label or annotation, or, if
    /// somebody removed both, by a key that we know.
    pub fn observe(&self, secret: &Secret, known: &[StoredApiKey]) -> Observed {
        let key = secret
            .data
            .as_ref()
            .and_then(|data| data.get(API_KEY))
            .and_then(|ByteString(value)| std::str::from_utf8(value).ok())
            .and_then(ApiKey::parse);
        let metadata = &secret.metadata;
        let id = self.client.id.to_string();
        let labelled = metadata.labels.as_ref().and_then(|labels| labels.get(names::ID));
        let annotations = metadata.annotations.as_ref();
        let owner = annotations.and_then(|all| all.get(names::OWNER_NAME));
        let records: Vec<Record> = annotations
            .and_then(|all| all.get(names::KEYS))
            .and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default();
        let hash = key.as_ref().map(ApiKey::hash);
        let known = known.iter().any(|stored| Some(stored.hash) == hash);
        let ours = match labelled {
            Some(label) => *label == id,
            None => known || (!records.is_empty() && owner == Some(&self.client.name.name)),
        };
        if !ours {
            return Observed::Foreign;
        }
        Observed::Ours(key.map(|key| {
            let sha256 = key.hash().to_string();
            let record = records.into_iter().find(|record| record.sha256 == sha256);
            Current { key, created_at: record.and_then(|record| record.created_at) }
        }))
    }

    /// The Secret that was read, corrected; `None` if nothing is to be corrected. Labels and
    /// annotations of others stay; data is exactly ours.
    ///
    /// # Errors
    /// The record of the key could not be encoded.
    pub fn corrected(&self, stored: &Secret, current: &Current) -> Result<Option<Secret>, Error> {
        let mut corrected = stored.clone();
        corrected.metadata.labels.get_or_insert_default().extend(self.labels());
        let annotations = self.annotations(current)?;
        corrected.metadata.annotations.get_or_insert_default().extend(annotations);
        corrected.data = Some(self.data(current));
        Ok((corrected != *stored).then_some(corrected))
    }

    fn labels(&self) -> BTreeMap<String, String> {
        names::labels(names::API_KEY, &self.client.id)
    }

    fn annotations(&self, current: &Current) -> Result<BTreeMap<String, String>, Error> {
        let policy = names::deletion_policy(self.service.delivery.retain);
        Ok(BTreeMap::from([
            (names::OWNER_NAME.to_owned(), self.client.name.name.clone()),
            (names::DELETION_POLICY.to_owned(), policy.to_owned()),
            (names::KEYS.to_owned(), current.record()?),
        ]))
    }

    fn data(&self, current: &Current) -> BTreeMap<String, ByteString> {
        let text = |value: &str| ByteString(value.as_bytes().to_vec());
        BTreeMap::from([
            (API_KEY.to_owned(), text(current.key.expose())),
            (CLIENT_ID.to_owned(), text(&self.client.id.to_string())),
            (BASE_URL.to_owned(), text(self.base_url)),
            (ORGANIZATION_ID.to_owned(), text(&self.client.organization.to_string())),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::client::{ClientKind, Delivery};
    use crate::domain::ids::{ObjectName, OrganizationId, SdkClientId};
    use crate::domain::role::Role;

    fn service() -> Service {
        Service {
            role: Role::Member,
            delivery: Delivery { secret_name: "backend".into(), retain: false },
            keys: vec![],
        }
    }

    fn client() -> SdkClient {
        SdkClient {
            id: SdkClientId::derive("acme", "backend"),
            organization: OrganizationId::derive("acme"),
            name: ObjectName { namespace: "acme".into(), name: "backend".into() },
            created_at: None,
            suspended: false,
            kind: ClientKind::Service(service()),
        }
    }

    fn check(test: impl FnOnce(&DeliverySecret<'_>, &Current, Secret)) {
        let (client, service) = (client(), service());
        let desired = DeliverySecret::new(&client, &service, "https://anon.example");
        let current = Current::new(ApiKey::generate().unwrap(), Timestamp::UNIX_EPOCH);
        let secret = desired.secret(&current).unwrap();
        test(&desired, &current, secret);
    }

    fn read(desired: &DeliverySecret<'_>, secret: &Secret) -> Option<ApiKeyStatus> {
        match desired.observe(secret, &[]) {
            Observed::Foreign => panic!("foreign"),
            Observed::Ours(current) => current.map(|current| current.status()),
        }
    }

    #[test]
    fn status_is_a_projection_of_the_secret() {
        check(|desired, current, secret| {
            assert_eq!(read(desired, &secret), Some(current.status()));
            assert!(desired.corrected(&secret, current).unwrap().is_none());
        });
    }

    #[test]
    fn a_value_that_is_not_a_key_counts_as_deleted() {
        check(|desired, _, mut secret| {
            for value in ["", "junk", "ory_apikey_"] {
                let data = secret.data.as_mut().unwrap();
                data.insert(API_KEY.into(), ByteString(value.into()));
                assert!(read(desired, &secret).is_none(), "{value}");
            }
            secret.data = None;
            assert!(read(desired, &secret).is_none());
        });
    }

    #[test]
    fn a_key_put_there_by_hand_is_the_key() {
        check(|desired, _, mut secret| {
            let key = ApiKey::generate().unwrap();
            let data = secret.data.as_mut().unwrap();
            data.insert(API_KEY.into(), ByteString(key.expose().into()));
            let status = read(desired, &secret).unwrap();
            assert_eq!(status.sha256, key.hash().to_string());
            assert_eq!(status.created_at, None);
        });
    }

    #[test]
    fn a_secret_of_somebody_else_is_foreign() {
        check(|desired, current, secret| {
            let foreign = |secret: &Secret, known: &[StoredApiKey]| {
                matches!(desired.observe(secret, known), Observed::Foreign)
            };
            let mut other = secret.clone();
            other.metadata.labels = Some(names::labels(names::API_KEY, &"another id"));
            assert!(foreign(&other, &[]));
            let mut plain = secret;
            plain.metadata.labels = None;
            plain.metadata.annotations = None;
            assert!(foreign(&plain, &[]));
            // Both marks removed from the Secret that status knows: still ours.
            let known = StoredApiKey { hash: current.key.hash(), created_at: None };
            assert!(!foreign(&plain, &[known]));
        });
    }

    #[test]
    fn edits_are_corrected_and_additions_to_metadata_stay() {
        check(|desired, current, secret| {
            let mut edited = secret.clone();
            edited.metadata.labels.as_mut().unwrap().clear();
            let annotations = edited.metadata.annotations.as_mut().unwrap();
            annotations.insert("reflector".into(), "yes".into());
            edited.data.as_mut().unwrap().insert("more".into(), ByteString(vec![1]));
            let corrected = desired.corrected(&edited, current).unwrap().unwrap();
            assert_eq!(corrected.data, secret.data);
            assert_eq!(corrected.metadata.labels, secret.metadata.labels);
            assert_eq!(corrected.metadata.annotations.unwrap()["reflector"], "yes");
        });
    }
}
