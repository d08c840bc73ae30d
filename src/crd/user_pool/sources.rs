//! The arms of a pool whose keys the operator does not make.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::crd::{duration, of_durations};

use crate::crd::{Jwk, SecretKeyRef};

/// A JWKS with private keys that the company brings.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provided {
    /// The entry of a Secret of this namespace that holds the JWKS. The Secret must carry the label
    /// `anon.dev/use: jwks`, by which its writer agrees to this use.
    pub secret_ref: SecretKeyRef,
}

/// A key set at a URL.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new(r"self.url.matches('^https://[^\\s/?#@]+([/?][^\\s#]*)?$')")
        .message("url must be an https URL without user and fragment, such as `https://id.acme.example/.well-known/jwks.json`")
        .field_path(".url"),
    validation = of_durations(&["self.refreshInterval"], "!has(self.refreshInterval) || (duration(self.refreshInterval) >= duration('1m') && duration(self.refreshInterval) <= duration('24h'))")
        .message("refreshInterval must be from 1m to 24h").field_path(".refreshInterval")
)]
#[serde(rename_all = "camelCase")]
pub struct RemoteJwks {
    /// Where the identity provider serves its public keys (RFC 7517).
    #[schemars(length(min = 1, max = 1024))]
    pub url: String,
    /// CA certificates (PEM) to check the server by, instead of the public ones: an entry of a Secret
    /// of this namespace with the label `anon.dev/use: ca`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<SecretKeyRef>,
    /// How often the set is fetched, such as `1h`. 15 minutes if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("15m"))]
    pub refresh_interval: Option<String>,
}

/// An OpenID provider.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new(r"self.issuer.matches('^https://[^\\s/?#@]+(/[^\\s?#]*)?$')")
        .message("issuer must be an https URL without user, query and fragment, exactly as tokens carry it in `iss`")
        .field_path(".issuer"),
    validation = of_durations(&["self.refreshInterval"], "!has(self.refreshInterval) || (duration(self.refreshInterval) >= duration('1m') && duration(self.refreshInterval) <= duration('24h'))")
        .message("refreshInterval must be from 1m to 24h").field_path(".refreshInterval")
)]
#[serde(rename_all = "camelCase")]
pub struct Oidc {
    /// The issuer, exactly as tokens carry it in `iss` (mind a slash at the end). Its discovery
    /// document, `<issuer>/.well-known/openid-configuration`, says where the keys are.
    #[schemars(length(min = 1, max = 1024))]
    pub issuer: String,
    /// CA certificates (PEM) to check the servers by, instead of the public ones: an entry of a
    /// Secret of this namespace with the label `anon.dev/use: ca`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<SecretKeyRef>,
    /// How often discovery document and set are fetched, such as `1h`. 15 minutes if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("15m"))]
    pub refresh_interval: Option<String>,
}

/// Public keys in the spec itself.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inline {
    /// The public keys (RFC 7517).
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(min = 1, max = 32))]
    pub keys: Vec<InlineKey>,
}

/// A public key as it is written into a spec.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.d)")
        .message("this is a private key: remove `d`, and replace the key, because it has now been read by others")
        .reason(Reason::FieldValueForbidden),
    validation = Rule::new("self.kty in ['RSA', 'EC', 'OKP']")
        .message("kty must be `RSA`, `EC` or `OKP`: a symmetric key would let everybody who verifies tokens make them")
)]
pub struct InlineKey {
    /// The public members.
    #[serde(flatten)]
    pub jwk: Jwk,
    /// What the key may be used for; if set, `verify` must be among it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 8), inner(length(max = 16)))]
    pub key_ops: Option<Vec<String>>,
    /// The private part, which does not belong here. Declared, so that it is refused and not
    /// silently dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub d: Option<String>,
}

/// A claim that tokens must carry.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new(r"!self.claim.startsWith('/') || self.claim.matches('^/([^~/]|~[01])+(/([^~/]|~[01])*)*$')")
        .message("a claim that starts with `/` must be a JSON Pointer (RFC 6901), such as `/realm_access/roles`")
        .field_path(".claim")
)]
#[serde(rename_all = "camelCase")]
pub struct RequiredClaim {
    /// The name of the claim or, when it starts with `/`, a JSON Pointer (RFC 6901) into the claims.
    #[schemars(length(min = 1, max = 256))]
    pub claim: String,
    /// The claim must have one of these values, or be a list that contains one. `true`, `false` and
    /// integers are compared by their JSON text.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 32), inner(length(max = 256)))]
    pub values: Vec<String>,
}
