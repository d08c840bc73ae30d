//! Chooses the signing key in a JWK or a JWK Set (RFC 7517). Errors identify keys by position and
//! `kid`, and members by name; they never contain a value.

use serde_json::{Map, Value};
use thiserror::Error;

use crate::domain::algorithm::{Algorithm, VerifyingAlgorithm};
use crate::domain::json::{parse_object, without_byte_order_mark};
use crate::domain::signing::{PrivateJwk, SigningKey};

/// A signing key, and the `kid` for the header of its tokens.
pub struct Chosen {
    /// The private key.
    pub key: SigningKey,
    /// Its `kid` in the file, otherwise its RFC 7638 thumbprint, which is the `kid` that the operator
    /// publishes for such a key.
    pub kid: String,
}

/// Why no key of a file can sign.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The file is empty.
    #[error("the key file is empty: it must contain a JWK or a JWK Set (RFC 7517)")]
    Empty,
    /// The file is PEM.
    #[error(
        "the key file is PEM, but must be a JWK or a JWK Set in JSON (RFC 7517): export the key as a JWK, or convert it with a JOSE tool"
    )]
    Pem,
    /// The file is not JSON.
    #[error("the key file cannot be read as JSON: {0}")]
    NotJson(String),
    /// The file is JSON, but not a key.
    #[error(
        "the key file is neither a JWK (an object with `kty`) nor a JWK Set (an object with an array `keys`)"
    )]
    NotJwks,
    /// An element of `keys` is not a JWK.
    #[error("{0} is not a JWK: it must have the member `kty`, and its members must be strings")]
    NotJwk(Label),
    /// The file has only public keys.
    #[error(
        "no key in the file has a private part (member `d`): public keys can verify but not sign; use the key set that your identity provider signs with"
    )]
    PublicOnly,
    /// The specified key has no private part.
    #[error("{0} has no private part (member `d`): it can verify but not sign; choose another key")]
    NotPrivate(Label),
    /// The key is a shared secret.
    #[error(
        "{0} is a shared secret (`kty` is oct): tokens signed with it are never accepted; use an RSA, EC or Ed25519 key"
    )]
    Symmetric(Label),
    /// The key is for encryption.
    #[error("{0} is not for signatures, according to its `use` or `key_ops`; choose another key")]
    NotForSigning(Label),
    /// Several keys can sign.
    #[error(
        "several keys in the file can sign; choose one with --kid, and with --alg if they share it: {0}"
    )]
    Several(List),
    /// No key has this `kid`.
    #[error("no key in the file has the kid {kid:?}; the file has: {has}")]
    NoSuchKid {
        /// The requested `kid`.
        kid: String,
        /// The keys of the file.
        has: List,
    },
    /// The key lacks members.
    #[error("{key} lacks {members}, which a private {kty} key must have; export the complete key")]
    Missing {
        /// The key.
        key: Label,
        /// Its type.
        kty: &'static str,
        /// Names of the missing members.
        members: String,
    },
    /// The type, curve or algorithm is not supported.
    #[error(
        "{0} has an unsupported `kty`, `crv` or `alg`; supported are RSA (RS256, PS256), EC on P-256 (ES256) or P-384 (ES384), and OKP with Ed25519 (EdDSA)"
    )]
    Unsupported(Label),
    /// `--alg` is not the algorithm of the key.
    #[error("{key} is for {alg}, not for {asked}: omit --alg, or choose another key")]
    OtherAlgorithm {
        /// The key.
        key: Label,
        /// Its algorithm.
        alg: &'static str,
        /// The requested algorithm.
        asked: &'static str,
    },
    /// The members do not form a key.
    #[error(
        "{key} is not a valid private key for {alg}: its members must be base64url without padding and belong to the same key, and RSA requires at least 2048 bits"
    )]
    Invalid {
        /// The key.
        key: Label,
        /// Its algorithm.
        alg: &'static str,
    },
}

/// Identifies a key in an error: by its position in the file, and its `kid`.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("key {position}{}", .kid.as_ref().map(|kid| format!(" (kid {kid:?})")).unwrap_or_default())]
pub struct Label {
    position: usize,
    kid: Option<String>,
}

/// Identifies several keys in an error.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
pub struct List(Vec<Label>);

/// Chooses the key with this `kid`, or the only one that can sign. Keys of several algorithms may
/// share a `kid`.
pub fn choose(
    file: &[u8],
    kid: Option<&str>,
    algorithm: Option<Algorithm>,
) -> Result<Chosen, KeyError> {
    let candidates = read(file)?;
    let chosen = match kid {
        Some(kid) => named(candidates, kid, algorithm)?,
        None => only(candidates)?,
    };
    chosen.into_key(algorithm)
}

fn read(file: &[u8]) -> Result<Vec<Candidate>, KeyError> {
    let file = without_byte_order_mark(file).trim_ascii();
    if file.is_empty() {
        return Err(KeyError::Empty);
    }
    if file.starts_with(b"-----BEGIN") {
        return Err(KeyError::Pem);
    }
    // The messages of serde_json's syntax errors have a position and quote nothing.
    let object = parse_object(file).map_err(|error| KeyError::NotJson(error.to_string()))?;
    let mut object = Map::from(object);
    let keys = match object.remove("keys") {
        Some(Value::Array(keys)) => keys,
        None if object.contains_key("kty") => vec![Value::Object(object)],
        _ => return Err(KeyError::NotJwks),
    };
    keys.into_iter()
        .zip(1..)
        .map(|(key, position)| match key {
            Value::Object(members) if members.get("kty").is_some_and(Value::is_string) => {
                Ok(Candidate { position, members })
            }
            _ => Err(KeyError::NotJwk(Label { position, kid: None })),
        })
        .collect()
}

fn named(
    candidates: Vec<Candidate>,
    kid: &str,
    asked: Option<Algorithm>,
) -> Result<Candidate, KeyError> {
    let labels = List(candidates.iter().map(Candidate::label).collect());
    let (mut named, others): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|key| key.text("kid") == Some(kid));
    if named.is_empty() {
        // A key without a `kid` is identified by its thumbprint.
        named = others
            .into_iter()
            .filter(|key| key.text("kid").is_none() && key.thumbprint().as_deref() == Some(kid))
            .collect();
    }
    // A set may contain the public and the private key with the same `kid`.
    if named.iter().any(Candidate::can_sign) {
        named.retain(Candidate::can_sign);
    }
    if named.len() > 1 && asked.is_some() {
        named.retain(|key| key.algorithm(asked) == asked);
    }
    if named.len() > 1 {
        return Err(KeyError::Several(List(named.iter().map(Candidate::label).collect())));
    }
    let key =
        named.pop().ok_or_else(|| KeyError::NoSuchKid { kid: kid.to_owned(), has: labels })?;
    match key.obstacle() {
        None => Ok(key),
        Some(error) => Err(error),
    }
}

fn only(candidates: Vec<Candidate>) -> Result<Candidate, KeyError> {
    // If there is a single key, what is wrong with it is the better error.
    let obstacle = match candidates.as_slice() {
        [one] => one.obstacle().filter(|error| !matches!(error, KeyError::NotPrivate(_))),
        _ => None,
    };
    let mut signing: Vec<_> = candidates.into_iter().filter(Candidate::can_sign).collect();
    match (signing.pop(), signing.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(last), false) => {
            let labels = signing.iter().chain([&last]).map(Candidate::label).collect();
            Err(KeyError::Several(List(labels)))
        }
        (None, _) => Err(obstacle.unwrap_or(KeyError::PublicOnly)),
    }
}

/// A key of the file.
struct Candidate {
    position: usize,
    members: Map<String, Value>,
}

impl Candidate {
    fn text(&self, member: &str) -> Option<&str> {
        self.members.get(member).and_then(Value::as_str)
    }

    fn label(&self) -> Label {
        // The thumbprint helps to choose among keys without a `kid`.
        let kid = self.text("kid").map(str::to_owned).or_else(|| self.thumbprint());
        Label { position: self.position, kid }
    }

    fn thumbprint(&self) -> Option<String> {
        let jwk: crate::domain::jwk::Jwk =
            serde_json::from_value(Value::Object(self.members.clone())).ok()?;
        jwk.thumbprint()
    }

    fn can_sign(&self) -> bool {
        self.obstacle().is_none()
    }

    /// Why this key cannot sign, judged by its members alone.
    fn obstacle(&self) -> Option<KeyError> {
        if self.text("kty") == Some("oct") {
            return Some(KeyError::Symmetric(self.label()));
        }
        if !self.members.contains_key("d") {
            return Some(KeyError::NotPrivate(self.label()));
        }
        let use_ = self.text("use").is_none_or(|use_| use_ == "sig");
        let operations = match self.members.get("key_ops") {
            Some(Value::Array(operations)) => {
                operations.iter().any(|operation| operation == "sign")
            }
            _ => true,
        };
        (!use_ || !operations).then(|| KeyError::NotForSigning(self.label()))
    }

    /// The algorithm that the key signs with; `asked` decides for an RSA key without `alg`.
    fn algorithm(&self, asked: Option<Algorithm>) -> Option<Algorithm> {
        let rsa = asked.map(VerifyingAlgorithm::from).filter(|asked| asked.is_rsa());
        let rsa = rsa.unwrap_or(VerifyingAlgorithm::RS256);
        let (alg, kty, crv) = (self.text("alg"), self.text("kty"), self.text("crv"));
        let own = VerifyingAlgorithm::of_key(alg, kty, crv, rsa)?;
        Algorithm::from_name(own.as_str())
    }

    fn into_key(self, asked: Option<Algorithm>) -> Result<Chosen, KeyError> {
        let key = self.label();
        let Some(algorithm) = self.algorithm(asked) else {
            return Err(KeyError::Unsupported(key));
        };
        let alg = algorithm.as_str();
        let (kty, crv, needed) = shape(algorithm);
        if self.text("kty") != Some(kty) || (crv.is_some() && self.text("crv") != crv) {
            return Err(KeyError::Unsupported(key));
        }
        if let Some(asked) = asked.filter(|asked| *asked != algorithm) {
            return Err(KeyError::OtherAlgorithm { key, alg, asked: asked.as_str() });
        }
        let missing: Vec<_> = needed
            .iter()
            .filter(|member| !self.members.contains_key(**member))
            .map(|member| format!("`{member}`"))
            .collect();
        if !missing.is_empty() {
            return Err(KeyError::Missing { key, kty, members: missing.join(", ") });
        }
        let mut members = self.members;
        members.insert("alg".to_owned(), alg.into());
        // The error of serde would quote a value of the wrong type, which may be the private part.
        let Ok(jwk) = serde_json::from_value::<PrivateJwk>(Value::Object(members)) else {
            return Err(KeyError::NotJwk(key));
        };
        let Ok(signing) = SigningKey::from_jwk(&jwk) else {
            return Err(KeyError::Invalid { key, alg });
        };
        let kid = jwk.public.kid.clone().or_else(|| signing.public_jwk().kid);
        Ok(Chosen { key: signing, kid: kid.unwrap_or_default() })
    }
}

/// Key type, curve and required members of a private key (RFC 7518 section 6, RFC 8037 section 2).
/// RFC 7518 allows an RSA key without its factors; signing with it would be slow and unprotected.
const fn shape(
    algorithm: Algorithm,
) -> (&'static str, Option<&'static str>, &'static [&'static str]) {
    match algorithm {
        Algorithm::RS256 | Algorithm::PS256 => {
            ("RSA", None, &["n", "e", "d", "p", "q", "dp", "dq", "qi"])
        }
        Algorithm::ES256 => ("EC", Some("P-256"), &["x", "y", "d"]),
        Algorithm::ES384 => ("EC", Some("P-384"), &["x", "y", "d"]),
        Algorithm::EdDSA => ("OKP", Some("Ed25519"), &["x", "d"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    const D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const THUMBPRINT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

    /// The key of RFC 8037 appendix A.1, with more members.
    fn ed25519(more: &str) -> String {
        format!(r#"{{"kty":"OKP","crv":"Ed25519","d":"{D}","x":"{X}"{more}}}"#)
    }

    fn public() -> String {
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{X}"}}"#)
    }

    fn set(keys: &[String]) -> String {
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    fn error(file: &str, kid: Option<&str>) -> String {
        let Err(error) = choose(file.as_bytes(), kid, None) else { panic!("accepted: {file}") };
        let text = error.to_string();
        assert!(!text.contains(D), "{text}");
        text
    }

    #[test]
    fn kid_is_from_the_file_or_the_thumbprint() {
        let kid = |file: &str, kid| choose(file.as_bytes(), kid, None).unwrap().kid;
        assert_eq!(kid(&ed25519(r#","kid":"k1""#), None), "k1");
        // RFC 8037 appendix A.3.
        assert_eq!(kid(&ed25519(""), None), THUMBPRINT);
        assert_eq!(kid(&ed25519(""), Some(THUMBPRINT)), THUMBPRINT);
        let two = set(&[ed25519(r#","kid":"k1""#), ed25519(r#","kid":"k2""#)]);
        assert_eq!(kid(&two, Some("k2")), "k2");
        // A public key with the same `kid`, or a key for encryption, is ignored.
        let with_public = set(&[public(), ed25519("")]);
        assert_eq!(kid(&with_public, None), THUMBPRINT);
        assert_eq!(kid(&with_public, Some(THUMBPRINT)), THUMBPRINT);
        let with_other =
            set(&[ed25519(r#","kid":"e","use":"enc""#), ed25519(r#","kid":"s","use":"sig""#)]);
        assert_eq!(kid(&with_other, None), "s");
    }

    /// RFC 9864 section 2.2.
    #[test]
    fn a_key_with_alg_ed25519_signs_eddsa() {
        let chosen = choose(ed25519(r#","alg":"Ed25519""#).as_bytes(), None, None).unwrap();
        assert_eq!(chosen.key.algorithm(), Algorithm::EdDSA);
    }

    /// Some libraries write a leading zero octet (RFC 7518 section 6.3.1.1).
    #[test]
    fn thumbprint_in_messages_is_the_kid_of_tokens() {
        let key = SigningKey::generate(Algorithm::ES256).unwrap().public_jwk();
        let mut written = serde_json::to_value(&key).unwrap();
        written["kid"] = Value::Null;
        let x = URL_SAFE_NO_PAD.decode(key.x.unwrap()).unwrap();
        written["x"] = URL_SAFE_NO_PAD.encode([&[0], x.as_slice()].concat()).into();
        let Value::Object(members) = written else { panic!() };
        assert_eq!(Candidate { position: 1, members }.thumbprint(), key.kid);
    }

    #[test]
    fn errors_explain_and_never_contain_a_value() {
        let k = |kid: &str| ed25519(&format!(r#","kid":"{kid}""#));
        for (file, kid, text) in [
            (String::new(), None, "is empty"),
            ("-----BEGIN PRIVATE KEY-----".into(), None, "is PEM"),
            ("junk".into(), None, "as JSON: expected value at line 1 column 1"),
            ("[]".into(), None, "not a JSON object"),
            ("{}".into(), None, "neither a JWK"),
            (r#"{"keys":{}}"#.into(), None, "neither a JWK"),
            (r#"{"keys":[]}"#.into(), None, "no key in the file has a private part"),
            (r#"{"keys":[1]}"#.into(), None, "key 1 is not a JWK"),
            (public(), None, "no key in the file has a private part"),
            (public(), Some(THUMBPRINT), "it can verify but not sign"),
            (set(&[public(), public()]), None, "no key in the file has a private part"),
            (set(&[k("a"), k("b")]), None, r#"share it: key 1 (kid "a"), key 2 (kid "b")"#),
            (set(&[k("a"), k("a")]), Some("a"), "several keys"),
            (
                k("a"),
                Some("b"),
                r#"no key in the file has the kid "b"; the file has: key 1 (kid "a")"#,
            ),
            (r#"{"kty":"oct","k":"c2VjcmV0"}"#.into(), None, "shared secret"),
            (ed25519(r#","use":"enc""#), None, "not for signatures"),
            (ed25519(r#","key_ops":["verify"]"#), None, "not for signatures"),
            (ed25519(r#","alg":"ES256""#), None, "unsupported"),
            (ed25519(r#","alg":"HS256""#), None, "unsupported"),
            (ed25519(r#","kid":5"#), None, "must be strings"),
            (format!(r#"{{"kty":"OKP","crv":"Ed25519","d":"{D}"}}"#), None, "lacks `x`"),
            (format!(r#"{{"kty":"RSA","n":"","e":"","d":"{D}"}}"#), None, "lacks `p`, `q`, `dp`"),
            (
                format!(r#"{{"kty":"OKP","crv":"Ed25519","d":"{D}","x":"{D}"}}"#),
                None,
                "not a valid",
            ),
            (
                format!(r#"{{"kty":"OKP","crv":"Ed25519","d":"{D}=","x":"{X}"}}"#),
                None,
                "not a valid",
            ),
            (format!(r#"{{"kty":"OKP","crv":"X25519","d":"{D}","x":"{X}"}}"#), None, "unsupported"),
            (
                format!(r#"{{"kty":"OKP","d":["{D}"],"crv":"Ed25519","x":"{X}"}}"#),
                None,
                "must be strings",
            ),
        ] {
            let error = error(&file, kid);
            assert!(error.contains(text), "{file}: {error}");
        }
    }

    #[test]
    fn alg_option_chooses_among_keys_of_one_kid() {
        let ec = r#"{"kty":"EC","crv":"P-256","kid":"a","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;
        let file = set(&[ed25519(r#","kid":"a""#), ec.to_owned()]);
        for algorithm in [Algorithm::EdDSA, Algorithm::ES256] {
            let Ok(chosen) = choose(file.as_bytes(), Some("a"), Some(algorithm)) else {
                panic!("{algorithm:?}")
            };
            assert_eq!((chosen.key.algorithm(), chosen.kid.as_str()), (algorithm, "a"));
        }
        assert!(error(&file, Some("a")).contains("with --alg"), "ambiguous");
    }

    #[test]
    fn alg_option_must_fit_the_key() {
        let Err(error) = choose(ed25519("").as_bytes(), None, Some(Algorithm::ES256)) else {
            panic!("accepted")
        };
        assert!(error.to_string().contains("is for EdDSA, not for ES256"), "{error}");
        assert!(choose(ed25519("").as_bytes(), None, Some(Algorithm::EdDSA)).is_ok());
    }
}
