//! Deletes RoleBindings of members that must no longer have them.
//!
//! Usually Kubernetes deletes a RoleBinding together with its Member. It does not if the Member was
//! deleted with `--cascade=orphan`: the binding would remain and grant its permissions permanently.
//! So the leader looks for such bindings itself, without a grace period, because a RoleBinding
//! contains nothing that could be lost: for a Member that is restored from a backup, a new one is
//! created.

use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Api, ListParams, PartialObjectMeta, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tracing::{info, warn};

use super::apply::delete_exactly;
use super::{Context, Error, GuardedMeta};
use crate::crd::Member;
use crate::domain::ids::MemberId;
use crate::domain::ids::ObjectName;
use crate::kube_ext::name::object_name;
use crate::kube_ext::pages;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;

/// The metadata of a RoleBinding, including its finalizers.
type Binding = Tolerant<PartialObjectMeta<RoleBinding>>;

/// Deletes the RoleBindings of a member except the one named `keep`, whatever their owner
/// references are: anyone who can change these must not be able to preserve a binding that way.
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
    for binding in
        list(std::slice::from_ref(&api), &names::selector_of(names::MEMBER_ROLE, &id)).await?
    {
        if keep != Some(binding.name_any().as_str()) {
            remove(&api, &binding).await?;
        }
    }
    Ok(())
}

/// Deletes every RoleBinding whose Member was deleted.
///
/// # Errors
/// The API server did not answer.
pub async fn collect(context: &Context) -> Result<(), Error> {
    for binding in list(&context.apis(), &names::selector(names::MEMBER_ROLE)).await? {
        if !is_orphan(context, &binding).await? {
            continue;
        }
        let ObjectName { namespace, name } = object_name(&binding);
        let api: Api<Tolerant<PartialObjectMeta<RoleBinding>>> =
            Api::namespaced(context.client.clone(), &namespace);
        // A RoleBinding that cannot be deleted must not protect the following ones.
        match remove(&api, &binding).await {
            Ok(()) => {
                info!(kind = "RoleBinding", %namespace, %name, "deleted an orphaned RoleBinding");
            }
            Err(error) => {
                warn!(kind = "RoleBinding", %namespace, %name, %error, "failed to delete an orphaned RoleBinding");
            }
        }
    }
    Ok(())
}

/// Whether the operator has created the binding, as shown by its labels, its name and its id, and
/// its Member was deleted. A binding is created only for an existing Member, and was listed before
/// the Member is read here, so a missing Member has been deleted. A Member whose deletion is in
/// progress still exists, and its own reconciliation deletes the binding.
async fn is_orphan(context: &Context, binding: &Binding) -> Result<bool, Error> {
    let ObjectName { namespace, name } = object_name(binding);
    let Some(member) = names::member_of_role_binding(&name) else { return Ok(false) };
    let id = MemberId::derive(&namespace, member);
    let is_its = binding.labels().get(names::ID).is_some_and(|label| *label == id.to_string());
    // The index saves a request for nearly every member.
    if !is_its || context.reader.member(id).is_some() {
        return Ok(false);
    }
    let members: Api<GuardedMeta<Member>> = Api::namespaced(context.client.clone(), &namespace);
    let found = members.get_opt(member).await.map_err(Error::api("read Member"))?;
    Ok(found.is_none())
}

/// Deletes a RoleBinding as it was read. A finalizer delays the deletion, and the binding would
/// grant its permissions in the meantime, so its subjects are removed first.
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
    apis: &[Api<Tolerant<PartialObjectMeta<RoleBinding>>>],
    selector: &str,
) -> Result<Vec<Binding>, Error> {
    let mut bindings = Vec::new();
    let take = |binding| bindings.push(binding);
    let listed = pages::each_of(apis, ListParams::default().labels(selector), take).await;
    listed.map_err(Error::api("list RoleBindings"))?;
    Ok(bindings)
}
