//! The control plane that `dev/cluster run --no-operator` started for us.

use std::path::PathBuf;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

/// The namespace in which everything happens.
pub const NAMESPACE: &str = "bench";

/// Who is who there.
pub struct Cluster {
    /// The cluster's administrator: creates custom resources.
    pub admin: Client,
    /// The operator's account: makes the raw writes, which its admission policies let nobody else.
    pub account: Client,
    /// The kubeconfig of that account.
    pub kubeconfig: PathBuf,
    /// The Pod that it is bound to.
    pub pod: String,
    /// The user name of that account in the audit log.
    pub user: String,
    /// Where the control plane keeps its files.
    pub directory: PathBuf,
    /// The audit log.
    pub audit: PathBuf,
}

impl Cluster {
    /// From the environment.
    pub async fn connect() -> anyhow::Result<Self> {
        let first = |list: String| list.split(':').next().unwrap_or_default().to_owned();
        let kubeconfig = PathBuf::from(first(variable("ANON_OPERATOR_KUBECONFIGS")?));
        let admin = Client::try_from(Config::infer().await?)?;
        let config = Kubeconfig::read_from(&kubeconfig)?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        let cluster = Self {
            admin,
            account: Client::try_from(config)?,
            kubeconfig,
            pod: first(variable("ANON_OPERATOR_PODS")?),
            user: format!("system:serviceaccount:{}", variable("ANON_OPERATOR_ACCOUNT")?),
            directory: PathBuf::from(variable("ANON_DEV_DIR")?),
            audit: PathBuf::from(variable("ANON_AUDIT_LOG")?),
        };
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
        let namespaces: Api<Namespace> = Api::all(cluster.admin.clone());
        namespaces.create(&PostParams::default(), &namespace).await?;
        Ok(cluster)
    }
}

fn variable(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: run this by `make bench`"))
}
