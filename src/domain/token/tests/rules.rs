//! Every claim rule at once: a token is accepted exactly if each of them holds, and if only one is
//! broken, the reason is the one of that rule.

use std::ops::RangeInclusive;

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::*;
use crate::domain::policy::{ClaimPath, IdClaimType, RequiredClaim};

fn eddsa() -> &'static Issuer {
    issuer(Algorithm::EdDSA)
}

/// One way to break a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    ClientMismatch,
    ExpiryMissing,
    Expired,
    NotYetValid,
    FromFuture,
    IssuerMismatch,
    AudienceMismatch,
    SenderConstrained,
    ClientGone,
    SubjectMissing,
    SubjectTooLong,
    RequiredClaimMismatch,
    TokenIdInvalid,
    UserRevoked,
    TokenRevoked,
    IssuedTooEarly,
}

use Fault as F;

/// In the order in which the rules are checked: the first broken one is the verdict.
const FAULTS: [(Fault, Reason); 16] = [
    (F::ClientMismatch, Reason::ClientMismatch),
    (F::ExpiryMissing, Reason::ExpiryMissing),
    (F::Expired, Reason::TokenExpired),
    (F::NotYetValid, Reason::TokenNotYetValid),
    (F::FromFuture, Reason::TokenFromFuture),
    (F::IssuerMismatch, Reason::IssuerMismatch),
    (F::AudienceMismatch, Reason::AudienceMismatch),
    (F::SenderConstrained, Reason::TokenSenderConstrained),
    (F::ClientGone, Reason::TokenClientGone),
    (F::SubjectMissing, Reason::SubjectMissing),
    (F::SubjectTooLong, Reason::SubjectTooLong),
    (F::RequiredClaimMismatch, Reason::RequiredClaimMismatch),
    (F::TokenIdInvalid, Reason::TokenIdInvalid),
    (F::UserRevoked, Reason::UserRevoked),
    (F::TokenRevoked, Reason::TokenRevoked),
    (F::IssuedTooEarly, Reason::TokenRevoked),
];

impl Fault {
    /// Breaks the rule in the claims or in what they are checked against.
    fn apply(self, claims: &mut Value, context: &mut TokenContext) {
        let leeway = context.pool.claims.leeway.as_secs();
        let revoke = |context: &mut TokenContext, revocation: Revocation| {
            context.revocations.push(Arc::new(revocation));
        };
        match self {
            F::ClientMismatch => {
                context.client.strict = true;
                claims["sdkClientId"] = json!(sibling());
            }
            F::ExpiryMissing => drop(claims.as_object_mut().unwrap().remove("exp")),
            F::Expired => claims["exp"] = json!(NOW - leeway),
            F::NotYetValid => claims["nbf"] = json!(NOW + leeway + 1),
            F::FromFuture => claims["iat"] = json!(NOW + leeway + 1),
            F::IssuerMismatch => claims["iss"] = json!("https://evil.example"),
            F::AudienceMismatch => claims["aud"] = json!(["other"]),
            F::SenderConstrained => claims["cnf"] = json!({"jkt": "x"}),
            F::ClientGone => {
                claims["sdkClientId"] = json!(SdkClientId::derive("acme", "gone"));
            }
            F::SubjectMissing => claims["sub"] = json!(7),
            F::SubjectTooLong => claims["sub"] = json!("x".repeat(256)),
            F::RequiredClaimMismatch => claims["tid"] = json!("evil"),
            F::TokenIdInvalid => claims["jti"] = json!(""),
            F::UserRevoked => {
                let subjects = ["user-123".to_owned()].into();
                revoke(context, Revocation { subjects, ..revocation() });
            }
            F::TokenRevoked => {
                let token_ids = ["token-1".to_owned()].into();
                revoke(context, Revocation { token_ids, ..revocation() });
            }
            F::IssuedTooEarly => {
                let tokens_issued_before = Some(at(NOW + leeway));
                revoke(context, Revocation { tokens_issued_before, ..revocation() });
            }
        }
    }

    /// Whether this fault has no effect together with `other`, which writes the same claim later.
    fn is_undone_by(self, other: Self) -> bool {
        matches!(
            (self, other),
            (F::ExpiryMissing, F::Expired) | (F::SubjectMissing, F::SubjectTooLong)
        )
    }
}

/// The verdict on a token with these faults, on a pool that requires a claim.
fn verdict(faults: &[Fault], leeway: i64) -> Result<(), Reason> {
    let mut pool = eddsa().pool.clone();
    pool.claims.leeway = SignedDuration::from_secs(leeway);
    pool.claims.required = vec![RequiredClaim {
        claim: ClaimPath::name("tid"),
        values: vec!["acme".into()],
        format: None,
    }];
    let mut context = context(&pool);
    let token = eddsa().token(|_, claims| {
        (claims["tid"], claims["jti"]) = (json!("acme"), json!("token-1"));
        for fault in faults {
            fault.apply(claims, &mut context);
        }
    });
    verify_in(&context, &token, NOW).map(drop)
}

#[test]
fn each_rule_has_its_own_reason() {
    assert_eq!(verdict(&[], 60), Ok(()));
    for (fault, reason) in FAULTS {
        for leeway in [0, 60, 300] {
            assert_eq!(verdict(&[fault], leeway), Err(reason), "{fault:?} {leeway}");
        }
    }
}

/// Revocations of a pool do not affect other users and tokens, and a token without `iat` counts as
/// issued before any time.
#[test]
fn revocations_cover_what_they_name() {
    let revoked = |revocation: &Revocation, change: fn(&mut Value)| {
        let context = TokenContext {
            revocations: vec![Arc::new(revocation.clone())],
            ..context(&eddsa().pool)
        };
        let token = eddsa().token(|_, claims| change(claims));
        verify_in(&context, &token, NOW).err()
    };
    let user = Revocation { subjects: ["user-123".into()].into(), ..revocation() };
    let token = Revocation { token_ids: ["t".into()].into(), ..revocation() };
    let old = Revocation { tokens_issued_before: Some(at(NOW - 10)), ..revocation() };
    let (by_user, by_token) = (Some(Reason::UserRevoked), Some(Reason::TokenRevoked));
    for (name, revocation, change, expected) in [
        ("this user", &user, (|_| {}) as fn(&mut Value), by_user),
        ("another user", &user, |claims| claims["sub"] = json!("user-1234"), None),
        ("another case", &user, |claims| claims["sub"] = json!("User-123"), None),
        ("no jti", &token, |_| {}, None),
        ("this jti", &token, |claims| claims["jti"] = json!("t"), by_token),
        ("another jti", &token, |claims| claims["jti"] = json!("tt"), None),
        ("issued at that second", &old, |_| {}, None),
        ("a second earlier", &old, |claims| claims["iat"] = json!(NOW - 11), by_token),
        ("a fraction earlier", &old, |claims| claims["iat"] = json!(1_799_999_989.9), by_token),
        (
            "without iat",
            &old,
            |claims| drop(claims.as_object_mut().unwrap().remove("iat")),
            by_token,
        ),
    ] {
        assert_eq!(revoked(revocation, change), expected, "{name}");
    }
}

/// Seconds around the edges, relative to now.
fn seconds(range: RangeInclusive<i64>) -> impl Strategy<Value = Option<i64>> {
    prop::option::weighted(0.9, range)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_first_broken_rule_is_the_verdict(
        chosen in subsequence(FAULTS.to_vec(), 0..=3),
        leeway in 0..=300_i64,
    ) {
        let faults: Vec<_> = chosen.iter().map(|(fault, _)| *fault).collect();
        let undone = |fault: Fault| faults.iter().any(|other| fault.is_undone_by(*other));
        // A rule for a claim that a later fault overwrites is not broken.
        let mut expected = chosen.iter().filter(|(fault, _)| !undone(*fault));
        // `sdkClientId` has one value: that of the last fault. Either breaks a rule of a strict
        // client first.
        let expected = expected.next().map_or(Ok(()), |(_, reason)| Err(*reason));
        prop_assert_eq!(verdict(&faults, leeway), expected, "{:?}", faults);
    }

    #[test]
    fn dates_are_compared_with_the_leeway(
        (exp, nbf, iat) in (-400..=400_i64, seconds(-400..=400), seconds(-400..=400)),
        leeway in 0..=300_i64,
    ) {
        let mut pool = eddsa().pool.clone();
        pool.claims.leeway = SignedDuration::from_secs(leeway);
        let token = eddsa().token(|_, claims| {
            claims["exp"] = json!(NOW + exp);
            for (name, date) in [("nbf", nbf), ("iat", iat)] {
                match date {
                    Some(date) => claims[name] = json!(NOW + date),
                    None => drop(claims.as_object_mut().unwrap().remove(name)),
                }
            }
        });
        let expected = if exp + leeway <= 0 {
            Some(Reason::TokenExpired)
        } else if nbf.is_some_and(|nbf| nbf > leeway) {
            Some(Reason::TokenNotYetValid)
        } else if iat.is_some_and(|iat| iat > leeway) {
            Some(Reason::TokenFromFuture)
        } else {
            None
        };
        prop_assert_eq!(verify_at(&pool, &token, NOW).err(), expected);
    }

    #[test]
    fn one_accepted_audience_is_enough(
        listed in prop::collection::vec("[a-c]{1,2}", 0..4),
        accepted in prop::collection::vec("[a-c]{1,2}", 1..4),
        single in any::<bool>(),
        index in any::<Index>(),
    ) {
        let mut pool = eddsa().pool.clone();
        pool.claims.audience = Audience::OneOf(accepted.clone());
        let listed = if single && !listed.is_empty() {
            vec![listed[index.index(listed.len())].clone()]
        } else {
            listed
        };
        let token = eddsa().token(|_, claims| {
            claims["aud"] = if single && listed.len() == 1 { json!(listed[0]) } else { json!(listed) };
        });
        let matches = listed.iter().any(|audience| accepted.contains(audience));
        let expected = (!matches).then_some(Reason::AudienceMismatch);
        prop_assert_eq!(verify_at(&pool, &token, NOW).err(), expected);
    }

    #[test]
    fn issuers_are_compared_byte_by_byte(
        iss in prop_oneof![
            select(vec![ISSUER, "https://id.example", "https://id.example/", "HTTPS://id.example"])
                .prop_map(str::to_owned),
            "https://id\\.example[./?#]?",
        ],
    ) {
        let mut pool = eddsa().pool.clone();
        pool.source = Source::Inline;
        pool.keys[0].issuer = None;
        pool.claims.issuers = vec!["https://id.example".into()];
        let token = eddsa().token(|_, claims| claims["iss"] = json!(iss));
        let expected = (iss != "https://id.example").then_some(Reason::IssuerMismatch);
        prop_assert_eq!(verify_at(&pool, &token, NOW).err(), expected);
    }

    /// A user id of one type is never that of the other, so `7` and `"7"` are different users.
    #[test]
    fn user_ids_have_one_type(id in any::<i64>(), as_text in any::<bool>(), integers in any::<bool>()) {
        let mut pool = eddsa().pool.clone();
        pool.claims.id_claim_type =
            if integers { IdClaimType::Integer } else { IdClaimType::String };
        let sub = if as_text { json!(id.to_string()) } else { json!(id) };
        let token = eddsa().token(|_, claims| claims["sub"] = sub);
        let verified = verify_at(&pool, &token, NOW);
        if as_text == integers {
            prop_assert_eq!(verified.err(), Some(Reason::SubjectMissing));
        } else {
            let verified = verified.unwrap();
            prop_assert_eq!(&user(&verified).app_user_id, &id.to_string());
        }
    }
}
