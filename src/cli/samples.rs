//! Objects for the tests of what is printed.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::read::Object;
use crate::crd::{Member, Organization, Revocation, SdkClient, UserPool};

/// The time of the tests: 2027-01-15T08:00:00Z.
pub fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// A time before or after [`now`], as objects store it.
pub fn at(seconds: i64) -> String {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap().to_string()
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn parse<K>(kind: &str, name: &str, spec: &Value, status: &Value) -> Object<K>
where
    K: kube::Resource + serde::de::DeserializeOwned,
{
    let object = json!({
        "apiVersion": "anon.dev/v1beta1", "kind": kind,
        "metadata": {"name": name, "namespace": "acme", "generation": 1},
        "spec": spec, "status": status,
    });
    Object::parse(&object.to_string()).unwrap()
}

fn status(ready: &str, reason: &str, message: &str, rest: &Value) -> Value {
    let mut status = json!({
        "observedGeneration": 1,
        "conditions": [{
            "type": "Ready", "status": ready, "reason": reason, "message": message,
            "lastTransitionTime": at(0),
        }],
    });
    for (name, value) in rest.as_object().unwrap() {
        status[name] = value.clone();
    }
    status
}

pub fn organization() -> Object<Organization> {
    let ready = status("True", "Accepted", "in effect", &json!({}));
    parse("Organization", "default", &json!({}), &ready)
}

/// A hosted pool with two keys.
pub fn pool() -> Object<UserPool> {
    let key = |kid: &str, state: &str, times: &Value| {
        let mut key = json!({
            "kid": kid, "algorithm": "ES256", "state": state,
            "jwk": {"kty": "EC", "crv": "P-256", "x": "a", "y": "b"},
        });
        for (name, value) in times.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    };
    let old =
        json!({"publishedAt": at(-60 * DAY), "activeAt": at(-60 * DAY), "retireAt": at(90 * DAY)});
    let active = json!({"publishedAt": at(-3 * DAY), "activeAt": at(-2 * DAY)});
    let keys = json!({
        "keys": [
            key("kWd7mLcFrQbJ8Xo-retired", "Retiring", &old),
            key("zJ1h9hPMqTqlQTcLd8TFnGjR", "Active", &active),
        ],
        "nextRotation": at(28 * DAY),
    });
    let ready = status("True", "KeysPublished", "2 keys in use", &keys);
    parse("UserPool", "users", &json!({"hosted": {}}), &ready)
}

/// A pool that is not ready.
pub fn failing_pool() -> Object<UserPool> {
    let spec = json!({"provided": {"secretRef": {"name": "idp", "key": "jwks.json"}}});
    let message = "Secret `idp` has no entry `jwks.json`";
    let failing = status("False", "JwksSecretUnusable", message, &json!({}));
    parse("UserPool", "partners", &spec, &failing)
}

/// A service with a delivered key that was rotated.
pub fn service() -> Object<SdkClient> {
    let key = |digit: &str, state: &str, created: i64| {
        json!({
            "id": digit.repeat(16), "sha256": digit.repeat(64), "state": state,
            "createdAt": at(created),
        })
    };
    let mut previous = key("a", "Previous", -30 * DAY);
    previous["expiresAt"] = json!(at(5 * HOUR));
    let keys = json!({
        "clientId": "c1", "type": "Service", "secretName": "backend-anon",
        "keys": [previous, key("b", "Current", -HOUR)],
    });
    let delivery = json!({"delivery": {"secretName": "backend-anon"}});
    let spec = json!({"service": {"role": "Member", "apiKey": delivery}});
    let ready = status("True", "KeyDelivered", "the API key is in the Secret", &keys);
    parse("SdkClient", "backend", &spec, &ready)
}

/// A suspended webapp of [`pool`].
pub fn webapp() -> Object<SdkClient> {
    let spec = json!({"suspended": true, "webapp": {"userPoolRef": {"name": "users"}}});
    let id = json!({"clientId": "6f0c8ad6-4c53-5b3f-9d8f-9c4ad6b1a111", "type": "Webapp"});
    parse("SdkClient", "web", &spec, &status("True", "Suspended", "suspended", &id))
}

/// A client of a version that this one cannot read, with a name that a terminal must not see.
pub fn unreadable_client() -> Object<SdkClient> {
    parse("SdkClient", "new\u{1b}[2J", &json!({"webapp": 1}), &json!({}))
}

pub fn member(name: &str, suspended: bool) -> Object<Member> {
    let email = format!("{name}@acme.example");
    let spec = json!({"email": email, "role": "Admin", "suspended": suspended});
    parse("Member", name, &spec, &status("True", "Accepted", "in effect", &json!({})))
}

pub fn revocation() -> Object<Revocation> {
    let spec = json!({"sdkClient": {"name": "backend", "keyIds": ["a".repeat(16)]}});
    let message = "1 API key of SdkClient `backend`; enforced by 2 of 2 validators";
    parse("Revocation", "leak", &spec, &status("True", "Revoked", message, &json!({})))
}
