//! The objects of the cases, created through the API server.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anon_operator::testing::crd::{Member, SdkClient, UserPool, condition};
use anon_operator::testing::domain::credential::{ApiKey, SessionToken};
use anon_operator::testing::domain::ids::SdkClientId;
use anyhow::ensure;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::shared::cluster::Cluster;
use crate::tokens::{AUDIENCE, ISSUER, Issuer};

/// How long the operator may take to reconcile an object.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Creates an object of `anon.dev`.
pub async fn create<K>(
    client: &Client,
    namespace: &str,
    name: &str,
    spec: Value,
) -> anyhow::Result<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    let object = serde_json::from_value(json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()),
        "metadata": {"name": name}, "spec": spec,
    }))?;
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    Ok(api.create(&PostParams::default(), &object).await?)
}

pub async fn create_namespace(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    let api: Api<Namespace> = Api::all(cluster.admin.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    api.create(&PostParams::default(), &namespace).await?;
    Ok(())
}

/// Creates an inline pool with the key of the issuer, and a webapp client `<pool>-web`, whose id is
/// returned.
pub async fn inline_pool(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    issuer: &Issuer,
) -> anyhow::Result<String> {
    create::<UserPool>(&cluster.admin, namespace, name, pool_spec(issuer)?).await?;
    webapp(cluster, namespace, name).await
}

/// The spec of an inline pool.
pub fn pool_spec(issuer: &Issuer) -> anyhow::Result<Value> {
    let (issuers, audiences) = ([ISSUER], [AUDIENCE]);
    Ok(json!({
        "inline": {"keys": [issuer.jwk()?]}, "issuers": issuers, "audiences": audiences,
    }))
}

/// Creates a webapp client of the pool, and returns its id.
pub async fn webapp(cluster: &Cluster, namespace: &str, pool: &str) -> anyhow::Result<String> {
    let name = format!("{pool}-web");
    let spec = json!({"webapp": {"userPoolRef": {"name": pool}}});
    create::<SdkClient>(&cluster.admin, namespace, &name, spec).await?;
    Ok(SdkClientId::derive(namespace, &name).to_string())
}

/// Creates a service client that lists this number of keys, and returns the keys.
pub async fn service(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    keys: usize,
) -> anyhow::Result<Vec<ApiKey>> {
    let keys = (0..keys).map(|_| ApiKey::generate()).collect::<Result<Vec<_>, _>>()?;
    let hash = |key: &ApiKey| json!({"id": key.hash().id(), "sha256": key.hash().to_string()});
    let hashes: Vec<_> = keys.iter().map(hash).collect();
    let spec = json!({"service": {"role": "Member", "apiKey": {"hashes": hashes}}});
    create::<SdkClient>(&cluster.admin, namespace, name, spec).await?;
    Ok(keys)
}

/// Creates a member with a session, and returns the token of the session.
pub async fn member(cluster: &Cluster, namespace: &str) -> anyhow::Result<String> {
    let spec = json!({"email": "ada@bench.example", "role": "Admin"});
    create::<Member>(&cluster.admin, namespace, "ada", spec).await?;
    let (token, now) = (SessionToken::generate()?, Timestamp::now());
    let session = json!({
        "id": token.hash().id(), "sha256": token.hash().to_string(),
        "createdAt": now, "expiresAt": now.checked_add(SignedDuration::from_hours(24))?,
    });
    // With the operator's account: an admission policy refuses the status of anyone else.
    let api: Api<Member> = Api::namespaced(cluster.account.clone(), namespace);
    let patch = Patch::Merge(json!({"status": {"sessions": [session]}}));
    api.patch_status("ada", &PatchParams::default(), &patch).await?;
    Ok(token.expose().to_owned())
}

/// Waits until a client is Ready.
pub async fn client_ready(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<()> {
    let api: Api<SdkClient> = Api::namespaced(cluster.admin.clone(), namespace);
    ready(name, || async {
        let status = api.get(name).await?.status;
        Ok(status.is_some_and(|status| condition::is_ready(&status.conditions)))
    })
    .await
}

/// Waits until a pool is Ready.
pub async fn pool_ready(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<()> {
    let api: Api<UserPool> = Api::namespaced(cluster.admin.clone(), namespace);
    ready(name, || async {
        let status = api.get(name).await?.status;
        Ok(status.is_some_and(|status| condition::is_ready(&status.conditions)))
    })
    .await
}

async fn ready<F>(name: &str, check: impl Fn() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<bool>>,
{
    let start = Instant::now();
    while !check().await? {
        ensure!(start.elapsed() < READY_TIMEOUT, "{name} does not become Ready");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
