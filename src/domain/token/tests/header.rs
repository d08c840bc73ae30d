//! Form, header and signature of tokens.

use super::*;
use Reason::{
    AlgorithmMismatch, AlgorithmUnsupported, CredentialTooLarge, KeyIdMissing, KeyRevoked,
    KeyUnknown, SignatureInvalid, TokenMalformed, TokenTypeUnsupported,
};

fn es256() -> &'static Issuer {
    issuer(Algorithm::ES256)
}

/// The result for an otherwise valid token with this header member; null removes the member.
fn with(name: &str, value: &Value) -> Result<(), Reason> {
    let token = es256().token(|header, _| {
        header[name] = value.clone();
        header.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    });
    es256().verify(&token).map(drop)
}

#[test]
fn types_of_tokens() {
    for good in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "application/jwt", "JOSE"]
    {
        assert_eq!(with("typ", &json!(good)), Ok(()), "{good}");
    }
    assert_eq!(with("typ", &Value::Null), Ok(()), "absent");
    for bad in [
        json!("logout+jwt"),
        json!("dpop+jwt"),
        json!("secevent+jwt"),
        json!("JOSE+JSON"),
        json!(""),
        json!("application/"),
        json!("application/application/jwt"),
        json!("text/jwt"),
        json!(1),
        json!(["JWT"]),
    ] {
        assert_eq!(with("typ", &bad), Err(TokenTypeUnsupported), "{bad}");
    }
    let null = es256().token(|header, _| header["typ"] = Value::Null);
    assert!(es256().verify(&null).is_ok());
}

/// A pool with these keys from a provider, and a token without `kid` by the key `signer`.
fn without_kid(keys: &[&SigningKey], signer: &SigningKey) -> (UserPool, String) {
    let mut pool = pool(keys.iter().map(|key| published(key)).collect());
    pool.source = Source::Inline;
    let header = json!({"alg": signer.algorithm().as_str(), "kid": null});
    let input = format!("{}.{}", encode(header.to_string()), encode(claims().to_string()));
    let signature = encode(signer.try_sign(input.as_bytes()).unwrap());
    (pool, format!("{input}.{signature}"))
}

#[test]
fn token_without_kid_is_checked_against_few_keys_of_its_algorithm() {
    let keys: Vec<_> = (0..5).map(|_| SigningKey::generate(Algorithm::ES256).unwrap()).collect();
    let other = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let four: Vec<_> = keys[..4].iter().chain([&other]).collect();
    for signer in &four {
        let (pool, token) = without_kid(&four, signer);
        assert!(verify_at(&pool, &token, NOW).is_ok(), "{:?}", signer.algorithm());
    }
    for (keys, signer, reason) in [
        (four.clone(), &keys[4], SignatureInvalid),
        (keys.iter().collect(), &keys[0], KeyIdMissing),
        (vec![&keys[0]], &other, AlgorithmMismatch),
    ] {
        let (mut pool, token) = without_kid(&keys, signer);
        assert_eq!(verify_at(&pool, &token, NOW).unwrap_err(), reason);
        pool.source = es256().pool.source.clone();
        assert_eq!(verify_at(&pool, &token, NOW).unwrap_err(), KeyIdMissing, "hosted");
    }
}

#[test]
fn token_without_kid_counts_every_verification() {
    let keys = [(); 3].map(|()| SigningKey::generate(Algorithm::ES256).unwrap());
    for (signer, count) in [(&keys[0], 1), (&keys[2], 3), (&es256().key, 3)] {
        let (pool, token) = without_kid(&keys.each_ref(), signer);
        let token = UnverifiedToken::parse(&token).unwrap();
        let _ = token.locate_key(&context(&pool), at(NOW)).unwrap().check_signature();
        assert_eq!(token.verifications(), count);
    }
}

#[test]
fn token_without_kid_is_revoked_with_its_key() {
    let keys = [(); 2].map(|()| SigningKey::generate(Algorithm::ES256).unwrap());
    for (signer, verdict) in [(&keys[0], Some(KeyRevoked)), (&keys[1], None)] {
        let (pool, token) = without_kid(&keys.each_ref(), signer);
        let named = Revocation { key_ids: vec![pool.keys[0].kid.clone()], ..revocation() };
        let revoked = TokenContext { revocations: vec![Arc::new(named)], ..context(&pool) };
        assert_eq!(verify_in(&revoked, &token, NOW).err(), verdict);
    }
}

/// A `kid` that is present decides, also if another key signed the token.
#[test]
fn no_other_key_is_tried_for_a_token_with_kid() {
    let keys = [(); 2].map(|()| Issuer::new(Algorithm::ES256));
    let mut both = pool(keys.iter().map(|issuer| published(&issuer.key)).collect());
    both.source = Source::Inline;
    for (kid, reason) in [(keys[0].kid(), SignatureInvalid), ("", KeyUnknown)] {
        let token = keys[1].token(|header, _| header["kid"] = json!(kid));
        assert_eq!(verify_at(&both, &token, NOW).unwrap_err(), reason);
    }
}

#[test]
fn header_members() {
    for (name, value, verdict) in [
        ("crit", json!(["exp"]), Err(TokenTypeUnsupported)),
        ("crit", json!([]), Err(TokenTypeUnsupported)),
        // RFC 7797 section 6: `b64` must be listed in `crit`, so it is invalid without it too.
        ("b64", json!(false), Err(TokenTypeUnsupported)),
        ("b64", json!(true), Err(TokenTypeUnsupported)),
        ("alg", Value::Null, Err(AlgorithmUnsupported)),
        ("alg", json!("none"), Err(AlgorithmUnsupported)),
        ("alg", json!("None"), Err(AlgorithmUnsupported)),
        ("alg", json!("HS256"), Err(AlgorithmUnsupported)),
        ("alg", json!("es256"), Err(AlgorithmUnsupported)),
        ("alg", json!("ES512"), Err(AlgorithmUnsupported)),
        ("alg", json!("RS512"), Err(AlgorithmMismatch)),
        ("alg", json!(256), Err(AlgorithmUnsupported)),
        ("alg", json!(["ES256"]), Err(AlgorithmUnsupported)),
        ("alg", json!("ES384"), Err(AlgorithmMismatch)),
        ("alg", json!("EdDSA"), Err(AlgorithmMismatch)),
        ("kid", Value::Null, Err(KeyIdMissing)),
        ("kid", json!(1), Err(KeyIdMissing)),
        ("kid", json!(""), Err(KeyUnknown)),
        ("kid", json!("other"), Err(KeyUnknown)),
        ("kid", json!("../../etc/passwd"), Err(KeyUnknown)),
        ("cty", json!("JWT"), Ok(())),
    ] {
        assert_eq!(with(name, &value), verdict, "{name}: {value}");
    }
}

#[test]
fn keys_that_a_token_brings_along_are_not_looked_at() {
    let theirs = SigningKey::generate(Algorithm::ES256).unwrap();
    let header = json!({
        "alg": "ES256", "kid": es256().kid(), "jwk": theirs.public_jwk(),
        "jku": "https://evil.example/jwks.json", "x5u": "https://evil.example/cert.pem",
    });
    assert!(es256().verify(&es256().sign(&header.to_string(), &claims().to_string())).is_ok());
    let input = format!("{}.{}", encode(header.to_string()), encode(claims().to_string()));
    let forged = format!("{input}.{}", encode(theirs.try_sign(input.as_bytes()).unwrap()));
    assert_eq!(es256().verify(&forged).unwrap_err(), SignatureInvalid);
}

#[test]
fn a_key_of_another_pool_is_unknown() {
    let other = Issuer::new(Algorithm::ES256);
    let token = other.token(|_, _| {});
    assert!(other.verify(&token).is_ok());
    assert_eq!(es256().verify(&token).unwrap_err(), KeyUnknown);
    // The `kid` of a key of the pool does not change that.
    let token = other.token(|header, _| header["kid"] = json!(es256().kid()));
    assert_eq!(es256().verify(&token).unwrap_err(), SignatureInvalid);
}

#[test]
fn keys_of_one_kid_are_told_apart_by_algorithm() {
    let issuers = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA].map(issuer);
    let named = |issuer: &&Issuer| PublishedKey { kid: "k".into(), ..published(&issuer.key) };
    let pool = pool(issuers.iter().map(named).collect());
    let named = Revocation { key_ids: vec!["k".into()], ..revocation() };
    let revoked = TokenContext { revocations: vec![Arc::new(named)], ..context(&pool) };
    for issuer in issuers {
        let token = issuer.token(|header, _| header["kid"] = json!("k"));
        assert!(verify_at(&pool, &token, NOW).is_ok(), "{:?}", issuer.key.algorithm());
        assert_eq!(verify_in(&revoked, &token, NOW).unwrap_err(), KeyRevoked);
    }
    // No key with this `kid` has the algorithm: revoked all the same, if the `kid` is.
    let token = issuer(Algorithm::ES384).token(|header, _| header["kid"] = json!("k"));
    assert_eq!(verify_at(&pool, &token, NOW).unwrap_err(), AlgorithmMismatch);
    assert_eq!(verify_in(&revoked, &token, NOW).unwrap_err(), KeyRevoked);
}

#[test]
fn rsa_paddings_are_not_interchangeable() {
    let (rs, ps) = (issuer(Algorithm::RS256), issuer(Algorithm::PS256));
    for (issuer, claimed) in [(rs, "PS256"), (ps, "RS256")] {
        let token = issuer.token(|header, _| header["alg"] = json!(claimed));
        assert_eq!(issuer.verify(&token).unwrap_err(), AlgorithmMismatch);
    }
    // The same key, published for PS256, signs with the other padding under the right `alg`.
    let der = rs.key.to_pkcs8().unwrap();
    let same = SigningKey::from_pkcs8(Algorithm::PS256, &der).unwrap();
    let pool = pool(vec![published(&same)]);
    let token = rs.token(|header, _| header["alg"] = json!("PS256"));
    assert_eq!(verify_at(&pool, &token, NOW).unwrap_err(), SignatureInvalid);
}

#[test]
fn a_public_key_is_no_secret() {
    let rs = issuer(Algorithm::RS256);
    let input = rs.token(|header, _| header["alg"] = json!("HS256"));
    let (input, _) = input.rsplit_once('.').unwrap();
    let secret = serde_json::to_vec(&rs.pool.jwks().unwrap()).unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
    let token = format!("{input}.{}", encode(aws_lc_rs::hmac::sign(&key, input.as_bytes())));
    assert_eq!(rs.verify(&token).unwrap_err(), AlgorithmUnsupported);
}

#[test]
fn ecdsa_signatures_have_fixed_length() {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
    let der = es256().key.to_pkcs8().unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der).unwrap();
    let good = es256().token(|_, _| {});
    let (input, signature) = good.rsplit_once('.').unwrap();
    let asn1 = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), input.as_bytes()).unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    for bad in [
        asn1.as_ref().to_vec(),
        vec![0; 64],
        bytes[..63].to_vec(),
        [&bytes[..], &[0]].concat(),
        vec![],
    ] {
        let token = format!("{input}.{}", encode(bad));
        assert_eq!(es256().verify(&token).unwrap_err(), SignatureInvalid);
    }
}

#[test]
fn shapes_that_are_no_compact_jws() {
    let good = es256().token(|_, _| {});
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    for bad in [
        String::new(),
        ".".into(),
        "..".into(),
        format!("{header}.{payload}"),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{good}."),
        format!(".{good}"),
        format!("{header}.{payload}.{payload}.{payload}.{signature}"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}=="),
        format!("{header}.{payload}.+{}", &signature[1..]),
        format!("{}.{payload}.{signature}", encode("[]")),
        format!("{}.{payload}.{signature}", encode("{")),
        format!("{}.{payload}.{signature}", encode([0xff, 0xfe])),
    ] {
        let verdict = es256().verify(&bad).unwrap_err();
        // With a detached payload, the signature covers another text.
        let expected = if bad.contains("..") && !bad.starts_with('.') && !bad.ends_with('.') {
            SignatureInvalid
        } else {
            TokenMalformed
        };
        assert_eq!(verdict, expected, "{bad}");
    }
    // A JWE has five parts.
    assert!(!looks_like_jwt("a.b.c.d.e") && !looks_like_jwt("a.b") && !looks_like_jwt("a.b.c="));
    let large = format!("{good}{}", "A".repeat(MAX_TOKEN_BYTES));
    assert_eq!(es256().verify(&large).unwrap_err(), CredentialTooLarge);
}

/// A token has only one encoding. A last character with non-zero unused bits is rejected, because
/// otherwise a deny-list of tokens could be bypassed.
#[test]
fn base64url_is_canonical() {
    let good = es256().token(|_, _| {});
    let last = good.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let stem = &good[..good.len() - 1];
    let accepted: Vec<_> =
        alphabet.chars().filter(|c| es256().verify(&format!("{stem}{c}")).is_ok()).collect();
    assert_eq!(accepted, [last]);
}

#[test]
fn a_member_that_occurs_twice() {
    let header = es256().header().to_string();
    let payload = claims().to_string();
    for (header, payload) in [
        (header.replacen('{', r#"{"alg":"none","#, 1), payload.clone()),
        (header.replacen('{', r#"{"kid":"other","#, 1), payload.clone()),
        (header.clone(), payload.replacen('{', r#"{"sub":"admin","#, 1)),
        (header.clone(), payload.replacen('{', r#"{"s\u0075b":"admin","#, 1)),
        (header.clone(), payload.replacen('{', r#"{"x":{"a":1,"a":1},"#, 1)),
        (header.clone(), "[]".into()),
        (header.clone(), "not json".into()),
        (header, format!("{payload}x")),
    ] {
        let token = es256().sign(&header, &payload);
        assert_eq!(es256().verify(&token).unwrap_err(), TokenMalformed, "{header} {payload}");
    }
}
