//! A validator that died without deleting its Lease.

use anon_operator::testing::crd::{Revocation, UserPool};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::harness::cluster::{acknowledges, directory, of_kubeconfig, variable};
use crate::harness::kubectl::kubectl;
use crate::harness::wait::expect;
use crate::harness::{Operator, Space, alone, eventually, quick_pool};

/// The Pods of two validators that died: one of them is gone, too.
const GONE: &str = "anon-operator-gone";
const SILENT: &str = "anon-operator-silent";

fn lease(pod: &str) -> String {
    format!("anon-validator-{pod}")
}

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

/// A Pod, and the last report of its validator, of long ago.
async fn dead(home: &Space, pod: &str) {
    home.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod}, "spec": {
        "serviceAccountName": "anon-operator",
        "containers": [{"name": "operator", "image": "example.invalid/none"}],
    }}))
    .await;
    let dead = home.with(of_kubeconfig(&bound_to(pod)).await);
    dead.apply(&json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": lease(pod), "annotations": {"anon.dev/applied": r#"{"Revocation":1}"#}}}))
        .await;
}

#[tokio::test]
async fn validator_whose_pod_is_gone_delays_nothing() {
    let _turn = alone().await;
    if !acknowledges().await {
        eprintln!("no validator is waited for, so a dead one delays nothing");
        return;
    }
    let _operator = Operator::start(&[]).await;
    let space = Space::new("dead").await;
    let home = space.operators();
    dead(&home, SILENT).await;
    dead(&home, GONE).await;
    home.delete::<Pod>(GONE).await;
    space.apply(&quick_pool("users")).await;
    space.ready::<UserPool>("users").await;
    space
        .apply(&json!({"apiVersion": "anon.dev/v1beta1", "kind": "Revocation",
            "metadata": {"name": "leak"}, "spec": {"userPool": {"name": "users", "subjects": ["u"]}}}))
        .await;

    // While a Pod exists, its validator may be answering: nothing is reported as enforced by all.
    let waits_for = async |pods: &str| {
        let revocation: Revocation = space.get("leak").await.unwrap();
        let text = serde_json::to_string(&revocation.status).unwrap();
        expect(text.contains(&format!("waiting for: {pods}\"")), text)
    };
    let both = format!("{GONE}, {SILENT}");
    eventually("both validators are waited for", async || waits_for(&both).await).await;
    eventually("the validator whose Pod is gone is no longer waited for", async || {
        waits_for(SILENT).await
    })
    .await;
    assert!(home.get::<Lease>(&lease(GONE)).await.is_none());
    // It has been silent for even longer.
    assert!(home.get::<Lease>(&lease(SILENT)).await.is_some());
    home.delete::<Pod>(SILENT).await;
}
