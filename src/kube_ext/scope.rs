//! The Kubernetes APIs that cover a [`Scope`].

use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::{Client, Resource};

use crate::domain::scope::Scope;

/// The API of one part of a scope: see [`Scope::parts`].
#[must_use]
pub fn api<K>(client: &Client, part: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match part {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The APIs that together cover the scope.
#[must_use]
pub fn apis<K>(client: &Client, scope: &Scope) -> Vec<Api<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    scope.parts().into_iter().map(|part| api(client, part)).collect()
}
