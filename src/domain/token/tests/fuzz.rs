//! Random input: nothing panics, and only the token that was signed is accepted.

use proptest::prelude::*;

use super::*;
use crate::domain::json::{Json, parse_object};
use crate::domain::policy::{ClaimPath, RequiredClaim};

fn eddsa() -> &'static Issuer {
    issuer(Algorithm::EdDSA)
}

/// Arbitrary JSON values.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".{0,6}", inner), 0..4)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// Claim names and pointers, some of which match a claim.
fn paths() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec!["a", "b", "/a/a", "/b/a", "/a/b/0", "/b/b/0"]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => "/?[ab~/01]{0,6}"]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text(text in any::<String>()) {
        prop_assert!(eddsa().verify(&text).is_err());
    }

    #[test]
    fn random_parts(
        header in prop::collection::vec(any::<u8>(), 0..64),
        payload in prop::collection::vec(any::<u8>(), 0..64),
        signature in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let token = [header, payload, signature].map(encode).join(".");
        prop_assert!(eddsa().verify(&token).is_err());
    }

    #[test]
    fn a_changed_byte(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let good = eddsa().token(|_, _| {}).into_bytes();
        let mut bytes = good.clone();
        bytes[at.index(good.len())] = to;
        if bytes != good && let Ok(text) = String::from_utf8(bytes) {
            prop_assert!(eddsa().verify(&text).is_err(), "{}", text);
        }
    }

    #[test]
    fn a_piece_cut_or_doubled(a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let good = eddsa().token(|_, _| {});
        let (a, b) = (a.index(good.len()), b.index(good.len()));
        let (from, to) = (a.min(b), a.max(b) + 1);
        for text in [
            format!("{}{}", &good[..from], &good[to..]),
            format!("{}{}", &good[..to], &good[from..]),
            good[from..to].to_owned(),
        ] {
            prop_assert!(text == good || eddsa().verify(&text).is_err(), "{}", text);
        }
    }

    /// A token that is signed by the right key and has any value in any claim or header member
    /// never causes a panic, and is accepted only if its subject is a string.
    #[test]
    fn any_value_in_any_place(
        name in prop_oneof![
            Just("iss"), Just("sub"), Just("aud"), Just("exp"), Just("nbf"), Just("iat"),
            Just("cnf"), Just("sdkClientId"), Just("x"),
        ],
        value in values(),
    ) {
        let token = eddsa().token(|_, claims| claims[name] = value.clone());
        if let Ok(verified) = eddsa().verify(&token) {
            prop_assert!(!user(&verified).app_user_id.is_empty());
            prop_assert!(matches!(name, "x" | "exp" | "nbf" | "iat") || name == "sub" && value.is_string());
        }
        let token = eddsa().token(|header, _| header[name] = value);
        let _ = eddsa().verify(&token);
    }

    /// No policy and no claims cause a panic. If a token is accepted, its user is the non-empty
    /// string in the idClaim, and the required claims match.
    #[test]
    fn any_policy_on_any_claims(
        path in paths(),
        required in paths(),
        accepted in prop::collection::vec("[ab]", 0..4),
        kinds in prop::array::uniform2(0..3),
        value in values(),
        text in "[ab]",
    ) {
        let (Some(id_claim), Some(claim)) = (ClaimPath::parse(&path), ClaimPath::parse(&required))
        else { return Ok(()) };
        let required = RequiredClaim { claim, values: accepted, format: None };
        let mut pool = eddsa().pool.clone();
        pool.claims.id_claim = id_claim.clone();
        pool.claims.required = vec![required.clone()];
        let token = eddsa().token(|_, claims| {
            for (name, kind) in ["a", "b"].into_iter().zip(kinds) {
                claims[name] = match kind {
                    0 => value.clone(),
                    1 => json!({"a": text, "b": [text, value]}),
                    _ => json!(text),
                };
            }
        });
        if let Ok(verified) = verify_at(&pool, &token, NOW) {
            let user = user(&verified);
            let claims = parse_object(user.claims.text().as_bytes()).unwrap();
            let found = id_claim.find(&claims).and_then(Json::as_str);
            prop_assert_eq!(found, Some(user.app_user_id.as_str()));
            prop_assert!(!user.app_user_id.is_empty() && required.holds(&claims));
        }
    }
}
