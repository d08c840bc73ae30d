//! The audit log of the API server, which records each write and its user.

use std::fs;

use serde::Deserialize;
use serde_json::json;

use super::Space;
use super::cluster::{operator_user, variable};
use super::wait::{eventually, expect};

/// A write request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub verb: String,
    /// The resource with its subresource, as in `userpools/status`.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub user: String,
    pub agent: String,
    pub code: u16,
}

impl Write {
    /// The verb and the resource, such as `create secrets`.
    pub fn what(&self) -> String {
        format!("{} {}", self.verb, self.resource)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<Reference>,
    response_status: Option<Status>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reference {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

/// All completed writes so far, in the order of the log.
pub fn writes() -> Vec<Write> {
    let log = fs::read_to_string(variable("ANON_AUDIT_LOG")).unwrap();
    let reads = |line: &&str| {
        ["get", "list", "watch"].iter().any(|verb| line.contains(&format!(r#""verb":"{verb}""#)))
    };
    // The last line may be incomplete.
    let lines = log.lines().filter(|line| !reads(line));
    lines.filter_map(|line| serde_json::from_str(line).ok()).filter_map(write).collect()
}

fn write(event: Event) -> Option<Write> {
    if !matches!(event.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    {
        return None;
    }
    let object = event.object_ref?;
    let resource = match object.subresource.as_str() {
        "" => object.resource,
        sub => format!("{}/{sub}", object.resource),
    };
    Some(Write {
        verb: event.verb,
        resource,
        namespace: object.namespace,
        name: object.name,
        user: event.user.username,
        agent: event.user_agent,
        code: event.response_status.map_or(0, |status| status.code),
    })
}

/// Whether the log contains an event about an object with this name.
fn has_seen(name: &str) -> bool {
    let log = fs::read_to_string(variable("ANON_AUDIT_LOG")).unwrap();
    log.contains(&format!(r#""name":"{name}""#))
}

/// All writes by operators except those to Leases, which are renewed all the time.
fn operator_writes() -> Vec<Write> {
    let user = operator_user();
    writes().into_iter().filter(|it| it.user == user && it.resource != "leases").collect()
}

/// The writes by operators to the objects in a namespace, and to the objects in the operator's
/// namespace that belong to it.
pub fn operator_writes_for(space: &Space) -> Vec<Write> {
    let signing = format!("{}.", space.uid);
    let about = |it: &Write| it.namespace == space.name || it.name.starts_with(&signing);
    operator_writes().into_iter().filter(about).collect()
}

/// Like [`operator_writes_for`], but includes writes that are not in the log yet: it creates a
/// ConfigMap and waits until the log contains that write.
pub async fn all_writes_for(space: &Space) -> Vec<Write> {
    let mark = format!("mark-{}", uuid::Uuid::new_v4());
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": mark}});
    space.apply(&map).await;
    eventually("the audit log has our mark", async || expect(has_seen(&mark), "not yet")).await;
    operator_writes_for(space)
}
