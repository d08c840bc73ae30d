//! Logins on two replicas.

use std::collections::BTreeSet;

use anon_operator::testing::crd;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::harness::operator::Setup;
use crate::harness::wait::expect;
use crate::harness::{Operator, Space, alone, eventually, http};

const PASSWORD: &str = "correct horse";

fn member(name: &str, email: &str) -> Value {
    json!({
        "apiVersion": "anon.dev/v1beta1", "kind": "Member", "metadata": {"name": name},
        "spec": {
            "email": email, "role": "Admin",
            "passwordSecretRef": {"name": name, "key": "password"},
        },
    })
}

fn secret(name: &str, password: &str, label: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "labels": {"anon.dev/use": label}},
        "stringData": {"password": password},
    })
}

async fn log_in(operator: &Operator, email: &str, password: &str) -> http::Reply {
    let body = json!({"email": email, "password": password});
    http::post(&operator.url("/org/login"), &[], &body).await.unwrap()
}

/// Two logins at once on two replicas lose neither, a change of the password counts, and a
/// suspension ends every session; the leader's own status writes drop none of them.
#[tokio::test]
async fn sessions_on_two_replicas() {
    let _turn = alone().await;
    let one = Operator::start(&[]).await;
    let two = Operator::launch(Setup { replica: 1, ..Setup::default() }).await;
    let space = Space::new("login").await;
    let email = &format!("ada@{}.example", space.name);
    space.apply(&member("ada", email)).await;
    space.stands::<crd::Member>("ada", "PasswordSecretUnusable").await;
    space.apply(&secret("ada", PASSWORD, "jwks")).await;
    space.apply(&secret("ada", PASSWORD, "password")).await;
    space.stands::<crd::Member>("ada", "Accepted").await;

    let mut tokens = BTreeSet::new();
    for _ in 0..3 {
        let (a, b) = tokio::join!(log_in(&one, email, PASSWORD), log_in(&two, email, PASSWORD));
        for reply in [a, b] {
            assert_eq!(reply.status, 200, "{reply:?}");
            tokens.insert(reply.json()["token"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(tokens.len(), 6);
    // A login returns its token when every replica has observed it.
    let token = log_in(&one, email, PASSWORD).await.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(two.validate(&token, None).await.status, 200);
    tokens.insert(token);
    // A write of the leader in between.
    space.merge::<crd::Member>("ada", json!({"spec": {"displayName": "Ada"}})).await;
    let ada = space.stands::<crd::Member>("ada", "Accepted").await;
    assert_eq!(ada.status.as_ref().unwrap().sessions.len(), 7);
    let owners: Vec<_> = ada
        .managed_fields()
        .iter()
        .filter(|it| serde_json::to_string(&it.fields_v1).unwrap().contains("f:sessions"))
        .map(|it| it.manager.clone().unwrap())
        .collect();
    assert_eq!(owners, ["anon-operator/sessions"]);
    for token in &tokens {
        for replica in [&one, &two] {
            eventually("the session is valid", async || {
                let reply = replica.validate(token, None).await;
                expect(reply.status == 200 && reply.json()["principal"] == "member", reply.status)
            })
            .await;
        }
    }

    // The same password, written again: nobody is logged out.
    let touched = json!({"metadata": {"annotations": {"touched": "yes"}}});
    space.merge::<k8s_openapi::api::core::v1::Secret>("ada", touched).await;
    space.merge::<crd::Member>("ada", json!({"spec": {"displayName": "Ada A."}})).await;
    space.stands::<crd::Member>("ada", "Accepted").await;
    for token in &tokens {
        assert_eq!(one.validate(token, None).await.status, 200);
    }

    // Another password in the Secret ends every session.
    space.apply(&secret("ada", "another horse", "password")).await;
    for token in &tokens {
        for replica in [&one, &two] {
            replica.gives(token, None, "401 session_unknown").await;
        }
    }
    eventually("the new password counts", async || {
        let reply = log_in(&one, email, "another horse").await;
        expect(reply.status == 200, reply.status)
    })
    .await;
    assert_eq!(log_in(&one, email, PASSWORD).await.status, 401);

    space.merge::<crd::Member>("ada", json!({"spec": {"suspended": true}})).await;
    eventually("the sessions have ended", async || {
        let ada: crd::Member = space.get("ada").await.unwrap();
        expect(ada.status.unwrap().sessions.is_empty(), "there are some")
    })
    .await;
    for token in &tokens {
        assert_eq!(one.validate(token, None).await.status, 401);
    }
    for operator in [&one, &two] {
        let log = std::fs::read_to_string(&operator.log).unwrap();
        for secret in tokens.iter().map(String::as_str).chain([email, "horse"]) {
            assert!(!log.contains(secret), "{secret} is in a log");
        }
    }
}
