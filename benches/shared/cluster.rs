//! The control plane that `dev/cluster run --no-operator` has started.

use std::path::PathBuf;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

/// The namespace of all benchmark objects.
pub const NAMESPACE: &str = "bench";

/// What the chart grants to one replica.
#[derive(Clone)]
pub struct Identity {
    /// The kubeconfig of the operator's account.
    pub kubeconfig: PathBuf,
    /// The Pod that it is bound to.
    pub pod: String,
}

/// The clients, identities and files of the cluster.
pub struct Cluster {
    /// The cluster's administrator: creates custom resources.
    pub admin: Client,
    /// The operator's account: makes the raw writes, which the chart's admission policies allow
    /// only to this account.
    pub account: Client,
    /// One for each replica of the chart.
    pub identities: Vec<Identity>,
    /// The user name of the operator's account in the audit log.
    pub user: String,
    /// The directory of the control plane.
    pub directory: PathBuf,
    /// The audit log.
    pub audit: PathBuf,
}

impl Cluster {
    /// Connects as the environment specifies, and creates the namespace.
    pub async fn connect() -> anyhow::Result<Self> {
        let (kubeconfigs, pods) =
            (variable("ANON_OPERATOR_KUBECONFIGS")?, variable("ANON_OPERATOR_PODS")?);
        let identity = |(kubeconfig, pod): (&str, &str)| Identity {
            kubeconfig: PathBuf::from(kubeconfig),
            pod: pod.to_owned(),
        };
        let identities: Vec<_> =
            kubeconfigs.split(':').zip(pods.split(':')).map(identity).collect();
        let first = identities.first().context("the chart has no replica")?;
        let admin = Client::try_from(Config::infer().await?)?;
        let config = Kubeconfig::read_from(&first.kubeconfig)?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        let cluster = Self {
            admin,
            account: Client::try_from(config)?,
            identities,
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
    std::env::var(name).with_context(|| format!("{name} is not set: use `make bench`"))
}
