//! A namespace that is being deleted: what is revoked in it is never accepted again, in whatever order
//! its objects go.

use anon_operator::testing::crd::{Revocation, UserPool};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::harness::cluster::admin;
use crate::harness::operator::Setup;
use crate::harness::wait::expect;
use crate::harness::{Operator, Space, alone, eventually, quick_pool};

/// An organization with a token of a user who is revoked.
async fn organization(operator: &Operator, name: &str) -> (Space, String, String) {
    let space = Space::named(name).await;
    space.apply(&quick_pool("users")).await;
    let (web, key) = space.web_and_backend().await;
    let token = operator.minted(&key, &json!({"appUserId": "ada", "sdkClientId": web})).await;
    operator.gives(&token, Some(&web), "200").await;
    (space, web, token)
}

async fn revoke(operator: &Operator, space: &Space, web: &str, token: &str) {
    space
        .apply(&json!({
            "apiVersion": "anon.dev/v1beta1", "kind": "Revocation", "metadata": {"name": "leak"},
            "spec": {"userPool": {"name": "users", "subjects": ["ada"]}},
        }))
        .await;
    operator.gives(token, Some(web), "401 user_revoked").await;
}

fn name() -> String {
    format!("gone-{}", &uuid::Uuid::new_v4().simple().to_string()[..6])
}

/// Refuses to have the pools of a namespace deleted, as a third-party webhook may: the rest is deleted.
async fn keep_pools(namespace: &str) {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(admin().await);
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(admin().await);
    let metadata = json!({"name": namespace});
    let policy = json!({"metadata": metadata, "spec": {
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "resourceRules": [{"apiGroups": ["anon.dev"], "apiVersions": ["*"],
                "resources": ["userpools", "sdkclients"], "operations": ["DELETE"]}],
        },
        "validations": [{"expression": "false"}],
    }});
    let binding = json!({"metadata": metadata, "spec": {
        "policyName": namespace, "validationActions": ["Deny"],
    }});
    let policy = serde_json::from_value(policy).unwrap();
    policies.create(&PostParams::default(), &policy).await.unwrap();
    let binding = serde_json::from_value(binding).unwrap();
    bindings.create(&PostParams::default(), &binding).await.unwrap();
}

async fn let_pools_go(namespace: &str) {
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(admin().await);
    bindings.delete(namespace, &DeleteParams::default()).await.unwrap();
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(admin().await);
    policies.delete(namespace, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn the_deletion_of_a_namespace_never_unrevokes() {
    let _turn = alone().await;
    let operator = Operator::start(&[]).await;
    let name = name();
    let (space, web, token) = organization(&operator, &name).await;
    revoke(&operator, &space, &web, &token).await;
    keep_pools(&name).await;
    let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
    eventually("the pools are kept", async || {
        let kept = space.api::<UserPool>().delete("users", &dry).await;
        expect(kept.is_err(), "not yet")
    })
    .await;

    let namespaces: Api<Namespace> = Api::all(admin().await);
    namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
    let refused = async |operator: &Operator| {
        let verdict = operator.validate(&token, Some(&web)).await.verdict();
        assert_ne!(verdict, "200", "a revoked token is accepted");
    };
    eventually("the Revocation is gone", async || {
        refused(&operator).await;
        expect(space.get::<Revocation>("leak").await.is_none(), "it is there")
    })
    .await;
    assert!(space.get::<UserPool>("users").await.is_some());
    // For as long as that lasts, on a replica that has seen it and on one that has not.
    let flags = vec!["--roles=validator".to_owned()];
    let other = Operator::launch(Setup { replica: 1, flags, ..Setup::default() }).await;
    for _ in 0..50 {
        refused(&operator).await;
        refused(&other).await;
    }
    operator.gives(&token, Some(&web), "401 client_unknown").await;
    other.gives(&token, Some(&web), "401 client_unknown").await;

    let_pools_go(&name).await;
    eventually("the namespace is gone", async || {
        refused(&operator).await;
        refused(&other).await;
        expect(namespaces.get_opt(&name).await.unwrap().is_none(), "it is there")
    })
    .await;
    // Another one of the name is used like any other.
    let (_, _, fresh) = organization(&operator, &name).await;
    other.gives(&fresh, Some(&web), "200").await;
    refused(&operator).await;
}

/// Without anything that comes in the way: whatever the order is, each time.
#[tokio::test]
async fn a_revoked_token_is_refused_at_every_moment_of_a_deletion() {
    let _turn = alone().await;
    let operator = Operator::start(&[]).await;
    let namespaces: Api<Namespace> = Api::all(admin().await);
    for _ in 0..4 {
        let name = name();
        let (space, web, token) = organization(&operator, &name).await;
        revoke(&operator, &space, &web, &token).await;
        namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
        loop {
            let verdict = operator.validate(&token, Some(&web)).await.verdict();
            assert_ne!(verdict, "200", "a revoked token is accepted");
            if verdict == "401 client_unknown" && namespaces.get_opt(&name).await.unwrap().is_none()
            {
                break;
            }
        }
    }
}
