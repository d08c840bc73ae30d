//! The pages for users do what they say: their shell snippets are run, in order, in one shell.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::cluster::{directory, variable};
use crate::harness::kubectl::kubectl;
use crate::harness::{Operator, Space, eventually, shared};

/// The blocks of a page that are marked as `sh`.
fn snippets(page: &str) -> String {
    let path = format!("{}/docs/{page}", env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(path).unwrap();
    let blocks = page.split("\n```sh\n").skip(1);
    blocks.map(|block| block.split_once("\n```").unwrap().0).collect::<Vec<_>>().join("\n")
}

/// Runs the snippets of a page in the namespace of `space`, as the administrator or as `user`, and
/// returns what they print.
fn walk(operator: &Operator, space: &Space, page: &str, user: Option<&str>) -> String {
    // In a namespace of this test's own, which is there already.
    let script =
        snippets(page).replace("kubectl create namespace acme\n", "").replace("acme", &space.name);
    assert!(script.contains("/v1/validate"), "{script}");
    // The snippets choose a namespace, as people do; not for the other tests.
    let kubeconfig = directory().join(format!("{}.kubeconfig", space.name));
    fs::copy(variable("KUBECONFIG"), &kubeconfig).unwrap();
    if let Some(user) = user {
        let flag = format!("--kubeconfig={}", kubeconfig.display());
        let mut config: Value =
            serde_json::from_str(&kubectl(&["config", "view", "--raw", "-o", "json"]).stdout)
                .unwrap();
        for entry in config["users"].as_array_mut().unwrap() {
            entry["user"]["as"] = json!(user);
        }
        fs::write(&kubeconfig, config.to_string()).unwrap();
        let said = kubectl(&[&flag, "auth", "whoami"]);
        assert!(said.stdout.contains(user), "{said:?}");
    }
    let done = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("KUBECONFIG", &kubeconfig)
        .env("ANON_API_URL", operator.url(""))
        .env("ANON_VALIDATOR_URL", operator.url(""))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&done.stderr));
    stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_through_walks() {
    let operator = shared().await;
    let space = Space::new("walk").await;
    let stdout = walk(&operator, &space, "api.md", None);
    // The last line is the verdict that the page is about.
    let verdict: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(verdict["active"], true, "{stdout}");
    assert_eq!(verdict["appUserId"], "user-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_developer_with_edit_walks_the_page_for_developers() {
    let operator = shared().await;
    let space = Space::new("developer").await;
    let user = format!("dora-{}", space.uid);
    space.bind(&user, "ClusterRole", "edit").await;
    // The authorizer learns of it by a watch.
    eventually("the role is bound", async || {
        let asked = ["auth", "can-i", "create", "userpools", "--as", &user, "-n", &space.name];
        let said = kubectl(&asked);
        if said.success { Ok(()) } else { Err(said.stdout) }
    })
    .await;
    walk(&operator, &space, "developers.md", Some(&user));
}
