//! A validator that died without deleting its Lease.

use anon_operator::testing::crd::{Revocation, UserPool};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::harness::cluster::{directory, of_kubeconfig, variable};
use crate::harness::kubectl::kubectl;
use crate::harness::{Operator, Space, alone, eventually, quick_pool};

const POD: &str = "anon-operator-dead";
const LEASE: &str = "anon-validator-anon-operator-dead";

/// A kubeconfig of the operator's account, with a token that is bound to this Pod.
fn bound_to(pod: &str) -> String {
    let bound = format!("--bound-object-name={pod}");
    let said = kubectl(&[
        "create",
        "token",
        "anon-operator",
        "--namespace=anon-system",
        "--bound-object-kind=Pod",
        &bound,
    ]);
    assert!(said.success, "{said:?}");
    let path = variable("ANON_OPERATOR_KUBECONFIGS").split(':').next().unwrap().to_owned();
    let with_token = |line: &str| match line.split_once("token: ") {
        Some((before, _)) => format!("{before}token: {}\n", said.stdout.trim()),
        None => format!("{line}\n"),
    };
    let text: String = std::fs::read_to_string(path).unwrap().lines().map(with_token).collect();
    let path = directory().join(format!("{pod}.kubeconfig"));
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn validator_whose_pod_is_gone_delays_nothing() {
    let _turn = alone().await;
    let operator = Operator::start(&[]).await;
    let space = Space::new("dead").await;
    let home = space.operators();
    home.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": {
        "serviceAccountName": "anon-operator",
        "containers": [{"name": "operator", "image": "example.invalid/none"}],
    }}))
    .await;
    // Its last report, of long ago.
    let dead = home.with(of_kubeconfig(&bound_to(POD)).await);
    dead.apply(&json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": LEASE, "annotations": {"anon.dev/applied": r#"{"Revocation":1}"#}}}))
        .await;
    space.apply(&quick_pool("users")).await;
    space.ready::<UserPool>("users").await;
    space
        .apply(&json!({"apiVersion": "anon.dev/v1beta1", "kind": "Revocation",
            "metadata": {"name": "leak"}, "spec": {"userPool": {"name": "users", "subjects": ["u"]}}}))
        .await;

    // While the Pod exists, the validator may be answering: nothing is said to be enforced by all.
    let start = std::time::Instant::now();
    eventually("the validator is waited for", async || {
        let revocation: Revocation = space.get("leak").await.unwrap();
        let text = serde_json::to_string(&revocation.status).unwrap();
        if text.contains(&format!("waiting for: {POD}")) { Ok(()) } else { Err(text) }
    })
    .await;
    // Longer than the silence after which Pods are looked for.
    eventually("a minute passes", async || {
        if start.elapsed().as_secs() > 65 { Ok(()) } else { Err("not yet") }
    })
    .await;
    assert!(home.get::<Lease>(LEASE).await.is_some());

    home.delete::<Pod>(POD).await;
    let start = std::time::Instant::now();
    space.ready::<Revocation>("leak").await;
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    assert!(home.get::<Lease>(LEASE).await.is_none());
    drop(operator);
}
