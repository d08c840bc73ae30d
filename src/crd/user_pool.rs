//! Kind `UserPool`: a group of end users and the key set that their tokens are checked against.

mod sources;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{
    Algorithm, DeletionPolicy, FetchError, Jwk, NO_CONTROLS, SigningKeyState, VerifyingAlgorithm,
    duration, of_durations,
};
pub use sources::{Inline, InlineKey, Oidc, Provided, RemoteJwks, RequiredClaim};

/// Desired state of a UserPool.
#[derive(
    CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize,
)]
#[kube(
    group = "anon.dev",
    version = "v1beta1",
    kind = "UserPool",
    namespaced,
    status = "UserPoolStatus",
    derive = "PartialEq",
    shortname = "anonpool",
    category = "anon",
    doc = "A group of end users. It points to the JWKS (RFC 7517) by which their tokens are checked.",
    validation = Rule::new("self.metadata.name.size() <= 52")
        .message("metadata.name must have at most 52 characters, because names of other objects are made from it"),
    printcolumn(name = "Source", type_ = "string", json_path = ".status.source"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, priority = "1"),
    printcolumn(name = "Message", type_ = "string", description = "which keys serve, or why none does", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = "1"),
    printcolumn(name = "Signs-Since", type_ = "date", description = "when the Active key began to sign", json_path = r#".status.keys[?(@.state=="Active")].activeAt"#, priority = "1"),
    printcolumn(name = "Next-Rotation", type_ = "string", description = "when the next key begins to sign", json_path = ".status.nextRotation", priority = "1"),
    printcolumn(name = "Retires", type_ = "string", description = "when the oldest Retiring key goes", json_path = r#".status.keys[?(@.state=="Retiring")].retireAt"#, priority = "1"),
    printcolumn(name = "Fetched", type_ = "date", description = "last time that the identity provider's key set was fetched", json_path = ".status.lastFetchTime", priority = "1"),
    printcolumn(name = "Fetch-Error", type_ = "string", json_path = ".status.lastFetchError", priority = "1"),
    printcolumn(name = "Issuer", type_ = "string", json_path = ".status.issuer", priority = "1"),
    printcolumn(name = "ID", type_ = "string", json_path = ".status.id", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(cel)]
#[x_kube(
    validation = Rule::new("[has(self.hosted), has(self.provided), has(self.jwks), has(self.oidc), has(self.inline)].exists_one(set, set)")
        .message("set exactly one of `hosted`, `provided`, `jwks`, `oidc` and `inline`: where the keys of this pool come from; for keys that the operator makes and keeps, say `hosted: {}`"),
    validation = Rule::new("has(self.hosted) == has(oldSelf.hosted) && has(self.provided) == has(oldSelf.provided) && has(self.jwks) == has(oldSelf.jwks) && has(self.oidc) == has(oldSelf.oidc) && has(self.inline) == has(oldSelf.inline)")
        .message("a pool cannot change between `hosted`, `provided`, `jwks`, `oidc` and `inline`; make another UserPool and move its clients")
        .reason(Reason::FieldValueForbidden),
    validation = Rule::new("has(self.hosted) || has(self.provided) || has(self.audiences) || (has(self.anyAudience) && self.anyAudience)")
        .message("name the `audiences` that the tokens of this pool carry in `aud`; `anyAudience: true` accepts tokens that the issuer made for other applications, too"),
    validation = Rule::new("!has(self.audiences) || !has(self.anyAudience) || !self.anyAudience")
        .message("`audiences` and `anyAudience: true` exclude each other; leave one of them out")
        .field_path(".anyAudience"),
    validation = Rule::new("!has(self.hosted) || !(has(self.idClaim) || has(self.issuers) || has(self.anyAudience) || has(self.algorithms) || has(self.requiredClaims))")
        .message("the operator itself makes the tokens of a hosted pool: leave out idClaim, issuers, anyAudience, algorithms and requiredClaims"),
    validation = Rule::new("!has(self.oidc) || !has(self.issuers)")
        .message("the issuer of this pool is `oidc.issuer`; leave `issuers` out")
        .field_path(".issuers"),
    validation = Rule::new(r"!has(self.idClaim) || !self.idClaim.startsWith('/') || self.idClaim.matches('^/([^~/]|~[01])+(/([^~/]|~[01])*)*$')")
        .message("an idClaim that starts with `/` must be a JSON Pointer (RFC 6901), such as `/user/id`")
        .field_path(".idClaim"),
    validation = of_durations(&["self.leeway"], "!has(self.leeway) || duration(self.leeway) <= duration('5m')")
        .message("leeway must be at most 5m").field_path(".leeway")
)]
#[serde(rename_all = "camelCase")]
pub struct UserPoolSpec {
    /// The name that people see. The object's name if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), extend("pattern" = NO_CONTROLS))]
    pub display_name: Option<String>,
    /// What this pool is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// The operator makes the signing key, keeps it in its own namespace, publishes the public
    /// set and mints tokens at `POST /org/appUserIdToken`. `hosted: {}` takes every default. Exactly
    /// one of `hosted`, `provided`, `jwks`, `oidc` and `inline` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosted: Option<Hosted>,
    /// The company brings a JWKS with private keys, in a Secret of this namespace. Only its public
    /// part is read out and published. More tokens are made by `kubectl anon token mint --jwks`.
    /// Exactly one of `hosted`, `provided`, `jwks`, `oidc` and `inline` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provided: Option<Provided>,
    /// The company's identity provider serves the key set at a URL. Exactly one of `hosted`,
    /// `provided`, `jwks`, `oidc` and `inline` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<RemoteJwks>,
    /// The company's identity provider is an OpenID provider: its discovery document says where the
    /// key set is, and its tokens carry its issuer. Exactly one of `hosted`, `provided`, `jwks`,
    /// `oidc` and `inline` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc: Option<Oidc>,
    /// The public keys themselves: `keys` is a list of JWKs. Exactly one of `hosted`, `provided`,
    /// `jwks`, `oidc` and `inline` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline: Option<Inline>,
    /// The claim that has the appUserId, `sub` if unset: its name or, when it starts with `/`, a JSON
    /// Pointer (RFC 6901) into the claims. `email` counts only with `email_verified`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub id_claim: Option<String>,
    /// The accepted `iss` values of a `provided`, `jwks` or `inline` pool. If unset, `iss` is not
    /// looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 1024)))]
    pub issuers: Option<Vec<String>>,
    /// The `aud` values of this pool: a token must carry at least one of them. Tokens of a hosted or
    /// provided pool that names none carry a clientId, or the pool's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 256)))]
    pub audiences: Option<Vec<String>>,
    /// Accepts tokens whatever their `aud`, so also those that the issuer made for other
    /// applications. Shown as condition AnyAudience.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_audience: Option<bool>,
    /// The signature algorithms of keys that count; all that are supported if unset. An RSA key
    /// without `alg` gets the first RSA algorithm of this list, or RS256.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 9))]
    pub algorithms: Option<Vec<VerifyingAlgorithm>>,
    /// How far the clock of the issuer may be off, for `exp`, `nbf` and `iat`: at most `5m`, `60s`
    /// if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("30s"))]
    pub leeway: Option<String>,
    /// What else tokens must say; all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(min = 1, max = 16))]
    pub required_claims: Option<Vec<RequiredClaim>>,
}

/// A pool whose keys the operator makes and keeps.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = of_durations(&["self.tokenLifetime.max", "self.rotation.interval"], "!has(self.rotation) || duration(self.tokenLifetime.max).getSeconds() <= 60 * duration(self.rotation.interval).getSeconds()")
        .message("rotation.interval must be at least a 60th of tokenLifetime.max: a replaced key stays published until the last token that it signed has expired, and a pool publishes at most 100 keys")
        .field_path(".rotation.interval")
)]
#[serde(rename_all = "camelCase")]
pub struct Hosted {
    /// The signature algorithm of the pool's tokens (RFC 7518, RFC 8037). RS256 is the cheapest
    /// to verify and the one every library knows. A change is a rotation: a key of the new
    /// algorithm is published ahead, and tokens of the old one count until they expire.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// When the signing key is replaced. If unset, only on request: by the annotation
    /// `anon.dev/rotate: <any new value>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<KeyRotation>,
    /// How long minted tokens live.
    #[serde(default)]
    pub token_lifetime: TokenLifetime,
    /// What happens to the signing key when the UserPool is deleted. `Retain` keeps it in the
    /// operator's namespace, so that a pool of the same name goes on with the same keys.
    #[serde(default = "retain")]
    pub deletion_policy: DeletionPolicy,
}

impl Default for Hosted {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            rotation: None,
            token_lifetime: TokenLifetime::default(),
            deletion_policy: retain(),
        }
    }
}

fn retain() -> DeletionPolicy {
    DeletionPolicy::Retain
}

/// When the signing key of a pool is replaced.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = of_durations(&["self.interval"], "duration(self.interval) >= duration('1h')")
        .message("rotation.interval must be at least 1h: a new key is published 15 minutes before it signs")
        .field_path(".interval")
)]
#[serde(rename_all = "camelCase")]
pub struct KeyRotation {
    /// How often, such as `720h`. Each pool turns up to a tenth earlier than that, so that those
    /// that were made together do not rotate together.
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("720h"))]
    pub interval: String,
}

/// Lifetimes of minted tokens, as durations of hours, minutes and seconds such as `4380h` or
/// `1h30m`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = of_durations(&["self.default", "self.max"], "duration(self.default) <= duration(self.max)")
        .message("tokenLifetime.default (4380h if unset) must not be longer than tokenLifetime.max (4464h if unset)"),
    validation = of_durations(&["self.default"], "duration(self.default) >= duration('60s')")
        .message("tokenLifetime.default must be at least 60s"),
    validation = of_durations(&["self.max"], "duration(self.max) <= duration('8784h')")
        .message("tokenLifetime.max must be at most 8784h (366 days): a signing key has to outlive the tokens it signed")
)]
#[serde(rename_all = "camelCase")]
pub struct TokenLifetime {
    /// For requests that name no `exp`. Six months if unset.
    #[serde(default = "default_token_lifetime")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("4380h"))]
    pub default: String,
    /// The longest that a request may ask for.
    #[serde(default = "max_token_lifetime")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("4464h"))]
    pub max: String,
}

impl Default for TokenLifetime {
    fn default() -> Self {
        Self { default: default_token_lifetime(), max: max_token_lifetime() }
    }
}

fn default_token_lifetime() -> String {
    "4380h".to_owned()
}

fn max_token_lifetime() -> String {
    "4464h".to_owned()
}

/// Observed state of a UserPool.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserPoolStatus {
    /// The pool's id: a UUID derived from namespace, kind and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub id: Option<String>,
    /// What `keys` was made from, in readable form. Keys are served only while this matches the
    /// spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub source: Option<String>,
    /// The `iss` of tokens minted now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub issuer: Option<String>,
    /// Where the public key set is served (RFC 7517).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub jwks_uri: Option<String>,
    /// The public keys, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 100))]
    pub keys: Vec<SigningKeyStatus>,
    /// When the schedule puts the next key of a hosted pool to use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Time>,
    /// When a remote key set was last fetched with success. Up to five minutes behind if nothing
    /// else is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_fetch_time: Option<Time>,
    /// Why the last fetch of a remote key set failed; unset when it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_fetch_error: Option<FetchError>,
    /// When a remote key set is fetched next, if nobody asks before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_fetch_time: Option<Time>,
    /// For validators: which of their questions for a missing key the fetched set answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 100))]
    pub fetch_answers: Vec<FetchAnswer>,
    /// The `metadata.generation` that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, and while it is not: Reconciling or Stalled (kstatus).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// A question of a validator that is answered: what is not in the key set by now does not exist.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchAnswer {
    /// The process that asked.
    #[schemars(length(min = 1, max = 32))]
    pub by: String,
    /// The number of its question; all before it are answered, too.
    pub question: i64,
}

impl FetchAnswer {
    /// The most that status holds.
    pub const MAX: usize = 100;
}

/// One public key of a pool, and where it is in its life.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningKeyStatus {
    /// Key id. For a key that has none of its own: its RFC 7638 thumbprint.
    #[schemars(length(min = 1, max = 256))]
    pub kid: String,
    /// The one algorithm that this key verifies.
    pub algorithm: VerifyingAlgorithm,
    /// Next (published, not signing), Active or Retiring (published, not signing any more). Keys that
    /// the operator did not make are Active.
    pub state: SigningKeyState,
    /// The `iss` of the tokens that this key signs, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub issuer: Option<String>,
    /// When the key was made and published.
    pub published_at: Time,
    /// When the key began to sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_at: Option<Time>,
    /// When a Retiring key goes: the last token that it may have signed has expired by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retire_at: Option<Time>,
    /// The public key (RFC 7517).
    pub jwk: Jwk,
}
