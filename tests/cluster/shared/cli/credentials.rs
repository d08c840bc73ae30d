//! Commands for keys and tokens: generated, rotated, validated and revoked.

use anon_operator::testing::crd::{Revocation, SdkClient, UserPool};
use anon_operator::testing::domain::credential::ApiKey;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::input::kubectl_anon_with;
use super::{Ended, acme, kubectl_anon};
use crate::harness::cluster;
use crate::harness::turn::Shared;
use crate::harness::wait::expect;
use crate::harness::{Space, consenting_secret, eventually, pool_with, shared, webapp};

/// Asks `token validate` about a credential.
async fn validate(operator: &Shared, credential: &str, client: Option<&str>) -> Ended {
    let server = operator.url("");
    let mut arguments = vec!["token", "validate", "--server", &server];
    arguments.extend(client.iter().flat_map(|client| ["--sdk-client", client]));
    kubectl_anon_with(&arguments, credential, &[]).await
}

/// Waits until `token validate` ends with this code.
async fn gets(operator: &Shared, credential: &str, client: Option<&str>, code: i32) -> Ended {
    eventually(&format!("the exit code is {code}"), async || {
        let ended = validate(operator, credential, client).await;
        if ended.code == code { Ok(ended) } else { Err(format!("{ended:?}")) }
    })
    .await
}

/// Waits until an API key is rejected: as revoked, and as unknown once the operator has replaced it.
async fn is_rejected(operator: &Shared, key: &str) {
    eventually("the API key is rejected", async || {
        let verdict = operator.validate(key, None).await.verdict();
        expect(verdict.starts_with("401 api_key_"), verdict)
    })
    .await;
}

async fn client_id(space: &Space, name: &str) -> String {
    space.ready::<SdkClient>(name).await.status.unwrap().client_id.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_key_set_signs_tokens_that_are_validated() {
    let operator = shared().await;
    let space = Space::new("cli-jwks").await;
    let file = std::env::temp_dir().join(format!("{}.json", space.name));
    let path = file.to_str().unwrap();
    let generate = ["jwks", "generate", "--alg", "ES256", "--kid", "k1", "--out", path];
    let public = kubectl_anon(&generate).await.json();
    assert_eq!(public["keys"][0]["kid"], "k1");
    assert!(public["keys"][0].get("d").is_none(), "{public}");
    let private = std::fs::read_to_string(&file).unwrap();
    space
        .apply_all(&[
            consenting_secret("testers-jwks", "jwks", "jwks.json", &private),
            pool_with(
                "testers",
                json!({"provided": {"secretRef": {"name": "testers-jwks", "key": "jwks.json"}}}),
            ),
            webapp("web", "testers"),
        ])
        .await;
    space.ready::<UserPool>("testers").await;
    let web = client_id(&space, "web").await;
    let mint = ["token", "mint", "--jwks", path, "--sub", "user-1", "--aud", &web];
    let token = kubectl_anon(&mint).await.ok();
    std::fs::remove_file(&file).unwrap();

    let valid = gets(&operator, &token, Some(&web), 0).await;
    assert!(valid.stdout.starts_with("valid: user user-1 of UserPool "), "{valid:?}");
    let rejected = validate(&operator, "junk", Some(&web)).await;
    assert_eq!(rejected.code, 3, "{rejected:?}");
    assert!(rejected.stdout.contains("(credential_unrecognized)"), "{rejected:?}");
    // Neither a valid nor a rejected credential: the question was incomplete, or nobody answered.
    let unclear = validate(&operator, &token, None).await;
    assert!(unclear.code == 1 && unclear.stderr.contains("cannot tell"), "{unclear:?}");
    let nobody = ["token", "validate", "--server", "http://127.0.0.1:1"];
    let unclear = kubectl_anon_with(&nobody, &token, &[]).await;
    assert!(unclear.code == 1 && unclear.stderr.contains("cannot tell"), "{unclear:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated() {
    let operator = shared().await;
    let space = acme().await;
    let n = space.name.as_str();
    let keys = async |name: &str| space.ready::<SdkClient>(name).await.status.unwrap().keys;
    let old = space.api_key("backend-anon").await;

    let dry = ["rotate", "sdkclient/backend", "-n", n, "--dry-run", "--wait"];
    assert!(kubectl_anon(&dry).await.ok().ends_with("(server dry run)\n"));
    assert_eq!(space.api_key("backend-anon").await, old);
    let rotated = kubectl_anon(&["rotate", "sdkclient/backend", "-n", n, "--wait"]).await.ok();
    assert!(rotated.contains("delivered to Secret `backend-anon`"), "{rotated}");
    assert!(rotated.contains("stays valid until "), "{rotated}");
    let new = space.api_key("backend-anon").await;
    assert_ne!(new, old);
    operator.gives(&old, None, "200").await;
    assert_eq!(keys("backend").await.len(), 2);

    // Nobody is locked out without being told.
    let none = json!({"spec": {"service": {"apiKey": {"delivery": {"rotation": {"interval": "720h", "overlap": "0s"}}}}}});
    space.merge::<SdkClient>("backend", none).await;
    space.ready::<SdkClient>("backend").await;
    let asked = kubectl_anon(&["rotate", "sdkclient/backend", "-n", n]).await;
    assert_eq!(asked.code, 2, "{asked:?}");
    assert!(asked.stderr.contains("rotation.overlap is 0s"), "{asked:?}");
    assert_eq!(space.api_key("backend-anon").await, new);
    kubectl_anon(&["rotate", "sdkclient/backend", "-n", n, "--yes", "--wait"]).await.ok();
    operator.gives(&new, None, "401 api_key_unknown").await;

    let pool = kubectl_anon(&["rotate", "userpool/users", "-n", n, "--wait"]).await.ok();
    assert!(pool.contains("is published; it signs once every validator"), "{pool}");
    let refused = kubectl_anon(&["rotate", "sdkclient/web", "-n", n]).await;
    assert!(refused.code == 1 && refused.stderr.contains("is a webapp"), "{refused:?}");
    let refused = kubectl_anon(&["rotate", "member/ada", "-n", n]).await;
    assert_eq!(refused.code, 2, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_revoked() {
    let operator = shared().await;
    let space = acme().await;
    let n = space.name.as_str();
    let (key, web) = (space.api_key("backend-anon").await, client_id(&space, "web").await);
    let token = async |user: &str| {
        operator.minted(&key, &json!({"appUserId": user, "sdkClientId": web})).await
    };
    let revoke = async |arguments: &[&str], input: &str| {
        let line = [&["revoke"], arguments, &["-n", n]].concat();
        kubectl_anon_with(&line, input, &[]).await
    };
    let (stolen, other, ada) = (token("bob").await, token("bob").await, token("ada").await);
    for token in [&stolen, &other, &ada] {
        operator.gives(token, Some(&web), "200").await;
    }

    // Without a terminal and --yes, and with --dry-run or -o, nothing is created.
    let asked = revoke(&["user", "ada", "--pool", "users"], "").await;
    assert!(asked.code == 2 && asked.stderr.contains("add --yes"), "{asked:?}");
    let dry = revoke(&["user", "ada", "--pool", "users", "--dry-run"], "").await.ok();
    assert!(dry.ends_with(" created (server dry run)\n"), "{dry}");
    let line = ["user", "ada", "--pool", "users", "--reason", "fraud", "-o", "yaml"];
    let manifest: Value = serde_saphyr::from_str(&revoke(&line, "").await.ok()).unwrap();
    let spec = json!({"userPool": {"name": "users", "subjects": ["ada"]}, "reason": "fraud"});
    assert_eq!((&manifest["spec"], &manifest["kind"]), (&spec, &json!("Revocation")));
    let existing = space.api::<Revocation>().list(&ListParams::default()).await.unwrap();
    assert_eq!(existing.items.len(), 0);

    let told = format!("{} after ", cluster::enforced(1).await);
    let enforced = |ended: Ended| {
        assert!(ended.stdout.contains(&told), "{ended:?}");
        ended.stderr
    };
    let shown = enforced(revoke(&["token", "--yes"], &format!("Bearer {stolen}\n")).await);
    assert!(!shown.contains(&stolen), "{shown}");
    operator.gives(&stolen, Some(&web), "401 token_revoked").await;
    operator.gives(&other, Some(&web), "200").await;
    enforced(revoke(&["user", "ada", "--pool", "users", "--yes"], "").await);
    operator.gives(&ada, Some(&web), "401 user_revoked").await;
    // An `iat` has whole seconds, and the next one must have begun.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    enforced(revoke(&["all", "--pool", "users", "--before", "now", "--yes"], "").await);
    operator.gives(&other, Some(&web), "401 token_revoked").await;

    let id = ApiKey::parse(&key).unwrap().hash().id();
    let wrong = revoke(&["key", "sdkclient/backend", "zz", "--yes"], "").await;
    assert!(wrong.code == 1 && wrong.stderr.contains(&id), "{wrong:?}");
    let shown = enforced(revoke(&["key", "sdkclient/backend", &id[..6], "--yes"], "").await);
    assert!(shown.contains(&id) && shown.contains("delivers a new API key"), "{shown}");
    is_rejected(&operator, &key).await;
    let new = eventually("the new API key", async || {
        let now = space.api_key("backend-anon").await;
        if now == key { Err("not yet") } else { Ok(now) }
    })
    .await;
    enforced(revoke(&["token", "--yes"], &new).await);
    is_rejected(&operator, &new).await;

    let pool: UserPool = space.ready("users").await;
    let kid = pool.status.unwrap().keys[0].kid.clone();
    enforced(revoke(&["key", "userpool/users", &kid, "--yes"], "").await);
    let nothing = revoke(&["sessions", "member/ada", "--yes"], "").await;
    assert!(nothing.code == 1 && nothing.stderr.contains("no session"), "{nothing:?}");
}
