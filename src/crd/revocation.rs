//! Kind `Revocation`: credentials that no longer count, from now on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{READABLE_FRACTION, readable_time};

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
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.userPool.name"),
    printcolumn(name = "Client", type_ = "string", json_path = ".spec.sdkClient.name"),
    printcolumn(name = "Member", type_ = "string", json_path = ".spec.member.name"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = "1"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.expiresAt", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(cel)]
#[x_kube(
    validation = Rule::new("[has(self.userPool), has(self.sdkClient), has(self.member)].filter(it, it).size() == 1")
        .message("set whose credentials are revoked, exactly one of `userPool: {name: …}`, `sdkClient: {name: …}` and `member: {name: …}`")
        .reason(Reason::FieldValueRequired),
    validation = Rule::new("self == oldSelf")
        .message("a Revocation cannot be changed; create another one to revoke more, delete it to take it back")
        .reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct RevocationSpec {
    /// Signing keys, tokens and users of a pool. Exactly one of `userPool`, `sdkClient` and `member`
    /// is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_pool: Option<RevokedOfPool>,
    /// ApiKeys of a service client. Exactly one of `userPool`, `sdkClient` and `member` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk_client: Option<RevokedApiKeys>,
    /// Sessions of a member. Exactly one of `userPool`, `sdkClient` and `member` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<RevokedSessions>,
    /// Why, for those who come after.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// When the revocation ends by itself, and the object is removed. Only sensible once all that
    /// it revokes has expired anyway. One that revokes nothing but tokens (`tokenIds`,
    /// `tokensIssuedBefore`) of a hosted pool is removed without it, after the longest time that
    /// such a token can live (366 days).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = READABLE_FRACTION))]
    #[x_kube(validation = readable_time())]
    pub expires_at: Option<Time>,
}

/// What of a pool is revoked: everything that is named here. Nothing else of the pool is touched.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.keyIds) || has(self.keysCreatedBefore) || has(self.subjects) || has(self.tokenIds) || has(self.tokensIssuedBefore)")
        .message("say what of the pool: `keyIds`, `keysCreatedBefore`, `subjects`, `tokenIds` or `tokensIssuedBefore`")
)]
#[serde(rename_all = "camelCase")]
pub struct RevokedOfPool {
    /// Name of the UserPool, in this namespace. It need not exist (any more, or again).
    #[schemars(
        length(min = 1, max = 52),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
    /// `kid` of signing keys, as `status.keys[].kid` shows them. All that they signed is refused. A
    /// hosted pool destroys them, and gets fresh ones at once in place of the Active one and the
    /// Next one beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 256)))]
    pub key_ids: Option<Vec<String>>,
    /// Every key that was published before this time, or before this object was created if that is
    /// earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = READABLE_FRACTION))]
    #[x_kube(validation = readable_time())]
    pub keys_created_before: Option<Time>,
    /// Users, by appUserId, of whom no token counts: none that exists, and none that is minted
    /// later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 255)))]
    pub subjects: Option<Vec<String>>,
    /// Tokens, by their `jti`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 256)))]
    pub token_ids: Option<Vec<String>>,
    /// Every token that was issued (`iat`) before this time. A token without `iat` was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = READABLE_FRACTION))]
    #[x_kube(validation = readable_time())]
    pub tokens_issued_before: Option<Time>,
}

/// Which sessions of a member are revoked.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevokedSessions {
    /// Name of the Member, in this namespace. It need not exist (any more, or again).
    #[schemars(
        length(min = 1, max = 52),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
    /// Every session that began before this time, or before this object was created if that is
    /// earlier. The member can log in again; to prevent that, suspend it.
    #[schemars(extend("pattern" = READABLE_FRACTION))]
    #[x_kube(validation = readable_time())]
    pub sessions_created_before: Time,
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
    #[schemars(
        length(min = 1, max = 52),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
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
    #[schemars(extend("pattern" = READABLE_FRACTION))]
    #[x_kube(validation = readable_time())]
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
