//! The drill of docs/operations.md, by the commands of that page: everything is deleted, and restored
//! with new uids and without status. It needs a cluster of its own: `tests/cluster/run`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anon_operator::testing::crd::{SdkClient, UserPool};
use anon_operator::testing::domain::credential::ApiKey;
use anon_operator::testing::domain::signing_key_set::SigningKeyState;
use anon_operator::testing::domain::stored_key::ApiKeyState;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::harness::cluster::{directory, kubeconfig, operator_namespace};
use crate::harness::company::{Company, call, log_in};
use crate::harness::kubectl::kubectl;
use crate::harness::operator::Setup;
use crate::harness::wait::expect;
use crate::harness::{Operator, Space, alone, eventually, quick_pool, service, webapp, with};

const RECORD_KEYS: &str = "anon-operator.record-keys";

/// The page, and the directory in which its commands run.
struct Drill {
    page: String,
    directory: PathBuf,
}

impl Drill {
    fn new() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let directory = directory().join("drill");
        fs::create_dir_all(&directory).unwrap();
        std::os::unix::fs::symlink(root.join("charts"), directory.join("charts")).unwrap();
        let page = fs::read_to_string(root.join("docs/operations.md")).unwrap();
        Self { page, directory }
    }

    /// The commands of the block of this name.
    fn block(&self, name: &str) -> &str {
        let start = format!("```sh {name}\n");
        let (_, rest) = self.page.split_once(&start).unwrap_or_else(|| panic!("no block {name}"));
        rest.split_once("```").unwrap().0
    }

    /// Runs a block, and returns what it prints.
    fn run(&self, block: &str) -> String {
        self.script(self.block(block))
    }

    fn script(&self, script: &str) -> String {
        let plugin = Path::new(env!("CARGO_BIN_EXE_kubectl-anon")).parent().unwrap();
        let path = format!("{}:{}", plugin.display(), env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(name, self.directory.join("helm"));
        }
        let done = command
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(&self.directory)
            .env("PATH", path)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&done.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{script}\n{stdout}\n{stderr}");
        stdout
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Everything is lost.
    fn disaster(&self, namespace: &str) {
        self.script(&format!(
            "helm uninstall anon-operator --namespace anon-system
            kubectl delete crd organizations.anon.dev members.anon.dev userpools.anon.dev \\
              sdkclients.anon.dev revocations.anon.dev
            kubectl delete namespace anon-system {namespace}"
        ));
    }
}

/// Starts the operator in the place of the Pod that the chart has brought.
async fn start() -> Operator {
    let selector = "--selector=app.kubernetes.io/name=anon-operator";
    let namespace = format!("--namespace={}", operator_namespace());
    let pod = eventually("the chart's Pod exists", async || {
        let pods = kubectl(&["get", "pods", &namespace, selector, "-o", "name"]).stdout;
        pods.lines().next().map(|pod| pod.trim_start_matches("pod/").to_owned()).ok_or("no Pod")
    })
    .await;
    let bound = format!("--bound-object-name={pod}");
    let account = "anon-operator";
    let token = ["create", "token", account, &namespace, "--bound-object-kind=Pod", &bound];
    let token = eventually("the Pod has a token", async || {
        let said = kubectl(&token);
        if said.success { Ok(said.stdout.trim().to_owned()) } else { Err(said.stderr) }
    })
    .await;
    Operator::launch(Setup {
        kubeconfig: Some(kubeconfig(&pod, &token)),
        env: vec![("POD_NAME".to_owned(), pod)],
        ..Setup::default()
    })
    .await
}

/// An organization with something of everything that is stored.
struct World {
    company: Company,
    /// A token of the organization's pool, from before everything.
    token: String,
    kid: String,
    /// The API keys of a client whose key was rotated.
    old: String,
    key: String,
    /// When the old one expires.
    overlap: Option<Time>,
    /// An API key of which only the hash is stored.
    listed: String,
    leaky: String,
    leaked_token: String,
    leaked_key: String,
    locked_out: String,
}

impl World {
    async fn new(operator: &Operator) -> Self {
        let company = Company::found(operator, "acme").await;
        let space = &company.space;
        let users = |user: &str| json!({"appUserId": user, "sdkClientId": company.web});
        let token = operator.minted(&company.key, &users("ada")).await;
        let locked_out = operator.minted(&company.key, &users("mallory")).await;
        let kid = pool_of(space, &company.pool).await.1;

        space.apply_all(&[quick_pool("leaky"), webapp("leaky", "leaky")]).await;
        space
            .apply_all(&[
                service("rotated", "Member", "rotated"),
                service("leaked", "Member", "leaked"),
            ])
            .await;
        let listed = ApiKey::generate().unwrap();
        let hash = listed.hash();
        let hashes = json!({"hashes": [{"id": hash.id(), "sha256": hash.to_string()}]});
        space.apply(&with(service("ci", "Member", "x"), "/spec/service/apiKey", hashes)).await;
        for name in ["rotated", "leaked", "ci", "leaky"] {
            space.ready::<SdkClient>(name).await;
        }
        let leaky = space.ready::<SdkClient>("leaky").await.status.unwrap().client_id.unwrap();
        let user = json!({"appUserId": "eve", "sdkClientId": leaky});
        let leaked_token = operator.minted(&company.key, &user).await;
        let old = space.api_key("rotated").await;
        let request = json!({"metadata": {"annotations": {"anon.dev/rotate": "now"}}});
        space.merge::<SdkClient>("rotated", request).await;
        let overlap = eventually("the key is rotated", async || overlap(space).await).await;
        let world = Self {
            token,
            kid,
            key: space.api_key("rotated").await,
            old,
            overlap,
            listed: listed.expose().to_owned(),
            leaky,
            leaked_token,
            leaked_key: space.api_key("leaked").await,
            locked_out,
            company,
        };
        world.works(operator).await;
        operator.gives(&world.leaked_token, Some(&world.leaky), "200").await;
        operator.gives(&world.leaked_key, None, "200").await;
        world
    }

    fn space(&self) -> &Space {
        &self.company.space
    }

    /// Revokes what has leaked.
    async fn revoke(&self) {
        let space = self.space();
        let kid = space.ready::<UserPool>("leaky").await.status.unwrap().keys[0].kid.clone();
        let key = ApiKey::parse(&self.leaked_key).unwrap().hash().id();
        let pool = pool_of(space, &self.company.pool).await.0;
        for (name, spec) in [
            ("pool", json!({"userPool": {"name": "leaky", "keyIds": [kid]}})),
            ("client", json!({"sdkClient": {"name": "leaked", "keyIds": [key]}})),
            ("user", json!({"userPool": {"name": pool, "subjects": ["mallory"]}})),
        ] {
            let (version, metadata) = ("anon.dev/v1beta1", json!({"name": name}));
            space
                .apply(&json!({
                    "apiVersion": version, "kind": "Revocation", "metadata": metadata, "spec": spec,
                }))
                .await;
        }
    }

    /// What must be valid is valid.
    async fn works(&self, operator: &Operator) {
        operator.gives(&self.token, Some(&self.company.web), "200").await;
        for key in [&self.company.key, &self.key, &self.listed] {
            operator.gives(key, None, "200").await;
        }
        let user = json!({"appUserId": "bob", "sdkClientId": self.company.web});
        let token = operator.minted(&self.company.key, &user).await;
        operator.gives(&token, Some(&self.company.web), "200").await;
        for role in ["Admin", "Member", "ReadOnly"] {
            let session = log_in(operator, &self.company.email(role)).await;
            let me = call(operator, "GET", "/org/me", Some(&session), None).await;
            assert_eq!(me.json()["role"], role, "{me:?}");
        }
    }

    /// What was revoked stays so.
    async fn is_dead(&self, operator: &Operator) {
        for (credential, client) in [
            (&self.leaked_token, Some(self.leaky.as_str())),
            (&self.leaked_key, None),
            (&self.locked_out, Some(self.company.web.as_str())),
        ] {
            eventually("it is rejected", async || {
                // A key that was destroyed before it was ever published is unknown, not revoked.
                let verdict = operator.validate(credential, client).await.verdict();
                expect(verdict.ends_with("_revoked") || verdict.ends_with("_unknown"), verdict)
            })
            .await;
        }
        eventually("the leaked keys are stored nowhere", async || {
            let kid = jsonwebtoken::decode_header(&self.leaked_token).unwrap().kid.unwrap();
            let secrets = self.space().operators().api::<Secret>();
            for secret in secrets.list(&ListParams::default()).await.unwrap() {
                let set = secret.data.unwrap_or_default().remove("keyset.json");
                let set = String::from_utf8(set.map(|set| set.0).unwrap_or_default()).unwrap();
                expect(!set.contains(&kid), "the signing key")?;
            }
            expect(self.space().api_key("leaked").await != self.leaked_key, "the API key")
        })
        .await;
    }

    /// The states and kids of the organization's pool.
    async fn keys(&self) -> Vec<(SigningKeyState, String)> {
        let pools = self.space().api::<UserPool>().list(&ListParams::default()).await.unwrap();
        let pool = pools.into_iter().find(|pool| id(pool) == Some(&self.company.pool)).unwrap();
        pool.status.unwrap().keys.into_iter().map(|key| (key.state, key.kid)).collect()
    }

    /// Nothing is left under the uid that the namespace had before.
    async fn former_secrets(&self) -> Vec<String> {
        let secrets = self.space().operators().api::<Secret>();
        let secrets = secrets.list_metadata(&ListParams::default()).await.unwrap();
        let names = secrets.iter().map(kube::ResourceExt::name_any);
        names.filter(|name| name.starts_with(&self.space().uid)).collect()
    }
}

fn id(pool: &UserPool) -> Option<&String> {
    pool.status.as_ref()?.id.as_ref()
}

/// The name and the Active key of the pool with this id.
async fn pool_of(space: &Space, pool: &str) -> (String, String) {
    let pools = space.api::<UserPool>().list(&ListParams::default()).await.unwrap();
    let pool = pools.into_iter().find(|it| id(it).is_some_and(|id| id == pool)).unwrap();
    (pool.name_any(), pool.status.unwrap().keys[0].kid.clone())
}

/// When the previous key of `rotated` expires, if its keys are a previous and a current one.
async fn overlap(space: &Space) -> Result<Option<Time>, String> {
    let client: SdkClient = space.get("rotated").await.ok_or("no client")?;
    let keys = client.status.unwrap_or_default().keys;
    match keys.as_slice() {
        [old, new] if [old.state, new.state] == [ApiKeyState::Previous, ApiKeyState::Current] => {
            Ok(old.expires_at.clone())
        }
        keys => Err(format!("{keys:?}")),
    }
}

async fn record_keys(space: &Space) -> Value {
    let secret: Secret = space.operators().get(RECORD_KEYS).await.unwrap();
    serde_json::to_value(secret.data).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_back_from_a_backup() {
    let _turn = alone().await;
    let drill = Drill::new();
    let operator = Operator::start(&[]).await;
    let world = World::new(&operator).await;
    let records = record_keys(world.space()).await;

    // The Secrets are older than what is revoked, and are restored as they were.
    drill.run("backup");
    let secrets = drill.file("secrets-of-the-operator.json");
    let earlier = fs::read(&secrets).unwrap();
    world.revoke().await;
    world.is_dead(&operator).await;
    drill.run("backup");
    fs::write(&secrets, &earlier).unwrap();
    operator.stop().await;
    drill.disaster(&world.space().name);

    // As the page says.
    drill.run("restore-secrets");
    let said = drill.run("inherit");
    assert!(said.contains("does not exist yet; 1 key will be taken over then"), "{said}");
    drill.run("restore-chart");
    let operator = start().await;
    drill.run("restore-objects");
    world.works(&operator).await;
    world.is_dead(&operator).await;
    operator.gives(&world.old, None, "200").await;
    assert_eq!(overlap(world.space()).await, Ok(world.overlap.clone()));
    assert_eq!(record_keys(world.space()).await, records);
    // The pool signs with the key that it had.
    assert_eq!(world.keys().await, [(SigningKeyState::Active, world.kid.clone())]);
    assert_eq!(world.former_secrets().await, [""; 0]);
    let session = operator.validate(&world.company.admin, None).await;
    assert_eq!(session.status, 401, "sessions end");
    operator.stop().await;

    // In another order: with an operator that has created new keys in the meantime, and without the
    // keys of the records.
    drill.disaster(&world.space().name);
    let mut stored: Value = serde_json::from_slice(&earlier).unwrap();
    let items = stored["items"].as_array_mut().unwrap();
    items.retain(|item| item["metadata"]["name"] != RECORD_KEYS);
    fs::write(&secrets, stored.to_string()).unwrap();
    drill.run("restore-secrets");
    drill.run("restore-chart");
    let operator = start().await;
    drill.run("restore-objects");
    operator.gives(&world.token, Some(&world.company.web), "401 key_unknown").await;
    let said = drill.run("inherit");
    assert!(said.contains("1 of 1 keys taken over; they only verify, and"), "{said}");
    world.works(&operator).await;
    world.is_dead(&operator).await;
    operator.gives(&world.old, None, "401 api_key_unknown").await;
    let keys = world.keys().await;
    assert_eq!(keys[0], (SigningKeyState::Retiring, world.kid.clone()));
    assert_eq!((keys.len(), keys[1].0), (2, SigningKeyState::Active));
    assert_eq!(world.former_secrets().await, [""; 0]);
    operator.stop().await;
}
