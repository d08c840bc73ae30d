//! The examples of RFC 7515 appendix A and E, RFC 7517 appendix A and RFC 7520 sections 3 and 4:
//! the signatures hold, and what is not supported (symmetric keys and algorithms, P-521, unsecured
//! and detached tokens, the JSON serializations) is rejected as such.

use super::*;
use crate::domain::jwk::JwkError;
use crate::domain::jwks_parser::{DropReason, Expected, JwkSet};
use Reason::{
    AlgorithmUnsupported, KeyUnknown, SignatureInvalid, TokenMalformed, TokenTypeUnsupported,
};

/// The key id of RFC 7520 sections 3.1 to 3.4.
const BILBO: &str = "bilbo.baggins@hobbiton.example";
/// The payload of RFC 7520 section 4.
const PAYLOAD: &str = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4";
const RS256: [&str; 2] = [
    "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
    "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg",
];
const PS384: [&str; 2] = [
    "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
    "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw",
];
const ES512: [&str; 2] = [
    "eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
    "AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu_u_sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2",
];
const HS256: [&str; 2] = [
    "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9",
    "s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0",
];

/// RFC 7520 section 3.3.
fn rsa() -> Value {
    json!({"kty": "RSA", "kid": BILBO, "use": "sig", "n": "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw", "e": "AQAB"})
}

/// RFC 7520 section 3.1.
fn p521() -> Value {
    json!({"kty": "EC", "kid": BILBO, "use": "sig", "crv": "P-521", "x": "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt", "y": "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1"})
}

/// RFC 7520 section 3.5.
fn mac() -> Value {
    json!({"kty": "oct", "kid": "018c0ae5-4d9b-471b-bfd6-eef314bc7037", "use": "sig", "alg": "HS256", "k": "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg"})
}

fn parse(keys: &[Value], private_keys: bool) -> JwkSet {
    let set = json!({"keys": keys}).to_string();
    JwkSet::parse(set.as_bytes(), Expected { private_keys, algorithms: &[] }).unwrap()
}

fn reasons(set: &JwkSet) -> Vec<DropReason> {
    set.dropped.iter().map(|dropped| dropped.reason).collect()
}

/// The pool with the key of RFC 7520 section 3.3, used with this algorithm.
fn pool_with(algorithm: VerifyingAlgorithm) -> UserPool {
    let mut key = rsa();
    key["alg"] = json!(algorithm.as_str());
    let key = parse(&[key], false).keys.remove(0);
    let mut pool = eddsa().pool.clone();
    (pool.keys[0].kid, pool.keys[0].jwk, pool.keys[0].verifying) =
        (key.kid, key.jwk, key.verifying);
    pool
}

fn eddsa() -> &'static Issuer {
    issuer(Algorithm::EdDSA)
}

#[test]
fn signatures_of_rfc_7520_section_4() {
    for ([header, signature], algorithm) in
        [(RS256, VerifyingAlgorithm::RS256), (PS384, VerifyingAlgorithm::PS384)]
    {
        let pool = pool_with(algorithm);
        // The payload is a sentence, which no claims are: the last step fails, after the signature.
        let token = format!("{header}.{PAYLOAD}.{signature}");
        let parsed = UnverifiedToken::parse(&token).unwrap();
        assert_eq!(parsed.key_name(), (Some(BILBO), algorithm));
        let (input, _) = token.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(pool.keys[0].verifying.verify(input.as_bytes(), &bytes).is_ok());
        assert_eq!(verify_at(&pool, &token, NOW).unwrap_err(), TokenMalformed);
        let other = format!("{header}.{}.{signature}", encode("{}"));
        assert_eq!(verify_at(&pool, &other, NOW).unwrap_err(), SignatureInvalid);
        // Section 4.5, with this key: the payload is detached.
        let detached = format!("{header}..{signature}");
        assert_eq!(verify_at(&pool, &detached, NOW).unwrap_err(), SignatureInvalid);
    }
}

#[test]
fn algorithms_and_forms_of_the_rfcs_that_are_not_supported() {
    let pool = pool_with(VerifyingAlgorithm::RS256);
    let json = json!({
        "payload": PAYLOAD,
        "signatures": [{"protected": RS256[0], "signature": RS256[1]}],
    });
    let flattened = json!({"payload": PAYLOAD, "protected": RS256[0], "signature": RS256[1]});
    for (name, token, reason) in [
        // RFC 7520.
        ("4.3", format!("{}.{PAYLOAD}.{}", ES512[0], ES512[1]), AlgorithmUnsupported),
        ("4.4", format!("{}.{PAYLOAD}.{}", HS256[0], HS256[1]), AlgorithmUnsupported),
        ("4.5", format!("{}..{}", HS256[0], HS256[1]), AlgorithmUnsupported),
        ("4.8", json.to_string(), TokenMalformed),
        ("4.1.3, flattened", flattened.to_string(), TokenMalformed),
        // RFC 7515.
        (
            "A.1",
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into(),
            AlgorithmUnsupported,
        ),
        (
            "A.4",
            "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn".into(),
            AlgorithmUnsupported,
        ),
        (
            "A.5",
            "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.".into(),
            AlgorithmUnsupported,
        ),
        (
            "E",
            "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0dHA6Ly9leGFtcGxlLmNvbS9VTkRFRklORUQiOnRydWUNCn0.RkFJTA.".into(),
            TokenTypeUnsupported,
        ),
        ("without the key", format!("{}.{PAYLOAD}.{}", RS256[0], RS256[1]), KeyUnknown),
    ] {
        let pool = if reason == KeyUnknown { &eddsa().pool } else { &pool };
        assert_eq!(verify_at(pool, &token, NOW).unwrap_err(), reason, "{name}");
    }
}

#[test]
fn keys_of_rfc_7520_section_3() {
    let set = parse(&[rsa(), p521(), mac()], false);
    assert_eq!(set.keys.len(), 1);
    assert_eq!(
        (set.keys[0].kid.as_str(), set.keys[0].jwk.n.as_deref()),
        (BILBO, rsa()["n"].as_str())
    );
    assert_eq!(reasons(&set), [DropReason::Unsupported, DropReason::Symmetric]);
    // Sections 3.2 and 3.4: the private keys.
    let (mut private_rsa, mut private_ec) = (rsa(), p521());
    private_rsa["d"] = json!(
        "bWUC9B-EFRIo8kpGfh0ZuyGPvMNKvYWNtB_ikiH9k20eT-O1q_I78eiZkpXxXQ0UTEs2LsNRS-8uJbvQ-A1irkwMSMkK1J3XTGgdrhCku9gRldY7sNA_AKZGh-Q661_42rINLRCe8W-nZ34ui_qOfkLnK9QWDDqpaIsA-bMwWWSDFu2MUBYwkHTMEzLYGqOe04noqeq1hExBTHBOBdkMXiuFhUq1BU6l-DqEiWxqg82sXt2h-LMnT3046AOYJoRioz75tSUQfGCshWTBnP5uDjd18kKhyv07lhfSJdrPdM5Plyl21hsFf4L_mHCuoFau7gdsPfHPxxjVOcOpBrQzwQ"
    );
    private_ec["d"] = json!(
        "AAhRON2r9cqXX1hg-RoI6R1tX5p2rUAYdmpHZoC1XNM56KtscrX6zbKipQrCW9CGZH3T4ubpnoTKLDYJ_fF3_rJt"
    );
    let keys = [private_rsa, private_ec];
    assert_eq!(reasons(&parse(&keys, false)), [DropReason::Private, DropReason::Private]);
    let set = parse(&keys, true);
    assert_eq!(reasons(&set), [DropReason::Unsupported]);
    // Only the public members remain.
    assert_eq!(set.keys[0].jwk, parse(&[rsa()], false).keys[0].jwk);
    let p521: crate::domain::jwk::Jwk = serde_json::from_value(p521()).unwrap();
    for algorithm in VerifyingAlgorithm::ALL {
        assert_eq!(p521.verifying_key(algorithm).unwrap_err(), JwkError::Mismatch(algorithm));
    }
}

#[test]
fn key_sets_of_rfc_7517_appendix_a() {
    // A.1: the EC key is for encryption.
    let ec = json!({"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM", "use": "enc", "kid": "1"});
    let rsa = json!({"kty": "RSA", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
    let set = parse(&[ec.clone(), rsa], false);
    assert_eq!(reasons(&set), [DropReason::Use]);
    assert_eq!((set.keys.len(), set.keys[0].kid.as_str()), (1, "2011-04-29"));
    assert_eq!(set.keys[0].verifying.algorithm(), VerifyingAlgorithm::RS256);
    // A.2: the private key.
    let mut private = ec;
    private["d"] = json!("870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE");
    assert_eq!(reasons(&parse(std::slice::from_ref(&private), false)), [DropReason::Private]);
    assert_eq!(reasons(&parse(&[private], true)), [DropReason::Use]);
    // A.3: symmetric keys.
    let set = parse(
        &[
            json!({"kty": "oct", "alg": "A128KW", "k": "GawgguFyGrWKav7AX4VKUg"}),
            json!({"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow", "kid": "HMAC key used in JWS spec Appendix A.1.1 example"}),
        ],
        true,
    );
    assert_eq!(reasons(&set), [DropReason::Symmetric, DropReason::Symmetric]);
    assert!(set.keys.is_empty());
}
