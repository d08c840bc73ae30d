use serde_json::{Value, json};

use super::*;
use crate::domain::algorithm::VerifyingAlgorithm;
use crate::domain::policy::Audience;
use crate::domain::pool::{Location, Remote};

const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn object(spec: &Value, status: &Value) -> crd::UserPool {
    let metadata = json!({"namespace": "acme", "name": "users"});
    let object = json!({"metadata": metadata, "spec": spec, "status": status});
    serde_json::from_value(object).unwrap()
}

fn parse(spec: &Value, status: &Value) -> Result<UserPool, Violations> {
    user_pool(&object(spec, status))
}

fn spec(spec: &Value) -> Result<UserPool, Violations> {
    parse(spec, &json!({}))
}

fn with(mut spec: Value, more: &Value) -> Value {
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn jwks() -> Value {
    json!({"jwks": {"url": "https://id.example/jwks?v=1"}, "audiences": ["api"]})
}

fn oidc() -> Value {
    json!({"oidc": {"issuer": "https://id.example/"}, "anyAudience": true})
}

fn inline() -> Value {
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": X, "kid": "k"});
    json!({"inline": {"keys": [key]}, "audiences": ["api"]})
}

fn provided() -> Value {
    json!({"provided": {"secretRef": {"name": "users", "key": "jwks.json"}}})
}

#[test]
fn sources() {
    for (text, described) in [
        (json!({"hosted": {}}), "hosted"),
        (provided(), "provided users/jwks.json"),
        (jwks(), "jwks https://id.example/jwks?v=1"),
        (oidc(), "oidc https://id.example/"),
        (inline(), "inline"),
    ] {
        assert_eq!(spec(&text).unwrap().source.describe(), described);
    }
    let ca = json!({"name": "ca", "key": "ca.crt"});
    let slow = json!({"jwks": {"url": "https://id", "caRef": ca, "refreshInterval": "24h"}});
    let Source::Remote(Remote { location, ca, refresh_interval }) =
        spec(&with(jwks(), &slow)).unwrap().source
    else {
        panic!("not remote")
    };
    assert_eq!(location, Location::Jwks("https://id".into()));
    assert_eq!(ca.unwrap().entry, "ca.crt");
    assert_eq!(refresh_interval, SignedDuration::from_hours(24));
}

#[test]
fn what_is_refused_names_its_field() {
    for (text, field) in [
        (json!({}), "spec"),
        (with(jwks(), &oidc()), "spec"),
        (with(json!({"hosted": {}}), &inline()), "spec"),
        (with(jwks(), &json!({"jwks": {"url": "http://id"}})), "spec.jwks.url"),
        (with(jwks(), &json!({"jwks": {"url": "https://"}})), "spec.jwks.url"),
        (with(jwks(), &json!({"jwks": {"url": "https://a@b/"}})), "spec.jwks.url"),
        (with(jwks(), &json!({"jwks": {"url": "https://a/#b"}})), "spec.jwks.url"),
        (with(jwks(), &json!({"jwks": {"url": "https://a/ b"}})), "spec.jwks.url"),
        (with(oidc(), &json!({"oidc": {"issuer": "https://a?b"}})), "spec.oidc.issuer"),
        (
            with(jwks(), &json!({"jwks": {"url": "https://a", "refreshInterval": "59s"}})),
            "spec.jwks.refreshInterval",
        ),
        (
            with(oidc(), &json!({"oidc": {"issuer": "https://a", "refreshInterval": "25h"}})),
            "spec.oidc.refreshInterval",
        ),
        (with(jwks(), &json!({"audiences": null})), "spec.audiences"),
        (with(jwks(), &json!({"audiences": []})), "spec.audiences"),
        (with(oidc(), &json!({"anyAudience": false})), "spec.audiences"),
        (with(jwks(), &json!({"anyAudience": true})), "spec.anyAudience"),
        (with(oidc(), &json!({"issuers": ["https://id.example/"]})), "spec.issuers"),
        (with(jwks(), &json!({"idClaim": "/a~b"})), "spec.idClaim"),
        (with(jwks(), &json!({"leeway": "301s"})), "spec.leeway"),
        (
            with(jwks(), &json!({"requiredClaims": [{"claim": "/", "values": ["x"]}]})),
            "spec.requiredClaims",
        ),
        (json!({"hosted": {}, "idClaim": "email"}), "spec"),
        (json!({"hosted": {}, "anyAudience": true}), "spec"),
        (json!({"hosted": {"tokenLifetime": {"max": "1d"}}}), "spec.hosted.tokenLifetime.max"),
    ] {
        let violations = spec(&text).expect_err(&text.to_string());
        assert_eq!(violations[0].field, field, "{text}");
    }
}

#[test]
fn audiences() {
    let audience = |text: Value| spec(&text).unwrap().claims.audience;
    assert_eq!(audience(json!({"hosted": {}})), Audience::Own);
    assert_eq!(audience(provided()), Audience::Own);
    assert_eq!(audience(with(provided(), &json!({"anyAudience": true}))), Audience::Any);
    assert_eq!(audience(oidc()), Audience::Any);
    assert_eq!(audience(jwks()), Audience::OneOf(vec!["api".into()]));
}

fn status(source: &str, algorithm: &str) -> Value {
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": X});
    let key = json!({"kid": "k", "algorithm": algorithm, "state": "Active", "jwk": jwk,
        "publishedAt": "2026-01-01T00:00:00Z"});
    json!({"source": source, "keys": [key]})
}

#[test]
fn keys_of_the_status_serve_while_they_were_made_from_this_spec() {
    let keys = |text: Value, status: Value| parse(&text, &status).unwrap().keys.len();
    let same = "jwks https://id.example/jwks?v=1";
    assert_eq!(keys(jwks(), status(same, "EdDSA")), 1);
    for other in ["jwks https://id.example/jwks", "oidc https://id.example/", "hosted", ""] {
        assert_eq!(keys(jwks(), status(other, "EdDSA")), 0, "{other}");
    }
    // A key that is not of its algorithm, and an algorithm that is not accepted (any more).
    assert_eq!(keys(jwks(), status(same, "ES256")), 0);
    let narrow = |algorithm: VerifyingAlgorithm| with(jwks(), &json!({"algorithms": [algorithm]}));
    assert_eq!(keys(narrow(VerifyingAlgorithm::EdDSA), status(same, "EdDSA")), 1);
    assert_eq!(keys(narrow(VerifyingAlgorithm::RS512), status(same, "EdDSA")), 0);
}

#[test]
fn inline_keys_serve_from_the_spec_whatever_status_says() {
    let pool = parse(&inline(), &status("jwks https://id.example/", "EdDSA")).unwrap();
    assert_eq!(pool.keys.len(), 1);
    assert_eq!(pool.keys[0].verifying.algorithm(), VerifyingAlgorithm::EdDSA);
    let mut private = inline();
    private["inline"]["keys"][0]["d"] = json!("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    assert_eq!(spec(&private).unwrap().keys.len(), 0);
    let mut encrypts = inline();
    encrypts["inline"]["keys"][0]["key_ops"] = json!(["deriveKey"]);
    assert_eq!(spec(&encrypts).unwrap().keys.len(), 0);
}

fn inline_text(text: &str) -> Value {
    json!({"inline": {"jwks": text}, "audiences": ["api"]})
}

#[test]
fn inline_set_as_json_text() {
    let key = inline()["inline"]["keys"][0].clone();
    let text = json!({"keys": [key]}).to_string();
    assert_eq!(spec(&inline_text(&text)).unwrap().keys.len(), 1);
    // The names of private members can be escaped.
    let hidden = text.replacen("\"kty\"", "\"\\u0064\":\"AAAA\",\"kty\"", 1);
    assert_eq!(spec(&inline_text(&hidden)).unwrap().keys.len(), 0);
    for broken in ["", "AAAA", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
        let violations = spec(&inline_text(broken)).unwrap_err();
        assert_eq!(violations[0].field, "spec.inline.jwks", "{broken}");
        assert!(!violations[0].message.contains("AAAA"), "{violations:?}");
    }
    let both = json!({"inline": {"keys": [key], "jwks": text}});
    for spec_of_inline in [with(inline(), &both), with(inline(), &json!({"inline": {}}))] {
        assert_eq!(spec(&spec_of_inline).unwrap_err()[0].field, "spec.inline");
    }
}

#[test]
fn inline_keys_with_members_of_providers() {
    let more = json!({
        "x5c": ["MIIC"], "x5t": "dGVzdA", "x5t#S256": "dGVzdA", "x5u": "https://id.example/cert",
        "issuer": "https://id.example", "exp": 1_900_000_000, "iat": 1, "nbf": 1,
    });
    let mut provider = inline();
    provider["inline"]["keys"][0]
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    assert_eq!(spec(&provider).unwrap().keys.len(), 1);
}

#[test]
fn inline_private_members_are_neither_accepted_nor_held() {
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        let mut private = inline();
        let secret = json!("c2VjcmV0");
        private["inline"]["keys"][0][member] =
            if member == "oth" { json!([{"d": secret}]) } else { secret };
        let pool = object(&private, &json!({}));
        assert!(user_pool(&pool).unwrap().keys.is_empty(), "{member}");
        assert!(!format!("{pool:?}").contains("c2VjcmV0"), "{member}");
    }
}

#[test]
fn default_lifetime_is_half_a_year_and_follows_a_shorter_max() {
    let default = |lifetime: Value| {
        let pool = spec(&json!({"hosted": {"tokenLifetime": lifetime}})).unwrap();
        let Source::Hosted(hosted) = pool.source else { panic!("hosted") };
        hosted.default_lifetime
    };
    assert_eq!(default(json!({})), SignedDuration::from_hours(4380));
    assert_eq!(default(json!({"max": "24h"})), SignedDuration::from_hours(24));
    assert_eq!(default(json!({"default": "1h", "max": "24h"})), SignedDuration::from_hours(1));
}
