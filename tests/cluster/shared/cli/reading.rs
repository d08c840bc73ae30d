//! Commands that show something.

use std::os::unix::fs::symlink;

use anon_operator::testing::crd::SdkClient;
use serde_json::{Value, json};

use super::{acme, kubectl_anon, run};
use crate::harness::cluster::{directory, operator_namespace};
use crate::harness::{Space, shared, webapp};

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_the_organization_and_what_is_wrong() {
    let _operator = shared().await;
    let space = acme().await;
    let n = space.name.as_str();
    let tree = kubectl_anon(&["status", "-n", n, "--exit-code"]).await.ok();
    for text in [
        &format!("Organization {n}"),
        "── organization/default",
        "── userpool/users  hosted  KeysPublished",
        "ES256  Active",
        "│   └── sdkclient/web  webapp ",
        "── sdkclient/backend  service, role Member  KeyDelivered",
        "── secret/backend-anon  exists",
        "── member/ada  Member  Bound",
    ] {
        assert!(tree.contains(text), "no {text}: {tree}");
    }
    let key = space.api_key("backend-anon").await;
    assert!(!tree.contains(&key));

    // Not ready: the message, what to do, and the exit code.
    space.apply(&webapp("lost", "nowhere")).await;
    space.stands::<SdkClient>("lost", "UserPoolNotFound").await;
    let ended = kubectl_anon(&["status", "sdkclient/lost", "-n", n, "--exit-code"]).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.stdout.contains("what to do: The namespace contains no such pool."), "{ended:?}");
    let status = kubectl_anon(&["status", "-n", n, "-o", "json"]).await.json();
    let clients = status["sdkClients"].as_array().unwrap();
    let lost = clients.iter().find(|client| client["name"] == "sdkclient/lost").unwrap();
    assert_eq!((&lost["ready"], &lost["reason"]), (&json!("False"), &json!("UserPoolNotFound")));

    // With the rights of another user.
    let reader = format!("reader-{n}");
    space.bind(&reader, "ClusterRole", "anon-readonly").await;
    let ended = kubectl_anon(&["status", "-n", n, "--as", &reader]).await.ok();
    assert!(ended.contains("secret/backend-anon  you may not list Secrets"), "{ended}");
    assert!(ended.contains("organizations, members, revocations, secrets, events"), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_name_the_place_and_the_remedy() {
    let _operator = shared().await;
    let space = Space::new("cli").await;
    let n = space.name.as_str();
    for (arguments, code, texts) in [
        (&["status", "sdkclient/x", "-n", n][..], 1, &["sdkclient/x", n][..]),
        (&["suspend", "sdkclient/x", "-n", n], 1, &["(404)", n, "kubectl get anon"]),
        (
            &["suspend", "sdkclient/x", "-n", n, "--as", "nobody-at-all"],
            1,
            &["(403)", n, "anon-member"],
        ),
        (&["suspend", "userpool/x", "-n", n], 2, &["sdkclient/NAME"]),
        (&["status", "pod/x"], 2, &["KIND/NAME"]),
        (&["status", "--context", "no-such-context"], 1, &["no-such-context", "get-contexts"]),
        (&["status", "--kubeconfig", "/nonexistent"], 1, &["/nonexistent"]),
    ] {
        let ended = kubectl_anon(arguments).await;
        assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
        for text in texts {
            assert!(ended.stderr.contains(text), "{arguments:?}: no {text}: {}", ended.stderr);
        }
    }
    // A server that does not answer.
    let kubeconfig = directory().join(format!("{n}.kubeconfig"));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "gone",
        "clusters": [{"name": "gone", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "gone", "user": {}}],
        "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": "gone"}}],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let kubeconfig = kubeconfig.to_str().unwrap();
    let ended = kubectl_anon(&["status", "--kubeconfig", kubeconfig]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    for text in ["http://127.0.0.1:9/", "context `gone`", "kubectl cluster-info"] {
        assert!(ended.stderr.contains(text), "no {text}: {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_listed_in_every_format() {
    let _operator = shared().await;
    let space = acme().await;
    let n = space.name.as_str();
    let get = async |more: &[&str]| kubectl_anon(&[&["get", "keys"], more].concat()).await;

    let table = get(&["-n", n]).await.ok();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("OWNER") && !lines[0].contains("NAMESPACE"), "{table}");
    let items = get(&["-n", n, "-o", "json"]).await.json()["items"].clone();
    let id = |type_: &str| {
        let items = items.as_array().unwrap();
        let key = items.iter().find(|key| key["type"] == type_).unwrap();
        key["id"].as_str().unwrap().to_owned()
    };
    let client: SdkClient = space.get("backend").await.unwrap();
    assert_eq!(client.status.unwrap().keys[0].id, id("ApiKey"));
    let names = get(&["-n", n, "-o", "name"]).await.ok();
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    let expected = [
        format!("sdkclient/backend/{}", id("ApiKey")),
        format!("userpool/users/{}", id("SigningKey")),
    ];
    assert_eq!(names, expected);

    let wide = get(&["-A", "-o", "wide"]).await.ok();
    let ours = wide.lines().filter(|line| line.starts_with(&format!("{n} "))).count();
    assert_eq!(ours, 2, "{wide}");
    let yaml = get(&["-n", n, "-o", "yaml"]).await.ok();
    assert!(yaml.starts_with("items:"), "{yaml}");
}

/// The cluster has no nodes, so the Deployments of the chart have no Pods: that is what the check
/// must find, and everything else must be well.
#[tokio::test(flavor = "multi_thread")]
async fn check_finds_what_is_broken() {
    let _operator = shared().await;
    let ended = kubectl_anon(&["check", "-o", "json"]).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    for check in found["checks"].as_array().unwrap() {
        let name = check["name"].as_str().unwrap();
        let result = check["result"].as_str().unwrap();
        match name {
            "deployments" => assert_eq!(result, "fail", "{check}"),
            // Other tests break objects, and leave Leases of replicas that they killed.
            "validators" | "organizations" | "userpools" | "sdkclients" | "members"
            | "revocations" => assert!(["ok", "warn"].contains(&result), "{check}"),
            _ => assert_eq!(result, "ok", "{check}"),
        }
    }
    let ended = kubectl_anon(&["check", "--wait", "--timeout", "1s"]).await;
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.stdout.starts_with("CHECK"), "{ended:?}");
    assert!(ended.stderr.contains("timed out after 1s: deployments:"), "{ended:?}");

    // Anybody may check what they may read.
    let namespace = operator_namespace();
    let flags = ["check", "--as", "nobody-at-all", "--operator-namespace", &namespace];
    let ended = kubectl_anon(&flags).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("you may not list"), "{ended:?}");
}

/// kubectl runs the program by another name and expects candidates and a directive.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_completes_names_from_the_cluster() {
    let _operator = shared().await;
    let space = acme().await;
    let n = space.name.as_str();
    let bin = directory().join(format!("bin-{n}"));
    std::fs::create_dir(&bin).unwrap();
    let completer = bin.join("kubectl_complete-anon");
    symlink(env!("CARGO_BIN_EXE_kubectl-anon"), &completer).unwrap();
    let completer = completer.to_str().unwrap();
    let complete = async |words: &[&str]| run(completer, words).await.ok();

    let said = complete(&["status", "-n", n, "sdkclient/"]).await;
    assert_eq!(said, "sdkclient/backend\nsdkclient/web\n:4\n");
    let said = complete(&["status", "-n", &n[..n.len() - 1]]).await;
    assert!(said.lines().any(|line| line == n), "{said}");
    // A cluster that does not answer costs no error.
    let said = complete(&["status", "--kubeconfig", "/nonexistent", "sdk"]).await;
    assert_eq!(said, ":0\n");
}
