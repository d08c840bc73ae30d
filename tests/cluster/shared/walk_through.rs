//! The pages for users do what they say: their shell snippets are run, in order, in one shell.

use std::fs;
use std::process::{Command, Stdio};

use anon_operator::testing::crd::{SdkClient, UserPool};
use serde_json::{Value, json};

use crate::harness::cluster::{directory, variable};
use crate::harness::kubectl::kubectl;
use crate::harness::{Operator, Space, eventually, quick_pool, service, shared, webapp};

/// The blocks of a page that are marked as `sh`, also those within a list.
fn snippets(page: &str) -> String {
    let path = format!("{}/docs/{page}", env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(path).unwrap();
    let (mut script, mut block) = (String::new(), None);
    for line in page.lines() {
        let text = line.trim_start();
        match block {
            None if text == "```sh" => block = Some(line.len() - text.len()),
            Some(_) if text == "```" => block = None,
            Some(indent) => {
                script.push_str(line.get(indent..).unwrap_or_default());
                script.push('\n');
            }
            None => {}
        }
    }
    script
}

/// Runs the snippets of a page in the namespace of `space`, as the administrator or as `user`, with
/// these variables, and returns what they print.
fn walk(
    operator: &Operator,
    space: &Space,
    page: &str,
    user: Option<&str>,
    variables: &[(&str, &str)],
) -> String {
    // In a namespace of this test's own, which is there already.
    let quickstart =
        format!("sed s/acme/{}/g examples/quickstart.yaml | kubectl apply -f -", space.name);
    let script = snippets(page)
        .replace("kubectl create namespace acme\n", "")
        .replace("acme", &space.name)
        .replace("kubectl apply -f examples/quickstart.yaml", &quickstart);
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
        .envs(variables.iter().copied())
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
    let stdout = walk(&operator, &space, "api.md", None, &[]);
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
    walk(&operator, &space, "developers.md", Some(&user), &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorial_ends_with_a_revoked_token() {
    let operator = shared().await;
    let space = Space::new("tutorial").await;
    let stdout = walk(&operator, &space, "tutorial.md", None, &[]);
    for reason in ["\"signature_invalid\"", "\"api_key_", "\"token_revoked\""] {
        assert!(stdout.contains(reason), "{reason} is not in {stdout}");
    }
}

/// The pages for an incident end with a check that what leaked is rejected.
#[tokio::test(flavor = "multi_thread")]
async fn what_leaked_is_rejected_at_the_end_of_a_runbook() {
    let operator = shared().await;
    let space = Space::new("incident").await;
    space.apply(&quick_pool("users")).await;
    space.apply_all(&[webapp("web", "users"), service("backend", "Member", "key")]).await;
    let pool: UserPool = space.ready("users").await;
    space.ready::<SdkClient>("backend").await;
    let client = space.ready::<SdkClient>("web").await.status.unwrap().client_id.unwrap();
    let key = space.api_key("key").await;
    let token = operator.minted(&key, &json!({"appUserId": "ada", "sdkClientId": client})).await;
    // The shell computes the time in whole seconds.
    let published = pool.status.unwrap().keys[0].published_at.0;
    eventually("a second has passed since the key was created", async || {
        let since = jiff::Timestamp::now().duration_since(published).as_secs();
        if since > 0 { Ok(()) } else { Err(since) }
    })
    .await;
    let runbooks = [
        ("key-rotation.md", &[("TOKEN", token.as_str()), ("CLIENT", client.as_str())][..]),
        ("sdk-clients.md", &[("LEAKED", key.as_str())][..]),
    ];
    for (page, variables) in runbooks {
        let script = snippets(page);
        let check = script.lines().last().unwrap();
        assert!(check.contains("jq -e '.active == false and"), "{page} ends with: {check}");
        let stdout = walk(&operator, &space, page, None, variables);
        assert!(stdout.ends_with("true\n"), "{stdout}");
        assert!(stdout.contains(" 1 of 1 "), "the number of matches: {stdout}");
    }
}
