//! The pages for users do what they say: their shell snippets are run, in order, in one shell.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anon_operator::testing::crd::{Member, SdkClient, UserPool};
use serde_json::{Value, json};

use crate::harness::cluster::{directory, variable};
use crate::harness::company::{PASSWORD, log_in};
use crate::harness::kubectl::kubectl;
use crate::harness::{
    Operator, Space, consenting_secret, eventually, pool_with, quick_pool, service, shared, webapp,
};

/// The blocks of a page that are marked as `sh`, also those within a list; of the README, what is
/// typed in its transcripts.
fn snippets(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(path).unwrap();
    if page == "README.md" { typed(&text) } else { marked(&text) }
}

fn marked(page: &str) -> String {
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

/// The lines after a prompt, and those that continue them.
fn typed(page: &str) -> String {
    let (mut script, mut continued) = (String::new(), false);
    for line in page.lines() {
        let command = line.strip_prefix("$ ").or(continued.then_some(line));
        continued = command.is_some_and(|command| command.ends_with('\\'));
        if let Some(command) = command {
            script.push_str(command);
            script.push('\n');
        }
    }
    script
}

/// The directory in which the commands of a page run: they read `examples/`, and write files.
fn workplace(space: &Space) -> PathBuf {
    let folder = directory().join(format!("{}.files", space.name));
    if !folder.exists() {
        fs::create_dir(&folder).unwrap();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        symlink(examples, folder.join("examples")).unwrap();
    }
    folder
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
    assert!(!script.is_empty(), "{page} has no commands");
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
        .current_dir(workplace(space))
        .env("KUBECONFIG", &kubeconfig)
        .env("ANON_API_URL", operator.url(""))
        .env("ANON_VALIDATOR_URL", operator.url(""))
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{page}: {stdout}\n{}", String::from_utf8_lossy(&done.stderr));
    stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_through_walks() {
    let operator = shared().await;
    let space = Space::new("walk").await;
    let stdout = walk(&operator, &space, "docs/api.md", None, &[]);
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
    walk(&operator, &space, "docs/developers.md", Some(&user), &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorial_ends_with_a_revoked_token() {
    let operator = shared().await;
    let space = Space::new("tutorial").await;
    let stdout = walk(&operator, &space, "docs/tutorial.md", None, &[]);
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
    let (client, key) = space.web_and_backend().await;
    let pool: UserPool = space.ready("users").await;
    let token = operator.minted(&key, &json!({"appUserId": "ada", "sdkClientId": client})).await;
    // The shell computes the time in whole seconds.
    let published = pool.status.unwrap().keys[0].published_at.0;
    eventually("a second has passed since the key was created", async || {
        let since = jiff::Timestamp::now().duration_since(published).as_secs();
        if since > 0 { Ok(()) } else { Err(since) }
    })
    .await;
    let runbooks = [
        ("docs/key-rotation.md", &[("TOKEN", token.as_str()), ("CLIENT", client.as_str())][..]),
        ("docs/sdk-clients.md", &[("LEAKED", key.as_str())][..]),
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

/// A private key set, of RFC 8037 appendix A.
fn private_key_set() -> Value {
    json!({"keys": [{
        "kty": "OKP", "crv": "Ed25519", "kid": "2026",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    }]})
}

/// A Member with a password, and its manifest's Secret.
fn with_password(space: &Space, name: &str, role: &str) -> [Value; 2] {
    let member = json!({
        "apiVersion": "anon.dev/v1beta1", "kind": "Member", "metadata": {"name": name},
        "spec": {
            "displayName": name, "role": role, "email": format!("{name}@{}.example", space.name),
            "passwordSecretRef": {"name": name, "key": "password"},
        },
    });
    [consenting_secret(name, "password", "password", PASSWORD), member]
}

/// The README's transcript, and then the requests that pages of reference show.
#[tokio::test(flavor = "multi_thread")]
async fn the_readme_and_the_pages_of_reference_get_the_answers_they_describe() {
    let operator = shared().await;
    let space = Space::new("reference").await;
    let valid = "\"active\":true";
    let stdout = walk(&operator, &space, "README.md", None, &[]);
    assert!(stdout.contains(valid) && stdout.contains("\"user-123\""), "{stdout}");

    let id =
        async |name: &str| space.ready::<SdkClient>(name).await.status.unwrap().client_id.unwrap();
    let (web, client) = (id("web").await, id("backend").await);
    let key = space.api_key("backend-anon").await;
    let token = operator.minted(&key, &json!({"appUserId": "ada", "sdkClientId": web})).await;
    space.apply_all(&with_password(&space, "boss", "Admin")).await;
    space.stands::<Member>("boss", "Accepted").await;
    let session = log_in(&operator, &format!("boss@{}.example", space.name)).await;
    let variables = [
        ("TOKEN", token.as_str()),
        ("WEB", web.as_str()),
        ("CLIENT_ID", client.as_str()),
        ("API_KEY", key.as_str()),
        ("LEAKED", key.as_str()),
        ("SESSION", session.as_str()),
    ];
    let pages = [
        ("docs/validate.md", vec![valid, "\"verdict\":\"valid\""]),
        ("docs/introspect.md", vec![valid, "\"principal\":\"appUser\""]),
        ("docs/integrations/introspection.md", vec![valid]),
        ("docs/conditions.md", vec!["hosted", "condition met"]),
        ("docs/troubleshooting.md", vec!["Ready"]),
        ("docs/members.md", vec!["grace condition met", "lost-laptop"]),
        ("docs/secret-scanning/examples.md", vec![]),
    ];
    for (page, expected) in pages {
        let stdout = walk(&operator, &space, page, None, &variables);
        for text in expected {
            assert!(stdout.contains(text), "{page}: {text} is not in {stdout}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_about_pools_issues_a_token_of_a_provided_pool() {
    let operator = shared().await;
    let space = Space::new("pools").await;
    let source = json!({"secretRef": {"name": "testers-jwks", "key": "jwks.json"}});
    space.apply(&pool_with("testers", json!({"provided": source}))).await;
    space.apply(&webapp("web", "testers")).await;
    space.stands::<UserPool>("testers", "JwksSecretUnusable").await;
    fs::write(workplace(&space).join("jwks.json"), private_key_set().to_string()).unwrap();
    let stdout = walk(&operator, &space, "docs/user-pools.md", None, &[]);
    let token = stdout.lines().last().unwrap();
    let web = space.ready::<SdkClient>("web").await.status.unwrap().client_id.unwrap();
    operator.gives(token, Some(&web), "200").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_can_do_what_their_page_describes() {
    let operator = shared().await;
    let space = Space::new("employees").await;
    let named = |mut manifest: Value, name: &str| {
        manifest["spec"]["displayName"] = json!(name);
        manifest
    };
    space.apply(&named(quick_pool("users"), "Users")).await;
    space.apply(&named(service("backend", "Member", "key"), "Backend")).await;
    space.apply_all(&with_password(&space, "boss", "Admin")).await;
    space.apply_all(&with_password(&space, "bob", "Member")).await;
    for member in ["boss", "bob"] {
        space.stands::<Member>(member, "Accepted").await;
    }
    space.ready::<SdkClient>("backend").await;
    let email = format!("boss@{}.example", space.name);
    let variables = [("EMAIL", email.as_str()), ("PASSWORD", PASSWORD)];
    let stdout = walk(&operator, &space, "docs/staff.md", None, &variables);
    // Whether it is enforced already, depends on the replicas.
    assert!(stdout.contains("\"enforced\": "), "{stdout}");
    assert!(space.get::<Member>("bob").await.is_none(), "the colleague has left");
}
