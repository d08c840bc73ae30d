use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::algorithm::Algorithm;
use crate::domain::signing::SigningKey;

const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
/// The thumbprint of the key with `X` (RFC 8037 appendix A.3).
const THUMBPRINT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
/// The RSA modulus of RFC 7638 section 3.1.
const N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

/// The Ed25519 point 1, and p + 1, which decodes to it.
const IDENTITY: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const UNREDUCED: &str = "7v_______________________________________38";

/// The modulus minus one, which is even.
fn even(modulus: &str) -> String {
    let mut bytes = URL_SAFE_NO_PAD.decode(modulus).unwrap();
    *bytes.last_mut().unwrap() &= 0xfe;
    URL_SAFE_NO_PAD.encode(bytes)
}

const PUBLIC: Expected<'_> = Expected { private_keys: false, algorithms: &[] };
const WITH_PRIVATE: Expected<'_> = Expected { private_keys: true, algorithms: &[] };

fn set(keys: &Value, expected: Expected<'_>) -> JwkSet {
    JwkSet::parse(json!({"keys": keys, "more": 1}).to_string().as_bytes(), expected).unwrap()
}

fn ed25519(more: &Value) -> Value {
    let mut key = json!({"kty": "OKP", "crv": "Ed25519", "x": X, "kid": "k"});
    key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    key
}

fn rsa(more: &Value) -> Value {
    let mut key = json!({"kty": "RSA", "n": N, "e": "AQAB", "kid": "r"});
    key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    key
}

/// The algorithm of a set's only key, or why the key is ignored.
fn verdict(key: &Value, expected: Expected<'_>) -> Result<VerifyingAlgorithm, DropReason> {
    let set = set(&json!([key]), expected);
    match (set.keys.as_slice(), set.dropped.as_slice()) {
        ([key], []) => Ok(key.verifying.algorithm()),
        ([], [dropped]) => Err(dropped.reason),
        _ => panic!("{set:?}"),
    }
}

#[test]
fn each_key_gets_one_algorithm() {
    use VerifyingAlgorithm as Alg;
    for algorithm in Algorithm::ALL {
        let mut jwk = SigningKey::generate(algorithm).unwrap().public_jwk();
        let value = |jwk: &Jwk| serde_json::to_value(jwk).unwrap();
        assert_eq!(verdict(&value(&jwk), PUBLIC), Ok(algorithm.into()));
        jwk.alg = None;
        let alone = if jwk.kty == "RSA" { Alg::RS256 } else { algorithm.into() };
        assert_eq!(verdict(&value(&jwk), PUBLIC), Ok(alone));
    }
    for algorithm in Alg::ALL.into_iter().filter(|algorithm| algorithm.is_rsa()) {
        assert_eq!(verdict(&rsa(&json!({"alg": algorithm})), PUBLIC), Ok(algorithm));
    }
    // The pool's list determines the algorithm of an RSA key without `alg`.
    for (listed, expected) in [
        ([Alg::RS512].as_slice(), Ok(Alg::RS512)),
        (&[Alg::ES256, Alg::PS384, Alg::RS256], Ok(Alg::PS384)),
        (&[Alg::ES256], Err(DropReason::NotListed(Alg::RS256))),
    ] {
        let pool = Expected { private_keys: false, algorithms: listed };
        assert_eq!(verdict(&rsa(&json!({})), pool), expected);
    }
    let only_ec = Expected { private_keys: false, algorithms: &[Alg::ES256] };
    assert_eq!(verdict(&ed25519(&json!({})), only_ec), Err(DropReason::NotListed(Alg::EdDSA)));
}

#[test]
fn every_reason_to_drop_a_key() {
    let mismatch = |alg| DropReason::Key(JwkError::Mismatch(alg));
    for (key, reason) in [
        (json!("key"), DropReason::NotAJwk),
        (json!({}), DropReason::NotAJwk),
        (json!({"kty": 1}), DropReason::NotAJwk),
        (ed25519(&json!({"kid": 1})), DropReason::NotAJwk),
        (ed25519(&json!({"x": [X]})), DropReason::NotAJwk),
        (json!({"kty": null}), DropReason::NotAJwk),
        (json!(null), DropReason::NotAJwk),
        (ed25519(&json!({"key_ops": "verify"})), DropReason::NotAJwk),
        (ed25519(&json!({"kid": ""})), DropReason::Kid),
        (ed25519(&json!({"kid": "k".repeat(257)})), DropReason::Kid),
        (json!({"kty": "oct", "k": "c2VjcmV0", "kid": "k", "alg": "HS256"}), DropReason::Symmetric),
        (ed25519(&json!({"d": D})), DropReason::Private),
        (rsa(&json!({"p": "AQ"})), DropReason::Private),
        (rsa(&json!({"oth": []})), DropReason::Private),
        (ed25519(&json!({"use": "enc"})), DropReason::Use),
        (ed25519(&json!({"use": ""})), DropReason::Use),
        (ed25519(&json!({"key_ops": ["sign"]})), DropReason::Operations),
        (ed25519(&json!({"key_ops": []})), DropReason::Operations),
        (rsa(&json!({"alg": "RSA-OAEP"})), DropReason::Unsupported),
        (rsa(&json!({"alg": "none"})), DropReason::Unsupported),
        (rsa(&json!({"alg": "HS256"})), DropReason::Unsupported),
        (rsa(&json!({"alg": ""})), DropReason::Unsupported),
        (ed25519(&json!({"crv": "X25519"})), DropReason::Unsupported),
        (ed25519(&json!({"crv": "Ed448"})), DropReason::Unsupported),
        (ed25519(&json!({"kty": "EC", "crv": "P-521"})), DropReason::Unsupported),
        (ed25519(&json!({"kty": "AKP"})), DropReason::Unsupported),
        (ed25519(&json!({"alg": "RS256"})), mismatch(VerifyingAlgorithm::RS256)),
        (rsa(&json!({"alg": "ES256"})), mismatch(VerifyingAlgorithm::ES256)),
        (ed25519(&json!({"x": "AAAA"})), DropReason::Key(JwkError::Member("x"))),
        (rsa(&json!({"n": "AQAB"})), DropReason::Key(JwkError::Size)),
        (rsa(&json!({"e": "AQ"})), DropReason::Key(JwkError::Exponent)),
        (rsa(&json!({"e": "Ag"})), DropReason::Key(JwkError::Exponent)),
        (rsa(&json!({"e": "AgAAAAE"})), DropReason::Key(JwkError::Exponent)),
        (rsa(&json!({"n": even(N)})), DropReason::Key(JwkError::WeakModulus)),
        (ed25519(&json!({"x": IDENTITY})), DropReason::Key(JwkError::SmallOrder)),
        (ed25519(&json!({"x": UNREDUCED})), DropReason::Key(JwkError::NotCanonical)),
    ] {
        assert_eq!(verdict(&key, PUBLIC), Err(reason), "{key}");
    }
}

#[test]
fn what_serves_is_public_and_says_what_it_is_for() {
    let key = ed25519(&json!({"d": D, "key_ops": ["sign"], "x5t": "x", "n": N, "y": X}));
    let set = set(&json!([key]), WITH_PRIVATE);
    assert_eq!(
        serde_json::to_value(&set.keys[0].jwk).unwrap(),
        json!({"kty": "OKP", "crv": "Ed25519", "x": X, "kid": "k", "alg": "EdDSA", "use": "sig"})
    );
    assert_eq!(set.complaint(), None);
}

#[test]
fn a_key_without_kid_is_named_by_its_thumbprint() {
    let mut key = ed25519(&json!({}));
    key.as_object_mut().unwrap().remove("kid");
    assert_eq!(set(&json!([key]), PUBLIC).keys[0].kid, THUMBPRINT);
}

/// The algorithms of a set's keys.
fn algorithms(set: &JwkSet) -> Vec<&'static str> {
    set.keys.iter().map(|key| key.verifying.algorithm().as_str()).collect()
}

#[test]
fn drops_keys_that_share_kid_and_algorithm() {
    let signed_by = |algorithm| SigningKey::generate(algorithm).unwrap().public_jwk();
    let key = |algorithm, kid: &str| {
        serde_json::to_value(Jwk { kid: Some(kid.into()), ..signed_by(algorithm) }).unwrap()
    };
    let (one, twin) = (ed25519(&json!({})), key(Algorithm::EdDSA, "k"));
    let other = ed25519(&json!({"kid": "other"}));
    let both = set(&json!([one, other, twin]), PUBLIC);
    assert_eq!(both.keys.iter().map(|key| key.kid.as_str()).collect::<Vec<_>>(), ["other"]);
    assert_eq!(both.dropped.iter().map(|it| it.index).collect::<Vec<_>>(), [0, 2]);
    assert!(both.dropped.iter().all(|it| it.reason == DropReason::Duplicate));
    // Another algorithm of the same `kid` is not ambiguous.
    let mixed = set(&json!([one, key(Algorithm::ES256, "k"), twin]), PUBLIC);
    assert_eq!((algorithms(&mixed), mixed.dropped.len()), (vec!["ES256"], 2));
    // An unusable key does not make a `kid` ambiguous.
    let enc = set(&json!([ed25519(&json!({"use": "enc", "x": IDENTITY})), one]), PUBLIC);
    assert_eq!((enc.keys.len(), enc.dropped.len()), (1, 1));
}

#[test]
fn keys_of_several_algorithms_share_a_kid() {
    // ForgeRock lists one key once per algorithm. RFC 7517 section 4.5 allows an RSA and an EC key.
    let one = ["RS256", "RS512", "PS256"].map(|alg| rsa(&json!({"alg": alg, "kid": "k"})));
    let set_of_one = set(&json!([one[0], one[1], one[2], ed25519(&json!({}))]), PUBLIC);
    assert_eq!(algorithms(&set_of_one), ["RS256", "RS512", "PS256", "EdDSA"]);
    assert_eq!(set_of_one.complaint(), None);
    // Without `kid`, they share the thumbprint.
    let unnamed = ["RS256", "PS256"].map(|alg| rsa(&json!({"alg": alg, "kid": null})));
    let unnamed = set(&json!(unnamed), PUBLIC);
    assert_eq!(algorithms(&unnamed), ["RS256", "PS256"]);
    assert_eq!(unnamed.keys[0].kid, unnamed.keys[1].kid);
}

#[test]
fn duplicates_of_a_key_are_one_key() {
    let zero = |text: &str| {
        URL_SAFE_NO_PAD.encode([vec![0], URL_SAFE_NO_PAD.decode(text).unwrap()].concat())
    };
    for (one, same) in [
        (ed25519(&json!({})), ed25519(&json!({"use": "sig", "x5t": "x"}))),
        (ed25519(&json!({"alg": "EdDSA"})), ed25519(&json!({"alg": "Ed25519"}))),
        (rsa(&json!({})), rsa(&json!({"alg": "RS256"}))),
        (rsa(&json!({})), rsa(&json!({"n": zero(N), "e": zero("AQAB")}))),
    ] {
        let set = set(&json!([one, same]), PUBLIC);
        assert_eq!((set.keys.len(), set.dropped.len()), (1, 0), "{same}");
    }
}

#[test]
fn numbers_are_published_without_leading_zeros() {
    let n = URL_SAFE_NO_PAD.encode([vec![0; 3], URL_SAFE_NO_PAD.decode(N).unwrap()].concat());
    let mut key = rsa(&json!({"n": n, "e": "AAEAAQ"}));
    key.as_object_mut().unwrap().remove("kid");
    let jwk = set(&json!([key]), PUBLIC).keys.remove(0).jwk;
    assert_eq!((jwk.n.as_deref(), jwk.e.as_deref()), (Some(N), Some("AQAB")));
    // RFC 7638 section 3.1.
    assert_eq!(jwk.kid.as_deref(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
}

#[test]
fn null_members_are_absent() {
    let mut key = ed25519(&json!({}));
    for member in ["alg", "use", "key_ops", "n", "e", "y", "x5c", "x5t", "d", "p", "oth", "k"] {
        key[member] = json!(null);
    }
    assert_eq!(verdict(&key, PUBLIC), Ok(VerifyingAlgorithm::EdDSA));
    key["kid"] = json!(null);
    assert_eq!(set(&json!([key]), PUBLIC).keys[0].kid, THUMBPRINT);
    key["x"] = json!(null);
    assert_eq!(verdict(&key, PUBLIC), Err(DropReason::Key(JwkError::Member("x"))));
}

#[test]
fn what_is_no_set() {
    for (text, error) in [
        ("", NotAJwkSet::Json),
        ("<html>", NotAJwkSet::Json),
        ("[]", NotAJwkSet::Json),
        (r#"{"keys":[],"keys":[]}"#, NotAJwkSet::Json),
        (r#"{"keys":[{"kty":"OKP","kty":"RSA"}]}"#, NotAJwkSet::Json),
        ("{}", NotAJwkSet::NoKeys),
        (r#"{"keys":{}}"#, NotAJwkSet::NoKeys),
        (r#"{"kty":"RSA"}"#, NotAJwkSet::NoKeys),
    ] {
        assert_eq!(JwkSet::parse(text.as_bytes(), PUBLIC).unwrap_err(), error, "{text}");
    }
    let (deep, wide) = ("[".repeat(14), "0,".repeat(256));
    for text in [
        format!(r#"{{"keys":[],"more":{deep}[[]{}}}"#, "]".repeat(15)),
        format!(r#"{{"keys":[{{"x5c":[{wide}0]}}]}}"#),
        format!(r#"{{"keys":[{{"kty":"OKP","key_ops":{deep}{}}}]}}"#, "]".repeat(14)),
    ] {
        assert_eq!(JwkSet::parse(text.as_bytes(), PUBLIC).unwrap_err(), NotAJwkSet::Json, "{text}");
    }
    let many = json!({"keys": vec![json!({}); MAX_READ + 1]}).to_string();
    assert_eq!(JwkSet::parse(many.as_bytes(), PUBLIC).unwrap_err(), NotAJwkSet::TooMany);
    assert!(set(&json!([]), PUBLIC).keys.is_empty());
}

#[test]
fn byte_order_mark_is_ignored() {
    let text = json!({"keys": [ed25519(&json!({}))]}).to_string();
    let parse = |text: String| JwkSet::parse(text.as_bytes(), PUBLIC).map(|set| set.keys.len());
    assert_eq!(parse(format!("\u{feff}{text}")), Ok(1));
    assert_eq!(parse(format!("\u{feff}\u{feff}{text}")), Err(NotAJwkSet::Json));
    assert_eq!(parse(format!("{text}\u{feff}")), Err(NotAJwkSet::Json));
}

#[test]
fn enough_is_enough() {
    let keys: Vec<_> = (0..MAX_KEYS + 2).map(|n| ed25519(&json!({"kid": n.to_string()}))).collect();
    let set = set(&json!(keys), PUBLIC);
    assert_eq!((set.keys.len(), set.dropped.len()), (MAX_KEYS, 2));
    assert_eq!(set.dropped[1].to_string(), "key `101` exceeds the maximum of 100 usable keys");
}

#[test]
fn a_complaint_names_keys_and_holds_nothing_of_them() {
    let keys = json!([
        ed25519(&json!({"d": D})),
        ed25519(&json!({"kid": format!("a\n`b{}", "x".repeat(100)), "use": "enc"})),
        {"kty": "oct", "k": D},
        ed25519(&json!({"kid": "fine"})),
    ]);
    let complaint = set(&keys, PUBLIC).complaint().unwrap();
    let long = format!("a\\n`b{}", "x".repeat(60));
    assert_eq!(
        complaint,
        format!(
            "key `k` has private members: anyone who has read them can sign; replace the key; \
             key `{long}` has a `use` other than `sig`; \
             key number 3 is symmetric: anyone who can verify with it can also sign; \
             use an asymmetric key"
        )
    );
    let many = set(&json!(vec![json!({}); 20]), PUBLIC).complaint().unwrap();
    assert!(many.ends_with("key number 8 is not a JWK; and 12 more"), "{many}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn junk_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = JwkSet::parse(&bytes, PUBLIC);
        let _ = JwkSet::parse(&[br#"{"keys":["#, bytes.as_slice(), b"]}"].concat(), WITH_PRIVATE);
    }

    /// Whatever one member contains, a usable key has only members of a public key, and one `kid`.
    #[test]
    fn any_value_in_any_member(
        member in prop_oneof![
            Just("kty"), Just("crv"), Just("x"), Just("y"), Just("n"), Just("e"), Just("d"),
            Just("kid"), Just("alg"), Just("use"), Just("key_ops"),
        ],
        text in ".{0,40}",
        as_list in any::<bool>(),
        private_keys in any::<bool>(),
    ) {
        let value = if as_list { json!([text]) } else { json!(text) };
        let keys = json!([ed25519(&json!({member: value})), rsa(&json!({"kid": "k", member: value}))]);
        let set = set(&keys, Expected { private_keys, algorithms: &[] });
        prop_assert!(set.keys.len() + set.dropped.len() <= 2);
        for key in &set.keys {
            prop_assert!(!key.kid.is_empty() && key.jwk.kid.as_ref() == Some(&key.kid));
            let json = serde_json::to_value(&key.jwk).unwrap();
            let members: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
            let known = ["alg", "crv", "e", "kid", "kty", "n", "use", "x"];
            prop_assert!(members.iter().all(|it| known.contains(&it.as_str())), "{members:?}");
        }
    }
}
