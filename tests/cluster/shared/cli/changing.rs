//! Commands that change something, and what is exported and applied again.

use anon_operator::testing::crd::{Member, SdkClient, UserPool};
use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::{acme, kubectl_anon};
use crate::harness::kubectl::kubectl_with;
use crate::harness::{Space, eventually, shared, wait::expect};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_and_a_member_are_suspended_and_resumed() {
    let operator = shared().await;
    let space = acme().await;
    let n = space.name.as_str();
    let key = space.api_key("backend-anon").await;
    let becomes = async |verdict: &str| {
        eventually(&format!("the API key gets {verdict}"), async || {
            let now = operator.validate(&key, None).await.verdict();
            expect(now.starts_with(verdict), now)
        })
        .await;
    };
    becomes("200").await;

    let said = kubectl_anon(&["suspend", "sdkclient/backend", "-n", n, "--dry-run"]).await.ok();
    assert_eq!(said, "sdkclient/backend suspended (server dry run)\n");
    let client: SdkClient = space.get("backend").await.unwrap();
    assert_eq!(client.spec.suspended, None);

    let said = kubectl_anon(&["suspend", "sdkclient/backend", "-n", n, "--wait"]).await.ok();
    let expected = "sdkclient/backend suspended\nsdkclient/backend is suspended in the operator\n";
    assert_eq!(said, expected);
    becomes("401").await;
    let said = kubectl_anon(&["suspend", "sdkclient/backend", "-n", n]).await.ok();
    assert_eq!(said, "sdkclient/backend was already suspended\n");
    let status = kubectl_anon(&["status", "sdkclient/backend", "-n", n]).await.ok();
    assert!(status.contains("Suspended"), "{status}");

    // Git would turn it off again.
    let label = json!({"metadata": {"labels": {"kustomize.toolkit.fluxcd.io/name": "acme"}}});
    space.merge::<SdkClient>("backend", label).await;
    let ended = kubectl_anon(&["resume", "sdkclient/backend", "-n", n, "--wait"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let warning = "warning: sdkclient/backend is managed by Flux, which may revert this";
    assert!(ended.stderr.contains(warning), "{ended:?}");
    becomes("200").await;

    kubectl_anon(&["suspend", "member/ada", "-n", n, "--wait"]).await.ok();
    space.stands::<Member>("ada", "Suspended").await;
    kubectl_anon(&["resume", "member/ada", "-n", n, "--wait"]).await.ok();
    space.stands::<Member>("ada", "Bound").await;
}

/// The same objects in another namespace are the same organization under another name; with its
/// Secrets, a deleted organization is restored, API keys included.
#[tokio::test(flavor = "multi_thread")]
async fn an_exported_organization_can_be_applied() {
    let operator = shared().await;
    let space = acme().await;
    let n = space.name.as_str();
    let exported = kubectl_anon(&["export", "-n", n]).await.ok();
    for absent in ["status:", "managedFields", "uid:", "resourceVersion", "kind: Secret"] {
        assert!(!exported.contains(absent), "{absent}: {exported}");
    }
    let kinds: Vec<_> = exported.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
    assert_eq!(kinds, ["Organization", "UserPool", "SdkClient", "SdkClient", "Member"]);

    let other = Space::new("cli-copy").await;
    let copy = exported.replace(&format!("namespace: {n}"), &format!("namespace: {}", other.name));
    let applied = kubectl_with(&["apply", "-f", "-"], &copy);
    assert!(applied.success, "{applied:?}");
    other.ready::<UserPool>("users").await;
    other.ready::<SdkClient>("backend").await;

    let key = space.api_key("backend-anon").await;
    let ended = kubectl_anon(&["export", "-n", n, "--secrets"]).await;
    assert!(ended.stderr.contains("passwords and API keys"), "{ended:?}");
    let exported = ended.ok();
    let first = exported.lines().find(|line| line.starts_with("kind: "));
    assert_eq!(first, Some("kind: Secret"));
    space.delete::<SdkClient>("backend").await;
    let _ = space.api::<Secret>().delete("backend-anon", &DeleteParams::default()).await;
    let applied = kubectl_with(&["apply", "-f", "-"], &exported);
    assert!(applied.success, "{applied:?}");
    space.ready::<SdkClient>("backend").await;
    assert_eq!(space.api_key("backend-anon").await, key);
    eventually("the restored API key is valid", async || {
        let verdict = operator.validate(&key, None).await.verdict();
        expect(verdict == "200", verdict)
    })
    .await;

    // A file for each object.
    let directory = std::env::temp_dir().join(format!("export-{n}"));
    let path = directory.to_str().unwrap();
    let files = kubectl_anon(&["export", "-n", n, "--output-dir", path]).await.ok();
    assert_eq!(files.lines().count(), 5, "{files}");
    let file = std::fs::read_to_string(directory.join("userpool-users.yaml")).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let pool: Value = serde_saphyr::from_str(&file).unwrap();
    assert_eq!(pool["metadata"], json!({"name": "users", "namespace": n}));
}
