//! docs/api.md does what it says: its shell snippets are run, in order, in one shell.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::cluster::{directory, variable};
use crate::harness::{Space, shared};

/// The blocks of a page that are marked as `sh`.
fn snippets(page: &str) -> String {
    let blocks = page.split("\n```sh\n").skip(1);
    blocks.map(|block| block.split_once("\n```").unwrap().0).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_through_walks() {
    let operator = shared().await;
    let space = Space::new("walk").await;
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md");
    // In a namespace of this test's own, which is there already.
    let script = snippets(&fs::read_to_string(page).unwrap())
        .replace("kubectl create namespace acme\n", "")
        .replace("acme", &space.name);
    assert!(script.contains("/v1/validate"), "{script}");
    // The snippets choose a namespace, as people do; not for the other tests.
    let kubeconfig = directory().join(format!("{}.kubeconfig", space.name));
    fs::copy(variable("KUBECONFIG"), &kubeconfig).unwrap();
    let done = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .env("KUBECONFIG", &kubeconfig)
        .env("ANON_API_URL", operator.url(""))
        .env("ANON_VALIDATOR_URL", operator.url(""))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (stdout, stderr) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{stdout}\n{stderr}");
    // The last line is the verdict that the page is about.
    let verdict: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(verdict["active"], true, "{stdout}\n{stderr}");
    assert_eq!(verdict["appUserId"], "user-1");
}
