//! Which namespace a sign-up is given: one of a random name, that the operator has created itself.
//!
//! A name that follows from the request could be created by anyone else first, who would own the
//! organization then. The same request has to find the same namespace all the same, on whatever
//! replica: a Secret in the operator's namespace, whose name follows from the request, records the
//! name and the uid. The uid is what counts; the name alone is never gone on with.
//!
//! The record comes first, without a uid; then the namespace; then the uid. Whoever finds a record
//! without one waits for whoever wrote it, and after a while takes over, with another random name and
//! the resourceVersion that was read: of the two, one goes on. A namespace that is left over so is
//! removed by the leader, as are records ([`crate::controller`]'s `sign_ups`).

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
use crate::server::{ApiError, AppState};

/// Entries of a record.
const NAMESPACE: &str = "namespace";
const UID: &str = "uid";
/// How often is looked whether another request has completed its record, and the pause between.
const LOOKS: u32 = 30;
const PAUSE: Duration = Duration::from_millis(100);
/// How often a namespace is begun with that another request takes over.
const TRIES: u32 = 3;

/// A namespace that the operator has created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub namespace: String,
    /// Which one of that name.
    pub uid: String,
}

/// What a request of this key was given before, if it was.
pub async fn find(state: &AppState, key: &str) -> Result<Option<Place>, ApiError> {
    Ok(read(&secrets(state), key).await?.as_ref().and_then(place))
}

/// What a request of this key is given: what it was given before, else a new namespace.
pub async fn take(state: &AppState, key: &str) -> Result<Place, ApiError> {
    let secrets = secrets(state);
    for _ in 0..TRIES {
        let found = settled(&secrets, key).await?;
        if let Some(place) = found.as_ref().and_then(place) {
            return Ok(place);
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
            return Ok(Place { namespace, uid });
        }
    }
    Err(ApiError::unavailable("the same sign-up is at work elsewhere; try again"))
}

async fn read(secrets: &Api<Tolerant<Secret>>, key: &str) -> Result<Option<Secret>, ApiError> {
    let found = secrets.find(&name_of(key)).await;
    found.map_err(|error| resources::refused(&error))
}

/// The record of this key once it is complete, or nobody seems to be at work on it any more.
async fn settled(secrets: &Api<Tolerant<Secret>>, key: &str) -> Result<Option<Secret>, ApiError> {
    let mut found = read(secrets, key).await?;
    for _ in 0..LOOKS {
        match &found {
            Some(record) if place(record).is_none() => sleep(PAUSE).await,
            _ => break,
        }
        found = read(secrets, key).await?;
    }
    Ok(found)
}

/// Writes a record that is new, or was read at its resourceVersion. `None` if another request was
/// faster.
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

/// Creates the namespace, by POST and nothing else: one that exists is somebody else's.
async fn create(state: &AppState, name: &str) -> Result<String, ApiError> {
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

fn secrets(state: &AppState) -> Api<Tolerant<Secret>> {
    Api::namespaced(state.platform.client.clone(), &state.platform.operator_namespace)
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

/// The place in a record that is complete.
fn place(record: &Secret) -> Option<Place> {
    let text = |name: &str| {
        let ByteString(bytes) = record.data.as_ref()?.get(name)?;
        String::from_utf8(bytes.clone()).ok().filter(|text| !text.is_empty())
    };
    Some(Place { namespace: text(NAMESPACE)?, uid: text(UID)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_record_with_a_uid_names_a_place() {
        assert_eq!(place(&record("k", "anon-org-1", None, None)), None);
        let complete = record("k", "anon-org-1", Some("u"), None);
        let expected = Place { namespace: "anon-org-1".into(), uid: "u".into() };
        assert_eq!(place(&complete), Some(expected));
        assert_eq!(place(&Secret::default()), None);
    }

    #[test]
    fn names_of_namespaces_are_random() {
        assert_ne!(random_name(), random_name());
        assert_eq!(random_name().len(), names::SIGN_UP_PREFIX.len() + 20);
    }
}
