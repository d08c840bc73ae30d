//! The cluster that `dev/cluster` started, and clients for it.

use std::path::PathBuf;
use std::{env, fs};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// An environment variable that the launcher sets.
pub fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `make test-cluster`, or `source target/dev/env` first")
    })
}

/// The directory with the logs of the launcher and of the tests.
pub fn directory() -> PathBuf {
    variable("ANON_DEV_DIR").into()
}

/// The operator's own namespace.
pub fn operator_namespace() -> String {
    variable("ANON_OPERATOR_ACCOUNT").split_once(':').unwrap().0.to_owned()
}

/// The user name of the operator's ServiceAccount.
pub fn operator_user() -> String {
    format!("system:serviceaccount:{}", variable("ANON_OPERATOR_ACCOUNT"))
}

/// Writes a kubeconfig with this token and returns its path.
pub fn kubeconfig(name: &str, token: &str) -> PathBuf {
    let pods = variable("ANON_OPERATOR_KUBECONFIGS");
    let kubeconfig = fs::read_to_string(pods.split(':').next().unwrap()).unwrap();
    let old = kubeconfig.lines().find_map(|line| line.split_once("token: ")).unwrap().1;
    let path = directory().join(format!("{name}.kubeconfig"));
    fs::write(&path, kubeconfig.replace(old, token)).unwrap();
    path
}

async fn config() -> Config {
    // Several processes may run tests, so the address of the API server comes from the file, not
    // from a copy in the environment.
    config_of(&variable("KUBECONFIG")).await
}

/// The configuration in a kubeconfig, without a proxy from the environment: the API server runs on
/// this machine.
pub async fn config_of(kubeconfig: &str) -> Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    config.proxy_url = None;
    config
}

fn client(config: Config) -> Client {
    // A second call is harmless.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Client::try_from(config).unwrap()
}

/// A client with the identity of a cluster administrator. A client belongs to the runtime that
/// created it, so each test has its own.
pub async fn admin() -> Client {
    client(config().await)
}

/// A client with the identity of a kubeconfig.
pub async fn of_kubeconfig(kubeconfig: &str) -> Client {
    client(config_of(kubeconfig).await)
}

/// The minor version of the cluster's Kubernetes.
pub async fn minor_version() -> u32 {
    let version = admin().await.apiserver_version().await.unwrap();
    version.minor.trim_end_matches('+').parse().unwrap()
}

/// Whether validators acknowledge writes. Before Kubernetes 1.35, resourceVersions cannot be
/// compared, and the operator waits for a fixed time instead.
pub async fn acknowledges() -> bool {
    minor_version().await >= 35
}

/// The text with which conditions report that all `count` validators enforce a Revocation.
pub async fn enforced(count: usize) -> String {
    if acknowledges().await {
        format!("enforced by {count} of {count} validators")
    } else {
        "enforced by every validator (assumed after 10s, not acknowledged)".to_owned()
    }
}

/// A client that impersonates another user.
pub async fn user(name: &str) -> Client {
    let mut config = config().await;
    config.headers.push(("impersonate-user".parse().unwrap(), name.parse().unwrap()));
    // Every authenticated user is in this group.
    config
        .headers
        .push(("impersonate-group".parse().unwrap(), "system:authenticated".parse().unwrap()));
    client(config)
}
