//! What the operations on members, pools and clients share: reading and writing the custom
//! resources behind them.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{
    Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tracing::warn;

use super::audit;
use super::caller::Caller;
use super::managed::{Force, deletable, managed_here};
use super::repeat::{is_repeat, mark, names_for, says_the_same};
use crate::domain::ids::{MemberId, ObjectName, OrganizationId, SdkClientId, UserPoolId};
use crate::index::{Kind, Reader};
use crate::kube_ext::api::{self, ReadExt as _, readable};
use crate::kube_ext::pages;
use crate::kube_ext::tolerant::{Tolerant, WithManagers};
use crate::names;
use crate::said::Said;
use crate::server::{ApiError, AppState};

/// A kind that the API writes.
pub trait Written:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
{
    /// The kind in the index.
    const KIND: Kind;
}

impl Written for crate::crd::Organization {
    const KIND: Kind = Kind::Organization;
}
impl Written for crate::crd::Member {
    const KIND: Kind = Kind::Member;
}
impl Written for crate::crd::UserPool {
    const KIND: Kind = Kind::UserPool;
}
impl Written for crate::crd::SdkClient {
    const KIND: Kind = Kind::SdkClient;
}

/// A kind whose objects are named by id in a path.
pub trait Addressed: Written {
    /// Its id.
    type Id: Display;

    /// Reads an id.
    fn parse(text: &str) -> Option<Self::Id>;

    /// Whose object has this id, and its name.
    fn named(reader: &Reader, id: Self::Id) -> Option<(OrganizationId, ObjectName)>;
}

macro_rules! addressed {
    ($($kind:ident by $id:ident in $lookup:ident),*) => {$(
        impl Addressed for crate::crd::$kind {
            type Id = $id;

            fn parse(text: &str) -> Option<$id> {
                $id::parse(text)
            }

            fn named(reader: &Reader, id: $id) -> Option<(OrganizationId, ObjectName)> {
                reader.$lookup(id).map(|it| (it.organization, it.name.clone()))
            }
        }
    )*};
}

addressed!(
    Member by MemberId in member,
    UserPool by UserPoolId in pool,
    SdkClient by SdkClientId in client
);

/// The object of the id in a path, if it is one of the caller's organization.
pub async fn find<K: Addressed>(
    state: &AppState,
    caller: &Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<K, ApiError> {
    let named = K::named(&state.reader, id_in_path(path, K::parse)?);
    let own_one = named.filter(|(organization, _)| *organization == caller.organization);
    let (_, name) = own_one.ok_or_else(unknown)?;
    read(&own(state, caller), &name.name).await
}

/// Where objects of a kind are read and written.
pub type Objects<K> = Api<Tolerant<K, WithManagers>>;

/// The objects of the caller's organization. There is no way to those of another one.
pub fn own<K: Written>(state: &AppState, caller: &Caller) -> Objects<K> {
    Api::namespaced(state.platform.client.clone(), &caller.namespace)
}

/// An id in a path. What is no id is the id of nothing.
pub fn id_in_path<T: Display>(
    path: Result<Path<String>, PathRejection>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, ApiError> {
    let id = path.ok().and_then(|Path(id)| parse(&id)).ok_or_else(unknown)?;
    audit::object(&id);
    Ok(id)
}

/// 404. The same for what does not exist and for what belongs to another organization.
pub fn unknown() -> ApiError {
    ApiError::not_found("there is nothing with this id")
}

/// Reads an object that has to be there.
pub async fn read<K: Written>(api: &Objects<K>, name: &str) -> Result<K, ApiError> {
    let found = api.find(name).await.map_err(|error| refused(&error))?;
    found.filter(|it| it.meta().deletion_timestamp.is_none()).ok_or_else(unknown)
}

/// Everything of a kind in the caller's organization.
pub async fn list<K: Written>(state: &AppState, caller: &Caller) -> Result<Vec<K>, ApiError> {
    // One that this version cannot read must not hide the others.
    let mut found = Vec::new();
    let take = |object: Tolerant<K, WithManagers>| {
        found.extend(object.0.ok().filter(|object| object.meta().deletion_timestamp.is_none()));
    };
    let listed = pages::each(&own(state, caller), ListParams::default(), take).await;
    listed.map_err(|error| refused(&error))?;
    Ok(found)
}

/// Creates an object under a name made from `wish`. The same caller asking for the same `content`
/// within a minute gets the object of the first time.
pub async fn create<K: Written>(
    state: &AppState,
    caller: &Caller,
    wish: &str,
    content: &Value,
    make: impl Fn(&str) -> K,
) -> Result<K, ApiError> {
    let api: Objects<K> = own(state, caller);
    let mark = mark(caller, &K::kind(&()), wish, content);
    let random = uuid::Uuid::new_v4().simple().to_string();
    for name in names_for(&K::kind(&()), wish, &[&mark, &random]) {
        let mut object = make(&name);
        object.annotations_mut().insert(names::REQUEST.to_owned(), mark.clone());
        let created = api.create(&parameters(), &Tolerant::new(object.clone())).await;
        match readable(created) {
            Ok(made) => {
                known(state, &made).await;
                return Ok(made);
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let existing = api.find(&name).await.map_err(|error| refused(&error))?;
                let is_repeat = |existing: &K| {
                    is_repeat(existing, &mark, state.clock.now())
                        && says_the_same(existing, &object)
                };
                if let Some(existing) = existing.filter(is_repeat) {
                    return Ok(existing);
                }
            }
            Err(error) => return Err(refused(&error)),
        }
    }
    Err(ApiError::unavailable("no free name was found; try again"))
}

/// What the same request has made within a minute. For Members only, which none but Admins may
/// annotate: see [`says_the_same`].
pub async fn repeated<K: Written>(
    state: &AppState,
    caller: &Caller,
    wish: &str,
    content: &Value,
) -> Result<Option<K>, ApiError> {
    let api: Objects<K> = own(state, caller);
    let mark = mark(caller, &K::kind(&()), wish, content);
    for name in names_for(&K::kind(&()), wish, &[&mark]) {
        let existing = api.find(&name).await.map_err(|error| refused(&error))?;
        if let Some(existing) = existing.filter(|it| is_repeat(it, &mark, state.clock.now())) {
            return Ok(Some(existing));
        }
    }
    Ok(None)
}

/// Changes the spec of an object that was read. Refused where another tool is the truth, which
/// would undo it.
pub async fn patch<K: Written>(
    state: &AppState,
    api: &Objects<K>,
    object: &K,
    spec: Value,
) -> Result<K, ApiError> {
    patch_with(state, api, object, Value::Null, spec).await
}

/// The same, with annotations. Null takes one away.
pub async fn patch_with<K: Written>(
    state: &AppState,
    api: &Objects<K>,
    object: &K,
    annotations: Value,
    spec: Value,
) -> Result<K, ApiError> {
    managed_here(object)?;
    let name = object.name_any();
    let mut metadata = Map::new();
    if !annotations.is_null() {
        metadata.insert("annotations".to_owned(), annotations);
    }
    let mut version = object.resource_version();
    for _ in 0..TRIES {
        metadata.insert("resourceVersion".to_owned(), json!(version));
        let patch = json!({ "metadata": metadata, "spec": spec });
        let patched = api.patch(&name, &patching(), &Patch::Merge(&patch)).await;
        let error = match readable(patched) {
            Ok(patched) => {
                known(state, &patched).await;
                return Ok(patched);
            }
            Err(error) => error,
        };
        // The leader writes status all the time. What the change was decided on is the spec, and
        // that has not changed as long as the generation has not.
        version =
            same(api, object, error, |now| now.generation == object.meta().generation).await?;
    }
    Err(ApiError::unavailable("the object changed in between; try again"))
}

/// After a conflict: the resourceVersion of the object as it now is, if it still is the one that
/// was decided on. The mark of who leaves is part of that: without it the decision is void.
async fn same<K: Written>(
    api: &Objects<K>,
    object: &K,
    error: kube::Error,
    unchanged: impl Fn(&ObjectMeta) -> bool,
) -> Result<Option<String>, ApiError> {
    if !matches!(&error, kube::Error::Api(status) if status.code == 409) {
        return Err(refused(&error));
    }
    let now = api.get(&object.name_any()).await.map_err(|error| refused(&error))?;
    let mark = |annotations: &BTreeMap<String, String>| annotations.get(names::LEAVING).cloned();
    let same = now.uid() == object.uid()
        && mark(now.annotations()) == mark(object.annotations())
        && unchanged(now.meta());
    if same { Ok(now.resource_version()) } else { Err(refused(&error)) }
}

/// How often a change is tried that writes of status come in the way of.
pub const TRIES: u32 = 5;

/// Deletes an object that was read. In the background, whatever its finalizers ask for: anyone who
/// may write the object can set the finalizer `orphan` on it, and a deletion that follows the
/// default would obey and leave the RoleBinding of a removed Member. An explicit policy overrides
/// `orphan` and `foregroundDeletion`.
pub async fn delete<K: Written>(
    state: &AppState,
    api: &Objects<K>,
    object: &K,
    force: Force,
) -> Result<(), ApiError> {
    deletable(object, force)?;
    let mut version = object.resource_version();
    for _ in 0..TRIES {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: object.uid(),
                resource_version: version.clone(),
            }),
            ..DeleteParams::background()
        };
        match api::delete(api, &object.name_any(), &parameters).await {
            Ok(left) => {
                // Without finalizers it is gone; its event comes anyway.
                if let Some(object) = left {
                    let version = object.resource_version().unwrap_or_default();
                    super::known(state, K::KIND, &version).await;
                }
                return Ok(());
            }
            Err(error) => version = same(api, object, error, |_| true).await?,
        }
    }
    Err(ApiError::unavailable("the object changed in between; try again"))
}

/// Waits, bounded, until what was written is served.
pub async fn known<K: Written>(state: &AppState, object: &K) {
    super::known(state, K::KIND, &object.resource_version().unwrap_or_default()).await;
}

/// What the API server's refusal means for the caller.
pub fn refused(error: &kube::Error) -> ApiError {
    match error {
        kube::Error::Api(status) if status.code == 404 => unknown(),
        // Its text names fields and rules of the object that the caller sent.
        kube::Error::Api(status) if matches!(status.code, 400 | 422) => {
            ApiError::unprocessable(status.message.clone())
        }
        kube::Error::Api(status) if status.code == 409 => {
            ApiError::unavailable("the object changed in between; try again")
        }
        // A quota, a policy of the cluster, a namespace that is being deleted: asking again does not
        // help. What the API server says of it is for who runs the cluster: it names accounts.
        kube::Error::Api(status) if status.code == 403 => {
            warn!(error = %Said(error), "the API server refused");
            let quota = status.message.contains("exceeded quota");
            ApiError::unprocessable(if quota {
                "a quota of the organization's namespace is used up; delete what is not needed, or ask who runs the cluster"
            } else {
                "a policy of the cluster refuses this; ask who runs the cluster"
            })
        }
        error => {
            warn!(error = %Said(error), "the API server refused");
            ApiError::unavailable("the cluster does not take this now; try again")
        }
    }
}

/// How an object is created.
pub fn parameters() -> PostParams {
    PostParams { field_manager: Some(manager()), ..PostParams::default() }
}

/// How a change is sent.
pub fn patching() -> PatchParams {
    PatchParams { field_manager: Some(manager()), ..PatchParams::default() }
}

fn manager() -> String {
    format!("{}/api", names::MANAGER)
}
