//! Kind `Organization`: refines the organization that its namespace is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{LocalRef, NO_CONTROLS, duration, of_durations};

/// Desired state of an Organization.
#[derive(
    CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize,
)]
#[kube(
    group = "anon.dev",
    version = "v1beta1",
    kind = "Organization",
    namespaced,
    status = "OrganizationStatus",
    derive = "PartialEq",
    shortname = "anonorg",
    category = "anon",
    doc = "The company that a namespace stands for. One namespace is one organization, with or without this object: an Organization named `default` gives it a display name, a logo and defaults.",
    validation = Rule::new("self.metadata.name == 'default'")
        .message("an Organization refines its namespace and must be named `default`: one namespace is one organization"),
    printcolumn(name = "Display", type_ = "string", json_path = ".spec.displayName"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, priority = "1"),
    printcolumn(name = "ID", type_ = "string", json_path = ".status.id", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(cel)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationSpec {
    /// The name that people see. The namespace's name if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), extend("pattern" = NO_CONTROLS))]
    pub display_name: Option<String>,
    /// URL of the organization's logo, shown by the Link SDK.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s]+$"))]
    pub logo_url: Option<String>,
    /// The sessions of the organization's members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionSpec>,
    /// The UserPool that a token is minted for when a request names neither a pool nor a client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_user_pool_ref: Option<LocalRef>,
    /// The webapp SdkClient that a token is minted for when a request names neither a pool nor a
    /// client. Wins over `defaultUserPoolRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_sdk_client_ref: Option<LocalRef>,
}

/// How long sessions live, and how many a member may have.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = of_durations(&["self.lifetime"], "!has(self.lifetime) || (duration(self.lifetime) >= duration('60s') && duration(self.lifetime) <= duration('8784h'))")
        .message("session.lifetime must be from 60s to 8784h (366 days)").field_path(".lifetime")
)]
#[serde(rename_all = "camelCase")]
pub struct SessionSpec {
    /// From login to expiry, such as `24h`, which it is if unset. Sessions that have begun keep
    /// theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("24h"))]
    pub lifetime: Option<String>,
    /// How many sessions a member may have, 8 if unset; one more login ends the oldest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub max_per_member: Option<i32>,
}

/// Observed state of an Organization.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationStatus {
    /// The organization's id: a UUID derived from the namespace's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub id: Option<String>,
    /// The `metadata.generation` that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, and while it is not: Reconciling or Stalled (kstatus).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}
