//! Reserves a namespace for a sign-up: one with a random name that the operator has created itself.
//!
//! A namespace whose name is derived from the request could be created by anyone else first, who
//! would then own the organization. Still, the same request has to find the same namespace, on any
//! replica: a Secret in the operator's namespace, whose name is derived from the request, records
//! the name and the uid of the namespace. Only the uid identifies it; the name alone is never
//! relied on.
//!
//! The record is written first, without a uid; then the namespace is created; then the uid is
//! recorded. A request that finds a record without a uid waits for the request that wrote it. After
//! a timeout it takes over, with another random name and the resourceVersion that it has read, so
//! only one of the two continues. The leader removes a namespace that is left over, and the records
//! ([`crate::controller`]'s `sign_ups`).

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::ResourceExt as _;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::sleep;

use super::resources;
use crate::kube_ext::api::{ReadExt as _, readable};
use crate::kube_ext::tolerant::Tolerant;
use crate::names;
use crate::server::{ApiError, ApiState};

/// Data keys of a record.
const NAMESPACE: &str = "namespace";
const UID: &str = "uid";
/// How often, and at which interval, a request checks whether another one has completed its record.
const MAX_POLLS: u32 = 30;
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The maximum number of attempts when other requests take over.
const TRIES: u32 = 3;

/// A namespace that the operator has created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservedNamespace {
    /// The name of the namespace.
    pub namespace: String,
    /// The uid of the namespace. One that was deleted and re-created has another uid.
    pub uid: String,
}

/// The namespace that an earlier request with this key has reserved, if there was one.
pub async fn find(state: &ApiState, key: &str) -> Result<Option<ReservedNamespace>, ApiError> {
    Ok(read(&secrets(state), key).await?.as_ref().and_then(reserved))
}

/// The namespace that an earlier request with this key has reserved, or else a new one.
pub async fn take(state: &ApiState, key: &str) -> Result<ReservedNamespace, ApiError> {
    let secrets = secrets(state);
    for _ in 0..TRIES {
        let found = settled(&secrets, key).await?;
        if let Some(namespace) = found.as_ref().and_then(reserved) {
            return Ok(namespace);
        }
        let namespace = random_name();
        let version = found.and_then(|abandoned| abandoned.resource_version());
        let Some(begun) = write(&secrets, &record(key, &namespace, None, version)).await? else {
            continue;
        };
        let uid = create(state, &namespace).await?;
        let version = begun.resource_version();
        let complete = record(key, &namespace, Some(&uid), version);
        if write(&secrets, &complete).await?.is_some() {
            return Ok(ReservedNamespace { namespace, uid });
        }
    }
    Err(ApiError::unavailable("the same sign-up is already in progress; try again"))
}

async fn read(secrets: &Api<Tolerant<Secret>>, key: &str) -> Result<Option<Secret>, ApiError> {
    let found = secrets.find(&name_of(key)).await;
    found.map_err(|error| resources::refused(&error))
}

/// The record of this key, once it is complete or appears to be abandoned.
async fn settled(secrets: &Api<Tolerant<Secret>>, key: &str) -> Result<Option<Secret>, ApiError> {
    let mut found = read(secrets, key).await?;
    for _ in 0..MAX_POLLS {
        match &found {
            Some(record) if reserved(record).is_none() => sleep(POLL_INTERVAL).await,
            _ => break,
        }
        found = read(secrets, key).await?;
    }
    Ok(found)
}

/// Creates a record, or replaces it at the resourceVersion that was read. `None` if another request
/// was faster.
async fn write(
    secrets: &Api<Tolerant<Secret>>,
    record: &Secret,
) -> Result<Option<Secret>, ApiError> {
    let (parameters, object) = (PostParams::default(), Tolerant::new(record.clone()));
    let written = match &record.metadata.resource_version {
        None => secrets.create(&parameters, &object).await,
        Some(_) => secrets.replace(&record.name_any(), &parameters, &object).await,
    };
    match readable(written) {
        Ok(written) => Ok(Some(written)),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
        Err(error) => Err(resources::refused(&error)),
    }
}

/// Creates the namespace, by POST only: an existing one was not created for this request.
async fn create(state: &ApiState, name: &str) -> Result<String, ApiError> {
    let labels = [(names::MANAGED_BY, names::MANAGER), (names::SIGN_UP, names::SIGN_UP_PENDING)];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    let api: Api<Tolerant<Namespace>> = Api::all(state.platform.client.clone());
    let created = readable(api.create(&resources::parameters(), &Tolerant::new(namespace)).await);
    let created = created.map_err(|error| resources::refused(&error))?;
    created.uid().ok_or_else(ApiError::internal)
}

fn secrets(state: &ApiState) -> Api<Tolerant<Secret>> {
    Api::namespaced(state.platform.client.clone(), &state.platform.settings.operator_namespace)
}

fn random_name() -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{}{}", names::SIGN_UP_PREFIX, random.get(..20).unwrap_or(&random))
}

fn name_of(key: &str) -> String {
    format!("sign-up-{key}")
}

fn record(key: &str, namespace: &str, uid: Option<&str>, version: Option<String>) -> Secret {
    let entry = |name: &str, text: &str| (name.to_owned(), ByteString(text.as_bytes().to_vec()));
    let uid = uid.map(|uid| entry(UID, uid));
    Secret {
        metadata: ObjectMeta {
            name: Some(name_of(key)),
            labels: Some(names::labels(names::SIGN_UP_RECORD, &key)),
            resource_version: version,
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(uid.into_iter().chain([entry(NAMESPACE, namespace)]).collect()),
        ..Secret::default()
    }
}

/// The namespace in a complete record.
fn reserved(record: &Secret) -> Option<ReservedNamespace> {
    let text = |name: &str| {
        let ByteString(bytes) = record.data.as_ref()?.get(name)?;
        String::from_utf8(bytes.clone()).ok().filter(|text| !text.is_empty())
    };
    Some(ReservedNamespace { namespace: text(NAMESPACE)?, uid: text(UID)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_record_with_a_uid_names_a_namespace() {
        assert_eq!(reserved(&record("k", "anon-org-1", None, None)), None);
        let complete = record("k", "anon-org-1", Some("u"), None);
        let expected = ReservedNamespace { namespace: "anon-org-1".into(), uid: "u".into() };
        assert_eq!(reserved(&complete), Some(expected));
        assert_eq!(reserved(&Secret::default()), None);
    }

    #[test]
    fn names_of_namespaces_are_random() {
        assert_ne!(random_name(), random_name());
        assert_eq!(random_name().len(), names::SIGN_UP_PREFIX.len() + 20);
    }
}
