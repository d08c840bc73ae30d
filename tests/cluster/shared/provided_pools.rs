//! Pools whose JWKS, with private keys, is in a Secret of the organization.

use std::process::Command;

use anon_operator::testing::crd::{SdkClient, UserPool, condition};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};

use crate::harness::turn::Shared;
use crate::harness::wait::expect;
use crate::harness::{Space, consenting_secret, eventually, http, pool_with, shared, webapp};

/// The keys of RFC 8037 appendix A and RFC 7517 appendix A.2, under these names.
fn ed25519(kid: &str) -> Value {
    json!({
        "kty": "OKP", "crv": "Ed25519", "kid": kid,
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    })
}

fn p256(kid: &str) -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "kid": kid,
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
    })
}

/// What of them must never be seen.
const PRIVATE: [&str; 2] =
    ["nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"];

fn set(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

fn secret(jwks: &str) -> Value {
    consenting_secret("testers-jwks", "jwks", "jwks.json", jwks)
}

/// A token that the organization issues itself, with the command line.
fn minted(jwks: &str, kid: &str, audience: &str) -> String {
    let file = std::env::temp_dir().join(format!("provided-{}.json", uuid::Uuid::new_v4()));
    std::fs::write(&file, jwks).unwrap();
    let path = file.to_str().unwrap();
    let said = Command::new(env!("CARGO_BIN_EXE_kubectl-anon"))
        .args(["token", "mint", "--jwks", path, "--kid", kid, "--sub", "user-1", "--aud", audience])
        .output()
        .unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

struct World {
    operator: Shared,
    space: Space,
    web: String,
}

impl World {
    async fn new() -> Self {
        let operator = shared().await;
        let space = Space::new("provided").await;
        let source = json!({"secretRef": {"name": "testers-jwks", "key": "jwks.json"}});
        space.apply(&pool_with("testers", json!({"provided": source}))).await;
        space.apply(&webapp("web", "testers")).await;
        let web = eventually("the client has an id", async || {
            let client: SdkClient = space.get("web").await.unwrap();
            client.status.and_then(|status| status.client_id).ok_or("it has none")
        })
        .await;
        Self { operator, space, web }
    }

    async fn becomes(&self, token: &str, verdict: &str) {
        eventually(&format!("the token gets {verdict}"), async || {
            let reply = self.operator.validate(token, Some(&self.web)).await.verdict();
            expect(reply == verdict, reply)
        })
        .await;
    }

    async fn kids(&self) -> Vec<String> {
        let pool: UserPool = self.space.get("testers").await.unwrap();
        pool.status.unwrap_or_default().keys.into_iter().map(|key| key.kid).collect()
    }
}

/// Late, changed, broken, without its label, deleted: the Secret is followed at every turn.
#[tokio::test]
async fn the_secret_is_followed() {
    let world = World::new().await;
    let World { operator, space, web } = &world;
    let (old, new) = (set(&[ed25519("old")]), set(&[ed25519("old"), p256("new")]));
    let token = minted(&old, "old", web);

    // Late, and then there without consent: one reason for both, and nothing is read.
    let late: UserPool = space.stands("testers", "JwksSecretUnusable").await;
    world.becomes(&token, "503 pool_not_ready").await;
    let mut unlabelled = secret(&old);
    unlabelled["metadata"].as_object_mut().unwrap().remove("labels");
    space.apply(&unlabelled).await;
    space.apply(&secret(&old)).await;
    let pool: UserPool = space.ready("testers").await;
    world.becomes(&token, "200").await;

    // Published: status, ConfigMap, HTTP; the public half only.
    let status = pool.status.clone().unwrap();
    assert_eq!(status.source.as_deref(), Some("provided testers-jwks/jwks.json"));
    let id = status.id.unwrap();
    let served = http::get(&operator.url(&format!("/userPools/{id}/.well-known/jwks.json"))).await;
    let served = served.unwrap().json();
    let x = ed25519("old")["x"].clone();
    let public =
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "old", "alg": "EdDSA", "use": "sig", "x": x});
    assert_eq!(served, json!({"keys": [public]}));
    let map: ConfigMap = space.get("testers-jwks").await.unwrap();
    let mounted: Value = serde_json::from_str(&map.data.unwrap()["jwks.json"]).unwrap();
    assert_eq!(mounted, served);

    // Changed: a second key, a bad one besides.
    let encrypts = json!({"kty": "oct", "k": "c2VjcmV0", "kid": "shared"});
    let with_bad = set(&[ed25519("old"), p256("new"), encrypts]);
    space.apply(&secret(&with_bad)).await;
    let newer = minted(&new, "new", web);
    world.becomes(&newer, "200").await;
    let pool: UserPool = space.ready("testers").await;
    let conditions = &pool.status.as_ref().unwrap().conditions;
    let dropped = condition::find(conditions, "KeysDropped").expect("a word on the bad key");
    assert!(dropped.message.contains("`shared` is symmetric"), "{dropped:?}");
    assert_eq!(pool.status.as_ref().unwrap().keys.len(), 2);

    // A key that is taken out counts no longer; the other one does.
    space.apply(&secret(&set(&[p256("new")]))).await;
    world.becomes(&token, "401 key_unknown").await;
    world.becomes(&newer, "200").await;

    // An accident: no JWKS at all. What was published remains in use, and the pool says so.
    space.apply(&secret(&format!("{{\"d\": \"{}\"", PRIVATE[0]))).await;
    let broken: UserPool = space.stands("testers", "NotAKeySet").await;
    world.becomes(&newer, "200").await;

    // Consent withdrawn, given again, and the Secret deleted.
    space.apply(&secret(&new)).await;
    space.ready::<UserPool>("testers").await;
    let label = json!({"metadata": {"labels": {"anon.dev/use": null}}});
    space.merge::<Secret>("testers-jwks", label).await;
    let without: UserPool = space.stands("testers", "JwksSecretUnusable").await;
    assert!(world.kids().await.is_empty());
    world.becomes(&newer, "503 pool_not_ready").await;
    let label = json!({"metadata": {"labels": {"anon.dev/use": "jwks"}}});
    space.merge::<Secret>("testers-jwks", label).await;
    world.becomes(&newer, "200").await;
    space.delete::<Secret>("testers-jwks").await;
    world.becomes(&newer, "503 pool_not_ready").await;
    let gone: UserPool = space.stands("testers", "JwksSecretUnusable").await;

    // Readers of the pool cannot tell missing from unlabelled, and see nothing of a key.
    let message = |pool: &UserPool| {
        let status = pool.status.as_ref().unwrap();
        condition::find(&status.conditions, "Ready").unwrap().message.clone()
    };
    assert_eq!(message(&late), message(&without));
    assert_eq!(message(&late), message(&gone));
    let log = std::fs::read_to_string(&operator.log).unwrap();
    for text in PRIVATE {
        assert!(!serde_json::to_string(&(&pool, &broken)).unwrap().contains(text));
        assert!(!log.contains(text), "a private key is in the log");
    }
}
