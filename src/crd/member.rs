//! Kind `Member`: a staff user of the organization.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::rules::{matches, no_control_characters, object_name};
use super::{Role, SecretKeyRef};
use crate::domain::constraint::{EMAIL, MAX_EMAIL, MAX_NAME};

/// Desired state of a Member.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "anon.dev",
    version = "v1beta1",
    kind = "Member",
    namespaced,
    status = "MemberStatus",
    derive = "PartialEq",
    shortname = "anonmember",
    category = "anon",
    doc = "A staff user of the organization (namespace). The operator grants the Kubernetes identity of a Member, if it has one, the permissions of its role on the anon.dev kinds of this namespace.",
    validation = Rule::new("self.metadata.name.size() <= 52")
        .message("metadata.name must have at most 52 characters, because the names of RoleBindings are derived from it"),
    selectable = ".spec.role",
    selectable = ".spec.email",
    printcolumn(name = "Email", type_ = "string", json_path = ".spec.email"),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.role"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Status", type_ = "string", description = "Ready, or why the object is not ready, and its other conditions", json_path = ".status.summary"),
    printcolumn(name = "Message", type_ = "string", description = "what the member can do, or what is wrong", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = "1"),
    printcolumn(name = "ID", type_ = "string", json_path = ".status.id", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(cel)]
#[serde(rename_all = "camelCase")]
pub struct MemberSpec {
    /// Display name, 1 to 128 characters. Defaults to the name of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME))]
    #[x_kube(validation = no_control_characters())]
    pub display_name: Option<String>,
    /// E-mail address, unique within the organization: 3 to 254 characters.
    #[schemars(length(min = 3, max = MAX_EMAIL))]
    #[x_kube(validation = matches(
        EMAIL,
        "must be an e-mail address without spaces, such as `ada@acme.example`",
    ))]
    pub email: String,
    /// Permissions of this member: ReadOnly, Member or Admin.
    pub role: Role,
    /// The key of a Secret with the password for `POST /org/login`, in plain text or as an argon2id
    /// hash in PHC format. The Secret must have the label `anon.dev/use: password`, by which its owner
    /// consents to this use. The operator stores only a hash, in its own namespace. Anyone who can
    /// write the Secret, or read a password in plain text from it, can log in as this member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeyRef>,
    /// The Kubernetes identity of this member: exactly one of `user` and `serviceAccount`. The operator
    /// binds it to the ClusterRole of the member's role, in this namespace only. Anyone who can create
    /// tokens for that ServiceAccount, or run Pods as it, effectively has the role as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesIdentity>,
    /// While true, this member has no permissions: it cannot log in, its sessions are rejected and its
    /// RoleBinding is deleted. Defaults to false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<bool>,
}

/// A Kubernetes user or ServiceAccount: exactly one of the two.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("(has(self.user) ? 1 : 0) + (has(self.serviceAccount) ? 1 : 0) == 1")
        .message("set exactly one of `user` (a user name as the API server reports it) and `serviceAccount: {name: …}` (of this namespace)")
)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesIdentity {
    /// User name as reported by the API server's authenticators: 1 to 256 characters. Names that start
    /// with `system:` are rejected; for a ServiceAccount of this namespace, use `serviceAccount`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = no_control_characters())]
    #[x_kube(validation = Rule::new("!self.startsWith('system:')")
        .message("`system:` users cannot be members; use `serviceAccount` for a ServiceAccount of this namespace"))]
    pub user: Option<String>,
    /// A ServiceAccount of this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccountRef>,
}

/// A ServiceAccount of the same namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountRef {
    /// Name of the ServiceAccount: 1 to 253 characters.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = object_name("ci"))]
    pub name: String,
}

/// Observed state of a Member.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Id of the member: a UUID derived from namespace, kind and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub id: Option<String>,
    /// The sessions of this member, oldest first; at most 64. Only hashes of the session tokens are
    /// listed, never the tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 64))]
    pub sessions: Vec<SessionStatus>,
    /// Id of the password in force, if it comes from `passwordSecretRef`: at most 36 characters. Sessions
    /// that began with another password are no longer valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub password_id: Option<String>,
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

/// A session of a member.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    /// The first 16 hexadecimal digits of `sha256`.
    #[schemars(length(min = 16, max = 16))]
    pub id: String,
    /// SHA-256 of the whole session token: 64 lower-case hexadecimal digits.
    #[schemars(length(min = 64, max = 64))]
    pub sha256: String,
    /// When the member logged in.
    pub created_at: Time,
    /// When the session expires.
    pub expires_at: Time,
    /// Which password the member had when it began. The session ends when the member has another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub password_id: Option<String>,
}
