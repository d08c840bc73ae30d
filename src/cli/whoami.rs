//! `whoami`: the caller, as the REST API knows a session, or as the cluster knows a kubeconfig.

use hyper::Method;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::Streams;
use super::api::ApiArgs;
use super::cluster::{Cluster, ClusterArgs};
use super::output::{Format, printable};
use crate::domain::role::Role;

/// Help text below the options.
pub const EXAMPLES: &str = "\
With a session (`kubectl anon login`, ANON_SESSION_TOKEN or --session-file), the REST API tells who you
are. Without one, or with --cluster, the cluster does, and the role is the highest one whose
permissions you have in the namespace.

Examples:
  kubectl anon whoami
  kubectl anon whoami --cluster -n acme";

/// Options of `whoami`.
#[derive(Debug, clap::Args)]
pub struct Whoami {
    /// Ask the cluster, even if there is a session
    #[arg(long = "cluster")]
    in_cluster: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,

    #[command(flatten)]
    api: ApiArgs,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Prints who the caller is.
pub async fn run(args: &Whoami, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    if !args.in_cluster && args.api.has_session()? {
        let api = args.api.connect()?;
        let me = api.server.call(Method::GET, "/org/me", Some(&api.token), None).await?;
        let value = json!({"server": api.url.to_string(), "caller": me});
        return args.output.print(streams.stdout, &value, || of_session(&value));
    }
    let cluster = args.cluster.connect().await?;
    let value = json!({
        "context": cluster.context,
        "namespace": cluster.namespace,
        "user": user(&cluster).await?,
        "role": role(&cluster).await?.map(Role::as_str),
    });
    args.output.print(streams.stdout, &value, || of_cluster(&value))
}

async fn user(cluster: &Cluster) -> anyhow::Result<Value> {
    let api: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
    let review = api.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let review = review.map_err(cluster.explain("ask the cluster who you are"))?;
    let user = review.status.and_then(|status| status.user_info).unwrap_or_default();
    Ok(json!({"name": user.username, "groups": user.groups}))
}

/// The highest role whose permissions the caller has in the namespace, by the resource that only this
/// role and those above it may write; for ReadOnly, read.
async fn role(cluster: &Cluster) -> anyhow::Result<Option<Role>> {
    let deciding = [
        (Role::Admin, "create", "members"),
        (Role::Member, "create", "userpools"),
        (Role::ReadOnly, "list", "userpools"),
    ];
    for (role, verb, resource) in deciding {
        if allowed(cluster, verb, resource).await? {
            return Ok(Some(role));
        }
    }
    Ok(None)
}

async fn allowed(cluster: &Cluster, verb: &str, resource: &str) -> anyhow::Result<bool> {
    let attributes = ResourceAttributes {
        group: Some("anon.dev".to_owned()),
        namespace: Some(cluster.namespace.clone()),
        resource: Some(resource.to_owned()),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(attributes),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let review = api.create(&PostParams::default(), &review).await;
    let review = review.map_err(cluster.explain("ask the cluster what you may do"))?;
    Ok(review.status.is_some_and(|status| status.allowed))
}

/// A text at a JSON Pointer, without what could control a terminal; `-` if it is missing.
fn at(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).map_or_else(|| "-".to_owned(), printable)
}

fn of_session(value: &Value) -> String {
    let at = |pointer| at(value, pointer);
    format!(
        "server        {}\norganization  {}\n{:<12}  {}\nrole          {}\nexpires       {}\n",
        at("/server"),
        at("/caller/organizationId"),
        at("/caller/kind"),
        at("/caller/id"),
        at("/caller/role"),
        at("/caller/expiresAt"),
    )
}

fn of_cluster(value: &Value) -> String {
    let at = |pointer| at(value, pointer);
    let groups = value.pointer("/user/groups").and_then(Value::as_array).into_iter().flatten();
    let groups: Vec<_> = groups.filter_map(Value::as_str).map(printable).collect();
    let role = match at("/role").as_str() {
        "-" => "none".to_owned(),
        role => format!("{role} (by its Kubernetes permissions)"),
    };
    format!(
        "context    {}\nuser       {}\ngroups     {}\nnamespace  {}\nrole       {role}\n",
        at("/context"),
        at("/user/name"),
        groups.join(", "),
        at("/namespace"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_shown_without_control_characters() {
        let value = json!({
            "server": "https://anon.example.com/",
            "caller": {"kind": "member", "id": "m", "role": "Admin", "organizationId": "o"},
        });
        let expected = "\
server        https://anon.example.com/
organization  o
member        m
role          Admin
expires       -
";
        assert_eq!(of_session(&value), expected);
        let value = json!({
            "context": "c", "namespace": "acme", "role": null,
            "user": {"name": "ada\u{1b}", "groups": ["a", "b"]},
        });
        let expected = "\
context    c
user       ada\\u001b
groups     a, b
namespace  acme
role       none
";
        assert_eq!(of_cluster(&value), expected);
    }
}
