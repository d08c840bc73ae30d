//! The requests of the users (create, annotate), and the writes of the operator as raw requests.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anon_operator::testing::crd::{ApiKeyState, ApiKeyStatus, SdkClient, SdkClientStatus};
use anon_operator::testing::domain::credential::ApiKey;
use anon_operator::testing::domain::ids::SdkClientId;
use anon_operator::testing::names;
use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::task::JoinSet;

use crate::shared::cluster::{Cluster, NAMESPACE};

/// The number of concurrent creators. The operator, too, processes as many objects at a time.
pub const CONCURRENCY: usize = 16;

/// Runs `work` for each of `0..count`, [`CONCURRENCY`] at a time.
pub async fn for_each<F, W>(count: usize, work: F) -> anyhow::Result<()>
where
    F: Fn(usize) -> W + Send + Sync + 'static,
    W: Future<Output = anyhow::Result<()>> + Send,
{
    let (work, next) = (Arc::new(work), Arc::new(AtomicUsize::new(0)));
    let mut workers: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for _ in 0..CONCURRENCY {
        let (work, next) = (Arc::clone(&work), Arc::clone(&next));
        workers.spawn(async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return Ok(());
                }
                work(index).await?;
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(())
}

pub fn name(index: usize) -> String {
    format!("client-{index:05}")
}

pub fn secret_name(index: usize) -> String {
    format!("client-{index:05}-key")
}

fn clients(client: &Client) -> Api<SdkClient> {
    Api::namespaced(client.clone(), NAMESPACE)
}

fn secrets(client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), NAMESPACE)
}

/// Creates one service client.
pub async fn create(client: &Client, index: usize) -> anyhow::Result<SdkClient> {
    let object: SdkClient = serde_json::from_value(json!({
        "apiVersion": "anon.dev/v1beta1", "kind": "SdkClient",
        "metadata": {"name": name(index)},
        "spec": {"service": {"role": "Member", "apiKey": {"delivery": {"secretName": secret_name(index)}}}},
    }))?;
    Ok(clients(client).create(&PostParams::default(), &object).await?)
}

/// Requests a rotation of the API key.
pub async fn annotate(client: &Client, index: usize, value: &str) -> anyhow::Result<SdkClient> {
    let patch = json!({"metadata": {"annotations": {names::ROTATE: value}}});
    let parameters = PatchParams::default();
    Ok(clients(client).patch(&name(index), &parameters, &Patch::Merge(&patch)).await?)
}

/// A Secret and a status that the operator wrote, as a model for the raw writes.
#[derive(Clone)]
pub struct Template {
    secret: Secret,
    status: SdkClientStatus,
}

impl Template {
    /// Reads those of the client with this index.
    pub async fn read(cluster: &Cluster, index: usize) -> anyhow::Result<Self> {
        let secret = secrets(&cluster.admin).get(&secret_name(index)).await?;
        let object = clients(&cluster.admin).get(&name(index)).await?;
        let metadata = ObjectMeta {
            labels: secret.metadata.labels,
            annotations: secret.metadata.annotations,
            ..ObjectMeta::default()
        };
        Ok(Self {
            secret: Secret { metadata, ..secret },
            status: object.status.context("the template has no status")?,
        })
    }

    /// The Secret of a client, with a new key.
    pub fn secret(&self, index: usize) -> anyhow::Result<Secret> {
        let mut secret = self.secret.clone();
        secret.metadata.name = Some(secret_name(index));
        let id = SdkClientId::derive(NAMESPACE, &name(index)).to_string();
        secret.metadata.labels.get_or_insert_default().insert(names::ID.to_owned(), id);
        let key = ByteString(ApiKey::generate()?.expose().into());
        secret.data.get_or_insert_default().insert("apiKey".to_owned(), key);
        Ok(secret)
    }

    /// The status of a client with this number of keys, the last of which is the Current one.
    pub fn status(&self, index: usize, keys: usize) -> anyhow::Result<SdkClientStatus> {
        let key = |place| {
            let hash = ApiKey::generate()?.hash();
            let state = if place == keys { ApiKeyState::Current } else { ApiKeyState::Previous };
            let (id, sha256) = (hash.id(), hash.to_string());
            let model = self.status.keys.first().context("the template has no key")?;
            Ok(ApiKeyStatus { id, sha256, state, ..model.clone() })
        };
        Ok(SdkClientStatus {
            client_id: Some(SdkClientId::derive(NAMESPACE, &name(index)).to_string()),
            secret_name: Some(secret_name(index)),
            keys: (1..=keys).map(key).collect::<anyhow::Result<_>>()?,
            ..self.status.clone()
        })
    }
}

/// The raw writes, made with the operator's account.
#[derive(Clone)]
pub struct Raw {
    account: Client,
    template: Template,
}

impl Raw {
    pub fn new(cluster: &Cluster, template: Template) -> Self {
        Self { account: cluster.account.clone(), template }
    }

    /// The writes for a new client: POST Secret, PATCH status.
    pub async fn deliver(&self, index: usize, version: Option<String>) -> anyhow::Result<()> {
        let secret = self.template.secret(index)?;
        secrets(&self.account).create(&PostParams::default(), &secret).await?;
        self.patch_status(index, version, 1).await?;
        Ok(())
    }

    /// The writes for a rotation: PATCH status, PUT Secret, PATCH status, POST Event.
    pub async fn rotate(&self, index: usize, version: Option<String>) -> anyhow::Result<()> {
        let version = self.patch_status(index, version, 1).await?;
        // Without a resourceVersion, because the raw client does not read the Secret.
        let secret = self.template.secret(index)?;
        secrets(&self.account)
            .replace(&secret_name(index), &PostParams::default(), &secret)
            .await?;
        self.patch_status(index, version, 2).await?;
        self.publish(index).await
    }

    async fn publish(&self, index: usize) -> anyhow::Result<()> {
        let event: Event = serde_json::from_value(json!({
            "metadata": {"generateName": "raw-"},
            "eventTime": MicroTime(Timestamp::now()), "type": "Normal", "action": "Reconcile",
            "reportingController": "anon-operator", "reportingInstance": "raw",
            "reason": "KeyRotated",
            "note": "Rotated API key into the Secret (acknowledged by 1 of 1 validators)",
            "regarding": {
                "apiVersion": "anon.dev/v1beta1", "kind": "SdkClient",
                "namespace": NAMESPACE, "name": name(index),
            },
        }))?;
        let api: Api<Event> = Api::namespaced(self.account.clone(), NAMESPACE);
        api.create(&PostParams::default(), &event).await?;
        Ok(())
    }

    async fn patch_status(
        &self,
        index: usize,
        version: Option<String>,
        keys: usize,
    ) -> anyhow::Result<Option<String>> {
        let body = json!({
            "apiVersion": "anon.dev/v1beta1", "kind": "SdkClient",
            "metadata": {"name": name(index), "resourceVersion": version},
            "status": self.template.status(index, keys)?,
        });
        let parameters = PatchParams::apply("anon-operator/status").force();
        let api = clients(&self.account);
        let written = api.patch_status(&name(index), &parameters, &Patch::Apply(&body)).await?;
        Ok(written.resource_version())
    }
}

/// Creates Secrets that are unrelated to the operator.
pub async fn create_unrelated(cluster: &Cluster, count: usize, bytes: usize) -> anyhow::Result<()> {
    let api = secrets(&cluster.admin);
    for_each(count, move |index| {
        let api = api.clone();
        async move {
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(format!("unrelated-{index:05}")),
                    ..ObjectMeta::default()
                },
                data: Some([("blob".to_owned(), ByteString(vec![b'x'; bytes]))].into()),
                ..Secret::default()
            };
            api.create(&PostParams::default(), &secret).await?;
            Ok(())
        }
    })
    .await
}

/// Deletes all objects, so that the next case starts like this one.
pub async fn clear(cluster: &Cluster) -> anyhow::Result<()> {
    let (delete, all) = (DeleteParams::default(), ListParams::default());
    clients(&cluster.admin).delete_collection(&delete, &all).await?;
    secrets(&cluster.admin).delete_collection(&delete, &all).await?;
    Ok(())
}
