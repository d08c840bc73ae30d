//! Kind `SdkClient`: a frontend (webapp) or a backend (service) of the company.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DeletionPolicy, LocalRef, Role};

/// Desired state of an SdkClient.
#[derive(
    CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize,
)]
#[kube(
    group = "anon.dev",
    version = "v1beta1",
    kind = "SdkClient",
    namespaced,
    status = "SdkClientStatus",
    derive = "PartialEq",
    shortname = "anonclient",
    category = "anon",
    doc = "An application of the company. A `webapp` is a frontend: its clientId tells the validator which UserPool a token belongs to. A `service` is a backend: it gets an ApiKey.",
    validation = Rule::new("self.metadata.name.size() <= 52")
        .message("metadata.name must have at most 52 characters, because names of other objects are made from it"),
    selectable = ".spec.webapp.userPoolRef.name",
    selectable = ".spec.service.role",
    printcolumn(name = "Type", type_ = "string", json_path = ".status.type"),
    printcolumn(name = "Client-ID", type_ = "string", json_path = ".status.clientId"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.webapp.userPoolRef.name"),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.service.role"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secretName"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, priority = "1"),
    printcolumn(name = "Keys", type_ = "string", description = "state of each ApiKey, oldest first", json_path = ".status.keys[*].state", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(cel)]
#[x_kube(
    validation = Rule::new("(has(self.webapp) ? 1 : 0) + (has(self.service) ? 1 : 0) == 1")
        .message("set exactly one of `webapp` (a frontend, with userPoolRef) and `service` (a backend, with role and apiKey)"),
    validation = Rule::new("has(self.webapp) == has(oldSelf.webapp)")
        .message("a client cannot change between `webapp` and `service`; delete it and create another one")
        .reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct SdkClientSpec {
    /// The name that people see. The object's name if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub display_name: Option<String>,
    /// What this client is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// A suspended client is kept and refused: neither its tokens nor its ApiKeys count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<bool>,
    /// A frontend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webapp: Option<Webapp>,
    /// A backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
}

/// A frontend: distinguishes clients that share a UserPool.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webapp {
    /// The UserPool whose users sign in here. It may be created later.
    pub user_pool_ref: LocalRef,
}

/// A backend: authenticates with an ApiKey.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.role != 'Admin' || !has(self.apiKey.delivery)")
        .message("an Admin key is never delivered into a Secret, where whoever reads Secrets would become Admin; use role `Member` or `ReadOnly`")
        .reason(Reason::FieldValueForbidden)
        .field_path(".role")
)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// What the ApiKey may do: ReadOnly, Member or Admin. Whoever writes this needs the right that
    /// the role gives: to create userpools for Member, to create members for Admin.
    pub role: Role,
    /// Where the ApiKey comes from.
    pub api_key: ApiKeySource,
}

/// Where the ApiKeys of a service come from.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.delivery)")
        .message("set where the ApiKey comes from: for a key that the operator makes, say `delivery: {secretName: …}`")
        .reason(Reason::FieldValueRequired)
)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeySource {
    /// The operator makes a key and delivers it into a Secret of this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
}

/// The Secret that an ApiKey is delivered into.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Name of the Secret, in this namespace. The operator creates it, with the keys `apiKey`,
    /// `clientId`, `baseUrl` and `organizationId`; a Secret of somebody else is never touched.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    #[x_kube(validation = Rule::new("!self.endsWith('.signing-keys') && !self.endsWith('.password-hash')")
        .message("names that end in `.signing-keys` or `.password-hash` are reserved for the operator"))]
    pub secret_name: String,
    /// What happens to the Secret when the SdkClient is deleted. The key in it is refused at once
    /// either way.
    #[serde(default = "delete")]
    pub deletion_policy: DeletionPolicy,
}

fn delete() -> DeletionPolicy {
    DeletionPolicy::Delete
}

/// Observed state of an SdkClient.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SdkClientStatus {
    /// The client's id: a UUID derived from namespace, kind and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub client_id: Option<String>,
    /// Webapp or Service.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ClientType>,
    /// The Secret that holds the ApiKeys below. They are served only while this matches the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret_name: Option<String>,
    /// The live ApiKeys, oldest first: their hashes, never the keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16))]
    pub keys: Vec<ApiKeyStatus>,
    /// The `metadata.generation` that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, and while it is not: Reconciling or Stalled (kstatus).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// Which arm of the union a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientType {
    /// A frontend.
    Webapp,
    /// A backend.
    Service,
}

/// One live ApiKey of a service.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyStatus {
    /// The first 16 hex digits of `sha256`.
    #[schemars(length(min = 16, max = 16))]
    pub id: String,
    /// SHA-256 of the whole key string, in lower-case hex.
    #[schemars(length(min = 64, max = 64))]
    pub sha256: String,
    /// Where the key is in its life.
    pub state: ApiKeyState,
    /// When the key was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
}

/// Where an ApiKey is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiKeyState {
    /// The key in the Secret.
    Current,
}
