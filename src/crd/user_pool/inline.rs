//! The variant of a pool whose public keys are in its spec.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::crd::Jwk;

/// Public keys that are listed in the spec.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.keys) != has(self.jwks)")
        .message("set exactly one of `keys` (a list of JWKs) and `jwks` (a JWK Set as JSON text)"),
    // An escape in the text can hide a name from this rule; the parser ignores such a key.
    validation = Rule::new(r#"!has(self.jwks) || !self.jwks.matches('"(d|p|q|dp|dq|qi|oth|k)"\\s*:\\s*[^n\\s]')"#)
        .message("jwks has a private or symmetric key: remove its members `d`, `p`, `q`, `dp`, `dq`, `qi`, `oth` and `k`, and replace the key, because others may have read it by now")
        .reason(Reason::FieldValueForbidden)
        .field_path(".jwks")
)]
#[serde(rename_all = "camelCase")]
pub struct Inline {
    /// The public keys (RFC 7517), 1 to 32. In YAML, the names `"n"` and `"y"` must be in quotes.
    /// Exactly one of `keys` and `jwks` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(min = 1, max = 32))]
    pub keys: Option<Vec<InlineKey>>,
    /// The JWK Set (RFC 7517) as JSON text, as a provider publishes it: 1 to 65536 characters. At most
    /// 100 of its keys are used. Exactly one of `keys` and `jwks` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub jwks: Option<String>,
}

/// A public key that is listed in a spec. The API server drops members that are not declared, so
/// those that providers publish are declared and ignored (RFC 7517 section 4), and those of private
/// keys are declared and rejected.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    // With this reason, the error does not quote the key.
    validation = Rule::new("!(has(self.d) || has(self.p) || has(self.q) || has(self.dp) || has(self.dq) || has(self.qi) || has(self.oth) || has(self.k))")
        .message("this is a private or symmetric key: remove `d`, `p`, `q`, `dp`, `dq`, `qi`, `oth` and `k`, and replace the key, because others may have read it by now")
        .reason(Reason::FieldValueForbidden),
    validation = Rule::new("!has(self.__true__)")
        .message("YAML 1.1 reads the name `y` as the boolean true: write `\"y\":` in quotes, or use `inline.jwks`"),
    validation = Rule::new("!has(self.__false__)")
        .message("YAML 1.1 reads the name `n` as the boolean false: write `\"n\":` in quotes, or use `inline.jwks`"),
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
    /// Certificates of the key: ignored; at most 16 of at most 16384 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16), inner(length(max = 16384)))]
    pub x5c: Option<Vec<String>>,
    /// SHA-1 thumbprint of its certificate: ignored; at most 128 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub x5t: Option<String>,
    /// SHA-256 thumbprint of its certificate: ignored; at most 128 characters.
    #[serde(rename = "x5t#S256", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub x5t_s256: Option<String>,
    /// URL of its certificate: ignored, never fetched; at most 2048 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub x5u: Option<String>,
    /// The issuer that the provider states: ignored, set `issuers` of the pool instead; at most 2048
    /// characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub issuer: Option<String>,
    /// When the provider stops using the key, in seconds: ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// When the provider created the key, in seconds: ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// When the provider starts using the key, in seconds: ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// The private exponent or key, which is rejected: at most 2048 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 2048))]
    pub d: Option<Withheld>,
    /// A prime factor of a private key, which is rejected: at most 2048 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 2048))]
    pub p: Option<Withheld>,
    /// A prime factor of a private key, which is rejected: at most 2048 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 2048))]
    pub q: Option<Withheld>,
    /// A CRT exponent of a private key, which is rejected: at most 2048 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 2048))]
    pub dp: Option<Withheld>,
    /// A CRT exponent of a private key, which is rejected: at most 2048 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 2048))]
    pub dq: Option<Withheld>,
    /// The CRT coefficient of a private key, which is rejected: at most 2048 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 2048))]
    pub qi: Option<Withheld>,
    /// Further prime factors of a private key, at most 16, which are rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(with = "Option<Vec<OtherPrime>>", length(max = 16))]
    pub oth: Option<Withheld>,
    /// A symmetric key, which is rejected: at most 2048 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 2048))]
    pub k: Option<Withheld>,
    /// The name `y` without quotes, as a YAML 1.1 parser reads it, which is rejected: at most 2048
    /// characters.
    #[serde(rename = "true", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub yaml_true: Option<String>,
    /// The name `n` without quotes, as a YAML 1.1 parser reads it, which is rejected: at most 2048
    /// characters.
    #[serde(rename = "false", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub yaml_false: Option<String>,
}

/// A member of a private key, of which only the presence is read: no part of a private key is held
/// in memory or shown by `Debug`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withheld;

impl Serialize for Withheld {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("withheld")
    }
}

impl<'de> Deserialize<'de> for Withheld {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// A further prime factor of an RSA key (RFC 7518 section 6.3.2.7).
// Only for the schema: what is rejected is not read.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what is rejected")]
struct OtherPrime {
    /// The prime factor: at most 2048 characters.
    #[schemars(length(max = 2048))]
    r: Option<String>,
    /// Its CRT exponent: at most 2048 characters.
    #[schemars(length(max = 2048))]
    d: Option<String>,
    /// Its CRT coefficient: at most 2048 characters.
    #[schemars(length(max = 2048))]
    t: Option<String>,
}
