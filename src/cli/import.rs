//! `import`: manifests for what another system has. Nothing is written into the cluster.

mod authorino;
mod document;
mod imported;
mod maester;
mod oidc;
mod organization;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use hyper::{Method, Uri};
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::Streams;
use super::cluster::ClusterArgs;
use super::output;
use super::server::TransportArgs;
use imported::{Imported, Placement};

/// Help text below the options.
pub const EXAMPLES: &str = "\
The manifests are printed on standard output; nothing is created. What cannot be carried over is
reported on standard error, field by field. Review both before you apply the manifests. docs/migrate.md
describes the order of the steps.

Examples:
  # clients of hydra-maester, from the cluster or from files
  kubectl anon import maester --from-cluster -n acme > clients.yaml
  kubectl anon import maester oauth2clients.yaml

  # API keys of Authorino, by the label selector of the AuthConfig
  kubectl anon import authorino --from-cluster -n acme --selector group=friends

  # an OpenID Provider
  kubectl anon import oidc https://id.acme.example --audience shop --fetch

  # an organization of Anon's hosted platform, from responses of its REST API
  for path in organization/$ORG members userPools sdkClients; do
    curl -sS \"https://svc.prod.anon.com/org/$path\" -H \"Authorization: Bearer $SESSION\"
  done | kubectl anon import organization -n acme --audience shop";

/// Where the objects come from.
#[derive(Debug, Subcommand)]
pub enum Import {
    /// OAuth2Client objects of hydra-maester: service clients
    Maester(MaesterArgs),
    /// Secrets with API keys of Authorino: service clients
    Authorino(AuthorinoArgs),
    /// An OpenID Provider: a UserPool
    Oidc(OidcArgs),
    /// An organization of Anon's hosted platform: all of it
    Organization(OrganizationArgs),
}

/// Objects of a cluster, or their manifests.
#[derive(Debug, Args)]
struct SourceArgs {
    /// Files with manifests in YAML or JSON; `-` or no argument reads standard input
    #[arg(value_name = "FILE")]
    files: Vec<String>,

    /// Read the objects of the namespace from the cluster
    #[arg(long, conflicts_with = "files")]
    from_cluster: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// How the manifests are printed.
#[derive(Debug, Args)]
struct PrintArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value_t = ManifestFormat::Yaml)]
    output: ManifestFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ManifestFormat {
    /// Documents in YAML.
    Yaml,
    /// A List in JSON.
    Json,
}

/// Options of `import maester`.
#[derive(Debug, Args)]
pub struct MaesterArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Role of the new clients
    #[arg(long, default_value = "ReadOnly", value_parser = ["ReadOnly", "Member"])]
    role: String,

    #[command(flatten)]
    print: PrintArgs,
}

/// Options of `import authorino`.
#[derive(Debug, Args)]
pub struct AuthorinoArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Labels of the Secrets, NAME=VALUE or NAME, separated by commas
    #[arg(long, default_value = "authorino.kuadrant.io/managed-by=authorino")]
    selector: String,

    /// Role of the new clients
    #[arg(long, default_value = "ReadOnly", value_parser = ["ReadOnly", "Member"])]
    role: String,

    #[command(flatten)]
    print: PrintArgs,
}

/// Options of `import oidc`.
#[derive(Debug, Args)]
pub struct OidcArgs {
    /// The issuer, exactly as in `iss` of the tokens
    #[arg(value_name = "URL")]
    issuer: String,

    /// Name of the UserPool; defaults to the host of the issuer
    #[arg(long)]
    name: Option<String>,

    /// Accepted `aud` of the tokens; can be repeated
    #[arg(long, value_name = "VALUE")]
    audience: Vec<String>,

    /// Fetch the discovery document and check it
    #[arg(long)]
    fetch: bool,

    /// Namespace of the UserPool
    #[arg(short, long)]
    namespace: Option<String>,

    #[command(flatten)]
    transport: TransportArgs,

    #[command(flatten)]
    print: PrintArgs,
}

/// Options of `import organization`.
#[derive(Debug, Args)]
pub struct OrganizationArgs {
    /// Files with responses of the REST API; `-` or no argument reads standard input
    #[arg(value_name = "FILE")]
    files: Vec<String>,

    /// Namespace of the organization
    #[arg(short, long)]
    namespace: Option<String>,

    /// Accepted `aud` of the tokens of pools that are not hosted; can be repeated
    #[arg(long, value_name = "VALUE")]
    audience: Vec<String>,

    #[command(flatten)]
    print: PrintArgs,
}

/// Prints the manifests.
pub async fn run(command: &Import, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let (imported, print) = match command {
        Import::Maester(args) => {
            let objects = args.source.read(streams, &maester::GVK, "").await?;
            (maester::import(&objects, &args.role, &args.source.placement()), &args.print)
        }
        Import::Authorino(args) => {
            let objects = args.source.read(streams, &authorino::GVK, &args.selector).await?;
            let placement = args.source.placement();
            let imported = authorino::import(&objects, &args.selector, &args.role, &placement)?;
            (imported, &args.print)
        }
        Import::Oidc(args) => (of_provider(args).await?, &args.print),
        Import::Organization(args) => {
            let responses = document::read_all(&args.files, streams.stdin, document::json)?;
            let placement = Placement(args.namespace.clone());
            (organization::import(&responses, &args.audience, &placement), &args.print)
        }
    };
    anyhow::ensure!(
        !imported.manifests.is_empty() || !imported.notes.is_empty(),
        "the input contains nothing to import"
    );
    for note in &imported.notes {
        writeln!(streams.stderr, "{}", output::printable(&note.to_string()))?;
    }
    match print.output {
        ManifestFormat::Yaml => {
            for manifest in &imported.manifests {
                write!(streams.stdout, "---\n{}", output::yaml_text(manifest)?)?;
            }
        }
        ManifestFormat::Json => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": imported.manifests});
            output::json(streams.stdout, &list)?;
        }
    }
    Ok(())
}

impl SourceArgs {
    fn placement(&self) -> Placement {
        Placement(self.cluster.namespace.clone())
    }

    /// The objects of a kind, and of the cluster those with these labels.
    async fn read(
        &self,
        streams: &mut Streams<'_>,
        (group, version, kind): &(&str, &str, &str),
        selector: &str,
    ) -> anyhow::Result<Vec<Value>> {
        if !self.from_cluster {
            return document::read_all(&self.files, streams.stdin, document::yaml);
        }
        let cluster = self.cluster.connect().await?;
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let what = format!("list {}", resource.plural);
        let api: Api<DynamicObject> =
            Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
        // As they are: other code that lists objects keeps only the metadata that the operator uses.
        let listed = api.list(&ListParams::default().labels(selector)).await;
        let listed = listed.map_err(cluster.explain(what))?;
        let mut values = Vec::new();
        for mut object in listed {
            // Items of a list have no type of their own.
            object.types = Some(kube::core::TypeMeta {
                api_version: resource.api_version.clone(),
                kind: resource.kind.clone(),
            });
            values.push(serde_json::to_value(object)?);
        }
        Ok(values)
    }
}

async fn of_provider(args: &OidcArgs) -> anyhow::Result<Imported> {
    let document = if args.fetch {
        let url: Uri = args.issuer.parse().context("the issuer is not a URL")?;
        let server = args.transport.server(&url, args.transport.ca_file())?;
        let path = "/.well-known/openid-configuration";
        let fetched = server.call(Method::GET, path, None, None).await;
        Some(fetched.context("cannot fetch the discovery document")?)
    } else {
        None
    };
    let placement = Placement(args.namespace.clone());
    oidc::import(&args.issuer, args.name.as_deref(), &args.audience, document.as_ref(), &placement)
}
