//! One object that our types cannot hold, or that is not even UTF-8, disturbs no other: neither those
//! of other organizations nor the start of a replica.

use anon_operator::testing::crd::{SdkClient, UserPool};
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::harness::kubectl::kubectl;
use crate::harness::operator::Setup;
use crate::harness::{
    Operator, Space, alone, eventually, immediately, quick_pool, service, webapp,
};

/// A `fieldsV1` nested this deep.
fn nested(depth: usize) -> String {
    format!("{}{{}}{}", r#"{"f:a":"#.repeat(depth), "}".repeat(depth))
}

fn entry(manager: &str, version: &str, time: &str, fields: &str) -> String {
    format!(
        r#"{{"manager":"{manager}","operation":"Update","apiVersion":"{version}","time":"{time}","fieldsType":"FieldsV1","fieldsV1":{fields}}}"#
    )
}

/// `kubectl patch` as anybody with `edit` may.
fn add_manager(space: &Space, kind: &str, name: &str, entry: &str) {
    let patch = format!(r#"[{{"op":"add","path":"/metadata/managedFields/-","value":{entry}}}]"#);
    let said = kubectl(&[
        "patch",
        kind,
        name,
        "--namespace",
        &space.name,
        "--type=json",
        "--patch",
        &patch,
    ]);
    assert!(said.success, "{said:?}");
}

/// The same with bytes that are not UTF-8, which kubectl would not send.
async fn add_manager_that_is_not_utf8(space: &Space, path: &str, version: &str) {
    let entry = entry("bytes", version, "2026-01-01T00:00:00Z", r#"{"f:data":{"f:?":{}}}"#);
    let patch = format!(r#"[{{"op":"add","path":"/metadata/managedFields/-","value":{entry}}}]"#);
    let patch =
        patch.bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect::<Vec<_>>();
    let request = http::Request::patch(path)
        .header("content-type", "application/json-patch+json")
        .body(kube::client::Body::from(patch))
        .unwrap();
    let reply = space.client.send(request).await.unwrap();
    assert!(reply.status().is_success(), "{}", reply.status());
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    assert!(std::str::from_utf8(&body).is_err(), "the API server gives back what it was sent");
}

fn labelled_secret(name: &str, component: &str) -> Value {
    let labels = json!({
        "app.kubernetes.io/managed-by": "anon-operator", "anon.dev/component": component,
        "anon.dev/id": uuid::Uuid::new_v4().to_string(), "anon.dev/use": "password",
    });
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}})
}

#[tokio::test]
async fn one_odd_object_disturbs_no_other() {
    let _turn = alone().await;
    let flags = ["--orphan-grace=2s"];
    let operator = Operator::start(&flags).await;
    let (odd, good) = (Space::new("odd").await, Space::new("good").await);
    odd.apply_all(&[
        quick_pool("users"),
        service("backend", "Member", "key"),
        webapp("web", "users"),
    ])
    .await;
    good.apply_all(&[
        service("deleted", "Member", "deleted"),
        service("suspended", "Member", "suspended"),
    ])
    .await;
    odd.ready::<UserPool>("users").await;
    odd.ready::<SdkClient>("backend").await;
    for name in ["deleted", "suspended"] {
        good.ready::<SdkClient>(name).await;
    }
    let (deleted, suspended) = (good.api_key("deleted").await, good.api_key("suspended").await);
    let own = odd.api_key("key").await;
    operator.gives(&own, None, "200").await;

    // The kinds that are watched, and what only looks like the operator's.
    let crd = "anon.dev/v1beta1";
    let far = |version: &str| entry("far", version, "9999-12-31T23:59:59Z", r#"{"f:spec":{}}"#);
    let deep = |version: &str| entry("deep", version, "2026-01-01T00:00:00Z", &nested(300));
    for manager in [far(crd), deep(crd)] {
        add_manager(&odd, "userpool", "users", &manager);
        add_manager(&odd, "sdkclient", "backend", &manager);
        add_manager(&odd, "sdkclient", "web", &manager);
    }
    for component in ["api-key", "member-role"] {
        let name = format!("looks-like-{component}");
        odd.apply(&labelled_secret(&name, component)).await;
        let path = format!("/api/v1/namespaces/{}/secrets/{name}", odd.name);
        add_manager_that_is_not_utf8(&odd, &path, "v1").await;
        for manager in [far("v1"), deep("v1")] {
            add_manager(&odd, "secret", &name, &manager);
        }
    }
    // And those of the operator's own namespace that every replica reads.
    let operators = odd.operators();
    let leases = kubectl(&["get", "lease", "--namespace", &operators.name, "--output=name"]);
    for lease in leases.stdout.lines() {
        let name = lease.rsplit('/').next().unwrap();
        for manager in [far("coordination.k8s.io/v1"), deep("coordination.k8s.io/v1")] {
            add_manager(&operators, "lease", name, &manager);
        }
    }
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "somebodys"}, "spec": {"renewTime": "9999-12-31T23:59:59.999999Z"},
    });
    operators.apply(&lease).await;

    // What happens elsewhere is known at once,
    good.delete::<SdkClient>("deleted").await;
    good.merge::<SdkClient>("suspended", json!({"spec": {"suspended": true}})).await;
    for (key, verdict) in [(&deleted, "401 api_key_unknown"), (&suspended, "401 client_suspended")]
    {
        immediately(&format!("{verdict} of another organization"), async || {
            let now = operator.validate(key, None).await.verdict();
            if now == verdict { Ok(()) } else { Err(now) }
        })
        .await;
    }
    // a replica that starts becomes ready and leads,
    operator.stop().await;
    let operator = Operator::launch(Setup {
        replica: 1,
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        ..Setup::default()
    })
    .await;
    for (key, verdict) in
        [(&deleted, "401 api_key_unknown"), (&suspended, "401 client_suspended"), (&own, "200")]
    {
        operator.gives(key, None, verdict).await;
    }
    // and the leader looks after all others, and after these objects themselves.
    good.apply_all(&[quick_pool("users"), service("after", "Member", "after")]).await;
    good.ready::<UserPool>("users").await;
    good.ready::<SdkClient>("after").await;
    let suspend = r#"--patch={"spec":{"suspended":true}}"#;
    let said =
        kubectl(&["patch", "sdkclient", "web", "--namespace", &odd.name, "--type=merge", suspend]);
    assert!(said.success, "{said:?}");
    eventually("the odd client is suspended", async || {
        let output = "--output=jsonpath={.status.conditions[?(@.type==\"Ready\")].reason}";
        let said = kubectl(&["get", "sdkclient", "web", "--namespace", &odd.name, output]);
        if said.stdout == "Suspended" { Ok(()) } else { Err(said.stdout) }
    })
    .await;
    good.delete::<SdkClient>("after").await;
    eventually("a Secret is swept", async || {
        good.get::<Secret>("after").await.map_or(Ok(()), |_| Err("it is there"))
    })
    .await;
    kubectl(&["delete", "lease", "somebodys", "--namespace", &operators.name]);
}
