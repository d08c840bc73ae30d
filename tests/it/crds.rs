//! The CEL rules about changes, evaluated without a cluster. The real server has its say in
//! `tests/cluster`, about these and all others.

use anon_operator::testing::crd::{SdkClient, UserPool};
use serde_json::{Value, json};

fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: Value) -> K {
    serde_json::from_value(json!({
        "apiVersion": "anon.dev/v1beta1", "kind": kind, "metadata": {"name": name}, "spec": spec
    }))
    .unwrap()
}

fn client(spec: Value) -> SdkClient {
    object("SdkClient", "x", spec)
}

fn pool(spec: Value) -> UserPool {
    object("UserPool", "x", spec)
}

fn webapp(pool: &str) -> SdkClient {
    client(json!({"webapp": {"userPoolRef": {"name": pool}}}))
}

fn service() -> SdkClient {
    let delivery = json!({"secretName": "key"});
    client(json!({"service": {"role": "Member", "apiKey": {"delivery": delivery}}}))
}

#[test]
fn a_client_keeps_its_type() {
    assert!(webapp("a").validate_cel_update(&webapp("b")).is_ok());
    assert!(service().validate_cel_update(&service()).is_ok());
    for (new, old) in [(webapp("a"), service()), (service(), webapp("a"))] {
        let error = new.validate_cel_update(&old).unwrap_err().to_string();
        assert!(error.contains("cannot change between"), "{error}");
    }
}

#[test]
fn a_pool_may_change_its_algorithm_and_rotates_within_bounds() {
    let hosted = |hosted: Value| pool(json!({"hosted": hosted}));
    let es256 = || hosted(json!({"algorithm": "ES256"}));
    assert!(es256().validate_cel_update(&hosted(json!({}))).is_ok());
    let interval = |interval: &str, max: &str| {
        let lifetime = json!({"default": "1h", "max": max});
        let pool = hosted(json!({"rotation": {"interval": interval}, "tokenLifetime": lifetime}));
        pool.validate_cel().map_err(|error| error.to_string())
    };
    assert_eq!(interval("720h", "4464h"), Ok(()));
    assert_eq!(interval("1h", "60h"), Ok(()));
    assert!(interval("59m", "1h").unwrap_err().contains("at least `1h`"));
    assert!(interval("1h", "61h").unwrap_err().contains("at least one 60th of tokenLifetime.max"));
}

#[test]
fn a_pool_keeps_its_source() {
    let sources = || {
        let entry = json!({"name": "s", "key": "jwks.json"});
        let key = json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "k"});
        let of = |arm: &str, value: Value| pool(json!({arm: value, "audiences": ["api"]}));
        [
            of("hosted", json!({})),
            of("provided", json!({"secretRef": entry})),
            of("jwks", json!({"url": "https://id.example/jwks"})),
            of("oidc", json!({"issuer": "https://id.example"})),
            of("inline", json!({"keys": [key]})),
        ]
    };
    for (i, new) in sources().iter().enumerate() {
        assert!(new.validate_cel().is_ok(), "{new:?}");
        for (j, old) in sources().iter().enumerate() {
            let checked = new.validate_cel_update(old);
            assert_eq!(checked.is_ok(), i == j, "{i} {j}: {checked:?}");
            assert!(i == j || checked.unwrap_err().to_string().contains("a pool cannot change"));
        }
    }
}

#[test]
fn a_name_is_checked_at_the_root() {
    let long: UserPool = object("UserPool", &"x".repeat(53), json!({"hosted": {}}));
    assert!(long.validate_cel().unwrap_err().to_string().contains("at most 52"));
    let fits: UserPool = object("UserPool", &"x".repeat(52), json!({"hosted": {}}));
    assert!(fits.validate_cel().is_ok());
}
