//! The RoleBindings of members: removes those that nobody should have any more.
//!
//! Usually Kubernetes collects a RoleBinding with its Member. It does not where the Member was deleted
//! with `--cascade=orphan`: the binding stays, belongs to nobody, and gives its rights for good. So the
//! leader looks for such bindings itself. Without a grace: a RoleBinding holds nothing that could be
//! lost. A Member that comes back, from a backup say, gets another one.

use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Api, ListParams, PartialObjectMeta, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tracing::{info, warn};

use super::apply::delete_exactly;
use super::{Context, Error, GuardedMeta};
use crate::crd::Member;
use crate::domain::ids::MemberId;
use crate::kube_ext::pages;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;

/// The metadata of a RoleBinding, with its finalizers.
type Binding = Tolerant<PartialObjectMeta<RoleBinding>>;

/// Removes the RoleBindings of a member except the one named `keep`. All of them, whatever their
/// owner references are: anyone who may change these must not be able to keep a binding that way.
///
/// # Errors
/// One changed in between, or the API server refused.
pub async fn prune(
    client: &Client,
    namespace: &str,
    id: MemberId,
    keep: Option<&str>,
) -> Result<(), Error> {
    let api: Api<Tolerant<PartialObjectMeta<RoleBinding>>> =
        Api::namespaced(client.clone(), namespace);
    for binding in list(&api, &names::selector_of(names::MEMBER_ROLE, &id)).await? {
        if keep != Some(binding.name_any().as_str()) {
            remove(&api, &binding).await?;
        }
    }
    Ok(())
}

/// Removes every RoleBinding whose Member is gone.
///
/// # Errors
/// The API server did not answer.
pub async fn collect(context: &Context) -> Result<(), Error> {
    let all: Api<Tolerant<PartialObjectMeta<RoleBinding>>> = Api::all(context.client.clone());
    for binding in list(&all, &names::selector(names::MEMBER_ROLE)).await? {
        if !is_orphan(context, &binding).await? {
            continue;
        }
        let (namespace, name) = (binding.namespace().unwrap_or_default(), binding.name_any());
        let api: Api<Tolerant<PartialObjectMeta<RoleBinding>>> =
            Api::namespaced(context.client.clone(), &namespace);
        // One that cannot be removed must not protect all that come after it.
        match remove(&api, &binding).await {
            Ok(()) => info!(%namespace, %name, "removed a RoleBinding whose Member is gone"),
            Err(error) => {
                warn!(%namespace, %name, %error, "could not remove a RoleBinding whose Member is gone");
            }
        }
    }
    Ok(())
}

/// Whether the binding is one that this operator creates, by its labels, its name and the id in them,
/// and its Member is gone. The binding was listed before the Member is asked for, and a binding is
/// only created for a Member that exists: so one that is missing has been deleted. One that is being
/// deleted is still there, and its own reconciliation removes the binding.
async fn is_orphan(context: &Context, binding: &Binding) -> Result<bool, Error> {
    let (namespace, name) = (binding.namespace().unwrap_or_default(), binding.name_any());
    let Some(member) = names::member_of_role_binding(&name) else { return Ok(false) };
    let id = MemberId::derive(&namespace, member);
    let is_its = binding.labels().get(names::ID).is_some_and(|label| *label == id.to_string());
    // The index saves asking for the members that are served, which is nearly all of them.
    if !is_its || context.reader.member(id).is_some() {
        return Ok(false);
    }
    let members: Api<GuardedMeta<Member>> = Api::namespaced(context.client.clone(), &namespace);
    let found = members.get_opt(member).await.map_err(Error::api("read Member"))?;
    Ok(found.is_none())
}

/// Deletes a RoleBinding as it was read. One with a finalizer stays until that is removed, and gives
/// its rights meanwhile, so it is emptied first.
async fn remove(
    api: &Api<Tolerant<PartialObjectMeta<RoleBinding>>>,
    binding: &Binding,
) -> Result<(), Error> {
    if binding.finalizers().is_empty() {
        return delete_exactly(api, binding).await;
    }
    let patch = json!({
        "metadata": {"resourceVersion": binding.resource_version()}, "subjects": null,
    });
    let parameters = PatchParams {
        field_manager: Some(format!("{}/children", names::MANAGER)),
        ..PatchParams::default()
    };
    let emptied = api.patch(&binding.name_any(), &parameters, &Patch::Merge(&patch)).await;
    delete_exactly(api, &emptied.map_err(Error::api("empty RoleBinding"))?).await
}

async fn list(
    api: &Api<Tolerant<PartialObjectMeta<RoleBinding>>>,
    selector: &str,
) -> Result<Vec<Binding>, Error> {
    let mut bindings = Vec::new();
    let take = |binding| bindings.push(binding);
    let listed = pages::each(api, ListParams::default().labels(selector), take).await;
    listed.map_err(Error::api("list RoleBindings"))?;
    Ok(bindings)
}
