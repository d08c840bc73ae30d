//! Custom resources and Secrets as the API server would give them.

use std::sync::LazyLock;

use anon_operator::testing::crd;
use anon_operator::testing::domain::algorithm::Algorithm;
use anon_operator::testing::domain::credential::{ApiKey, SessionToken};
use anon_operator::testing::domain::ids::{SdkClientId, UserPoolId};
use anon_operator::testing::domain::signing::SigningKey;
use anon_operator::testing::domain::token;
use anon_operator::testing::names;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::NOW;

/// Where the operator is reached.
pub const PUBLIC_URL: &str = "https://anon.example.com";

/// The operator's namespace.
pub const OPERATOR: &str = "anon-system";

/// One signing key for all who need no particular one.
pub fn signing_key() -> &'static SigningKey {
    static KEY: LazyLock<SigningKey> = LazyLock::new(new_signing_key);
    &KEY
}

pub fn new_signing_key() -> SigningKey {
    SigningKey::generate(Algorithm::ES256).unwrap()
}

pub fn parse<K: serde::de::DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).unwrap()
}

pub fn metadata(namespace: &str, name: &str) -> Value {
    json!({
        "namespace": namespace, "name": name, "uid": format!("uid-of-{namespace}-{name}"),
        "resourceVersion": "1", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z",
    })
}

fn object(kind: &str, namespace: &str, name: &str, spec: &Value, status: &Value) -> Value {
    let metadata = metadata(namespace, name);
    json!({"apiVersion": "anon.dev/v1beta1", "kind": kind, "metadata": metadata, "spec": spec, "status": status})
}

pub fn issuer(namespace: &str, pool: &str) -> String {
    format!("https://anon.example.com/userPools/{}", UserPoolId::derive(namespace, pool))
}

/// A hosted pool that publishes `key`; JSON, to be changed before it is parsed.
pub fn pool_json(namespace: &str, name: &str, key: &SigningKey) -> Value {
    let jwk = key.public_jwk();
    let status = json!({
        "source": "hosted",
        "keys": [{
            "kid": jwk.kid, "algorithm": key.algorithm(), "state": "Active", "jwk": jwk,
            "issuer": issuer(namespace, name), "publishedAt": "2026-01-01T00:00:00Z",
        }],
    });
    let spec = json!({"hosted": {"algorithm": key.algorithm()}});
    object("UserPool", namespace, name, &spec, &status)
}

pub fn pool(namespace: &str, name: &str, key: &SigningKey) -> crd::UserPool {
    parse(pool_json(namespace, name, key))
}

/// A hosted pool whose keys the leader has not published yet.
pub fn pool_without_keys(namespace: &str, name: &str) -> crd::UserPool {
    parse(object("UserPool", namespace, name, &json!({"hosted": {}}), &json!({})))
}

/// A pool with `key` in its spec, which says `more` besides.
pub fn inline_pool(namespace: &str, name: &str, key: &SigningKey, more: &Value) -> crd::UserPool {
    let mut spec = json!({"inline": {"keys": [key.public_jwk()]}, "anyAudience": true});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    parse(object("UserPool", namespace, name, &spec, &json!({})))
}

/// A pool whose set, with `key`, was fetched at this time.
pub fn remote_pool(
    namespace: &str,
    name: &str,
    key: &SigningKey,
    fetched_at: i64,
) -> crd::UserPool {
    let url = "https://id.example.com/jwks.json";
    let mut pool = pool_json(namespace, name, key);
    pool["spec"] = json!({"jwks": {"url": url}, "anyAudience": true});
    pool["status"]["source"] = json!(format!("jwks {url}"));
    pool["status"]["lastFetchTime"] = json!(jiff::Timestamp::from_second(fetched_at).unwrap());
    parse(pool)
}

/// A pool whose keys are in a Secret, from which `key` was published; JSON, to be changed before it
/// is parsed.
pub fn provided_pool_json(namespace: &str, name: &str, key: &SigningKey) -> Value {
    let mut pool = pool_json(namespace, name, key);
    pool["spec"] = json!({"provided": {"secretRef": {"name": "keys", "key": "jwks.json"}}});
    pool["status"]["source"] = json!("provided keys/jwks.json");
    pool["status"]["keys"][0].as_object_mut().unwrap().remove("issuer");
    pool
}

pub fn webapp(namespace: &str, name: &str, pool: &str) -> crd::SdkClient {
    let spec = json!({"webapp": {"userPoolRef": {"name": pool}}});
    parse(object("SdkClient", namespace, name, &spec, &json!({})))
}

/// A webapp with a clientId of its own choice, which the leader has found to be allowed.
pub fn webapp_of_id(namespace: &str, name: &str, pool: &str, id: &str) -> crd::SdkClient {
    let spec = json!({"clientId": id, "webapp": {"userPoolRef": {"name": pool}}});
    parse(object("SdkClient", namespace, name, &spec, &json!({"clientId": id})))
}

pub fn service_json(namespace: &str, name: &str, role: &str, key: &ApiKey) -> Value {
    let hash = key.hash();
    let key = json!({
        "id": hash.id(), "sha256": hash.to_string(), "state": "Current",
        "createdAt": "2026-01-02T03:04:05Z",
    });
    let status = json!({"secretName": "key", "keys": [key]});
    let spec = json!({"service": {"role": role, "apiKey": {"delivery": {"secretName": "key"}}}});
    object("SdkClient", namespace, name, &spec, &status)
}

pub fn service(namespace: &str, name: &str, role: &str, key: &ApiKey) -> crd::SdkClient {
    parse(service_json(namespace, name, role, key))
}

pub fn suspended(mut client: crd::SdkClient) -> crd::SdkClient {
    client.spec.suspended = Some(true);
    client
}

pub fn strict(mut client: crd::SdkClient) -> crd::SdkClient {
    client.spec.webapp.as_mut().unwrap().strict_client = Some(true);
    client
}

/// A member who has logged in with `token`; JSON, to be changed before it is parsed.
pub fn member_json(namespace: &str, name: &str, role: &str, token: &SessionToken) -> Value {
    let hash = token.hash();
    let session = json!({
        "id": hash.id(), "sha256": hash.to_string(),
        "createdAt": "2026-01-02T03:04:05Z", "expiresAt": "2035-01-01T00:00:00Z",
    });
    let spec = json!({"email": format!("{name}@{namespace}.example"), "role": role});
    object("Member", namespace, name, &spec, &json!({"sessions": [session]}))
}

pub fn member(namespace: &str, name: &str, role: &str, token: &SessionToken) -> crd::Member {
    parse(member_json(namespace, name, role, token))
}

/// A revocation of this key of this client.
pub fn revocation(namespace: &str, client: &str, key: &ApiKey) -> crd::Revocation {
    let spec = json!({"sdkClient": {"name": client, "keyIds": [key.hash().id()]}});
    revocation_of(namespace, "leak", &spec)
}

/// A revocation, made a day after the objects of this file.
pub fn revocation_of(namespace: &str, name: &str, spec: &Value) -> crd::Revocation {
    let mut revocation = object("Revocation", namespace, name, spec, &json!({}));
    revocation["metadata"]["creationTimestamp"] = json!("2026-01-03T00:00:00Z");
    parse(revocation)
}

pub fn organization(namespace: &str, spec: &Value) -> crd::Organization {
    parse(object("Organization", namespace, "default", spec, &json!({})))
}

/// The list of the signing Secrets of a pool, holding `key`.
pub fn signing_secrets(namespace: &str, pool: &str, key: &SigningKey) -> Value {
    let now = Timestamp::from_second(NOW).unwrap();
    let set = json!({"rotated": "", "keys": [{
        "algorithm": key.algorithm(), "state": "Active", "issuer": issuer(namespace, pool),
        "publishedAt": now, "activeAt": now, "longestLifetime": 4464 * 3600,
        "jwk": key.public_jwk(), "pkcs8": STANDARD.encode(key.to_pkcs8().unwrap()),
    }]});
    let data = STANDARD.encode(serde_json::to_vec(&set).unwrap());
    let id = UserPoolId::derive(namespace, pool);
    let mut metadata = metadata(OPERATOR, &names::signing_secret("uid", pool));
    metadata["labels"] = json!(names::labels(names::SIGNING_KEYS, &id));
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": metadata,
        "data": {names::KEY_SET: data},
    });
    json!({"apiVersion": "v1", "kind": "SecretList", "metadata": {}, "items": [secret]})
}

/// The claims of a good token of pool `users` in `acme`, for its client `web`.
pub fn claims() -> Value {
    json!({
        "iss": issuer("acme", "users"), "sub": "user-123", "aud": SdkClientId::derive("acme", "web"),
        "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 600,
    })
}

/// A token with these claims.
pub fn token(key: &SigningKey, claims: &Value) -> String {
    token::sign(key, &key.public_jwk().kid.unwrap(), claims).unwrap()
}
