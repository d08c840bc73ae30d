//! A separate namespace for a test, and operations on its objects.

use std::fmt::Debug;

use anon_operator::testing::crd::condition;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cluster::{admin, operator_namespace};
use super::wait::eventually;

/// Any namespaced kind that has a Rust type.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + Sync
        + 'static
{
}

/// A new namespace, which is an organization. It is not deleted, because the whole cluster is
/// thrown away.
pub struct Space {
    pub client: Client,
    pub name: String,
    pub uid: String,
}

impl Space {
    /// Creates a namespace whose name begins with `label`.
    pub async fn new(label: &str) -> Self {
        let random = &uuid::Uuid::new_v4().simple().to_string()[..6];
        Self::named(&format!("{label}-{random}")).await
    }

    /// Creates a namespace with exactly this name.
    pub async fn named(name: &str) -> Self {
        let client = admin().await;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        let made = namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        Self { client, name: name.to_owned(), uid: made.uid().unwrap() }
    }

    /// The same namespace, accessed with another client.
    pub fn with(&self, client: Client) -> Self {
        Self { client, name: self.name.clone(), uid: self.uid.clone() }
    }

    /// The operator's own namespace, which contains the signing keys.
    pub fn operators(&self) -> Self {
        Self { client: self.client.clone(), name: operator_namespace(), uid: String::new() }
    }

    /// The API of a kind in this namespace.
    pub fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// The API of a manifest's kind in this namespace.
    fn dynamic(&self, manifest: &Value) -> Api<DynamicObject> {
        let text = |field: &str| manifest[field].as_str().unwrap();
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", "v1"));
        let kind = GroupVersionKind::gvk(group, version, text("kind"));
        Api::namespaced_with(self.client.clone(), &self.name, &ApiResource::from_gvk(&kind))
    }

    /// Applies a manifest on the server side, as `kubectl apply --server-side` does.
    pub async fn try_apply(&self, manifest: &Value) -> kube::Result<DynamicObject> {
        let name = manifest["metadata"]["name"].as_str().unwrap();
        let parameters = PatchParams::apply("test").force();
        self.dynamic(manifest).patch(name, &parameters, &Patch::Apply(manifest)).await
    }

    /// Applies a manifest that must be accepted.
    pub async fn apply(&self, manifest: &Value) -> DynamicObject {
        self.try_apply(manifest).await.unwrap_or_else(|error| panic!("{error}\n{manifest}"))
    }

    /// Applies several manifests, in this order.
    pub async fn apply_all(&self, manifests: &[Value]) {
        for manifest in manifests {
            self.apply(manifest).await;
        }
    }

    /// Creates an object with POST. Returns the object that the API server stored.
    pub async fn try_create(&self, manifest: &Value) -> kube::Result<DynamicObject> {
        let object = serde_json::from_value(manifest.clone()).unwrap();
        self.dynamic(manifest).create(&PostParams::default(), &object).await
    }

    /// Binds a Role or ClusterRole to a user in this namespace, with a RoleBinding that has the
    /// user's name.
    pub async fn bind(&self, user: &str, kind: &str, role: &str) {
        let rbac = "rbac.authorization.k8s.io";
        self.apply(&json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": {"name": user},
            "roleRef": {"apiGroup": rbac, "kind": kind, "name": role},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}],
        }))
        .await;
    }

    /// Applies a merge patch.
    pub async fn try_merge<K: Kind>(&self, name: &str, patch: &Value) -> kube::Result<K> {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// Applies a merge patch that must be accepted.
    pub async fn merge<K: Kind>(&self, name: &str, patch: Value) -> K {
        self.try_merge(name, &patch).await.unwrap_or_else(|error| panic!("{error}\n{patch}"))
    }

    /// The object, if it exists.
    pub async fn get<K: Kind>(&self, name: &str) -> Option<K> {
        self.api().get_opt(name).await.unwrap()
    }

    /// Makes the API server reject every further object of a built-in kind, by a ResourceQuota.
    /// Returns the name of the ResourceQuota.
    pub async fn refuse(&self, kind: &str) -> String {
        let name = format!("no-{}s", kind.to_lowercase());
        let hard = json!({format!("count/{}s", kind.to_lowercase()): "0"});
        self.apply(&json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name},
            "spec": {"hard": hard},
        }))
        .await;
        // The status of the quota shows the limit before the API server enforces it.
        eventually("the quota is in force", async || {
            let one = json!({"apiVersion": "v1", "kind": kind, "metadata": {"generateName": "x-"}});
            let refused = self.try_create(&one).await.err().map(|error| error.to_string());
            refused.filter(|text| text.contains("exceeded quota")).ok_or("it is not")
        })
        .await;
        name
    }

    /// Deletes the object and waits until it no longer exists. The operator may have created
    /// another one of the same name by then.
    pub async fn delete<K: Kind>(&self, name: &str) {
        let uid = self.get::<K>(name).await.and_then(|it| it.uid());
        self.api::<K>().delete(name, &DeleteParams::default()).await.unwrap();
        eventually(&format!("{name} is deleted"), async || {
            let found = self.get::<K>(name).await.and_then(|it| it.uid());
            if found.is_some() && found == uid { Err("it exists") } else { Ok(()) }
        })
        .await;
    }

    /// Waits until the Ready condition has this reason for the current generation of the object.
    pub async fn stands<K: Kind>(&self, name: &str, reason: &str) -> K {
        let what = format!("{} {}/{name} is {reason}", K::kind(&()), self.name);
        eventually(&what, async || {
            let object: K = self.get(name).await.ok_or("it does not exist")?;
            let ready = ready_condition(&object);
            match ready {
                Some(ready) if ready.reason == reason => Ok(object),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// Waits until the current generation of the object is Ready.
    pub async fn ready<K: Kind>(&self, name: &str) -> K {
        eventually(&format!("{} {}/{name} is Ready", K::kind(&()), self.name), async || {
            let object: K = self.get(name).await.ok_or("it does not exist")?;
            match ready_condition(&object) {
                Some(ready) if ready.status == "True" => Ok(object),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// One value of a Secret in this namespace, if it exists.
    pub async fn value(&self, secret: &str, key: &str) -> Option<String> {
        let secret: Secret = self.get(secret).await?;
        let value = secret.data?.remove(key)?;
        Some(String::from_utf8(value.0).unwrap())
    }

    /// The API key in a Secret.
    pub async fn api_key(&self, secret: &str) -> String {
        self.value(secret, "apiKey").await.expect("an ApiKey")
    }

    /// The signing Secret of a pool in this namespace, if it exists.
    pub async fn signing_secret(&self, pool: &str) -> Option<Secret> {
        let name = format!("{}.{pool}.signing-keys", self.uid);
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &operator_namespace());
        api.get_opt(&name).await.unwrap()
    }
}

/// The Ready condition, if it is about the current generation of the object.
fn ready_condition<K: Kind>(object: &K) -> Option<Condition> {
    let value = serde_json::to_value(object).unwrap();
    let conditions: Vec<Condition> =
        serde_json::from_value(value["status"]["conditions"].clone()).unwrap_or_default();
    let current = value["status"]["observedGeneration"].as_i64() == object.meta().generation;
    condition::find(&conditions, "Ready").filter(|_| current).cloned()
}
