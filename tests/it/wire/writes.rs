//! The writers of children and status: what they send, and what they make of the answers.

use std::sync::Arc;
use std::time::Duration;

use anon_operator::testing::clock::SystemClock;
use anon_operator::testing::controller::apply::{
    Applied, Created, apply_child, create_secret, delete_exactly, read_secret, replace_secret,
};
use anon_operator::testing::controller::{Context, Error, Settings, bindings, status as writer};
use anon_operator::testing::crd::condition::{self, Readiness};
use anon_operator::testing::crd::reasons::ReadyReason;
use anon_operator::testing::crd::{
    MatchedCredential, Organization, OrganizationStatus, RevocationStatus, UserPool,
};
use anon_operator::testing::domain::ids::{MemberId, ObjectName};
use anon_operator::testing::domain::revocation::CredentialKind;
use anon_operator::testing::domain::scope::Scope;
use anon_operator::testing::index::{Index, Reader};
use anon_operator::testing::kube_ext::tolerant::Tolerant;
use anon_operator::testing::metrics::Metrics;
use anon_operator::testing::replicas::tracker::ReplicaTracker;
use http::Method;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use serde_json::{Value, json};

use crate::jwks::open_fetcher;
use crate::support::UNLIMITED;
use crate::support::api::{FakeApi, ok, status};
use crate::support::objects::{self, metadata, parse};

const SECRETS: &str = "/api/v1/namespaces/acme/secrets";
const MAPS: &str = "/api/v1/namespaces/acme/configmaps";

fn secret(version: Option<&str>) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"namespace": "acme", "name": "s", "resourceVersion": version}})
}

/// The errors that an API server may answer a write with, and their class.
const FAILURES: [(u16, &str, &str); 5] = [
    (403, "Forbidden", "forbidden"),
    (409, "Conflict", "conflict"),
    (422, "Invalid", "api"),
    (429, "TooManyRequests", "api"),
    (500, "InternalError", "api"),
];

#[tokio::test]
async fn secrets_are_created_by_post_and_read_when_there() {
    let api = FakeApi::new(|_| ok(&secret(Some("1"))));
    let new: Secret = parse(secret(None));
    let made = create_secret(&api.client(), "acme", &new).await.unwrap();
    assert!(matches!(made, Created::New(_)));
    assert_eq!(api.log(), [format!("POST {SECRETS}")]);

    let mut theirs = secret(Some("7"));
    theirs["data"] = json!({"apiKey": "dGhlaXJz"});
    let api = FakeApi::new(move |seen| match seen.method {
        Method::POST => status(409, "AlreadyExists"),
        _ => ok(&theirs),
    });
    let Created::Existing(read) = create_secret(&api.client(), "acme", &new).await.unwrap() else {
        panic!("not made by us");
    };
    assert_eq!(read.data.unwrap()["apiKey"].0, b"theirs");
    assert_eq!(api.log(), [format!("POST {SECRETS}"), format!("GET {SECRETS}/s")]);
}

#[tokio::test]
async fn secrets_are_replaced_with_the_version_that_was_read() {
    let api = FakeApi::new(|_| ok(&secret(Some("8"))));
    let read: Secret = parse(secret(Some("7")));
    replace_secret(&api.client(), "acme", &read).await.unwrap();
    assert_eq!(api.seen()[0].method, Method::PUT);
    assert_eq!(api.seen()[0].body["metadata"]["resourceVersion"], "7");
    // Without one, the PUT would be unconditional: it is not sent.
    let unread: Secret = parse(secret(None));
    let refused = replace_secret(&api.client(), "acme", &unread).await.unwrap_err();
    assert_eq!(refused.class(), "incomplete");
    assert_eq!(api.log().len(), 1);
}

#[tokio::test]
async fn failures_are_errors_of_their_class() {
    for (code, reason, class) in FAILURES {
        let api = FakeApi::new(move |_| status(code, reason));
        let (client, read) = (api.client(), parse::<Secret>(secret(Some("7"))));
        let classes = [
            create_secret(&client, "acme", &read).await.err().unwrap().class(),
            replace_secret(&client, "acme", &read).await.unwrap_err().class(),
            read_secret(&client, "acme", "s").await.unwrap_err().class(),
        ];
        assert_eq!(classes, [class; 3], "{code}");
        // A child that is rejected is reported and does not delay the others; the rest is retried.
        let child = apply_child(&client, "uid", &map("b")).await;
        match child {
            Ok(child) => {
                assert!(matches!(code, 403 | 422), "{code}");
                assert!(matches!(child, Applied::Refused(said) if said.contains(reason)));
            }
            Err(error) => assert_eq!(error.class(), class, "{code}"),
        }
        assert_eq!(api.log().len(), 4, "{code}: nothing is tried twice in place");
    }
}

#[tokio::test]
async fn a_child_of_ours_that_cannot_be_changed_is_made_again() {
    let api = FakeApi::new(|seen| match seen.method {
        Method::PATCH => status(422, "Invalid"),
        _ => ok(&stored("uid", "c")),
    });
    let applied = apply_child(&api.client(), "uid", &map("b")).await.unwrap();
    assert_eq!(applied, Applied::Done(Some("1".into())));
    let expected = ["GET /m", "PATCH /m", "DELETE /m", "POST "].map(|it| {
        let (method, name) = it.split_once(' ').unwrap();
        format!("{method} {MAPS}{name}")
    });
    assert_eq!(api.log(), expected);
    let precondition = &api.seen()[2].body["preconditions"];
    assert_eq!(precondition["resourceVersion"], "1", "only as it was read");
}

#[tokio::test]
async fn what_cannot_be_read_is_said_to_be_so_once() {
    let stored = Arc::new(parking_lot::Mutex::new(json!({
        "apiVersion": "anon.dev/v1beta1", "kind": "UserPool", "metadata": metadata("acme", "users"),
        "spec": {"hosted": {"algorithm": "RS999"}},
        "status": {"id": "x", "conditions": [{"type": "Ready", "status": "True", "reason": "KeysPublished",
            "message": "fine", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    })));
    let server = Arc::clone(&stored);
    let api = FakeApi::new(move |seen| {
        let mut object = server.lock();
        if seen.method == Method::PATCH {
            let status = seen.body["status"].as_object().unwrap().clone();
            object["status"].as_object_mut().unwrap().extend(status);
        }
        ok(&object)
    });
    let context = context(&api);
    let read = || {
        let object: Tolerant<UserPool> = parse(stored.lock().clone());
        object.0.unwrap_err()
    };
    writer::write_unreadable::<UserPool>(&context, &read()).await.unwrap();
    writer::write_unreadable::<UserPool>(&context, &read()).await.unwrap();
    let path = "/apis/anon.dev/v1beta1/namespaces/acme/userpools/users";
    assert_eq!(api.log(), [format!("PATCH {path}/status")]);
    assert_eq!(api.seen()[0].body["metadata"]["resourceVersion"], "1");
    let object = stored.lock();
    assert_eq!(object["status"]["id"], "x", "the rest stays");
    let conditions: Vec<Condition> = parse(object["status"]["conditions"].clone());
    let ready = condition::find(&conditions, "Ready").unwrap();
    assert_eq!((&*ready.status, &*ready.reason), ("False", "Unreadable"));
    assert!(ready.message.contains("RS999"), "{}", ready.message);
}

fn map(data: &str) -> ConfigMap {
    let mut metadata = metadata("acme", "m");
    metadata["ownerReferences"] = owner("uid");
    for set_by_server in ["uid", "resourceVersion", "generation", "creationTimestamp"] {
        metadata.as_object_mut().unwrap().remove(set_by_server);
    }
    parse(json!({"metadata": metadata, "data": {"a": data}}))
}

fn owner(uid: &str) -> Value {
    json!([{"apiVersion": "anon.dev/v1beta1", "kind": "UserPool", "name": "p", "uid": uid, "controller": true}])
}

/// A stored ConfigMap with a label that is not ours.
fn stored(uid: &str, data: &str) -> Value {
    let mut metadata = metadata("acme", "m");
    metadata["ownerReferences"] = owner(uid);
    metadata["labels"] = json!({"theirs": "yes"});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": data, "more": "x"}})
}

#[tokio::test]
async fn children_are_applied_only_where_they_differ_and_are_ours() {
    let read = || format!("GET {MAPS}/m");
    let write = || format!("PATCH {MAPS}/m");
    let done = || Applied::Done(Some("1".into()));
    for (existing, result, log) in [
        (Some(stored("uid", "b")), done(), vec![read()]),
        (Some(stored("uid", "c")), done(), vec![read(), write()]),
        (None, done(), vec![read(), format!("POST {MAPS}")]),
        (Some(stored("another", "c")), Applied::Foreign, vec![read()]),
        (Some(json!({"metadata": metadata("acme", "m")})), Applied::Foreign, vec![read()]),
    ] {
        let answer = existing.clone();
        let api = FakeApi::new(move |seen| match (&seen.method, &answer) {
            (&Method::GET, None) => status(404, "NotFound"),
            (_, None) => ok(&stored("uid", "b")),
            (_, Some(stored)) => ok(stored),
        });
        assert_eq!(
            apply_child(&api.client(), "uid", &map("b")).await.unwrap(),
            result,
            "{existing:?}"
        );
        assert_eq!(api.log(), log, "{existing:?}");
        if let Some(write) = api.seen().get(1) {
            assert!(write.query.contains("fieldManager=anon-operator"), "{}", write.query);
            let forced = write.query.contains("force=true");
            assert_eq!(forced, write.method == Method::PATCH, "{}", write.query);
        }
    }
}

#[tokio::test]
async fn deletions_name_what_was_read() {
    let api = FakeApi::new(|_| status(404, "NotFound"));
    let object: ConfigMap = parse(stored("uid", "b"));
    let maps: Api<Tolerant<ConfigMap>> = Api::namespaced(api.client(), "acme");
    delete_exactly(&maps, &object).await.expect("gone is gone");
    assert_eq!(api.log(), [format!("DELETE {MAPS}/m")]);
    assert_eq!(
        api.seen()[0].body["preconditions"],
        json!({"uid": "uid-of-acme-m", "resourceVersion": "1"})
    );
    api.answer(|_| status(409, "Conflict"));
    let changed = delete_exactly(&maps, &object).await.unwrap_err();
    assert!(matches!(changed, Error::Conflict { .. }));
}

const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/acme/rolebindings";

fn metadata_list(items: &[Value]) -> Value {
    let items: Vec<_> = items
        .iter()
        .map(|metadata| {
            json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata})
        })
        .collect();
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": items})
}

#[tokio::test]
async fn pruning_takes_all_role_bindings_but_the_one_to_keep() {
    let list = metadata_list(&["keep", "old"].map(|name| metadata("acme", name)));
    let api = FakeApi::new(move |seen| match seen.method {
        Method::GET => ok(&list),
        _ => status(404, "NotFound"),
    });
    let id = MemberId::derive("acme", "ada");
    bindings::prune(&api.client(), "acme", id, Some("keep")).await.unwrap();
    assert_eq!(api.log(), [format!("GET {BINDINGS}"), format!("DELETE {BINDINGS}/old")]);
    let query = &api.seen()[0].query;
    assert!(query.contains("anon.dev%2Fcomponent=member-role"), "{query}");
    assert!(query.contains(&format!("anon.dev%2Fid={id}")), "{query}");
}

/// A finalizer, anyone's, would keep the binding, and its rights with it.
#[tokio::test]
async fn a_role_binding_with_a_finalizer_is_emptied_and_deleted() {
    let mut held = metadata("acme", "held");
    held["finalizers"] = json!(["example.com/mine"]);
    let list = metadata_list(std::slice::from_ref(&held));
    held["resourceVersion"] = json!("2");
    let emptied =
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": held});
    let api = FakeApi::new(move |seen| match seen.method {
        Method::GET => ok(&list),
        Method::PATCH => ok(&emptied),
        _ => status(404, "NotFound"),
    });
    bindings::prune(&api.client(), "acme", MemberId::derive("acme", "ada"), None).await.unwrap();
    let path = format!("{BINDINGS}/held");
    let log = [format!("GET {BINDINGS}"), format!("PATCH {path}"), format!("DELETE {path}")];
    assert_eq!(api.log(), log);
    let seen = api.seen();
    let patch = json!({"metadata": {"resourceVersion": "1"}, "subjects": null});
    assert_eq!(seen[1].body, patch);
    assert_eq!(seen[2].body["preconditions"]["resourceVersion"], "2");
}

/// Only what this operator has created, by label, name and id, and only if the Member is gone.
#[tokio::test]
async fn role_bindings_without_a_member_are_collected() {
    let binding = |name: &str, id: MemberId| {
        let mut metadata = metadata("acme", name);
        metadata["labels"] = json!(anon_operator::testing::names::labels("member-role", &id));
        metadata
    };
    let id = |name: &str| MemberId::derive("acme", name);
    let list = metadata_list(&[
        binding("anon-member-gone-admin", id("gone")),
        binding("anon-member-held-admin", id("held")),
        // Their label or name is not that of a member's binding.
        binding("anon-member-other-admin", id("gone")),
        binding("theirs", id("gone")),
    ]);
    let api = FakeApi::new(move |seen| match (&seen.method, seen.path.as_str()) {
        (&Method::GET, "/apis/rbac.authorization.k8s.io/v1/rolebindings") => ok(&list),
        // Still there, whatever keeps it.
        (&Method::GET, "/apis/anon.dev/v1beta1/namespaces/acme/members/held") => {
            let metadata = metadata("acme", "held");
            ok(
                &json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata}),
            )
        }
        _ => status(404, "NotFound"),
    });
    bindings::collect(&context(&api)).await.unwrap();
    let deleted: Vec<_> = api.log().into_iter().filter(|it| it.starts_with("DELETE")).collect();
    assert_eq!(deleted, [format!("DELETE {BINDINGS}/anon-member-gone-admin")]);
}

fn context(api: &FakeApi) -> Context {
    let settings = Settings {
        scope: Scope::CLUSTER,
        operator_namespace: "anon-system".into(),
        public_url: "https://anon.example.com".into(),
        orphan_grace: Duration::from_hours(1),
        allow_sign_up: false,
        max_jwks_age: Duration::from_hours(24),
        webhook_configuration: None,
        fetcher: open_fetcher(),
    };
    let metrics = Arc::new(Metrics::default());
    let reader = Reader::new(Arc::new(Index::new(UNLIMITED)));
    let replicas = Arc::new(ReplicaTracker::new(Duration::from_hours(1)));
    let clock = Arc::new(SystemClock);
    Context::new(api.client(), settings, clock, metrics, reader, replicas, "test".into())
}

fn is_replaced(context: &Context, object: &Organization) -> bool {
    context.expectations.check(object, &context.replicas).is_some()
}

#[tokio::test]
async fn a_status_is_written_once_and_with_its_version() {
    let mut object: Organization = objects::organization("acme", &json!({}));
    let written = json!({"metadata": {"namespace": "acme", "name": "default", "resourceVersion": "2"}, "spec": {}});
    let api = FakeApi::new(move |_| ok(&written));
    let context = context(&api);
    let readiness = Readiness::new(ReadyReason::Accepted, "fine");
    let desired = OrganizationStatus { id: Some("x".into()), ..OrganizationStatus::default() };
    let version = writer::write(&context, &object, desired.clone(), &readiness).await.unwrap();
    assert_eq!(version.as_deref(), Some("2"));
    let seen = api.seen();
    assert_eq!(seen.len(), 1, "the first Ready is no Event");
    assert_eq!(seen[0].method, Method::PUT, "the whole of it");
    assert_eq!(seen[0].path, "/apis/anon.dev/v1beta1/namespaces/acme/organizations/default/status");
    assert_eq!(seen[0].body["metadata"]["resourceVersion"], "1");
    assert_eq!(seen[0].body["status"]["observedGeneration"], 1);
    assert_eq!(seen[0].body["status"]["id"], "x");
    // The cache still holds what we have just replaced: nothing to do until it has caught up.
    assert!(is_replaced(&context, &object));

    object.status = parse(seen[0].body["status"].clone());
    object.metadata.resource_version = Some("2".into());
    assert!(!is_replaced(&context, &object));
    assert_eq!(writer::write(&context, &object, desired, &readiness).await.unwrap(), None);
    assert_eq!(api.log().len(), 1, "equal: no write");
}

#[tokio::test]
async fn a_status_that_is_refused_is_an_error() {
    let object: Organization = objects::organization("acme", &json!({}));
    for (code, reason, class) in FAILURES {
        let api = FakeApi::new(move |_| status(code, reason));
        let context = context(&api);
        let readiness = Readiness::new(ReadyReason::Invalid, "no");
        let status = OrganizationStatus::default();
        let refused = writer::write(&context, &object, status, &readiness).await.unwrap_err();
        assert_eq!(refused.class(), class, "{code}");
        assert_eq!(api.log().len(), 1, "no Event about what was not written");
        assert!(!is_replaced(&context, &object));
    }
}

#[tokio::test]
async fn a_status_that_waits_for_long_is_an_event_though_nothing_has_changed() {
    let mut object: Organization = objects::organization("acme", &json!({}));
    let api = FakeApi::new(|_| ok(&json!({"metadata": {"name": "event"}})));
    let context = context(&api);
    let readiness = Readiness::new(ReadyReason::Refused, "exceeded quota");
    let since = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(61);
    let status = writer::complete(&object, OrganizationStatus::default(), &readiness, since);
    object.status = Some(status);
    for _ in 0..2 {
        let desired = OrganizationStatus::default();
        assert_eq!(writer::write(&context, &object, desired, &readiness).await.unwrap(), None);
    }
    let seen = api.seen();
    assert_eq!(seen.len(), 1, "one Event and no write: {:?}", api.log());
    assert_eq!(seen[0].body["type"], "Warning");
    assert_eq!(seen[0].body["reason"], "Refused");
    assert_eq!(seen[0].body["note"], "exceeded quota");
}

#[tokio::test]
async fn matches_of_a_revocation_are_added_once_and_block_nothing() {
    const REVOCATION: &str = "/apis/anon.dev/v1beta1/namespaces/acme/revocations/leak";
    let name = ObjectName { namespace: "acme".into(), name: "leak".into() };
    let matched = |id: &str| MatchedCredential { kind: CredentialKind::ApiKey, id: id.into() };
    let spec = json!({"sdkClient": {"name": "backend", "keyIds": ["b"]}});
    let mut revocation = objects::revocation_of("acme", "leak", &spec);
    revocation.status =
        Some(RevocationStatus { matched: vec![matched("a")], ..RevocationStatus::default() });
    let stored = serde_json::to_value(&revocation).unwrap();

    // Another writer is faster the first time.
    let (mut conflicts, read) = (1, stored.clone());
    let api = FakeApi::new(move |seen| match seen.method {
        Method::PATCH if conflicts > 0 => {
            conflicts -= 1;
            status(409, "Conflict")
        }
        _ => ok(&read),
    });
    let added = [matched("a"), matched("b")];
    writer::record_matched(&api.client(), &name, &added).await.unwrap();
    let (get, patch) = (format!("GET {REVOCATION}"), format!("PATCH {REVOCATION}/status"));
    assert_eq!(api.log(), [&*get, &*patch, &*get, &*patch]);
    let patched = api.seen().pop().unwrap().body;
    assert_eq!(patched["status"]["matched"], serde_json::to_value(&added).unwrap());
    assert_eq!(patched["metadata"]["resourceVersion"], stored["metadata"]["resourceVersion"]);

    let api = FakeApi::new(move |_| ok(&stored));
    writer::record_matched(&api.client(), &name, &[matched("a")]).await.unwrap();
    assert_eq!(api.log(), [get], "it is recorded already");

    // Neither a Revocation that was deleted nor a refusal keeps a key from being destroyed.
    for (code, reason, passes) in
        [(404, "NotFound", true), (403, "Forbidden", true), (500, "InternalError", false)]
    {
        let api = FakeApi::new(move |_| status(code, reason));
        let recorded = writer::record_matched(&api.client(), &name, &added).await;
        assert_eq!(recorded.is_ok(), passes, "{code}");
    }
}
