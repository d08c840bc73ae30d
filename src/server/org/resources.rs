//! Reads and writes the custom resources behind members, pools and clients, for the operations on
//! them.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Map, Value, json};
use tracing::warn;

use super::caller::Caller;
use super::gitops::{Force, deletable, ensure_not_externally_managed};
use super::idempotency::{fingerprint, is_repeat, names_for, says_the_same};
use super::{audit, propagation};
use crate::crd::CustomKind;
use crate::domain;
use crate::domain::ids::OrganizationId;
use crate::index::Reader;
use crate::index::own::Owned as _;
use crate::kube_ext::api::{self, ReadExt as _, readable};
use crate::kube_ext::error::short;
use crate::kube_ext::pages;
use crate::kube_ext::retry::on_conflict;
use crate::kube_ext::tolerant::{Tolerant, WithManagers};
use crate::names;
use crate::server::{ApiError, ApiState};
use crate::validate::ORGANIZATION_NAME;

/// A kind whose objects have an id in paths.
pub trait ApiObject: CustomKind {
    /// The name of the object with this id, if it belongs to the caller's organization. Records the
    /// id.
    fn named(reader: &Reader, caller: &Caller, id: &str) -> Option<String>;
}

impl ApiObject for crate::crd::Organization {
    /// A caller has only one organization, so any other id is unknown.
    fn named(_: &Reader, caller: &Caller, id: &str) -> Option<String> {
        let id = OrganizationId::parse(id)?;
        audit::object(&id);
        (id == caller.organization).then(|| ORGANIZATION_NAME.to_owned())
    }
}

macro_rules! addressed {
    ($($kind:ident as $owned:ty),*) => {$(
        impl ApiObject for crate::crd::$kind {
            fn named(reader: &Reader, caller: &Caller, id: &str) -> Option<String> {
                audit::object(&<$owned>::parse(id)?);
                let own = reader.own::<$owned>(caller.organization, id);
                own.map(|it| it.name.name.clone())
            }
        }
    )*};
}

addressed!(
    Member as domain::member::Member,
    UserPool as domain::pool::UserPool,
    SdkClient as domain::client::SdkClient
);

/// The object with the id in a path, which belongs to the caller's organization. It is read later,
/// so that a body is read first.
pub struct ById<K> {
    /// The objects of that organization.
    pub api: Objects<K>,
    /// The name of the object.
    pub name: String,
}

impl<K: ApiObject> FromRequestParts<ApiState> for ById<K> {
    type Rejection = ApiError;

    /// A malformed id gets the same response as an unknown one.
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let path = Path::<String>::from_request_parts(parts, state).await;
        let name = path.ok().and_then(|Path(id)| K::named(&state.reader, &caller, &id));
        Ok(Self { api: namespaced_api(state, &caller), name: name.ok_or_else(unknown)? })
    }
}

impl<K: ApiObject> ById<K> {
    /// Reads the object.
    pub async fn read(&self) -> Result<K, ApiError> {
        read(&self.api, &self.name).await
    }
}

/// The Kubernetes API for objects of a kind.
pub type Objects<K> = Api<Tolerant<K, WithManagers>>;

/// The objects of the caller's organization. Those of others are never accessed.
pub fn namespaced_api<K: CustomKind>(state: &ApiState, caller: &Caller) -> Objects<K> {
    Api::namespaced(state.platform.client.clone(), &caller.namespace)
}

/// 404, both for an object that does not exist and for one of another organization.
fn unknown() -> ApiError {
    ApiError::not_found("object not found")
}

/// Reads an object that must exist.
pub async fn read<K: CustomKind>(api: &Objects<K>, name: &str) -> Result<K, ApiError> {
    let found = api.find(name).await.map_err(|error| refused(&error))?;
    found.filter(|it| it.meta().deletion_timestamp.is_none()).ok_or_else(unknown)
}

/// All objects of a kind in the caller's organization.
pub async fn list<K: CustomKind>(state: &ApiState, caller: &Caller) -> Result<Vec<K>, ApiError> {
    // An object that this version cannot parse must not hide the others.
    let mut found = Vec::new();
    let take = |object: Tolerant<K, WithManagers>| {
        found.extend(object.0.ok().filter(|object| object.meta().deletion_timestamp.is_none()));
    };
    let listed = pages::each(&namespaced_api(state, caller), ListParams::default(), take).await;
    listed.map_err(|error| refused(&error))?;
    Ok(found)
}

/// Creates an object under a name derived from `wish`. If the same caller sends the same `content`
/// again within a minute, it gets the existing object.
pub async fn create<K: CustomKind>(
    state: &ApiState,
    caller: &Caller,
    wish: &str,
    content: &Value,
    make: impl Fn(&str) -> K,
) -> Result<K, ApiError> {
    let api: Objects<K> = namespaced_api(state, caller);
    let mark = fingerprint(caller, &K::kind(&()), wish, content);
    let random = uuid::Uuid::new_v4().simple().to_string();
    for name in names_for(&K::kind(&()), wish, &[&mark, &random]) {
        let mut object = make(&name);
        object.annotations_mut().insert(names::REQUEST.to_owned(), mark.clone());
        let created = api.create(&parameters(), &Tolerant::new(object.clone())).await;
        match readable(created) {
            Ok(made) => {
                propagation::written::<K>(state, &made).await;
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
    Err(ApiError::unavailable("no free object name was found; try again"))
}

/// The object that the same request has created within the last minute. For Members only, because
/// only Admins may annotate those: see [`says_the_same`].
pub async fn repeated<K: CustomKind>(
    state: &ApiState,
    caller: &Caller,
    wish: &str,
    content: &Value,
) -> Result<Option<K>, ApiError> {
    let api: Objects<K> = namespaced_api(state, caller);
    let mark = fingerprint(caller, &K::kind(&()), wish, content);
    for name in names_for(&K::kind(&()), wish, &[&mark]) {
        let existing = api.find(&name).await.map_err(|error| refused(&error))?;
        if let Some(existing) = existing.filter(|it| is_repeat(it, &mark, state.clock.now())) {
            return Ok(Some(existing));
        }
    }
    Ok(None)
}

/// Changes the spec of an object that was read. Rejected if another tool manages the object and
/// would undo the change.
pub async fn patch<K: CustomKind>(
    state: &ApiState,
    api: &Objects<K>,
    object: &K,
    spec: impl Into<Value>,
) -> Result<K, ApiError> {
    patch_with(state, api, object, Value::Null, spec.into()).await
}

/// Like [`patch`], with annotations. Null removes an annotation.
pub async fn patch_with<K: CustomKind>(
    state: &ApiState,
    api: &Objects<K>,
    object: &K,
    annotations: Value,
    spec: Value,
) -> Result<K, ApiError> {
    ensure_not_externally_managed(object)?;
    let mut metadata = Map::new();
    if !annotations.is_null() {
        metadata.insert("annotations".to_owned(), annotations);
    }
    // The leader often writes status. The change depends on the spec only, which is unchanged as long
    // as the generation is.
    let basis = Basis::new(api, object, |now| now.meta().generation == object.meta().generation);
    let name = object.name_any();
    let write = |now: ObjectMeta| {
        let mut metadata = metadata.clone();
        metadata.insert("resourceVersion".to_owned(), json!(now.resource_version));
        let patch = Patch::Merge(json!({ "metadata": metadata, "spec": spec }));
        let (name, parameters) = (name.as_str(), patching());
        async move { readable(api.patch(name, &parameters, &patch).await) }
    };
    let patched = basis.write(write).await?;
    propagation::written::<K>(state, &patched).await;
    Ok(patched)
}

/// Whether a write has changed the spec.
pub fn differ<K: CustomKind>(before: &K, after: &K) -> bool {
    before.meta().generation != after.meta().generation
}

/// The object that a write was decided on. A conflict with a write that leaves the reasons for the
/// decision `unchanged`, mostly one of status, does not void it.
pub struct Basis<'o, K, F> {
    api: &'o Objects<K>,
    object: &'o K,
    unchanged: F,
}

impl<'o, K: CustomKind, F: Fn(&K) -> bool> Basis<'o, K, F> {
    /// A decision on this object.
    pub const fn new(api: &'o Objects<K>, object: &'o K, unchanged: F) -> Self {
        Self { api, object, unchanged }
    }

    /// Writes with the resourceVersion of the metadata that `write` is called with: as it was when
    /// the decision was made, and after a conflict, as it is now.
    pub async fn write<T, W>(&self, write: impl Fn(ObjectMeta) -> W) -> Result<T, ApiError>
    where
        W: Future<Output = kube::Result<T>>,
    {
        let is_first = AtomicBool::new(true);
        let written = on_conflict(TRIES, || async {
            if is_first.swap(false, Ordering::Relaxed) {
                return write(self.object.meta().clone()).await.map(Some);
            }
            let now = self.api.read(&self.object.name_any()).await?;
            if !self.still_holds(&now) {
                return Ok(None);
            }
            write(now.meta().clone()).await.map(Some)
        });
        let written = written.await.map_err(|error| refused(&error))?;
        written.ok_or_else(|| ApiError::unavailable(CHANGED))
    }

    /// The mark of a leaving Admin is a reason, too: without it the decision is void.
    fn still_holds(&self, now: &K) -> bool {
        let mark = |object: &K| object.annotations().get(names::LEAVING).cloned();
        now.uid() == self.object.uid() && mark(now) == mark(self.object) && (self.unchanged)(now)
    }
}

/// The maximum number of attempts to write when writes of status cause conflicts.
const TRIES: usize = 5;

const CHANGED: &str = "the object was changed concurrently; try again";

/// Finalizers by which an object asks for a deletion policy.
const GC_FINALIZERS: [&str; 2] = ["orphan", "foregroundDeletion"];

/// Deletes an object that was read, always with background propagation: anyone who may write the
/// object can set the finalizer `orphan`, which the default policy obeys, and the RoleBinding of a
/// deleted Member would remain. An explicit policy overrides `orphan` and `foregroundDeletion`.
pub async fn delete<K: CustomKind>(
    state: &ApiState,
    api: &Objects<K>,
    object: &K,
    force: Force,
) -> Result<(), ApiError> {
    deletable(object, force)?;
    let left = Basis::new(api, object, |_| true).write(|now| delete_now(api, now)).await?;
    // Without finalizers it is deleted already, and the watch reports that.
    if let Some(object) = left {
        propagation::written::<K>(state, &object).await;
    }
    Ok(())
}

/// The API server refuses to combine a resourceVersion with a policy that has to remove
/// [`GC_FINALIZERS`] (409, however often it is tried), so they are removed first.
async fn delete_now<K: CustomKind>(
    api: &Objects<K>,
    mut read: ObjectMeta,
) -> kube::Result<Option<Tolerant<K, WithManagers>>> {
    let finalizers = read.finalizers.clone().unwrap_or_default();
    let is_for_gc = |finalizer: &String| GC_FINALIZERS.contains(&finalizer.as_str());
    if finalizers.iter().any(is_for_gc) {
        let others: Vec<_> = finalizers.into_iter().filter(|it| !is_for_gc(it)).collect();
        let patch = json!({
            "metadata": { "resourceVersion": read.resource_version, "finalizers": others },
        });
        let name = read.name.as_deref().unwrap_or_default();
        let patched = api.patch(name, &patching(), &Patch::Merge(&patch)).await;
        read.resource_version = readable(patched)?.resource_version();
    }
    api::delete_exactly(api, &read, DeleteParams::background()).await
}

/// The error response for an error of the API server.
pub fn refused(error: &kube::Error) -> ApiError {
    match error {
        kube::Error::Api(status) if status.code == 404 => unknown(),
        kube::Error::Api(status) if matches!(status.code, 400 | 422) => violation(status),
        kube::Error::Api(status) if status.code == 409 => ApiError::unavailable(CHANGED),
        // A quota, an admission policy, or a namespace that is being deleted: a retry does not
        // help. The message names service accounts, so it is logged and not returned.
        kube::Error::Api(status) if status.code == 403 => {
            warn!(error = %short(error), "the API server rejected a request");
            let quota = status.message.contains("exceeded quota");
            ApiError::unprocessable(if quota {
                "a quota of the organization's namespace is exhausted; delete objects that are not needed, or ask your platform administrator"
            } else {
                "a policy of the cluster rejects this; ask your platform administrator"
            })
        }
        error => {
            warn!(error = %short(error), "a request to the API server failed");
            ApiError::unavailable("the Kubernetes API is currently unavailable; try again")
        }
    }
}

/// Fields of specs and the fields of requests that they come from. The first match counts.
const REQUEST_FIELDS: &[(&str, &str)] = &[
    ("spec.displayName", "name"),
    ("spec.webapp.userPoolRef.name", "userPoolId"),
    ("spec.webapp", "oauthConfig"),
    ("spec.jwks.url", "authorization.jwksUri"),
    ("spec.jwks", "authorization"),
    ("spec.idClaim", "authorization.idClaim"),
    ("spec.userPool.subjects", "appUserIds"),
    ("spec.userPool.", ""),
    ("spec.sdkClient.", ""),
    ("spec.member.", ""),
    ("spec.", ""),
];

/// The error response for an object that violates a rule of its kind. It names the field of the
/// request and not that of the object.
fn violation(status: &kube::core::Status) -> ApiError {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let Some(cause) = causes.into_iter().find(|cause| cause.field.starts_with("spec.")) else {
        // Of an admission policy, or about the whole object.
        return ApiError::unprocessable(status.message.clone());
    };
    let mut field = cause.field.clone();
    for (of_spec, of_request) in REQUEST_FIELDS {
        if let Some(rest) = field.strip_prefix(of_spec) {
            field = format!("{of_request}{rest}");
            break;
        }
    }
    // Kubernetes begins the message with `Invalid value: "…": `, the value or its type.
    let (_, message) = cause.message.rsplit_once("\": ").unwrap_or(("", &cause.message));
    let leaf = field.rsplit('.').next().unwrap_or_default();
    let leaf = leaf.split('[').next().unwrap_or_default().to_owned();
    ApiError::unprocessable(format!("`{field}`: {message}")).of_field(leaf)
}

/// Parameters of requests that create an object.
pub fn parameters() -> PostParams {
    PostParams { field_manager: Some(manager()), ..PostParams::default() }
}

/// Parameters of requests that change an object.
pub fn patching() -> PatchParams {
    PatchParams { field_manager: Some(manager()), ..PatchParams::default() }
}

fn manager() -> String {
    format!("{}/api", names::MANAGER)
}
