//! Kind `Revocation`: keys that no longer count, from now on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Desired state of a Revocation.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "anon.dev",
    version = "v1beta1",
    kind = "Revocation",
    namespaced,
    status = "RevocationStatus",
    derive = "PartialEq",
    shortname = "anonrevocation",
    category = "anon",
    doc = "Says that credentials no longer count, from now on. An object of its own, so that it survives what would bring a revoked key back: a restored Secret, a lost status, a GitOps sync. It cannot be changed; to revoke more, create another one.",
    validation = Rule::new("self.metadata.name.size() <= 52")
        .message("metadata.name must have at most 52 characters"),
    printcolumn(name = "Client", type_ = "string", json_path = ".spec.sdkClient.name"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = "1"),
    printcolumn(name = "Expires", type_ = "date", json_path = ".spec.expiresAt", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(cel)]
#[x_kube(
    validation = Rule::new("has(self.sdkClient)")
        .message("set whose credentials are revoked: `sdkClient: {name: …}`")
        .reason(Reason::FieldValueRequired),
    validation = Rule::new("self == oldSelf")
        .message("a Revocation cannot be changed; create another one to revoke more, delete it to take it back")
        .reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct RevocationSpec {
    /// ApiKeys of a service client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk_client: Option<RevokedApiKeys>,
    /// Why, for those who come after.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// When the revocation ends by itself, and the object is removed. Only sensible once all that
    /// it revokes has expired anyway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

/// Which ApiKeys of a client are revoked: those that are named and those that are too old.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.keyIds) || has(self.keysCreatedBefore)")
        .message("say which keys: `keyIds`, `keysCreatedBefore`, or both; to refuse all keys of a client, suspend it")
)]
#[serde(rename_all = "camelCase")]
pub struct RevokedApiKeys {
    /// Name of the SdkClient, in this namespace. It need not exist (any more, or again).
    #[schemars(length(min = 1, max = 52))]
    pub name: String,
    /// Ids of keys, as `status.keys[].id` shows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(
        length(min = 1, max = 64),
        inner(length(max = 16), regex(pattern = r"^[0-9a-f]{16}$"))
    )]
    pub key_ids: Option<Vec<String>>,
    /// Every key that was made before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_created_before: Option<Time>,
}

/// Observed state of a Revocation.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevocationStatus {
    /// The `metadata.generation` that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready once every validator refuses what is revoked; until then Reconciling.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}
