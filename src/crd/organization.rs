//! Kind `Organization`: settings of the organization (namespace).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::LocalRef;
use super::rules::{comparing_durations, duration, logo_url, no_control_characters};
use crate::domain::constraint::{MAX_NAME, MAX_URL};

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
    doc = "Settings of an organization. Each namespace is one organization, with or without this object: an Organization named `default` sets its display name, logo and defaults.",
    validation = Rule::new("self.metadata.name == 'default'")
        .message("an Organization must be named `default`: each namespace is one organization; create another namespace for another one"),
    printcolumn(name = "Display", type_ = "string", json_path = ".spec.displayName"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Status", type_ = "string", description = "Ready, or why the object is not ready, and its other conditions", json_path = ".status.summary"),
    printcolumn(name = "ID", type_ = "string", json_path = ".status.id", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(cel)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationSpec {
    /// Display name, 1 to 128 characters. Defaults to the name of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME))]
    #[x_kube(validation = no_control_characters())]
    pub display_name: Option<String>,
    /// URL of the organization's logo: http or https, at most 2048 characters. Shown by Link, the web
    /// page on which end users connect their accounts at other services.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_URL))]
    #[x_kube(validation = logo_url())]
    pub logo_url: Option<String>,
    /// Settings for the sessions of the organization's members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionSpec>,
    /// The UserPool for which a token is issued if the request specifies neither a pool nor a client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_user_pool_ref: Option<LocalRef>,
    /// The webapp SdkClient for which a token is issued if the request specifies neither a pool nor a
    /// client. Takes precedence over `defaultUserPoolRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_sdk_client_ref: Option<LocalRef>,
}

/// Lifetime of sessions and their maximum number per member.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = comparing_durations(&["self.lifetime"], "!has(self.lifetime) || (duration(self.lifetime) >= duration('60s') && duration(self.lifetime) <= duration('8784h'))")
        .message("session.lifetime must be from `60s` to `8784h` (366 days)").field_path(".lifetime")
)]
#[serde(rename_all = "camelCase")]
pub struct SessionSpec {
    /// Time from login to expiry: a duration from `60s` to `8784h` (366 days). Defaults to `24h`. A
    /// change does not affect existing sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("24h"))]
    pub lifetime: Option<String>,
    /// Maximum number of sessions of a member, from 1 to 64. Defaults to 8. A further login ends the
    /// oldest session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub max_per_member: Option<i32>,
}

/// Observed state of an Organization.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationStatus {
    /// Id of the organization: a UUID derived from the name of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub id: Option<String>,
    /// Summary for lists, separated by commas: `Ready`, or the reason why the object is not ready;
    /// `Suspended`; and the types of the other conditions. At most 256 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub summary: Option<String>,
    /// The `metadata.generation` that this status reflects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready and, while that is not True, Reconciling or Stalled (kstatus); at most 16 conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}
