//! `kubectl-anon key` and `rotate`, as people run them; `rotate` against an API server inside the test.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use anon_operator::testing::domain::credential::ApiKey;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use uuid::Uuid;

fn kubectl_anon(arguments: &[&str], stdin: &str, kubeconfig: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-anon"))
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn offline(arguments: &[&str], stdin: &str) -> Output {
    kubectl_anon(arguments, stdin, "/nonexistent")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The one ApiKey in a text.
fn key_in(text: &str) -> ApiKey {
    let keys: Vec<_> = text.split_whitespace().filter_map(ApiKey::parse).collect();
    let [key] = <[ApiKey; 1]>::try_from(keys).unwrap_or_else(|_| panic!("not one key: {text}"));
    key
}

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("anon-key-test-{}", Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_generated_key_and_its_entry_belong_together() {
    let output = offline(&["key", "generate", "--expires-in", "2160h"], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let key = key_in(text(&output.stderr));
    assert!(!text(&output.stdout).contains(key.expose()));
    let entries: Value = serde_saphyr::from_str(text(&output.stdout)).unwrap();
    let entry = &entries[0];
    assert_eq!(entry["id"], key.hash().id());
    assert_eq!(entry["sha256"], key.hash().to_string());
    let time = |name: &str| entry[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(time("expiresAt").as_second() - time("createdAt").as_second(), 2160 * 3600);

    // The entry is what the custom resource takes.
    let hash: anon_operator::testing::crd::ApiKeyHash =
        serde_json::from_value(entry.clone()).unwrap();
    assert_eq!(hash.id, key.hash().id());

    let id = offline(&["key", "id"], &format!("{}\n", key.expose()));
    assert_eq!(text(&id.stdout), format!("id      {}\nsha256  {}\n", key.hash().id(), key.hash()));
    let id = offline(&["key", "id", "-o", "json"], key.expose());
    assert_eq!(
        serde_json::from_slice::<Value>(&id.stdout).unwrap(),
        json!({"id": key.hash().id(), "sha256": key.hash().to_string()})
    );
}

#[test]
fn without_an_expiry_there_is_none() {
    let output = offline(&["key", "generate", "-o", "json"], "");
    let entry: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(entry.as_object().unwrap().len(), 3, "{entry}");
    assert_eq!(entry["id"], key_in(text(&output.stderr)).hash().id());
}

#[test]
fn a_key_file_is_private_and_replaces_nothing() {
    let scratch = Scratch::new();
    let path = scratch.path("api-key");
    let arguments = ["key", "generate", "-o", "json", "--key-file", &path];
    let output = offline(&arguments, "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let key = fs::read_to_string(&path).unwrap();
    let entry: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(entry["id"], ApiKey::parse(&key).unwrap().hash().id());
    assert!(!text(&output.stderr).contains(&key));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let again = offline(&arguments, "");
    assert!(!again.status.success() && again.stdout.is_empty());
    assert!(text(&again.stderr).contains("File exists"), "{}", text(&again.stderr));
    assert_eq!(fs::read_to_string(&path).unwrap(), key);
}

#[test]
fn what_is_wrong_is_said_and_no_key_is_made() {
    for (arguments, stdin, says) in [
        (&["key", "generate", "--expires-in", "90d"][..], "", "--expires-in"),
        (&["key", "generate", "--expires-in", "0h"], "", "--expires-in"),
        (&["key", "id"], "ory_apikey_secret", "not a valid API key"),
        (&["key", "id"], "", "not a valid API key"),
        (&["rotate", "sdkclient/backend", "--timeout", "1d"], "", "--timeout"),
        (&["rotate", "sdkclient/backend"], "", "kubeconfig"),
    ] {
        let output = offline(arguments, stdin);
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains(says) && !said.contains("ory_apikey_"), "{arguments:?}: {said}");
    }
}

/// An API server with one SdkClient, and an operator that does what the annotation asks for, and
/// accepts the hashes that are listed when the client is read the second time after that.
#[derive(Clone)]
struct Cluster {
    object: Arc<Mutex<Value>>,
    /// How many patches another writer comes before.
    races: Arc<Mutex<usize>>,
    /// How often the object is read before the operator accepts what it lists.
    reads: Arc<Mutex<usize>>,
    kubeconfig: String,
    _scratch: Arc<Scratch>,
}

const PATH: &str = "/apis/anon.dev/v1beta1/namespaces/acme/sdkclients/backend";

impl Cluster {
    async fn start(spec: &Value, status: &Value, races: usize) -> Self {
        let scratch = Arc::new(Scratch::new());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let kubeconfig = scratch.path("kubeconfig");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "acme"}}],
        });
        fs::write(&kubeconfig, config.to_string()).unwrap();
        let object = json!({
            "apiVersion": "anon.dev/v1beta1", "kind": "SdkClient",
            "metadata": {"namespace": "acme", "name": "backend", "resourceVersion": "1", "generation": 1},
            "spec": spec, "status": status,
        });
        let cluster = Self {
            object: Arc::new(Mutex::new(object)),
            races: Arc::new(Mutex::new(races)),
            reads: Arc::default(),
            kubeconfig,
            _scratch: scratch,
        };
        let router = Router::new().fallback(serve).with_state(cluster.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        cluster
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let kubeconfig = self.kubeconfig.clone();
        let run = move || {
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            kubectl_anon(&arguments, "", &kubeconfig)
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    fn hashes(&self) -> Vec<Value> {
        let object = self.object.lock();
        object["spec"]["service"]["apiKey"]["hashes"].as_array().unwrap().clone()
    }
}

fn failure(code: u16, reason: &str) -> Response {
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code,
    });
    (StatusCode::from_u16(code).unwrap(), Json(body)).into_response()
}

async fn serve(
    State(cluster): State<Cluster>,
    method: Method,
    uri: axum::http::Uri,
    body: axum::body::Bytes,
) -> Response {
    let mut object = cluster.object.lock();
    if uri.path() != PATH {
        return failure(404, "NotFound");
    }
    if method == Method::PATCH {
        let version = |object: &Value| -> u64 {
            object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
        };
        let mut races = cluster.races.lock();
        if *races > 0 {
            *races -= 1;
            object["metadata"]["resourceVersion"] = json!((version(&object) + 1).to_string());
        }
        let patch: Value = serde_json::from_slice(&body).unwrap();
        let wanted = &patch["metadata"]["resourceVersion"];
        if !wanted.is_null() && *wanted != object["metadata"]["resourceVersion"] {
            return failure(409, "Conflict");
        }
        let next = version(&object) + 1;
        merge(&mut object, &patch);
        object["metadata"]["resourceVersion"] = json!(next.to_string());
        if patch["metadata"]["annotations"]["anon.dev/rotate"].is_string() {
            object["status"]["keys"] = json!([
                key_status("aaaa", "Previous", Some("2030-01-01T00:00:00Z")),
                key_status("bbbb", "Current", None),
            ]);
        }
    }
    let mut reads = cluster.reads.lock();
    *reads = if method == Method::PATCH { 0 } else { *reads + 1 };
    let listed = object["spec"]["service"]["apiKey"]["hashes"].clone();
    if let (2.., Value::Array(mut listed)) = (*reads, listed) {
        for key in &mut listed {
            key["state"] = json!("Current");
        }
        object["status"]["keys"] = json!(listed);
    }
    Json(object.clone()).into_response()
}

/// RFC 7396, without deletion.
fn merge(target: &mut Value, patch: &Value) {
    match patch {
        Value::Object(members) => {
            if !target.is_object() {
                *target = json!({});
            }
            for (name, value) in members {
                merge(&mut target[name], value);
            }
        }
        value => *target = value.clone(),
    }
}

fn key_status(digits: &str, state: &str, expires_at: Option<&str>) -> Value {
    let mut key = json!({"id": digits.repeat(4), "sha256": digits.repeat(16), "state": state});
    if let Some(end) = expires_at {
        key["expiresAt"] = json!(end);
    }
    key
}

fn delivery() -> Value {
    json!({"service": {"role": "Member", "apiKey": {"delivery": {"secretName": "backend-key"}}}})
}

fn with_hashes() -> Value {
    json!({"service": {"role": "Member", "apiKey": {"hashes": [
        {"id": "eeeeeeeeeeeeeeee", "sha256": "e".repeat(64), "expiresAt": "2020-01-01T00:00:00Z"},
        {"id": "cccccccccccccccc", "sha256": "c".repeat(64)},
    ]}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivered_key_is_rotated_by_the_operator() {
    let ready = json!({"secretName": "backend-key", "keys": [key_status("aaaa", "Current", None)]});
    let cluster = Cluster::start(&delivery(), &ready, 0).await;
    let output = cluster.run(&["rotate", "sdkclient/backend", "--wait"]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout),
        "sdkclient/backend: API key bbbbbbbbbbbbbbbb delivered to Secret `backend-key`; aaaaaaaaaaaaaaaa stays valid until 2030-01-01T00:00:00Z\n"
    );

    let output =
        cluster.run(&["rotate", "sdkclient/backend", "-n", "acme", "--key-file", "x"]).await;
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("into its Secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cannot_rotate_says_why() {
    let waiting = json!({"conditions": [{
        "type": "Ready", "status": "False", "reason": "SecretConflict",
        "message": "Secret `backend-key` exists", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]});
    let cluster = Cluster::start(&delivery(), &waiting, 0).await;
    let output = cluster.run(&["rotate", "sdkclient/backend"]).await;
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(said.contains("Secret `backend-key` exists (SecretConflict)"), "{said}");

    let webapp = json!({"webapp": {"userPoolRef": {"name": "users"}}});
    let cluster = Cluster::start(&webapp, &json!({}), 0).await;
    let output = cluster.run(&["rotate", "sdkclient/backend"]).await;
    assert!(text(&output.stderr).contains("is a webapp"));
    let output = cluster.run(&["rotate", "sdkclient/nobody"]).await;
    assert!(text(&output.stderr).contains("cannot read SdkClient `nobody`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_is_added_to_those_that_are_valid() {
    // Of another key. Ready alone does not tell that the new one is accepted, nor the lack of it that
    // it is not.
    let conflict = json!({"observedGeneration": 1, "conditions": [{
        "type": "Ready", "status": "False", "reason": "KeyConflict", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]});
    let cluster = Cluster::start(&with_hashes(), &conflict, 2).await;
    let arguments = ["rotate", "sdkclient/backend", "--expires-in", "1h", "--wait"];
    let output = cluster.run(&arguments).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let key = key_in(text(&output.stderr));
    let hashes = cluster.hashes();
    assert_eq!(hashes.len(), 2);
    assert_eq!(hashes[0]["id"], "cccccccccccccccc");
    assert_eq!(hashes[1]["sha256"], key.hash().to_string());
    assert!(hashes[1]["expiresAt"].is_string());
    assert!(!text(&output.stdout).contains("ory_apikey_"));
    assert!(text(&output.stdout).ends_with("sdkclient/backend: hash accepted\n"));
    assert!(*cluster.reads.lock() >= 2, "it waited until status lists the hash");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_could_not_be_added_is_not_left_lying_about() {
    let cluster = Cluster::start(&with_hashes(), &json!({}), 99).await;
    let scratch = Scratch::new();
    let path = scratch.path("api-key");
    let output = cluster.run(&["rotate", "sdkclient/backend", "--key-file", &path]).await;
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(text(&output.stderr).contains("Conflict"), "{}", text(&output.stderr));
    assert!(!fs::exists(&path).unwrap());
    assert_eq!(cluster.hashes().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_room_is_not_added() {
    let hash = |n: usize| {
        let digit = format!("{n:x}");
        json!({"id": digit.repeat(16), "sha256": digit.repeat(64)})
    };
    let hashes: Vec<_> = (0..16).map(hash).collect();
    let spec = json!({"service": {"role": "Member", "apiKey": {"hashes": hashes}}});
    let cluster = Cluster::start(&spec, &json!({}), 0).await;
    let output = cluster.run(&["rotate", "sdkclient/backend"]).await;
    let said = text(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(said.contains("16 keys are valid") && !said.contains("ory_apikey_"), "{said}");
    assert_eq!(cluster.hashes().len(), 16);
}
