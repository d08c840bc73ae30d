//! `export`: the objects of an organization as manifests that can be applied elsewhere.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Map, Value};

use super::Streams;
use super::cluster::{Cluster, ClusterArgs};
use super::output::yaml_text;
use super::private_file;
use super::read::Object;
use crate::crd;
use crate::kube_ext::gitops;
use crate::kube_ext::pages::Pages;
use crate::names;

/// Help text below the options.
pub const EXAMPLES: &str = "\
Exports Organization, UserPools, SdkClients, Members and Revocations, without status and without what
the cluster adds. With --secrets, also the Secrets that they refer to and those with API keys: they
come first, so that the operator finds the API keys and creates no new ones. Create the namespace
before you apply the manifests.

Signing keys of hosted pools and passwords that the REST API has set are in the operator's namespace
and are not exported; docs/operations.md describes backups.

Examples:
  kubectl anon export -n acme > acme.yaml
  kubectl anon export -n acme --output-dir acme/

  # into another cluster
  kubectl anon export -n acme --context old --secrets | kubectl --context new apply -f -";

/// Options of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Also export Secrets: the output then contains passwords and API keys
    #[arg(long)]
    secrets: bool,

    /// Write a file for each object into this directory, which is created
    #[arg(long, value_name = "DIRECTORY")]
    output_dir: Option<PathBuf>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Prints or writes the manifests.
pub async fn run(args: &ExportArgs, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let cluster = args.cluster.connect().await?;
    let mut manifests = Vec::new();
    if args.secrets {
        for secret in list(&cluster, &resource::<k8s_openapi::api::core::v1::Secret>()).await? {
            manifests.extend(Some(manifest(secret)).filter(is_ours));
        }
        writeln!(streams.stderr, "note: the output contains passwords and API keys")?;
    }
    // Those that others refer to come first. The operator accepts any order, people read this one.
    for resource in [
        resource::<crd::Organization>(),
        resource::<crd::UserPool>(),
        resource::<crd::SdkClient>(),
        resource::<crd::Member>(),
        resource::<crd::Revocation>(),
    ] {
        manifests.extend(list(&cluster, &resource).await?.into_iter().map(manifest));
    }
    if manifests.is_empty() {
        anyhow::bail!(
            "nothing of anon-operator is in namespace `{}` of context `{}`",
            cluster.namespace,
            cluster.context
        );
    }
    match &args.output_dir {
        None => {
            for manifest in &manifests {
                write!(streams.stdout, "---\n{}", yaml_text(manifest)?)?;
            }
        }
        Some(directory) => {
            for manifest in &manifests {
                let file = write_file(directory, manifest)?;
                writeln!(streams.stdout, "{}", file.display())?;
            }
        }
    }
    Ok(())
}

fn resource<K: kube::Resource<DynamicType = ()>>() -> ApiResource {
    ApiResource::erase::<K>(&())
}

/// The objects that are not being deleted. Untyped, so that fields of a newer version stay.
async fn list(cluster: &Cluster, resource: &ApiResource) -> anyhow::Result<Vec<Value>> {
    let api: Api<Object<DynamicObject>> =
        Api::namespaced_with(cluster.client.clone(), &cluster.namespace, resource);
    let mut objects = Vec::new();
    let mut pages = Pages::new(&api, ListParams::default());
    while pages
        .next(|object| objects.push(object))
        .await
        .map_err(cluster.explain(format!("list {}", resource.plural)))?
    {}
    let mut values = Vec::new();
    for object in objects {
        if object.meta().deletion_timestamp.is_some() {
            continue;
        }
        let name = object.name_any();
        let object = object.0.with_context(|| format!("cannot read {} `{name}`", resource.kind))?;
        let mut value = serde_json::to_value(object)?;
        if let Some(members) = value.as_object_mut() {
            // Items of a list may lack them.
            members.insert("apiVersion".to_owned(), Value::from(resource.api_version.as_str()));
            members.insert("kind".to_owned(), Value::from(resource.kind.as_str()));
        }
        values.push(value);
    }
    Ok(values)
}

/// Annotations and labels that tell of the past of an object in this cluster, or by which a tool
/// claims it.
const NOT_EXPORTED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubectl.kubernetes.io/restartedAt",
    names::REQUEST,
    names::LEAVING,
    names::ROTATE,
];

/// The manifest of an object: what its author wrote.
fn manifest(object: Value) -> Value {
    let Value::Object(mut object) = object else { return object };
    let read = object.remove("metadata").unwrap_or_default();
    let mut metadata = Map::new();
    for field in ["name", "namespace"] {
        metadata.extend(read.get(field).map(|value| (field.to_owned(), value.clone())));
    }
    for field in ["labels", "annotations"] {
        let Some(entries) = read.get(field).and_then(Value::as_object) else { continue };
        let mut entries = entries.clone();
        entries.retain(|name, value| {
            !NOT_EXPORTED.contains(&name.as_str()) && !gitops::is_mark(name, value.as_str())
        });
        if !entries.is_empty() {
            metadata.insert(field.to_owned(), Value::Object(entries));
        }
    }
    let mut manifest = Map::new();
    for field in ["apiVersion", "kind"] {
        manifest.extend(object.remove(field).map(|value| (field.to_owned(), value)));
    }
    manifest.insert("metadata".to_owned(), Value::Object(metadata));
    object.remove("status");
    manifest.extend(object);
    Value::Object(manifest)
}

/// Whether a Secret belongs to the organization: one with an API key, or one that its author lets the
/// operator use.
fn is_ours(secret: &Value) -> bool {
    let label = |name: &str| secret.pointer("/metadata/labels")?.get(name)?.as_str();
    label(names::COMPONENT) == Some(names::API_KEY) || label(names::USE).is_some()
}

/// Writes the manifest to a file of its own, `userpool-users.yaml`.
fn write_file(directory: &Path, manifest: &Value) -> anyhow::Result<PathBuf> {
    let text =
        |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = (text("/kind").to_ascii_lowercase(), text("/metadata/name"));
    let file = directory.join(format!("{kind}-{name}.yaml"));
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot create `{}`", directory.display()))?;
    // It may contain a Secret, and a file that exists may be readable by others.
    private_file::replace(&file, yaml_text(manifest)?.as_bytes())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_manifest_is_what_its_author_wrote() {
        let object = json!({
            "kind": "UserPool", "apiVersion": "anon.dev/v1beta1", "status": {"id": "x"},
            "spec": {"hosted": {}, "fieldOfANewerVersion": 1},
            "metadata": {
                "name": "users", "namespace": "acme", "uid": "u", "resourceVersion": "1",
                "generation": 2, "creationTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["f"],
                "ownerReferences": [{}],
                "labels": {"team": "a", "app.kubernetes.io/managed-by": "Helm"},
                "annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration": "{}",
                    "argocd.argoproj.io/tracking-id": "x", "anon.dev/rotate": "x",
                },
            },
        });
        let expected = json!({
            "apiVersion": "anon.dev/v1beta1", "kind": "UserPool",
            "metadata": {"name": "users", "namespace": "acme", "labels": {"team": "a"}},
            "spec": {"hosted": {}, "fieldOfANewerVersion": 1},
        });
        assert_eq!(manifest(object), expected);
    }

    #[test]
    fn only_secrets_of_the_organization_are_exported() {
        let secret = |label: &str, value: &str| {
            is_ours(&json!({"kind": "Secret", "metadata": {"labels": {label: value}}}))
        };
        assert!(secret("anon.dev/component", "api-key") && secret("anon.dev/use", "password"));
        assert!(!secret("anon.dev/component", "other") && !secret("app", "x"));
        assert!(!is_ours(&json!({"metadata": {}})));
    }

    #[test]
    fn a_file_that_exists_becomes_private() {
        let directory = std::env::temp_dir().join(format!("anon-export-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&directory).unwrap();
        let file = directory.join("secret-key.yaml");
        std::fs::write(&file, "of an earlier export").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let manifest = json!({"kind": "Secret", "metadata": {"name": "key"}});
        assert_eq!(write_file(&directory, &manifest).unwrap(), file);
        let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        let written = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!((mode, written), (0o600, yaml_text(&manifest).unwrap()));
    }
}
