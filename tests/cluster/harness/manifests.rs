//! Manifests as users write them.

use serde_json::{Value, json};

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "anon.dev/v1beta1", "kind": kind, "metadata": {"name": name}, "spec": spec
    })
}

/// A hosted pool.
pub fn pool(name: &str, hosted: Value) -> Value {
    object("UserPool", name, json!({"hosted": hosted}))
}

/// A hosted pool whose signing keys are generated quickly.
pub fn quick_pool(name: &str) -> Value {
    pool(name, json!({"algorithm": "ES256"}))
}

/// A pool with any spec.
pub fn pool_with(name: &str, spec: Value) -> Value {
    object("UserPool", name, spec)
}

/// A Secret with the label that permits its use as `use_`.
pub fn consenting_secret(name: &str, use_: &str, entry: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "labels": {"anon.dev/use": use_}},
        "stringData": {entry: value},
    })
}

/// A webapp client, for a frontend.
pub fn webapp(name: &str, pool: &str) -> Value {
    object("SdkClient", name, json!({"webapp": {"userPoolRef": {"name": pool}}}))
}

/// A service client, for a backend, whose API key is delivered into a Secret.
pub fn service(name: &str, role: &str, secret: &str) -> Value {
    let delivery = json!({"secretName": secret});
    object("SdkClient", name, json!({"service": {"role": role, "apiKey": {"delivery": delivery}}}))
}

/// The service client `backend`, with the additional fields `more` in its delivery.
pub fn service_of(more: Value) -> Value {
    let mut service = service("backend", "Member", "key");
    let delivery = service["spec"]["service"]["apiKey"]["delivery"].as_object_mut().unwrap();
    delivery.extend(more.as_object().unwrap().clone());
    service
}

/// A staff user.
pub fn member(name: &str, role: &str, kubernetes: Value) -> Value {
    let email = format!("{name}@example.test");
    object("Member", name, json!({"email": email, "role": role, "kubernetes": kubernetes}))
}

/// An organization.
pub fn organization(name: &str, spec: Value) -> Value {
    object("Organization", name, spec)
}

/// Sets `value` at the JSON pointer `at` of `manifest`, and creates parents that do not exist.
pub fn with(mut manifest: Value, at: &str, value: Value) -> Value {
    let mut place = &mut manifest;
    for name in at.split('/').skip(1) {
        place = &mut place[name];
    }
    *place = value;
    manifest
}
