//! Kind `Member`: someone of the company.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{NO_CONTROLS, Role, SecretKeyRef};

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
    doc = "Someone of the company that the namespace stands for. A Member that names a Kubernetes identity gets the matching rights on the anon.dev kinds of this namespace.",
    validation = Rule::new("self.metadata.name.size() <= 52")
        .message("metadata.name must have at most 52 characters, because the names of RoleBindings are made from it"),
    selectable = ".spec.role",
    selectable = ".spec.email",
    printcolumn(name = "Email", type_ = "string", json_path = ".spec.email"),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.role"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, priority = "1"),
    printcolumn(name = "Message", type_ = "string", description = "what the member can do, or what is the matter", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = "1"),
    printcolumn(name = "ID", type_ = "string", json_path = ".status.id", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(cel)]
#[serde(rename_all = "camelCase")]
pub struct MemberSpec {
    /// The name that people see. The object's name if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), extend("pattern" = NO_CONTROLS))]
    pub display_name: Option<String>,
    /// E-mail address, unique within the organization.
    #[schemars(
        length(min = 3, max = 254),
        regex(pattern = r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+$")
    )]
    pub email: String,
    /// What this person may do: ReadOnly, Member or Admin.
    pub role: Role,
    /// The Secret with the password by which this person logs in at `POST /org/login`: in plain
    /// text, or as an argon2id hash in PHC form. The Secret must carry the label
    /// `anon.dev/use: password`. What is stored of it is a hash, in the operator's namespace. Who may
    /// write that Secret, or read a plain text in it, can log in as this person, with this role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeyRef>,
    /// The Kubernetes identity of this person: exactly one of `user` and `serviceAccount`. It gets
    /// a RoleBinding to the ClusterRole of the Member's role, in this namespace only. Who may make
    /// tokens of that ServiceAccount has the role too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesIdentity>,
    /// A suspended member keeps the object and loses every right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<bool>,
}

/// A Kubernetes user or ServiceAccount: exactly one of the two.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("(has(self.user) ? 1 : 0) + (has(self.serviceAccount) ? 1 : 0) == 1")
        .message("set exactly one of `user` and `serviceAccount`")
)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesIdentity {
    /// A user name as the API server's authenticators report it. Names of the system
    /// (`system:…`) are refused; a ServiceAccount of this namespace goes into `serviceAccount`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), extend("pattern" = NO_CONTROLS))]
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
    /// Name of the ServiceAccount.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
}

/// Observed state of a Member.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// The member's id: a UUID derived from namespace, kind and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub id: Option<String>,
    /// The sessions of this member, oldest first: the hashes of their tokens, never the tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 64))]
    pub sessions: Vec<SessionStatus>,
    /// Which password is in force, if it comes from `passwordSecretRef`. Another password has another
    /// id, and ends the sessions that began with the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub password_id: Option<String>,
    /// The `metadata.generation` that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, and while it is not: Reconciling or Stalled (kstatus).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// One session of a member.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    /// The first 16 hex digits of `sha256`.
    #[schemars(length(min = 16, max = 16))]
    pub id: String,
    /// SHA-256 of the whole session token, in lower-case hex.
    #[schemars(length(min = 64, max = 64))]
    pub sha256: String,
    /// When the member logged in.
    pub created_at: Time,
    /// When the session stops to count.
    pub expires_at: Time,
    /// Which password the member had when it began. The session ends when the member has another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub password_id: Option<String>,
}
