//! Creates and repairs children. There are two types of them, with different rules:
//!
//! * **Random material** (Secrets) is created by POST, so that of two leaders, one gets a 409 and
//!   reads the Secret of the other. It is changed by PUT with the resourceVersion that was read. A
//!   key is never overwritten by an apply.
//! * **Derived children** (ConfigMaps, RoleBindings) follow from their owner. They are created by
//!   POST. If they are ours and have drifted, they are repaired by a forced server-side apply.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::info;

use super::error::Error;
use super::owner;
use crate::crd::condition::Readiness;
use crate::crd::reasons::ReadyReason;
use crate::domain::ids::ObjectName;
use crate::kube_ext::api::{self, ReadExt as _, readable};
use crate::kube_ext::name::object_name;
use crate::kube_ext::tolerant::{Keep, Tolerant};
use crate::names;

/// Reads a Secret; `None` if it does not exist.
///
/// # Errors
/// The request failed, other than by a 404.
pub async fn read_secret(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<Secret>, Error> {
    let api: Api<Tolerant<Secret>> = Api::namespaced(client.clone(), namespace);
    api.find(name).await.map_err(Error::api("read Secret"))
}

/// The result of creating a Secret.
pub enum Created {
    /// The Secret was created.
    New(Secret),
    /// A Secret of this name existed already.
    Existing(Secret),
}

impl Created {
    /// The Secret, new or not.
    #[must_use]
    pub fn into_secret(self) -> Secret {
        match self {
            Self::New(secret) | Self::Existing(secret) => secret,
        }
    }
}

/// Creates a Secret, or reads the existing one of this name.
///
/// # Errors
/// The API server refused.
pub async fn create_secret(
    client: &Client,
    namespace: &str,
    secret: &Secret,
) -> Result<Created, Error> {
    let api: Api<Tolerant<Secret>> = Api::namespaced(client.clone(), namespace);
    match readable(api.create(&PostParams::default(), &Tolerant::new(secret.clone())).await) {
        Ok(made) => Ok(Created::New(made)),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let existing = api.read(&secret.name_any()).await;
            existing.map(Created::Existing).map_err(Error::api("read Secret"))
        }
        Err(error) => Err(Error::api("create Secret")(error)),
    }
}

/// Replaces a Secret that was read before; its `metadata.resourceVersion` is the precondition.
///
/// # Errors
/// It changed in between, or the API server refused.
pub async fn replace_secret(
    client: &Client,
    namespace: &str,
    secret: &Secret,
) -> Result<Secret, Error> {
    // Without it the PUT would be unconditional.
    if secret.metadata.resource_version.is_none() {
        return Err(Error::Incomplete { what: "metadata.resourceVersion" });
    }
    let api: Api<Tolerant<Secret>> = Api::namespaced(client.clone(), namespace);
    let replacement = Tolerant::new(secret.clone());
    let replaced = api.replace(&secret.name_any(), &PostParams::default(), &replacement).await;
    readable(replaced).map_err(Error::api("replace Secret"))
}

/// A kind of derived child.
pub trait Child:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
{
    /// The readiness of the owner if another object has the name of the child.
    fn foreign(&self) -> Readiness;

    /// The readiness of the owner if the API server refuses the child, with this message.
    fn refused(&self, said: String) -> Readiness;
}

impl Child for ConfigMap {
    fn foreign(&self) -> Readiness {
        let name = self.name_any();
        Readiness::new(
            ReadyReason::ChildConflict,
            format!(
                "the keys are in use, but ConfigMap `{name}` exists and was not created for this pool; delete it"
            ),
        )
    }

    fn refused(&self, said: String) -> Readiness {
        let name = self.name_any();
        Readiness::new(
            ReadyReason::Refused,
            format!("the keys are in use, but ConfigMap `{name}` is out of date: {said}"),
        )
    }
}

impl Child for RoleBinding {
    fn foreign(&self) -> Readiness {
        let name = self.name_any();
        Readiness::new(
            ReadyReason::ChildConflict,
            format!("RoleBinding `{name}` exists and was not created for this member; delete it"),
        )
    }

    fn refused(&self, said: String) -> Readiness {
        Readiness::new(ReadyReason::Refused, said)
    }
}

/// The result of applying a derived child. An obstacle is not an error, because it must not keep
/// the caller from what is more important: publishing and withdrawing keys.
#[derive(Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is in its desired state, with this resourceVersion.
    Done(Option<String>),
    /// Another object has its name, and is not ours.
    Foreign,
    /// The API server refuses it because of a quota, a policy or a webhook. Contains the message.
    Refused(String),
}

/// Creates or repairs a derived child. If nothing differs, nothing is written. An object that is
/// not ours is never modified.
///
/// # Errors
/// The API server did not answer, or the child changed in between.
pub async fn apply_child<K: Child>(
    client: &Client,
    owner_uid: &str,
    child: &K,
) -> Result<Applied, Error> {
    let applied = try_apply_child(client, owner_uid, child).await;
    applied.or_else(|error| error.refusal().map(Applied::Refused).ok_or(error))
}

async fn try_apply_child<K: Child>(
    client: &Client,
    owner_uid: &str,
    child: &K,
) -> Result<Applied, Error> {
    let ObjectName { namespace, name } = object_name(child);
    let api: Api<Tolerant<K>> = Api::namespaced(client.clone(), &namespace);
    let Some(existing) = api.find(&name).await.map_err(Error::api("read child"))? else {
        return create_child(&api, child).await;
    };
    if !is_ours(&existing, child, owner_uid) {
        return Ok(Applied::Foreign);
    }
    let encode = |object: &K| {
        serde_json::to_value(object).map_err(|source| Error::Encode { what: "child", source })
    };
    if is_subset(&encode(child)?, &encode(&existing)?) {
        return Ok(Applied::Done(existing.resource_version()));
    }
    info!(kind = %K::kind(&()), %namespace, %name, "repairing a drifted child");
    let mut repaired = child.clone();
    repaired.meta_mut().resource_version = existing.resource_version();
    let parameters = PatchParams::apply(&children_manager()).force();
    match api.patch(&name, &parameters, &Patch::Apply(&repaired)).await {
        Ok(applied) => Ok(Applied::Done(applied.resource_version())),
        // Immutable parts, such as the data of an immutable ConfigMap or the roleRef of a
        // RoleBinding, cannot be repaired: the child is re-created.
        Err(kube::Error::Api(status)) if status.is_invalid() => {
            delete_exactly(&api, &existing).await?;
            create_child(&api, child).await
        }
        Err(error) => Err(Error::api("apply child")(error)),
    }
}

/// Creates a child by POST: an apply would take over an object that another writer creates at the
/// same moment.
async fn create_child<K: Child>(api: &Api<Tolerant<K>>, child: &K) -> Result<Applied, Error> {
    let field_manager = Some(children_manager());
    let parameters = PostParams { field_manager, ..PostParams::default() };
    let created = api.create(&parameters, &Tolerant::new(child.clone())).await;
    created
        .map(|created| Applied::Done(created.resource_version()))
        .map_err(Error::api("create child"))
}

fn children_manager() -> String {
    format!("{}/children", names::MANAGER)
}

/// Deletes exactly the object that was read: see [`api::delete_exactly`]. Succeeds if it no longer
/// exists.
///
/// # Errors
/// It changed in between, or the API server refused.
pub async fn delete_exactly<K, M>(
    api: &Api<Tolerant<K, M>>,
    object: &impl Resource,
) -> Result<(), Error>
where
    K: Resource + Clone + DeserializeOwned,
    M: Keep,
{
    match api::delete_exactly(api, object.meta(), DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(Error::api("delete")(error)),
    }
}

/// Whether the existing child is ours: the owner controls it, or no object controls it and it has
/// our labels, because its owner reference was removed.
fn is_ours<K: Resource>(existing: &K, desired: &K, owner_uid: &str) -> bool {
    let (ours, labels) = (desired.labels(), existing.labels());
    let all_there = || ours.iter().all(|(name, value)| labels.get(name) == Some(value));
    owner::controller_of(existing)
        .map_or_else(|| !ours.is_empty() && all_there(), |controller| controller.uid == owner_uid)
}

/// Whether `actual` contains everything in `desired`. Lists must be equal.
fn is_subset(desired: &Value, actual: &Value) -> bool {
    match (desired, actual) {
        (Value::Object(desired), Value::Object(actual)) => desired
            .iter()
            .all(|(name, value)| actual.get(name).is_some_and(|actual| is_subset(value, actual))),
        _ => desired == actual,
    }
}

#[cfg(test)]
mod tests {
    use super::is_subset;
    use serde_json::json;

    #[test]
    fn what_others_add_is_no_difference() {
        let desired = json!({"metadata": {"labels": {"a": "1"}}, "data": {"x": "y"}});
        let mut actual = desired.clone();
        actual["metadata"]["labels"]["b"] = json!("2");
        actual["metadata"]["resourceVersion"] = json!("7");
        assert!(is_subset(&desired, &actual));
        actual["data"]["x"] = json!("z");
        assert!(!is_subset(&desired, &actual));
        assert!(!is_subset(&json!({"a": [1]}), &json!({"a": [1, 2]})));
        assert!(!is_subset(&json!({"a": 1}), &json!({})));
    }
}
