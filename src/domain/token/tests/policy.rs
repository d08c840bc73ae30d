//! Claim requirements of pools, on tokens with a valid signature.

use super::*;
use crate::domain::policy::{ClaimPath, IdClaimType, RequiredClaim};
use crate::domain::pool::{Location, Remote};
use crate::domain::secret_ref::SecretEntry;
use Reason::{
    AudienceMismatch, EmailUnverified, IssuerMismatch, KeyUnknown, RequiredClaimMismatch,
    SubjectMissing, TokenExpired, TokenFromFuture, TokenNotYetValid,
};

fn eddsa() -> &'static Issuer {
    issuer(Algorithm::EdDSA)
}

/// A pool with the usual key, whose keys come from `source`.
fn pool_of(source: Source) -> UserPool {
    let mut pool = eddsa().pool.clone();
    pool.keys[0].issuer = None;
    pool.source = source;
    pool
}

fn remote(location: Location) -> Source {
    Source::Remote(Remote { location, ca: None, refresh_interval: SignedDuration::from_mins(15) })
}

/// The user of a token with these additional claims; null removes a claim.
fn user_of(pool: &UserPool, more: &Value) -> Result<String, Reason> {
    let token = eddsa().token(|_, claims| {
        let claims = claims.as_object_mut().unwrap();
        claims.extend(more.as_object().unwrap().clone());
        claims.retain(|_, value| !value.is_null());
    });
    verify_at(pool, &token, NOW).map(|verified| user(&verified).app_user_id.clone())
}

#[test]
fn the_leeway_is_the_pool_s() {
    let mut pool = eddsa().pool.clone();
    for leeway in [0, 30, 300] {
        pool.claims.leeway = SignedDuration::from_secs(leeway);
        for (claims, refused) in [
            (json!({"exp": NOW - leeway + 1}), None),
            (json!({"exp": NOW - leeway}), Some(TokenExpired)),
            (json!({"nbf": NOW + leeway}), None),
            (json!({"nbf": NOW + leeway + 1}), Some(TokenNotYetValid)),
            (json!({"iat": NOW + leeway}), None),
            (json!({"iat": NOW + leeway + 1}), Some(TokenFromFuture)),
        ] {
            assert_eq!(user_of(&pool, &claims).err(), refused, "{leeway} {claims}");
        }
    }
}

#[test]
fn user_ids_have_exactly_the_type_of_the_pool() {
    let mut pool = eddsa().pool.clone();
    for sub in ["42", "-7", "0", "9223372036854775807", "-9223372036854775808"] {
        let number: Value = serde_json::from_str(sub).unwrap();
        pool.claims.id_claim_type = IdClaimType::Integer;
        assert_eq!(user_of(&pool, &json!({"sub": number})), Ok(sub.to_owned()));
        assert_eq!(user_of(&pool, &json!({"sub": sub})), Err(SubjectMissing));
        pool.claims.id_claim_type = IdClaimType::String;
        assert_eq!(user_of(&pool, &json!({"sub": number})), Err(SubjectMissing));
        assert_eq!(user_of(&pool, &json!({"sub": sub})), Ok(sub.to_owned()));
    }
    pool.claims.id_claim_type = IdClaimType::Integer;
    for odd in ["42.0", "4.2e1", "1e3", "-0", "9223372036854775808", "1e99", "true", "[42]", "{}"] {
        let odd: Value = serde_json::from_str(odd).unwrap();
        assert_eq!(user_of(&pool, &json!({"sub": odd})), Err(SubjectMissing), "{odd}");
    }
}

#[test]
fn the_claim_with_the_user() {
    let mut pool = eddsa().pool.clone();
    let claims =
        json!({"oid": "u-7", "https://acme.example/id": "u-8", "user": {"id": "u-9", "n": 1}});
    for (path, expected) in [
        ("sub", Ok("user-123")),
        ("oid", Ok("u-7")),
        ("https://acme.example/id", Ok("u-8")),
        ("/user/id", Ok("u-9")),
        ("/user/n", Err(SubjectMissing)),
        ("/user", Err(SubjectMissing)),
        ("user/id", Err(SubjectMissing)),
        ("nothing", Err(SubjectMissing)),
        ("exp", Err(SubjectMissing)),
    ] {
        pool.claims.id_claim = ClaimPath::parse(path).unwrap();
        assert_eq!(user_of(&pool, &claims), expected.map(str::to_owned), "{path}");
    }
    // `sub` is not the idClaim, so it may be missing.
    pool.claims.id_claim = ClaimPath::name("oid");
    assert_eq!(user_of(&pool, &json!({"oid": "u-7", "sub": null})).unwrap(), "u-7");
    assert_eq!(user_of(&pool, &json!({"oid": ""})), Err(SubjectMissing));
}

#[test]
fn an_email_counts_when_it_is_verified() {
    let mut pool = eddsa().pool.clone();
    for path in ["email", "/email"] {
        pool.claims.id_claim = ClaimPath::parse(path).unwrap();
        for good in [json!(true), json!("true")] {
            let claims = json!({"email": "a@b.example", "email_verified": good});
            assert_eq!(user_of(&pool, &claims).unwrap(), "a@b.example");
        }
        for bad in
            [json!(null), json!(false), json!("false"), json!(1), json!("TRUE"), json!([true])]
        {
            let claims = json!({"email": "a@b.example", "email_verified": bad});
            assert_eq!(user_of(&pool, &claims), Err(EmailUnverified), "{bad}");
        }
        let none = json!({"email_verified": true});
        assert_eq!(user_of(&pool, &none), Err(SubjectMissing));
    }
}

#[test]
fn the_issuer_of_each_source() {
    let entry = || SecretEntry { secret: "s".into(), entry: "e".into() };
    let iss = |iss: &str| json!({"iss": iss});
    let (none, theirs) = (json!({"iss": null}), "https://id.example/");

    // Tokens of an OpenID provider must have its own issuer, even if `issuers` lists others.
    let mut oidc = pool_of(remote(Location::Issuer(theirs.into())));
    oidc.claims.issuers = vec![ISSUER.into()];
    assert!(user_of(&oidc, &iss(theirs)).is_ok());
    for bad in
        [iss(ISSUER), iss("https://id.example"), iss(""), none.clone(), json!({"iss": [theirs]})]
    {
        assert_eq!(user_of(&oidc, &bad), Err(IssuerMismatch), "{bad}");
    }
    // For the other sources, `iss` must be in `issuers`, and is not validated without it.
    for source in [remote(Location::Jwks(theirs.into())), Source::Inline, Source::Provided(entry())]
    {
        let mut pool = pool_of(source);
        for any in [iss(theirs), iss(""), none.clone(), json!({"iss": 7})] {
            assert!(user_of(&pool, &any).is_ok(), "{any}");
        }
        pool.claims.issuers = vec!["https://a.example".into(), theirs.into()];
        assert!(user_of(&pool, &iss(theirs)).is_ok());
        for bad in [iss(ISSUER), iss("https://id.example"), none.clone(), json!({"iss": [theirs]})]
        {
            assert_eq!(user_of(&pool, &bad), Err(IssuerMismatch), "{bad}");
        }
    }
}

#[test]
fn any_audience_is_any() {
    let mut pool = pool_of(Source::Inline);
    pool.claims.audience = Audience::Any;
    for any in [json!("other"), json!(["a", "b"]), json!(null), json!(7), json!([])] {
        assert!(user_of(&pool, &json!({"aud": any})).is_ok(), "{any}");
    }
    pool.claims.audience = Audience::Own;
    assert_eq!(user_of(&pool, &json!({"aud": "other"})), Err(AudienceMismatch));
}

#[test]
fn required_claims_all_have_to_hold() {
    let mut pool = eddsa().pool.clone();
    let required = |claim: &str, values: &[&str]| RequiredClaim {
        claim: ClaimPath::parse(claim).unwrap(),
        values: values.iter().map(ToString::to_string).collect(),
        format: None,
    };
    pool.claims.required =
        vec![required("tid", &["acme"]), required("/realm/roles", &["staff", "admin"])];
    let good = json!({"tid": "acme", "realm": {"roles": ["x", "staff"]}});
    assert!(user_of(&pool, &good).is_ok());
    for bad in [
        json!({}),
        json!({"tid": "acme"}),
        json!({"tid": "evil", "realm": {"roles": ["staff"]}}),
        json!({"tid": "acme", "realm": {"roles": "x staff"}}),
        json!({"tid": "acme", "realm": {"roles": {"staff": true}}}),
        json!({"tid": "acme", "/realm/roles": "staff"}),
    ] {
        assert_eq!(user_of(&pool, &bad), Err(RequiredClaimMismatch), "{bad}");
    }
}

/// The key determines the algorithm, and the pool determines which keys are used.
#[test]
fn a_key_that_does_not_serve_verifies_nothing() {
    let mut pool = eddsa().pool.clone();
    pool.keys.clear();
    assert_eq!(user_of(&pool, &json!({})), Err(KeyUnknown));
}
