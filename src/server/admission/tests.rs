use axum::body::Body;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::crd;
use crate::domain::scope::Scope;
use crate::index::{Index, IndexSettings};

const CHOSEN: &str = "6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111";

/// A replica whose index contains objects of two organizations.
struct World {
    index: Arc<Index>,
    router: Router,
}

impl World {
    fn new() -> Self {
        let world = Self::unheard();
        for kind in Kind::ALL {
            world.index.advanced(kind, None, "1");
        }
        world
    }

    /// Lists were read, but a watch has not been heard of.
    fn unheard() -> Self {
        let world = Self::unlisted();
        for kind in Kind::ALL {
            world.index.listed(kind, None);
        }
        world.index.namespaces_listed([]);
        world
    }

    fn unlisted() -> Self {
        Self::of(Scope::CLUSTER)
    }

    fn of(scope: Scope) -> Self {
        let settings = IndexSettings { scope, for_admission: true, ..IndexSettings::UNLIMITED };
        let index = Arc::new(Index::new(settings));
        let metrics = Arc::default();
        let router = crate::server::admission(AdmissionState {
            reader: Reader::new(Arc::clone(&index)),
            metrics,
        });
        Self { index, router }
    }

    async fn response(&self, body: impl Into<Body>) -> (u16, Value) {
        let request = axum::http::Request::post(PATH).body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn review(&self, object: &Value, stored: Option<&Value>) -> Value {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5",
                "kind": {"group": "anon.dev", "version": "v1beta1", "kind": object["kind"]},
                "resource": {"group": "anon.dev", "version": "v1beta1", "resource": "x"},
                "operation": if stored.is_some() { "UPDATE" } else { "CREATE" },
                "userInfo": {"username": "ada"},
                "object": object, "oldObject": stored, "dryRun": true, "options": null,
            },
        });
        let (status, reply) = self.response(review.to_string()).await;
        assert_eq!((status, &reply["apiVersion"]), (200, &json!("admission.k8s.io/v1")), "{reply}");
        assert_eq!(
            (&reply["kind"], &reply["response"]["uid"]),
            (&json!("AdmissionReview"), &json!("705ab4f5"))
        );
        reply["response"].clone()
    }

    /// The rejection of a write, or the warnings about it; empty if there is nothing to report.
    async fn verdict(&self, object: &Value, stored: Option<&Value>) -> String {
        let response = self.review(object, stored).await;
        let warnings = response["warnings"].as_array().cloned().unwrap_or_default();
        if response["allowed"] == json!(true) {
            return warnings.iter().map(|it| it.as_str().unwrap()).collect::<Vec<_>>().join("; ");
        }
        assert_eq!(response["status"]["code"], 422, "{response}");
        format!("rejected: {}", response["status"]["message"].as_str().unwrap())
    }

    fn add(&self, object: &Value) {
        let parsed = || serde_json::from_value::<Value>(object.clone()).unwrap();
        match object["kind"].as_str().unwrap() {
            "Member" => self.index.apply(&serde_json::from_value::<crd::Member>(parsed()).unwrap()),
            "UserPool" => {
                self.index.apply(&serde_json::from_value::<crd::UserPool>(parsed()).unwrap());
            }
            _ => self.index.apply(&serde_json::from_value::<crd::SdkClient>(parsed()).unwrap()),
        }
    }
}

fn object(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "anon.dev/v1beta1", "kind": kind,
        "metadata": {"namespace": namespace, "name": name}, "spec": spec})
}

fn member(namespace: &str, name: &str, email: &str) -> Value {
    object("Member", namespace, name, &json!({"email": email, "role": "Member"}))
}

fn service(namespace: &str, name: &str, secret: &str) -> Value {
    let delivery = json!({"secretName": secret});
    let spec = json!({"service": {"role": "Member", "apiKey": {"delivery": delivery}}});
    object("SdkClient", namespace, name, &spec)
}

fn webapp(namespace: &str, name: &str, pool: &str, id: Option<&str>) -> Value {
    let spec = json!({"webapp": {"userPoolRef": {"name": pool}}, "clientId": id});
    let mut webapp = object("SdkClient", namespace, name, &spec);
    webapp["status"] = json!({"clientId": id});
    webapp
}

fn with(object: &Value, pointer: &str, value: Value) -> Value {
    let mut changed = object.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    changed.pointer_mut(parent).unwrap()[name] = value;
    changed
}

#[tokio::test]
async fn duplicates_are_rejected_without_telling_whose_the_other_is() {
    let world = World::new();
    world.add(&member("acme", "ada", "ada@acme.example"));
    world.add(&service("acme", "backend", "keys"));
    world.add(&webapp("secretive", "hidden", "users", Some(CHOSEN)));
    world.add(&object("UserPool", "acme", "users", &json!({"hosted": {}})));
    for (new, field) in [
        (member("acme", "eve", "ADA@acme.example"), "spec.email"),
        (service("acme", "other", "keys"), "spec.service.apiKey.delivery.secretName"),
        (webapp("acme", "web", "users", Some(CHOSEN)), "spec.clientId"),
    ] {
        let verdict = world.verdict(&new, None).await;
        assert!(
            verdict.starts_with(&format!("rejected: {field} is already in use by another ")),
            "{verdict}"
        );
        for whose in ["ada", "backend", "hidden", "secretive", CHOSEN] {
            assert!(!verdict.contains(whose), "{verdict}");
        }
    }
    // What another organization has, or nobody.
    for new in [
        member("other", "ada", "ada@acme.example"),
        member("acme", "eve", "eve@acme.example"),
        service("other", "backend", "keys"),
        service("acme", "other", "other"),
        webapp("acme", "web", "users", Some("0f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111")),
        webapp("acme", "web", "users", None),
    ] {
        assert_eq!(world.verdict(&new, None).await, "", "{new}");
    }
}

/// A GitOps tool applies what it has applied before, and must be able to repair everything else.
#[tokio::test]
async fn write_is_rejected_only_if_it_causes_the_conflict() {
    let world = World::new();
    for object in [
        member("acme", "ada", "ada@acme.example"),
        service("acme", "backend", "keys"),
        webapp("secretive", "hidden", "users", Some(CHOSEN)),
        object("UserPool", "acme", "users", &json!({"hosted": {}})),
    ] {
        // The object itself, again.
        world.add(&object);
        assert_eq!(
            world.verdict(&object, None).await,
            String::new()
                + if object["metadata"]["namespace"] == "secretive" {
                    "spec.webapp.userPoolRef: UserPool `users` does not exist in this namespace yet"
                } else {
                    ""
                }
        );
    }
    for (duplicate, elsewhere) in [
        (member("acme", "eve", "ada@acme.example"), member("acme", "eve", "eve@acme.example")),
        (service("acme", "other", "keys"), service("acme", "other", "others")),
        (webapp("acme", "web", "users", Some(CHOSEN)), webapp("acme", "web", "users", None)),
    ] {
        assert!(world.verdict(&duplicate, Some(&elsewhere)).await.starts_with("rejected"));
        assert_eq!(world.verdict(&elsewhere, Some(&duplicate)).await, "");
        let labelled = with(&duplicate, "/metadata/labels", json!({"a": "b"}));
        assert_eq!(world.verdict(&labelled, Some(&duplicate)).await, "");
        // Finalizers are removed from an object that is being deleted.
        let ending = with(&duplicate, "/metadata/deletionTimestamp", json!("2026-11-30T12:00:00Z"));
        assert_eq!(world.verdict(&ending, Some(&elsewhere)).await, "");
        // What is stored was written by another version.
        let unreadable = with(&duplicate, "/spec", json!({"email": 7, "service": 7, "webapp": 7}));
        assert_eq!(world.verdict(&duplicate, Some(&unreadable)).await, "");
    }
}

#[tokio::test]
async fn value_of_a_deleted_object_is_free() {
    let world = World::new();
    let (first, second) = (service("acme", "backend", "keys"), service("acme", "other", "keys"));
    world.add(&first);
    assert!(world.verdict(&second, None).await.starts_with("rejected"));
    world.add(&with(&first, "/metadata/deletionTimestamp", json!("2026-11-30T12:00:00Z")));
    assert_eq!(world.verdict(&second, None).await, "");
    world.add(&first);
    world.add(&service("acme", "backend", "moved"));
    assert_eq!(world.verdict(&second, None).await, "");
    world.add(&first);
    let name = crate::domain::ids::ObjectName { namespace: "acme".into(), name: "backend".into() };
    world.index.delete::<crd::SdkClient>(&name);
    assert_eq!(world.verdict(&second, None).await, "");
}

#[tokio::test]
async fn order_of_manifests_does_not_matter() {
    let world = World::new();
    let client = webapp("acme", "web", "users", None);
    let organization = object(
        "Organization",
        "acme",
        "default",
        &json!({"defaultUserPoolRef": {"name": "users"}}),
    );
    let missing = "UserPool `users` does not exist in this namespace yet";
    assert_eq!(world.verdict(&client, None).await, format!("spec.webapp.userPoolRef: {missing}"));
    assert_eq!(
        world.verdict(&organization, None).await,
        format!("spec.defaultUserPoolRef: {missing}")
    );
    world.add(&object("UserPool", "acme", "users", &json!({"hosted": {}})));
    for object in [&client, &organization] {
        assert_eq!(world.verdict(object, None).await, "");
    }
}

#[tokio::test]
async fn whatever_cannot_be_checked_is_allowed() {
    let world = World::new();
    world.add(&member("acme", "ada", "ada@acme.example"));
    let duplicate = member("acme", "eve", "ada@acme.example");
    let verdict = World::unlisted().verdict(&duplicate, None).await;
    assert!(verdict.starts_with("conflicts with other objects were not checked"), "{verdict}");
    let unheard = World::unheard();
    unheard.add(&member("acme", "ada", "ada@acme.example"));
    let verdict = unheard.verdict(&duplicate, None).await;
    assert!(verdict.contains("lost contact"), "the other may have been deleted: {verdict}");
    let newer = with(&duplicate, "/spec/role", json!("Owner"));
    assert!(world.verdict(&newer, None).await.contains("cannot read the object"));
    let bad = with(&duplicate, "/spec/displayName", json!("a\u{1b}b"));
    assert_eq!(
        world.verdict(&bad, None).await,
        "spec.displayName: must not contain control characters"
    );
    for other in ["Revocation", "Unknown"] {
        assert_eq!(world.verdict(&object(other, "acme", "x", &json!({})), None).await, "");
    }
}

#[tokio::test]
async fn anything_but_a_review_is_malformed_and_a_large_one_is_read() {
    let world = World::new();
    for body in [
        "",
        "{}",
        "[]",
        r#"{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {"uid": "1", "kind": {"group": "", "kind": ""}}}"#,
    ] {
        assert_eq!(world.response(body).await.0, 400, "{body}");
    }
    let large = with(
        &member("acme", "eve", "e@acme.example"),
        "/metadata/annotations",
        json!({"a": "a".repeat(1 << 20)}),
    );
    assert_eq!(world.verdict(&large, Some(&large)).await, "");
    assert_eq!(world.response(vec![b' '; BODIES.max_body + 1]).await.0, 413);
}

#[tokio::test]
async fn objects_of_unwatched_namespaces_are_not_judged() {
    let world = World::of(Scope::new(vec!["acme".into()]));
    for kind in Kind::ALL {
        world.index.listed(kind, Some("acme"));
        world.index.advanced(kind, Some("acme"), "1");
    }
    world.index.namespaces_listed([]);
    world.add(&webapp("acme", "web", "users", Some(CHOSEN)));
    let other = |namespace| webapp(namespace, "other", "users", Some(CHOSEN));
    assert_ne!(world.verdict(&other("acme"), None).await, "");
    assert_eq!(world.verdict(&other("globex"), None).await, "");
}
