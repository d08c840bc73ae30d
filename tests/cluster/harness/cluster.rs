//! The cluster that `dev/cluster` gave us, and the ways into it.

use std::path::PathBuf;
use std::{env, fs};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// A variable of the launcher's environment.
pub fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `make test-cluster`, or `source target/dev/env` first")
    })
}

/// Where the launcher keeps its logs, and the tests theirs.
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

/// Writes a kubeconfig with this token, and returns its path.
pub fn kubeconfig(name: &str, token: &str) -> PathBuf {
    let pods = variable("ANON_OPERATOR_KUBECONFIGS");
    let kubeconfig = fs::read_to_string(pods.split(':').next().unwrap()).unwrap();
    let old = kubeconfig.lines().find_map(|line| line.split_once("token: ")).unwrap().1;
    let path = directory().join(format!("{name}.kubeconfig"));
    fs::write(&path, kubeconfig.replace(old, token)).unwrap();
    path
}

async fn config() -> Config {
    // Several processes may run tests; the file, not a copy in the environment, says where.
    config_of(&variable("KUBECONFIG")).await
}

/// What a kubeconfig says, and nothing of the environment: the server is on this machine, so no
/// proxy is on the way to it.
pub async fn config_of(kubeconfig: &str) -> Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    config.proxy_url = None;
    config
}

fn client(config: Config) -> Client {
    // Twice is harmless.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Client::try_from(config).unwrap()
}

/// A cluster administrator. A client belongs to the runtime that made it, so each test has its
/// own.
pub async fn admin() -> Client {
    client(config().await)
}

/// Whoever a kubeconfig is of.
pub async fn of_kubeconfig(kubeconfig: &str) -> Client {
    client(config_of(kubeconfig).await)
}

/// The minor version of Kubernetes.
pub async fn minor_version() -> u32 {
    let version = admin().await.apiserver_version().await.unwrap();
    version.minor.trim_end_matches('+').parse().unwrap()
}

/// Whether validators acknowledge writes. Before Kubernetes 1.35, resourceVersions cannot be
/// compared, and a fixed time passes instead.
pub async fn acknowledges() -> bool {
    minor_version().await >= 35
}

/// How conditions tell that all validators enforce a Revocation, which are `count`.
pub async fn enforced(count: usize) -> String {
    if acknowledges().await {
        format!("enforced by {count} of {count} validators")
    } else {
        "enforced by every validator (assumed after 10s, not acknowledged)".to_owned()
    }
}

/// Somebody else, by impersonation.
pub async fn user(name: &str) -> Client {
    let mut config = config().await;
    config.headers.push(("impersonate-user".parse().unwrap(), name.parse().unwrap()));
    // What every authenticated user is in.
    config
        .headers
        .push(("impersonate-group".parse().unwrap(), "system:authenticated".parse().unwrap()));
    client(config)
}
