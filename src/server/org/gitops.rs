//! Objects managed by GitOps tools or Helm. These tools would undo a change, so the API rejects it
//! and says where to make it.
//!
//! A deletion can be forced: the marks are metadata, which anyone who may edit an object can set,
//! and that must not prevent an Admin from deleting a credential.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use kube::Resource;
use schemars::JsonSchema;
use serde::Deserialize;

use super::caller::Caller;
use crate::domain::role::Role;
use crate::kube_ext::gitops::tool;
use crate::server::body::Query;
use crate::server::{ApiError, ApiState};

/// Checks that no other tool manages the object.
///
/// # Errors
/// A tool manages it.
pub fn ensure_not_externally_managed<K: Resource>(object: &K) -> Result<(), ApiError> {
    tool(object).map_or(Ok(()), |tool| {
        Err(ApiError::unprocessable(format!(
            "this object is managed by {tool}, which would undo the change; change it there"
        )))
    })
}

/// Checks that the object may be deleted here.
///
/// # Errors
/// A tool manages it, and the deletion is not forced.
pub fn deletable<K: Resource>(object: &K, force: Force) -> Result<(), ApiError> {
    let Some(tool) = tool(object).filter(|_| force == Force::No) else { return Ok(()) };
    Err(ApiError::unprocessable(format!(
        "this object is managed by {tool}, which would re-create it; delete it there, or, if {tool} no longer manages it, have an Admin delete it here with `?force=true`"
    )))
}

/// Whether to delete an object even if a tool appears to manage it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Only if no tool manages it.
    No,
    /// In any case.
    Yes,
}

/// The query of a deletion.
#[derive(Deserialize, JsonSchema)]
pub struct DeleteQuery {
    /// `true` deletes the object even if Helm, Argo CD or Flux appears to manage it and would
    /// re-create it. Requires role Admin.
    #[schemars(with = "Option<bool>")]
    force: Option<String>,
}

impl FromRequestParts<ApiState> for Force {
    type Rejection = ApiError;

    /// Fails if the parameter is neither true nor false, or the caller may not force a deletion.
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let Query(query) = Query::<DeleteQuery>::from_request_parts(parts, state).await?;
        match query.force.as_deref() {
            None | Some("false") => Ok(Self::No),
            Some("true") if caller.role == Role::Admin => Ok(Self::Yes),
            Some("true") => Err(ApiError::forbidden("`force` requires role Admin")),
            Some(_) => Err(ApiError::invalid_field("force", "`force` must be true or false")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::crd::UserPool;

    fn pool(metadata: Value) -> UserPool {
        let mut pool: UserPool =
            serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"hosted": {}}}))
                .unwrap();
        pool.metadata = serde_json::from_value(metadata).unwrap();
        pool
    }

    #[test]
    fn what_a_tool_manages_is_left_to_it() {
        for (metadata, expected) in [
            (json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}}), "Helm"),
            (json!({"annotations": {"meta.helm.sh/release-name": "x"}}), "Helm"),
            (json!({"annotations": {"argocd.argoproj.io/tracking-id": "x"}}), "Argo CD"),
            (json!({"labels": {"argocd.argoproj.io/instance": "x"}}), "Argo CD"),
            (json!({"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}}), "Flux"),
            (json!({"labels": {"helm.toolkit.fluxcd.io/name": "x"}}), "Flux"),
            (json!({"managedFields": [{"manager": "argocd-controller"}]}), "Argo CD"),
            (json!({"managedFields": [{"manager": "kustomize-controller"}]}), "Flux"),
            (json!({"managedFields": [{"manager": "x"}, {"manager": "helm"}]}), "Helm"),
        ] {
            assert_eq!(tool(&pool(metadata.clone())), Some(expected), "{metadata}");
            assert!(ensure_not_externally_managed(&pool(metadata.clone())).is_err());
            assert!(deletable(&pool(metadata.clone()), Force::No).is_err());
            assert!(deletable(&pool(metadata), Force::Yes).is_ok());
        }
    }

    #[test]
    fn what_people_and_we_made_is_ours_to_change() {
        for metadata in [
            json!({}),
            json!({"labels": {"app.kubernetes.io/managed-by": "kubectl"}}),
            json!({"managedFields": [{"manager": "kubectl"}, {"manager": "anon-operator/api"}]}),
            json!({"managedFields": [{"manager": "argocd-controller", "subresource": "status"}]}),
        ] {
            assert!(ensure_not_externally_managed(&pool(metadata)).is_ok());
        }
    }
}
