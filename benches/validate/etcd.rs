//! Writes objects into the etcd of the cluster, which takes a fraction of the time that requests to
//! the API server take. The API server sees them like those of another API server.
//!
//! The model of each object is one that the operator has reconciled, so that the copies need no
//! reconciliation either.

use std::fs;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::shared::cluster::Cluster;

/// The number of writes in a transaction: etcd allows 128, and 1.5 MB.
const BATCH: usize = 100;

/// A client of etcd's JSON gateway.
#[derive(Clone)]
pub struct Etcd(Client);

impl Etcd {
    /// Connects to the etcd of this cluster.
    pub async fn connect(cluster: &Cluster) -> anyhow::Result<Self> {
        let pki = cluster.directory.join("pki");
        // A kubeconfig describes a TLS client with a certificate, whatever the server is.
        let config: Kubeconfig = serde_json::from_value(json!({
            "clusters": [{"name": "etcd", "cluster": {
                "server": address(cluster)?, "certificate-authority": pki.join("ca.crt"),
            }}],
            "users": [{"name": "admin", "user": {
                "client-certificate": pki.join("admin.crt"), "client-key": pki.join("admin.key"),
            }}],
            "contexts": [{"name": "etcd", "context": {"cluster": "etcd", "user": "admin"}}],
            "current-context": "etcd",
        }))?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        Ok(Self(Client::try_from(config)?))
    }

    async fn call(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = Request::post(path).header("content-type", "application/json");
        let request = request.body(serde_json::to_vec(body)?)?;
        Ok(self.0.request(request).await?)
    }

    /// The stored form of an object of `anon.dev`.
    pub async fn read(&self, plural: &str, namespace: &str, name: &str) -> anyhow::Result<String> {
        let key = STANDARD.encode(key(plural, namespace, name));
        let found = self.call("/v3/kv/range", &json!({"key": key})).await?;
        let value = found.pointer("/kvs/0/value").and_then(Value::as_str);
        let value =
            STANDARD.decode(value.with_context(|| format!("no {plural} {name} in etcd"))?)?;
        Ok(String::from_utf8(value)?)
    }

    /// Writes objects, given their names and their stored forms.
    pub async fn write(
        &self,
        plural: &str,
        namespace: &str,
        objects: impl Iterator<Item = anyhow::Result<(String, String)>>,
    ) -> anyhow::Result<()> {
        let mut objects = objects.peekable();
        while objects.peek().is_some() {
            let mut puts = Vec::with_capacity(BATCH);
            for object in objects.by_ref().take(BATCH) {
                let (name, value) = object?;
                let key = STANDARD.encode(key(plural, namespace, &name));
                puts.push(json!({"requestPut": {"key": key, "value": STANDARD.encode(value)}}));
            }
            self.call("/v3/kv/txn", &json!({"success": puts})).await?;
        }
        Ok(())
    }

    /// Deletes the objects of a kind in a namespace whose names have this prefix, which ends with
    /// `-`.
    pub async fn delete(&self, plural: &str, namespace: &str, prefix: &str) -> anyhow::Result<()> {
        let prefix = key(plural, namespace, prefix);
        // `.` is the character after `-`: the range has everything with the prefix.
        let end = format!("{}.", prefix.trim_end_matches('-'));
        let range = json!({"key": STANDARD.encode(&prefix), "range_end": STANDARD.encode(end)});
        self.call("/v3/kv/deleterange", &range).await?;
        Ok(())
    }
}

fn key(plural: &str, namespace: &str, name: &str) -> String {
    format!("/registry/anon.dev/{plural}/{namespace}/{name}")
}

/// The URL of the cluster's etcd, from its command line: the launcher does not publish it.
fn address(cluster: &Cluster) -> anyhow::Result<String> {
    let directory = format!("--data-dir={}", cluster.directory.join("data").display());
    for entry in fs::read_dir("/proc")? {
        let command = fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        if command.split('\0').any(|argument| argument == directory) {
            let url = |argument: &str| {
                argument.strip_prefix("--advertise-client-urls=").map(str::to_owned)
            };
            return command.split('\0').find_map(url).context("etcd has no client URL");
        }
    }
    anyhow::bail!("the cluster's etcd is not running")
}
