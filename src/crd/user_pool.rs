//! Kind `UserPool`: a group of end users and the key set that verifies their tokens.

mod inline;
mod sources;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::rules::{comparing_durations, duration, no_control_characters};
use super::{
    Algorithm, DeletionPolicy, FetchError, IdClaimType, Jwk, SigningKeyState, VerifyingAlgorithm,
};
use crate::domain::constraint::{MAX_DESCRIPTION, MAX_ID_CLAIM, MAX_NAME};
pub use inline::Inline;
pub use sources::{Oidc, Provided, RemoteJwks, RequiredClaim};

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
    doc = "A group of end users. It refers to the JWK Set (RFC 7517) that verifies their tokens.",
    validation = Rule::new("self.metadata.name.size() <= 52")
        .message("metadata.name must have at most 52 characters, because the names of other objects are derived from it"),
    printcolumn(name = "Source", type_ = "string", json_path = ".status.source"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Status", type_ = "string", description = "Ready, or why the object is not ready, and its other conditions", json_path = ".status.summary"),
    printcolumn(name = "Message", type_ = "string", description = "which keys are in use, or why none is", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = "1"),
    printcolumn(name = "Signs-Since", type_ = "date", description = "when the Active key started signing", json_path = r#".status.keys[?(@.state=="Active")].activeAt"#, priority = "1"),
    printcolumn(name = "Next-Rotation", type_ = "string", description = "when the next key starts signing", json_path = ".status.nextRotation", priority = "1"),
    printcolumn(name = "Retires", type_ = "string", description = "when the oldest Retiring key is removed", json_path = r#".status.keys[?(@.state=="Retiring")].retireAt"#, priority = "1"),
    printcolumn(name = "Fetched", type_ = "date", description = "when the identity provider's key set was last fetched", json_path = ".status.lastFetchTime", priority = "1"),
    printcolumn(name = "Fetch-Error", type_ = "string", json_path = ".status.lastFetchError", priority = "1"),
    printcolumn(name = "Issuer", type_ = "string", json_path = ".status.issuer", priority = "1"),
    printcolumn(name = "ID", type_ = "string", json_path = ".status.id", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(cel)]
#[x_kube(
    validation = Rule::new("[has(self.hosted), has(self.provided), has(self.jwks), has(self.oidc), has(self.inline)].exists_one(set, set)")
        .message("set exactly one of `hosted`, `provided`, `jwks`, `oidc` and `inline`: the source of this pool's keys; for keys that the operator creates and stores, write `hosted: {}`"),
    validation = Rule::new("has(self.hosted) == has(oldSelf.hosted) && has(self.provided) == has(oldSelf.provided) && has(self.jwks) == has(oldSelf.jwks) && has(self.oidc) == has(oldSelf.oidc) && has(self.inline) == has(oldSelf.inline)")
        .message("a pool cannot change between `hosted`, `provided`, `jwks`, `oidc` and `inline`; create another UserPool and point the clients to it")
        .reason(Reason::FieldValueForbidden),
    validation = Rule::new("!(has(self.jwks) || has(self.oidc) || has(self.inline)) || has(self.audiences) || (has(self.anyAudience) && self.anyAudience)")
        .message("list in `audiences` the `aud` values of this pool's tokens; `anyAudience: true` instead also accepts tokens that the issuer issued for other applications"),
    validation = Rule::new("!has(self.audiences) || !has(self.anyAudience) || !self.anyAudience")
        .message("`audiences` and `anyAudience: true` are mutually exclusive; remove one of them")
        .field_path(".anyAudience"),
    validation = Rule::new("!has(self.hosted) || !(has(self.idClaim) || has(self.idClaimType) || has(self.issuers) || has(self.anyAudience) || has(self.algorithms) || has(self.requiredClaims))")
        .message("the operator issues the tokens of a hosted pool itself: remove idClaim, idClaimType, issuers, anyAudience, algorithms and requiredClaims"),
    validation = Rule::new("!has(self.oidc) || !has(self.issuers)")
        .message("the issuer of this pool is `oidc.issuer`; remove `issuers`")
        .field_path(".issuers"),
    validation = Rule::new(r"!has(self.idClaim) || !self.idClaim.startsWith('/') || self.idClaim.matches('^/([^~/]|~[01])+(/([^~/]|~[01])*)*$')")
        .message("idClaim starts with `/`, so it must be a JSON Pointer (RFC 6901), such as `/user/id`")
        .field_path(".idClaim"),
    validation = comparing_durations(&["self.leeway"], "!has(self.leeway) || duration(self.leeway) <= duration('5m')")
        .message("leeway must be at most `5m`").field_path(".leeway")
)]
#[serde(rename_all = "camelCase")]
pub struct UserPoolSpec {
    /// Display name, 1 to 128 characters. Defaults to the name of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME))]
    #[x_kube(validation = no_control_characters())]
    pub display_name: Option<String>,
    /// What this pool is for: at most 1024 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_DESCRIPTION))]
    pub description: Option<String>,
    /// The operator creates the signing key, stores it in its own namespace, publishes the public
    /// key set and issues tokens at `POST /org/appUserIdToken`. `hosted: {}` uses the defaults.
    /// Exactly one of `hosted`, `provided`, `jwks`, `oidc` and `inline` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosted: Option<Hosted>,
    /// Your organization provides a JWK Set with private keys, in a Secret of this namespace. The
    /// operator publishes only the public part. `kubectl anon token mint --jwks` issues tokens.
    /// Exactly one of `hosted`, `provided`, `jwks`, `oidc` and `inline` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provided: Option<Provided>,
    /// Your identity provider serves the JWK Set at a URL. Exactly one of `hosted`, `provided`,
    /// `jwks`, `oidc` and `inline` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<RemoteJwks>,
    /// Your identity provider is an OpenID Provider: its discovery document names the URL of the
    /// JWK Set, and `iss` of every token must be its issuer. Exactly one of `hosted`, `provided`,
    /// `jwks`, `oidc` and `inline` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc: Option<Oidc>,
    /// The public keys are listed in this object. Exactly one of `hosted`, `provided`, `jwks`,
    /// `oidc` and `inline` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline: Option<Inline>,
    /// The claim that holds the appUserId: its name or, if the value starts with `/`, a JSON Pointer
    /// (RFC 6901) into the claims; 1 to 256 characters. Defaults to `sub`. The claim `email` is
    /// accepted only in tokens whose `email_verified` is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_ID_CLAIM))]
    pub id_claim: Option<String>,
    /// The JSON type of that claim: `String` (default), or `Integer` for providers that number their
    /// users. Exactly this type is accepted, so that 42 and "42" never name one user. Integers have 64
    /// bits and neither fraction nor exponent; the appUserId is their decimal form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_claim_type: Option<IdClaimType>,
    /// The accepted `iss` values of a `provided`, `jwks` or `inline` pool: 1 to 16 values of 1 to
    /// 1024 characters. If unset, `iss` is not validated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 1024)))]
    pub issuers: Option<Vec<String>>,
    /// The accepted `aud` values: 1 to 16 values of 1 to 256 characters, at least one of which must
    /// be in `aud` of a token. If unset in a hosted or provided pool, `aud` must contain the pool's
    /// id or the clientId of one of the pool's clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 256)))]
    pub audiences: Option<Vec<String>>,
    /// Accept any `aud`, which includes tokens that the issuer issued for other applications.
    /// Reported as condition AnyAudience. Defaults to false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_audience: Option<bool>,
    /// The accepted signature algorithms, 1 to 9. Defaults to all that are supported. Keys of other
    /// algorithms are ignored. An RSA key without `alg` gets the first RSA algorithm of this list,
    /// or RS256.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 9))]
    pub algorithms: Option<Vec<VerifyingAlgorithm>>,
    /// Tolerated clock difference to the issuer for `exp`, `nbf` and `iat`: a duration from `0s` to
    /// `5m`, such as `30s`. Defaults to `60s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("30s"))]
    pub leeway: Option<String>,
    /// Additional required claims, 1 to 16; all must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(min = 1, max = 16))]
    pub required_claims: Option<Vec<RequiredClaim>>,
}

/// A pool whose keys the operator creates and stores.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = comparing_durations(&["self.tokenLifetime.max", "self.rotation.interval"], "!has(self.rotation) || duration(self.tokenLifetime.max).getSeconds() <= 60 * duration(self.rotation.interval).getSeconds()")
        .message("rotation.interval must be at least one 60th of tokenLifetime.max: a replaced key stays published until the last token it signed has expired, and a pool publishes at most 100 keys")
        .field_path(".rotation.interval")
)]
#[serde(rename_all = "camelCase")]
pub struct Hosted {
    /// The signature algorithm of the pool's tokens (RFC 7518, RFC 8037). Defaults to RS256, which is
    /// the cheapest to verify and supported by every library. A change triggers a rotation: a key of
    /// the new algorithm is published ahead of use, and tokens signed with the old key stay valid
    /// until they expire.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// Scheduled rotation of the signing key. If unset, the key is rotated only on request, by the
    /// annotation `anon.dev/rotate: <any new value>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<KeyRotation>,
    /// Lifetime of issued tokens.
    #[serde(default)]
    pub token_lifetime: TokenLifetime,
    /// What happens to the signing key when the UserPool is deleted. Defaults to `Retain`, which
    /// keeps it in the operator's namespace, so that a new pool of the same name uses the same keys.
    /// `Delete` deletes it after the operator's orphan grace period (1h by default).
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

/// Scheduled rotation of a pool's signing key.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = comparing_durations(&["self.interval"], "duration(self.interval) >= duration('1h')")
        .message("rotation.interval must be at least `1h`: a new key is published 15 minutes before it signs")
        .field_path(".interval")
)]
#[serde(rename_all = "camelCase")]
pub struct KeyRotation {
    /// How often the key is replaced: a duration of at least `1h` and at least one 60th of
    /// `tokenLifetime.max`, such as `720h`. Rotation is jittered: it happens up to 10% earlier, so
    /// that pools created together do not rotate together.
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("720h"))]
    pub interval: String,
}

/// Lifetime of issued tokens: durations in hours, minutes and seconds, such as `4380h` or `1h30m`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = comparing_durations(&["self.default", "self.max"], "!has(self.default) || duration(self.default) <= duration(self.max)")
        .message("tokenLifetime.default must not be longer than tokenLifetime.max (`4464h` if unset)"),
    validation = comparing_durations(&["self.default"], "!has(self.default) || duration(self.default) >= duration('60s')")
        .message("tokenLifetime.default must be at least `60s`"),
    validation = comparing_durations(&["self.max"], "duration(self.max) >= duration('60s')")
        .message("tokenLifetime.max must be at least `60s`"),
    validation = comparing_durations(&["self.max"], "duration(self.max) <= duration('8784h')")
        .message("tokenLifetime.max must be at most `8784h` (366 days): a signing key is published until the last token it signed has expired")
)]
#[serde(rename_all = "camelCase")]
pub struct TokenLifetime {
    /// Lifetime of a token whose request does not set `exp`: a duration from `60s` to `max`. Defaults
    /// to `4380h` (half a year), or to `max` if that is shorter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("4380h"))]
    pub default: Option<String>,
    /// Longest lifetime that a request may ask for: a duration from `60s` to `8784h` (366 days).
    /// Defaults to `4464h` (186 days).
    #[serde(default = "max_token_lifetime")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("4464h"))]
    pub max: String,
}

impl Default for TokenLifetime {
    fn default() -> Self {
        Self { default: None, max: max_token_lifetime() }
    }
}

fn max_token_lifetime() -> String {
    "4464h".to_owned()
}

/// Observed state of a UserPool.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserPoolStatus {
    /// Id of the pool: a UUID derived from namespace, kind and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub id: Option<String>,
    /// The source that `keys` comes from, in readable form. The keys are used only while this matches
    /// the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub source: Option<String>,
    /// `iss` of the tokens that are issued now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub issuer: Option<String>,
    /// URL of the public JWK Set (RFC 7517).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub jwks_uri: Option<String>,
    /// The public keys, oldest first; at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 100))]
    pub keys: Vec<SigningKeyStatus>,
    /// When the next key of a hosted pool starts signing, according to the schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Time>,
    /// When a remote key set was last fetched successfully. Updated at most every five minutes if
    /// nothing else has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_fetch_time: Option<Time>,
    /// Why the last fetch of a remote key set failed. Unset if it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_fetch_error: Option<FetchError>,
    /// When a remote key set is fetched next, unless a validator requests it earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_fetch_time: Option<Time>,
    /// For validators: the latest refetch request of each that the fetched key set answers; at most
    /// 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 100))]
    pub fetch_answers: Vec<FetchAnswer>,
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

/// An answered refetch request of a validator: a key that the key set still lacks does not exist.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchAnswer {
    /// The process that sent the request.
    #[schemars(length(min = 1, max = 32))]
    pub by: String,
    /// Number of the request; all earlier ones are answered, too.
    pub question: i64,
}

impl FetchAnswer {
    /// The maximum in a status.
    pub const MAX: usize = 100;
}

/// A public key of a pool and its state.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningKeyStatus {
    /// Key id; the RFC 7638 thumbprint if the key has no `kid` of its own.
    #[schemars(length(min = 1, max = 256))]
    pub kid: String,
    /// The one algorithm that this key is used with.
    pub algorithm: VerifyingAlgorithm,
    /// Next (published, not signing yet), Active, or Retiring (published, no longer signing). Keys
    /// that the operator did not create are Active.
    pub state: SigningKeyState,
    /// `iss` of the tokens that this key signs, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub issuer: Option<String>,
    /// When the key was created and published.
    pub published_at: Time,
    /// When the key started signing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_at: Option<Time>,
    /// When a Retiring key is removed: the last token that it may have signed has expired by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retire_at: Option<Time>,
    /// The public key (RFC 7517).
    pub jwk: Jwk,
}
