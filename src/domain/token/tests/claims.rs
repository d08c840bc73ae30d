//! Validation of claims, on tokens with a valid signature.

use super::*;
use Reason::{
    AudienceMismatch, ExpiryMissing, IssuerMismatch, SubjectMissing, SubjectTooLong,
    TokenClientGone, TokenExpired, TokenFromFuture, TokenIdInvalid, TokenMalformed,
    TokenNotYetValid, TokenSenderConstrained,
};

fn eddsa() -> &'static Issuer {
    issuer(Algorithm::EdDSA)
}

/// The result for an otherwise valid token with this claim.
fn with(name: &str, value: Value) -> Result<(), Reason> {
    eddsa().verify(&eddsa().token(|_, claims| claims[name] = value)).map(drop)
}

fn without(name: &str) -> Result<(), Reason> {
    let token = eddsa().token(|_, claims| drop(claims.as_object_mut().unwrap().remove(name)));
    eddsa().verify(&token).map(drop)
}

/// Such a token could not be revoked, because no Revocation can specify it.
#[test]
fn rejects_users_and_token_ids_that_cannot_be_revoked() {
    for (name, value, verdict) in [
        ("sub", json!("ü".repeat(255)), Ok(())),
        ("sub", json!("ü".repeat(256)), Err(SubjectTooLong)),
        ("jti", json!("ü".repeat(256)), Ok(())),
        ("jti", json!("ü".repeat(257)), Err(TokenIdInvalid)),
        ("jti", json!(""), Err(TokenIdInvalid)),
        ("jti", json!(7), Err(TokenIdInvalid)),
        ("jti", json!(null), Err(TokenIdInvalid)),
        ("jti", json!(["a"]), Err(TokenIdInvalid)),
        ("jti", json!({"a": "b"}), Err(TokenIdInvalid)),
    ] {
        assert_eq!(with(name, value.clone()), verdict, "{name} {value}");
    }
    assert_eq!(without("jti"), Ok(()));
}

#[test]
fn dates_at_the_edge() {
    let leeway = LEEWAY.as_secs();
    assert_eq!(leeway, 60);
    for (name, second, verdict) in [
        ("exp", NOW - leeway + 1, Ok(())),
        ("exp", NOW - leeway, Err(TokenExpired)),
        ("exp", NOW - leeway - 1, Err(TokenExpired)),
        ("nbf", NOW + leeway, Ok(())),
        ("nbf", NOW + leeway + 1, Err(TokenNotYetValid)),
        ("iat", NOW + leeway, Ok(())),
        ("iat", NOW + leeway + 1, Err(TokenFromFuture)),
        ("iat", 0, Ok(())),
        ("exp", 0, Err(TokenExpired)),
    ] {
        assert_eq!(with(name, json!(second)), verdict, "{name} {}", second - NOW);
    }
}

#[test]
fn dates_of_every_sort() {
    for (name, value, verdict) in [
        ("exp", json!(u64::MAX), Ok(())),
        ("exp", json!(1e300), Ok(())),
        ("exp", json!(253_402_300_799_i64), Ok(())),
        ("exp", json!(-1), Err(TokenExpired)),
        ("exp", json!(-1e300), Err(TokenExpired)),
        ("exp", json!(1_800_000_000.5), Ok(())),
        // A fraction is truncated before the comparison.
        ("exp", json!(1_799_999_940.9), Err(TokenExpired)),
        ("exp", json!("1800000600"), Err(ExpiryMissing)),
        ("exp", json!(null), Err(ExpiryMissing)),
        ("exp", json!(true), Err(ExpiryMissing)),
        ("exp", json!([NOW + 600]), Err(ExpiryMissing)),
        ("nbf", json!("1800000000"), Err(TokenMalformed)),
        ("nbf", json!(null), Err(TokenMalformed)),
        ("nbf", json!(1e300), Err(TokenNotYetValid)),
        ("nbf", json!(-5), Ok(())),
        ("iat", json!({}), Err(TokenMalformed)),
        ("iat", json!(u64::MAX), Err(TokenFromFuture)),
    ] {
        assert_eq!(with(name, value.clone()), verdict, "{name}: {value}");
    }
    assert_eq!(without("exp"), Err(ExpiryMissing));
    assert_eq!(without("nbf"), Ok(()));
    assert_eq!(without("iat"), Ok(()));
    // A number beyond the range of f64 is rejected as malformed JSON.
    let text = claims().to_string().replace(&(NOW + 600).to_string(), "1e999");
    let token = eddsa().sign(&eddsa().header().to_string(), &text);
    assert_eq!(eddsa().verify(&token).unwrap_err(), TokenMalformed);
}

#[test]
fn a_clock_at_the_end_of_time_does_not_panic() {
    let token = eddsa().token(|_, claims| claims["exp"] = json!(u64::MAX));
    let end = Timestamp::MAX.as_second();
    for second in [Timestamp::MIN.as_second(), 0, end - 60, end] {
        let _ = verify_at(&eddsa().pool, &token, second);
    }
}

#[test]
fn issuers() {
    for bad in [json!("https://evil.example"), json!(""), json!(1), json!(null), json!([ISSUER])] {
        assert_eq!(with("iss", bad.clone()), Err(IssuerMismatch), "{bad}");
    }
    assert_eq!(with("iss", json!(format!("{ISSUER}/"))), Err(IssuerMismatch));
    assert_eq!(without("iss"), Err(IssuerMismatch));

    // Each of two keys is only valid for its own issuer.
    let other = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let mut old = published(&other);
    old.issuer = Some("https://old.example".into());
    let pool = pool(vec![old, eddsa().pool.keys[0].clone()]);
    let token = eddsa().token(|_, claims| claims["iss"] = json!("https://old.example"));
    assert_eq!(verify_at(&pool, &token, NOW).unwrap_err(), IssuerMismatch);
    // A key without an issuer verifies no token, not even one without `iss`.
    let mut pool = eddsa().pool.clone();
    pool.keys[0].issuer = None;
    let token = eddsa().token(|_, claims| drop(claims.as_object_mut().unwrap().remove("iss")));
    assert_eq!(verify_at(&pool, &token, NOW).unwrap_err(), IssuerMismatch);
}

#[test]
fn audiences_of_a_pool_that_names_none() {
    let pool = eddsa().pool.id.to_string();
    let (client, sibling) = (client().to_string(), sibling().to_string());
    for good in [json!(pool), json!(client), json!(sibling), json!([pool]), json!(["x", client])] {
        assert_eq!(with("aud", good.clone()), Ok(()), "{good}");
    }
    let gone = SdkClientId::derive("acme", "gone").to_string();
    for bad in [
        json!(gone),
        json!(""),
        json!([]),
        json!(null),
        json!(1),
        json!([1]),
        json!([[client]]),
        json!({}),
    ] {
        assert_eq!(with("aud", bad.clone()), Err(AudienceMismatch), "{bad}");
    }
    assert_eq!(without("aud"), Err(AudienceMismatch));
}

#[test]
fn audiences_of_a_pool_that_names_some() {
    let mut pool = eddsa().pool.clone();
    pool.claims.audience = Audience::OneOf(vec!["api".into(), "web".into()]);
    let verdict = |aud: Value| {
        let token = eddsa().token(|_, claims| claims["aud"] = aud);
        verify_at(&pool, &token, NOW).map(drop)
    };
    assert_eq!(verdict(json!("web")), Ok(()));
    assert_eq!(verdict(json!(["other", "api"])), Ok(()));
    for bad in [json!("API"), json!("apiweb"), json!(client()), json!(pool.id)] {
        assert_eq!(verdict(bad.clone()), Err(AudienceMismatch), "{bad}");
    }
}

#[test]
fn the_client_that_the_token_names() {
    assert_eq!(with("sdkClientId", json!(client())), Ok(()));
    assert_eq!(with("sdkClientId", json!(sibling())), Ok(()));
    for bad in
        [json!(SdkClientId::derive("acme", "gone")), json!(""), json!(null), json!(1), json!("web")]
    {
        assert_eq!(with("sdkClientId", bad.clone()), Err(TokenClientGone), "{bad}");
    }
}

#[test]
fn proof_of_possession() {
    for cnf in [json!({"jkt": "x"}), json!({}), json!(null)] {
        assert_eq!(with("cnf", cnf), Err(TokenSenderConstrained));
    }
}

#[test]
fn subjects() {
    for good in ["user-123", "jörg@example.com", "用户", "a b", "\u{1f600}", "null", " "] {
        let verified = eddsa().verify(&eddsa().token(|_, claims| claims["sub"] = json!(good)));
        assert_eq!(user(&verified.unwrap()).app_user_id, good);
    }
    for bad in [json!(""), json!(123), json!(null), json!(["user"]), json!({})] {
        assert_eq!(with("sub", bad.clone()), Err(SubjectMissing), "{bad}");
    }
    assert_eq!(without("sub"), Err(SubjectMissing));
    // A lone surrogate is not valid text (RFC 8259 section 8.2).
    let text = claims().to_string().replace("user-123", r"\ud800");
    let token = eddsa().sign(&eddsa().header().to_string(), &text);
    assert_eq!(eddsa().verify(&token).unwrap_err(), TokenMalformed);
}
