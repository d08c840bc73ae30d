//! Reads what `check` judges. What the caller may not read is marked as such.

use futures::try_join;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt as _};

use crate::cli::cluster::Cluster;
use crate::cli::exit::End;
use crate::cli::read::{Listed, Object, Readiness};
use crate::crd::{HasStatus, Kind, Member, Organization, Revocation, SdkClient, UserPool};
use crate::names;

/// The label of everything that the chart installs.
const PART_OF: &str = "app.kubernetes.io/part-of=anon";
/// The namespace of the documentation's examples.
const USUAL_NAMESPACE: &str = "anon-system";

/// What was read.
pub struct Installation {
    /// Whether the API server serves the group, and which of its resources.
    pub served: Vec<String>,
    /// The definitions of the group.
    pub definitions: Listed<CustomResourceDefinition>,
    /// The namespace of the operator.
    pub namespace: String,
    /// The Deployments of the chart there.
    pub deployments: Listed<Deployment>,
    /// The Leases of the leader and of the validators there.
    pub leases: Listed<Lease>,
    /// The webhook configurations of the chart.
    pub webhooks: Listed<ValidatingWebhookConfiguration>,
    /// The admission policies of the chart.
    pub policies: Listed<ValidatingAdmissionPolicy>,
    /// The objects of each kind, as `namespace/name`, in all namespaces or in that of the command.
    pub objects: Vec<(Kind, Listed<(String, Readiness)>)>,
}

/// Reads an installation. `namespace` is that of the operator, if it is known.
pub async fn read(cluster: &Cluster, namespace: Option<&str>) -> anyhow::Result<Installation> {
    let served = served(cluster).await?;
    let namespace = match namespace {
        Some(namespace) => namespace.to_owned(),
        None => find(cluster).await?,
    };
    let (definitions, deployments, leases, webhooks, policies) = try_join!(
        global::<CustomResourceDefinition>(cluster, ""),
        of_operator::<Deployment>(cluster, &namespace, PART_OF),
        of_operator::<Lease>(cluster, &namespace, ""),
        global::<ValidatingWebhookConfiguration>(cluster, PART_OF),
        global::<ValidatingAdmissionPolicy>(cluster, PART_OF),
    )?;
    let mut objects = Vec::new();
    if !served.is_empty() {
        objects.push(states::<Organization>(cluster).await?);
        objects.push(states::<UserPool>(cluster).await?);
        objects.push(states::<SdkClient>(cluster).await?);
        objects.push(states::<Member>(cluster).await?);
        objects.push(states::<Revocation>(cluster).await?);
    }
    Ok(Installation {
        served,
        definitions,
        namespace,
        deployments,
        leases,
        webhooks,
        policies,
        objects,
    })
}

/// The resources that the API server serves in our group and version, which everybody may ask.
async fn served(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let version = UserPool::api_version(&());
    match cluster.client.list_api_group_resources(&version).await {
        Ok(list) => Ok(list.resources.into_iter().map(|resource| resource.name).collect()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(cluster.explain("ask the API server for its resources")(error)),
    }
}

/// Finds the namespace of the operator, by what only it has.
async fn find(cluster: &Cluster) -> anyhow::Result<String> {
    let deployments: Api<Object<Deployment>> = Api::all(cluster.client.clone());
    let deployments = cluster.list_of(&deployments, ListParams::default().labels(PART_OF)).await?;
    let mut found = namespaces(deployments.items());
    if found.is_empty() {
        let leases: Api<Object<Lease>> = Api::all(cluster.client.clone());
        let name = format!("metadata.name={}", names::LEADER_LEASE);
        let leases = cluster.list_of(&leases, ListParams::default().fields(&name)).await?;
        found = namespaces(leases.items());
    }
    match found.as_slice() {
        [] => Ok(USUAL_NAMESPACE.to_owned()),
        [only] => Ok(only.clone()),
        several => Err(End::Usage(format!(
            "there are several installations; select one with --operator-namespace: {}",
            several.join(", ")
        ))
        .into()),
    }
}

fn namespaces<K: Resource>(objects: &[K]) -> Vec<String> {
    let mut namespaces: Vec<_> = objects.iter().filter_map(K::namespace).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    namespaces
}

/// Cluster-scoped objects.
async fn global<K>(cluster: &Cluster, selector: &str) -> anyhow::Result<Listed<K>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let api: Api<Object<K>> = Api::all(cluster.client.clone());
    let parameters = ListParams::default().labels(selector);
    Ok(readable(cluster.list_of(&api, parameters).await?))
}

async fn of_operator<K>(
    cluster: &Cluster,
    namespace: &str,
    selector: &str,
) -> anyhow::Result<Listed<K>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<Object<K>> = Api::namespaced(cluster.client.clone(), namespace);
    let parameters = ListParams::default().labels(selector);
    Ok(readable(cluster.list_of(&api, parameters).await?))
}

/// Without those that cannot be parsed: they are not ours.
fn readable<K>(listed: Listed<Object<K>>) -> Listed<K> {
    match listed {
        Listed::Items(items) => {
            Listed::Items(items.into_iter().filter_map(|item| item.0.ok()).collect())
        }
        Listed::Forbidden => Listed::Forbidden,
    }
}

async fn states<K: HasStatus>(
    cluster: &Cluster,
) -> anyhow::Result<(Kind, Listed<(String, Readiness)>)> {
    let mut listed = cluster.list::<K>(true).await?;
    if listed.is_forbidden() {
        listed = cluster.list::<K>(false).await?;
    }
    let state = |object: &Object<K>| {
        let namespace = object.namespace().unwrap_or_default();
        (format!("{namespace}/{}", object.name_any()), Readiness::of(object))
    };
    Ok((
        K::KIND,
        match listed {
            Listed::Items(items) => Listed::Items(items.iter().map(state).collect()),
            Listed::Forbidden => Listed::Forbidden,
        },
    ))
}
