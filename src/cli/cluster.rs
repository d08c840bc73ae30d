//! The connection to the cluster: the usual flags of kubectl, and errors with a remedy.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, PatchParams, PostParams};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Resource};

use super::output::printable;
use crate::domain::duration;
use crate::kube_ext::error::{naming, short};

/// The field manager of everything that this program writes.
pub const FIELD_MANAGER: &str = "kubectl-anon";

/// The name of the context inside a Pod, where there is no kubeconfig.
const IN_CLUSTER: &str = "in-cluster";

/// Where the cluster is, and as whom to connect. The flags are those of kubectl.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Cluster options")]
pub struct ClusterArgs {
    /// Namespace, which is the organization; defaults to that of the context
    #[arg(short, long)]
    pub namespace: Option<String>,

    /// Kubeconfig file; defaults to those in KUBECONFIG, then to ~/.kube/config
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig; defaults to the current one
    #[arg(long)]
    pub context: Option<String>,

    /// User to impersonate
    #[arg(long = "as", value_name = "USER")]
    pub as_user: Option<String>,

    /// Group to impersonate; can be repeated
    #[arg(long = "as-group", value_name = "GROUP", requires = "as_user")]
    pub as_groups: Vec<String>,

    /// How long the API server may take to respond, such as 10s; 0s waits without limit
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration_arg)]
    pub request_timeout: Duration,
}

/// A connection to a cluster.
#[derive(Clone)]
pub struct Cluster {
    /// The client, with the rights of the caller and no others.
    pub client: Client,
    /// The namespace of the command.
    pub namespace: String,
    /// The name of the context, for messages.
    pub context: String,
}

/// Parses a duration of hours, minutes and seconds.
pub fn duration_arg(text: &str) -> Result<Duration, String> {
    let parsed = duration::parse(text).and_then(|parsed| Duration::try_from(parsed).ok());
    parsed.ok_or_else(|| "must be hours, minutes and seconds, such as 90s or 2m".to_owned())
}

impl ClusterArgs {
    /// Prepares the connection. Nothing is sent yet.
    ///
    /// # Errors
    /// There is no usable kubeconfig.
    pub async fn connect(&self) -> anyhow::Result<Cluster> {
        // The same TLS provider as in the operator.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (mut config, context) = self.config().await?;
        if let Some(user) = &self.as_user {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups = Some(self.as_groups.clone());
        }
        let limit = Some(self.request_timeout).filter(|limit| !limit.is_zero());
        config.connect_timeout = limit;
        config.read_timeout = limit;
        let namespace = self.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let naming = naming(&config.cluster_url);
        let builder = ClientBuilder::try_from(config)
            .with_context(|| format!("cannot use context `{context}` of the kubeconfig"))?;
        Ok(Cluster { client: builder.with_layer(&naming).build(), namespace, context })
    }

    async fn config(&self) -> anyhow::Result<(Config, String)> {
        let read = match &self.kubeconfig {
            Some(file) => Kubeconfig::read_from(file)
                .with_context(|| format!("cannot use kubeconfig `{}`", file.display())),
            None => Kubeconfig::read()
                .context("cannot find a usable kubeconfig; set KUBECONFIG or --kubeconfig"),
        };
        let kubeconfig = match read {
            Ok(kubeconfig) => kubeconfig,
            // In a Pod: its ServiceAccount.
            Err(error) if self.kubeconfig.is_none() && self.context.is_none() => {
                return match Config::incluster() {
                    Ok(config) => Ok((config, IN_CLUSTER.to_owned())),
                    Err(_) => Err(error),
                };
            }
            Err(error) => return Err(error),
        };
        let context = self.context.clone().or_else(|| kubeconfig.current_context.clone());
        let context = context.context(
            "the kubeconfig has no current context; set --context, or run `kubectl config use-context`",
        )?;
        let options =
            KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let config = config.with_context(|| {
            format!("cannot use context `{context}` of the kubeconfig; `kubectl config get-contexts` lists them")
        })?;
        Ok((config, context))
    }
}

impl Cluster {
    /// The objects of a kind in the namespace of the command.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// An error of the API server for people: what failed, where, and what to do. `what` completes
    /// "cannot …", such as "read SdkClient `backend`".
    pub fn explain(&self, what: impl Display) -> impl FnOnce(kube::Error) -> anyhow::Error {
        move |error| {
            let (context, namespace) = (&self.context, &self.namespace);
            let mut text = format!(
                "cannot {what} (namespace `{namespace}`, context `{context}`): {}",
                printable(&short(&error).to_string())
            );
            if let Some(remedy) = remedy(&error, namespace) {
                text = format!("{text}\n{remedy}");
            }
            anyhow!(text)
        }
    }
}

/// What the caller can do about an error.
fn remedy(error: &kube::Error, namespace: &str) -> Option<String> {
    let status = match error {
        kube::Error::Api(status) => status,
        kube::Error::Service(_) | kube::Error::HyperError(_) => {
            return Some("Check that the cluster is running and reachable: `kubectl cluster-info`. --context selects another one.".to_owned());
        }
        kube::Error::Auth(_) => {
            return Some("Log in to the cluster again, as you do for kubectl.".to_owned());
        }
        _ => return None,
    };
    let names_an_object = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
    let remedy = match status.code {
        401 => "The cluster does not accept the credentials of this context: log in to the cluster again, as you do for kubectl.".to_owned(),
        403 => format!("Ask an administrator for the permission: the ClusterRoles anon-readonly, anon-member and anon-admin contain what people need. `kubectl auth can-i --list -n {namespace}` shows what you may do."),
        404 if names_an_object => format!("Check the name and the namespace: `kubectl get anon -n {namespace}` lists the objects."),
        404 => "Either the API server does not know the resource, because the CRDs of anon-operator are not installed or are of another version (`kubectl anon check` shows it), or the path does not exist.".to_owned(),
        409 => "Something else changed the object at the same time: run the command again.".to_owned(),
        _ => return None,
    };
    Some(remedy)
}

/// Options of commands that change something.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct WriteArgs {
    /// Have the API server check the change without making it
    #[arg(long)]
    pub dry_run: bool,
}

impl WriteArgs {
    /// For a patch.
    pub fn patch_params(self) -> PatchParams {
        PatchParams {
            dry_run: self.dry_run,
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        }
    }

    /// For a creation.
    pub fn post_params(self) -> PostParams {
        PostParams { dry_run: self.dry_run, field_manager: Some(FIELD_MANAGER.to_owned()) }
    }

    /// For the end of a line that tells of the change.
    pub const fn suffix(self) -> &'static str {
        if self.dry_run { " (server dry run)" } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn failure(code: u16, name: &str) -> kube::Error {
        let status = json!({"code": code, "message": "no", "details": {"name": name}});
        kube::Error::Api(Box::new(serde_json::from_value::<Status>(status).unwrap()))
    }

    #[test]
    fn every_usual_error_has_a_remedy() {
        for (error, word) in [
            (failure(401, ""), "log in"),
            (failure(403, ""), "anon-readonly"),
            (failure(404, "backend"), "kubectl get anon -n acme"),
            (failure(404, ""), "CRDs"),
            (failure(409, "backend"), "again"),
            (kube::Error::Service("refused".into()), "cluster-info"),
        ] {
            let remedy = remedy(&error, "acme").unwrap();
            assert!(remedy.contains(word), "{remedy}");
        }
        assert_eq!(remedy(&failure(422, "backend"), "acme"), None);
    }

    #[test]
    fn durations_of_flags() {
        assert_eq!(duration_arg("1m30s"), Ok(Duration::from_secs(90)));
        assert!(duration_arg("1d").is_err() && duration_arg("-1s").is_err());
    }
}
