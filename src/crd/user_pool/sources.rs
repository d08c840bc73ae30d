//! The variants of a pool whose keys the operator does not create.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::crd::rules::{comparing_durations, duration, member_matches};
use crate::crd::{ClaimFormat, Jwk, SecretKeyRef};
use crate::domain::constraint::{JWKS_URL, MAX_JWKS_URL};

/// A JWK Set with private keys that your organization provides.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provided {
    /// The key of a Secret in this namespace that holds the JWK Set. The Secret must have the label
    /// `anon.dev/use: jwks`, by which its owner consents to this use.
    pub secret_ref: SecretKeyRef,
}

/// A key set at a URL.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = member_matches("self.url", JWKS_URL, "url must be an https URL without user, fragment and spaces, such as `https://id.acme.example/.well-known/jwks.json`")
        .field_path(".url"),
    validation = Rule::new(r"!self.url.matches('/[.]well-known/openid-configuration/?$')")
        .message("url is that of a discovery document, not of a JWK Set: use `oidc: {issuer: …}` with the URL before `/.well-known/openid-configuration`")
        .field_path(".url"),
    validation = comparing_durations(&["self.refreshInterval"], "!has(self.refreshInterval) || (duration(self.refreshInterval) >= duration('1m') && duration(self.refreshInterval) <= duration('24h'))")
        .message("refreshInterval must be from `1m` to `24h`").field_path(".refreshInterval")
)]
#[serde(rename_all = "camelCase")]
pub struct RemoteJwks {
    /// The https URL of your identity provider's JWK Set (RFC 7517): 1 to 1024 characters, without
    /// user and fragment. The response must be at most 512 KiB; at most 100 of its keys are used.
    #[schemars(length(min = 1, max = MAX_JWKS_URL))]
    pub url: String,
    /// CA certificates (PEM) that verify the server, instead of the public CAs: a key of a Secret in
    /// this namespace that has the label `anon.dev/use: ca`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<SecretKeyRef>,
    /// How often the JWK Set is fetched: a duration from `1m` to `24h`, such as `1h`. Defaults to
    /// `15m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("15m"))]
    pub refresh_interval: Option<String>,
}

/// An OpenID Provider.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new(r"self.issuer.matches('^https://[^\\s/?#@]+(/[^\\s?#]*)?$')")
        .message("issuer must be an https URL without user, query, fragment and spaces, exactly as in `iss` of the tokens, such as `https://id.acme.example`")
        .field_path(".issuer"),
    validation = Rule::new(r"!self.issuer.matches('/[.]well-known/openid-configuration/?$')")
        .message("issuer is the URL before `/.well-known/openid-configuration`, exactly as in `iss` of the tokens, such as `https://id.acme.example`")
        .field_path(".issuer"),
    validation = comparing_durations(&["self.refreshInterval"], "!has(self.refreshInterval) || (duration(self.refreshInterval) >= duration('1m') && duration(self.refreshInterval) <= duration('24h'))")
        .message("refreshInterval must be from `1m` to `24h`").field_path(".refreshInterval")
)]
#[serde(rename_all = "camelCase")]
pub struct Oidc {
    /// The issuer, exactly as in `iss` of the tokens, including a trailing slash: an https URL of 1 to
    /// 1024 characters, without user, query and fragment. Its discovery document,
    /// `<issuer>/.well-known/openid-configuration`, names the URL of the JWK Set.
    #[schemars(length(min = 1, max = 1024))]
    pub issuer: String,
    /// CA certificates (PEM) that verify the servers, instead of the public CAs: a key of a Secret in
    /// this namespace that has the label `anon.dev/use: ca`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<SecretKeyRef>,
    /// How often the discovery document and the JWK Set are fetched: a duration from `1m` to `24h`,
    /// such as `1h`. Defaults to `15m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("15m"))]
    pub refresh_interval: Option<String>,
}

/// Public keys that are listed in the spec.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inline {
    /// The public keys (RFC 7517), 1 to 32.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(min = 1, max = 32))]
    pub keys: Vec<InlineKey>,
}

/// A public key that is listed in a spec.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.d)")
        .message("this is a private key: remove `d`, and replace the key, because others may have read it by now")
        .reason(Reason::FieldValueForbidden),
    validation = Rule::new("self.kty in ['RSA', 'EC', 'OKP']")
        .message("kty must be `RSA`, `EC` or `OKP`: anyone who can verify tokens with a symmetric key can also issue them")
)]
pub struct InlineKey {
    /// The public members of the key.
    #[serde(flatten)]
    pub jwk: Jwk,
    /// What the key may be used for, at most 8 operations. If set, it must include `verify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 8), inner(length(max = 16)))]
    pub key_ops: Option<Vec<String>>,
    /// The private part of a key, which is rejected. Declared so that the API server does not drop it
    /// silently; at most 2048 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub d: Option<String>,
}

/// A claim that tokens must have.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new(r"!self.claim.startsWith('/') || self.claim.matches('^/([^~/]|~[01])+(/([^~/]|~[01])*)*$')")
        .message("claim starts with `/`, so it must be a JSON Pointer (RFC 6901), such as `/realm_access/roles`")
        .field_path(".claim")
)]
#[serde(rename_all = "camelCase")]
pub struct RequiredClaim {
    /// Name of the claim or, if the value starts with `/`, a JSON Pointer (RFC 6901) into the claims;
    /// 1 to 256 characters.
    #[schemars(length(min = 1, max = 256))]
    pub claim: String,
    /// The accepted values, 1 to 32 of at most 256 characters: the claim must be one of them, or a list
    /// that contains one. `true`, `false` and integers are compared by their JSON text.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 32), inner(length(max = 256)))]
    pub values: Vec<String>,
    /// How a string is compared. If unset, as a whole. `SpaceDelimited`: the string is a list of values
    /// that are separated by single spaces, such as `scope`, and must contain one of `values`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<ClaimFormat>,
}
