//! Kind `Revocation`: invalidates credentials, effective immediately.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::DeletionPolicy;
use super::rules::{READABLE_FRACTION, expiry_time, items, key_id, object_name, readable_time};
use crate::domain::revocation::CredentialKind;

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
    doc = "Invalidates credentials, effective immediately. It is an object of its own so that a restored Secret, a lost status or a GitOps sync cannot bring a revoked credential back. Immutable; to revoke more, create another one.",
    validation = Rule::new("self.metadata.name.size() <= 52")
        .message("metadata.name must have at most 52 characters"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.userPool.name"),
    printcolumn(name = "Client", type_ = "string", json_path = ".spec.sdkClient.name"),
    printcolumn(name = "Member", type_ = "string", json_path = ".spec.member.name"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Status", type_ = "string", description = "Ready, or why the object is not ready, and its other conditions", json_path = ".status.summary"),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = "1"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.expiresAt", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(cel)]
#[x_kube(
    validation = Rule::new("[has(self.userPool), has(self.sdkClient), has(self.member)].filter(it, it).size() == 1")
        .message("set exactly one of `userPool: {name: …}`, `sdkClient: {name: …}` and `member: {name: …}`: the object whose credentials are revoked; use one Revocation for each")
        .reason(Reason::FieldValueRequired),
    validation = Rule::new("self == oldSelf")
        .message("a Revocation is immutable; to revoke more, create another one; to undo it, delete it")
        .reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct RevocationSpec {
    /// Revoke signing keys, tokens or users of a pool. Exactly one of `userPool`, `sdkClient` and
    /// `member` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_pool: Option<RevokedOfPool>,
    /// Revoke API keys of a service client. Exactly one of `userPool`, `sdkClient` and `member` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk_client: Option<RevokedApiKeys>,
    /// Revoke sessions of a member. Exactly one of `userPool`, `sdkClient` and `member` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<RevokedSessions>,
    /// Free-text reason, for auditing: at most 1024 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// When the revocation ends. Choose a time at which all revoked credentials have expired anyway:
    /// before 9999-12-30, with at most nine fractional digits. Never, if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = READABLE_FRACTION))]
    #[x_kube(validation = expiry_time())]
    pub expires_at: Option<Time>,
    /// What happens to this object once it no longer revokes anything. `Retain`: it remains, with
    /// reason `Expired`, so that a GitOps tool does not create it again. `Delete`: the operator
    /// deletes it at `expiresAt`, and a Revocation of nothing but tokens (`tokenIds`,
    /// `tokensIssuedBefore`) of a hosted pool after 366 days, the maximum lifetime of such a token.
    /// Defaults to `Retain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
}

/// The revoked credentials of a pool: the union of all fields. Everything else stays valid.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.keyIds) || has(self.keysCreatedBefore) || has(self.subjects) || has(self.tokenIds) || has(self.tokensIssuedBefore)")
        .message("specify what to revoke: set at least one of `keyIds`, `keysCreatedBefore`, `subjects`, `tokenIds` and `tokensIssuedBefore`")
)]
#[serde(rename_all = "camelCase")]
pub struct RevokedOfPool {
    /// Name of the UserPool, in this namespace: 1 to 52 characters. It does not have to exist (yet, or
    /// any longer).
    #[schemars(length(min = 1, max = 52))]
    #[x_kube(validation = object_name("users"))]
    pub name: String,
    /// `kid` of signing keys, as in `status.keys[].kid` of the UserPool: 1 to 100 of 1 to 256
    /// characters. All tokens that they signed are rejected. A hosted pool destroys them and
    /// immediately replaces the Active key and the Next key beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 256)))]
    pub key_ids: Option<Vec<String>>,
    /// Every key that was published before this time, or before the creation of this object if that is
    /// earlier. The time must have at most nine fractional digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = READABLE_FRACTION))]
    #[x_kube(validation = readable_time())]
    pub keys_created_before: Option<Time>,
    /// Users, by appUserId, all of whose tokens are rejected, including those issued later: 1 to 256
    /// of 1 to 255 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 255)))]
    pub subjects: Option<Vec<String>>,
    /// Tokens, by `jti`: 1 to 256 of 1 to 256 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 256)))]
    pub token_ids: Option<Vec<String>>,
    /// Every token that was issued (`iat`) before this time, or before the creation of this object if
    /// that is earlier, and every token without `iat`. The time must be before 9999-12-30 and have at
    /// most nine fractional digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = READABLE_FRACTION))]
    #[x_kube(validation = readable_time())]
    pub tokens_issued_before: Option<Time>,
}

/// The revoked sessions of a member.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevokedSessions {
    /// Name of the Member, in this namespace: 1 to 52 characters. It does not have to exist (yet, or
    /// any longer).
    #[schemars(length(min = 1, max = 52))]
    #[x_kube(validation = object_name("ada"))]
    pub name: String,
    /// Every session that started before this time, or before the creation of this object if that is
    /// earlier. The time must have at most nine fractional digits. The member can log in again; to
    /// prevent that, suspend it.
    #[schemars(extend("pattern" = READABLE_FRACTION))]
    #[x_kube(validation = readable_time())]
    pub sessions_created_before: Time,
}

/// The revoked API keys of a client: the union of the fields.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.keyIds) || has(self.keysCreatedBefore)")
        .message("specify which keys to revoke: set `keyIds`, `keysCreatedBefore` or both; to reject all keys of a client, suspend it")
)]
#[serde(rename_all = "camelCase")]
pub struct RevokedApiKeys {
    /// Name of the SdkClient, in this namespace: 1 to 52 characters. It does not have to exist (yet, or
    /// any longer).
    #[schemars(length(min = 1, max = 52))]
    #[x_kube(validation = object_name("backend"))]
    pub name: String,
    /// Ids of API keys, as in `status.keys[].id` of the SdkClient: 1 to 64 of 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 64), extend("items" = items(16, &key_id())))]
    pub key_ids: Option<Vec<String>>,
    /// Every key that was generated before this time, or before the creation of this object if that is
    /// earlier; a key without a time is treated as the oldest. The time must have at most nine
    /// fractional digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = READABLE_FRACTION))]
    #[x_kube(validation = readable_time())]
    pub keys_created_before: Option<Time>,
}

/// A credential that a Revocation has matched.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MatchedCredential {
    /// SigningKey, ApiKey or Session.
    pub kind: CredentialKind,
    /// The `kid` of a signing key, or the id of an API key or a session.
    #[schemars(length(min = 1, max = 256))]
    pub id: String,
}

/// Observed state of a Revocation.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevocationStatus {
    /// The credentials that the Revocation has matched, also after they were destroyed; at most 1000.
    /// Entries are never removed. Users and tokens are not listed, because the operator stores none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 1000))]
    pub matched: Vec<MatchedCredential>,
    /// Summary for lists, separated by commas: `Ready`, or the reason why the object is not ready;
    /// `Suspended`; and the types of the other conditions. At most 256 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub summary: Option<String>,
    /// The `metadata.generation` that this status reflects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready once every validator enforces the revocation and something has matched; at most 16
    /// conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// The maximum number of entries in `status.matched`.
const MAX_MATCHED: usize = 1000;

impl MatchedCredential {
    /// Adds this to a list, unless the list has it or is full.
    pub fn add_to(self, matched: &mut Vec<Self>) {
        if !matched.contains(&self) && matched.len() < MAX_MATCHED {
            matched.push(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;
    use serde_json::Value;

    use super::Revocation;
    use crate::domain::revocation::{MAX_SUBJECT, MAX_TOKEN_ID};

    #[test]
    fn names_every_user_and_token_that_is_accepted() {
        let crd = serde_json::to_value(Revocation::crd()).unwrap();
        let pool = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/userPool";
        let items = |field: &str| {
            let items = crd.pointer(&format!("{pool}/properties/{field}/items")).unwrap();
            let bound = |name: &str| items.get(name).and_then(Value::as_u64).unwrap();
            (bound("minLength"), bound("maxLength"))
        };
        assert_eq!(items("subjects"), (1, MAX_SUBJECT as u64));
        assert_eq!(items("tokenIds"), (1, MAX_TOKEN_ID as u64));
    }
}
