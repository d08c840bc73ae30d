//! What is being deleted gives no rights, and what it denies it denies until it is gone.

use anon_operator::testing::crd::{Member, Revocation, SdkClient, UserPool};
use anon_operator::testing::domain::ids::{MemberId, OrganizationId};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PropagationPolicy};
use serde_json::{Value, json};

use crate::harness::caller::Caller;
use crate::harness::{Space, eventually, http, member, quick_pool, shared, wait::expect};

const HELD: &str = "example.com/mine";

/// An Admin with a RoleBinding, and with these finalizers, which she may set herself.
async fn eve(space: &Space, finalizers: &[&str]) {
    let mut eve = member("eve", "Admin", json!({"user": "eve@example.test"}));
    eve["metadata"]["finalizers"] = json!(finalizers);
    space.apply(&eve).await;
    space.stands::<Member>("eve", "Bound").await;
    assert!(space.get::<RoleBinding>("anon-member-eve-admin").await.is_some());
}

async fn has_no_rights(space: &Space) {
    eventually("she has no rights", async || {
        let binding = space.get::<RoleBinding>("anon-member-eve-admin").await;
        let subjects = binding.and_then(|binding| binding.subjects).unwrap_or_default();
        expect(subjects.is_empty(), format!("{subjects:?}"))
    })
    .await;
}

async fn path_of(space: &Space) -> String {
    let eve: Member = space.get("eve").await.unwrap();
    format!("/org/member/{}", eve.status.unwrap().id.unwrap())
}

/// Takes every finalizer away, so that the object goes.
async fn release(space: &Space, name: &str) {
    space.merge::<Member>(name, json!({"metadata": {"finalizers": null}})).await;
}

#[tokio::test]
async fn a_removed_admin_keeps_no_rights_by_the_finalizer_orphan() {
    let operator = shared().await;
    let space = Space::new("orphan").await;
    let ada = Caller::ada(&operator, &space).await;
    eve(&space, &["orphan"]).await;
    ada.ok("DELETE", &path_of(&space).await, json!({})).await;
    eventually("the Member is gone", async || {
        expect(space.get::<Member>("eve").await.is_none(), "it is there")
    })
    .await;
    has_no_rights(&space).await;
}

/// A deletion with `--cascade=orphan` leaves the RoleBinding behind, without an owner.
#[tokio::test]
async fn a_role_binding_without_a_member_is_removed() {
    let _operator = shared().await;
    let space = Space::new("cascade").await;
    eve(&space, &[]).await;
    let orphan = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    space.api::<Member>().delete("eve", &orphan).await.unwrap();
    has_no_rights(&space).await;
    eventually("the Member is gone", async || {
        expect(space.get::<Member>("eve").await.is_none(), "it is there")
    })
    .await;
    // One that was brought back, say from a backup of the namespace.
    let id = MemberId::derive(&space.name, "eve");
    let labels = anon_operator::testing::names::labels("member-role", &id);
    let binding = |name: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": name, "labels": labels},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "anon-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve@example.test"}],
        })
    };
    space.apply(&binding("anon-member-eve-admin")).await;
    has_no_rights(&space).await;
}

#[tokio::test]
async fn a_member_that_is_being_deleted_has_neither_rights_nor_sessions() {
    let operator = shared().await;
    let space = Space::new("held").await;
    let ada = Caller::ada(&operator, &space).await;
    eve(&space, &[HELD]).await;
    let path = path_of(&space).await;
    ada.ok("PATCH", &path, json!({"password": "another horse"})).await;
    let session = {
        let body = json!({
            "email": "eve@example.test", "password": "another horse",
            "organizationId": OrganizationId::derive(&space.name),
        });
        let url = operator.url("/org/login");
        let reply = http::post(&url, &[], &body).await.unwrap();
        reply.json()["token"].as_str().unwrap().to_owned()
    };
    operator.gives(&session, None, "200").await;

    ada.ok("DELETE", &path, json!({})).await;
    has_no_rights(&space).await;
    operator.gives(&session, None, "401 session_unknown").await;
    let held: Member = space.get("eve").await.unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    // She cannot bring them back, whatever she writes meanwhile.
    for change in [json!({"suspended": true}), json!({"suspended": false, "role": "Member"})] {
        space.merge::<Member>("eve", json!({"spec": change})).await;
        has_no_rights(&space).await;
    }
    operator.gives(&session, None, "401 session_unknown").await;
    release(&space, "eve").await;
}

/// A finalizer on the RoleBinding keeps it, and not its rights.
#[tokio::test]
async fn a_role_binding_that_is_held_gives_no_rights() {
    let _operator = shared().await;
    let space = Space::new("binding").await;
    eve(&space, &[]).await;
    let hold = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    space.merge::<RoleBinding>("anon-member-eve-admin", hold(json!([HELD]))).await;
    space.merge::<Member>("eve", json!({"spec": {"suspended": true}})).await;
    has_no_rights(&space).await;
    assert!(space.get::<RoleBinding>("anon-member-eve-admin").await.is_some());
    let api: Api<RoleBinding> = space.api();
    let release = Patch::Merge(hold(Value::Null));
    api.patch("anon-member-eve-admin", &PatchParams::default(), &release).await.unwrap();
}

#[tokio::test]
async fn what_is_being_deleted_is_not_used_and_a_revocation_is_enforced() {
    let operator = shared().await;
    let space = Space::new("going").await;
    space.apply(&quick_pool("users")).await;
    let (web, key) = space.web_and_backend().await;
    let mint = async |user: &str| {
        operator.minted(&key, &json!({"appUserId": user, "sdkClientId": web})).await
    };
    let (ada, bob) = (mint("ada").await, mint("bob").await);
    space
        .apply(&json!({
            "apiVersion": "anon.dev/v1beta1", "kind": "Revocation",
            "metadata": {"name": "leak", "finalizers": [HELD]},
            "spec": {"userPool": {"name": "users", "subjects": ["ada"]}},
        }))
        .await;
    space.ready::<Revocation>("leak").await;
    operator.gives(&ada, Some(&web), "401 user_revoked").await;
    space.api::<Revocation>().delete("leak", &DeleteParams::default()).await.unwrap();
    // A write that comes later has been seen by the replica: so has the deletion before it.
    space
        .apply(&json!({
            "apiVersion": "anon.dev/v1beta1", "kind": "Revocation", "metadata": {"name": "bob"},
            "spec": {"userPool": {"name": "users", "subjects": ["bob"]}},
        }))
        .await;
    operator.gives(&bob, Some(&web), "401 user_revoked").await;
    let held: Revocation = space.get("leak").await.unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    assert_eq!(operator.validate(&ada, Some(&web)).await.verdict(), "401 user_revoked");

    // Once it is gone, it was taken back.
    let release = json!({"metadata": {"finalizers": null}});
    space.merge::<Revocation>("leak", release.clone()).await;
    operator.gives(&ada, Some(&web), "200").await;

    let hold = json!({"metadata": {"finalizers": [HELD]}});
    space.merge::<SdkClient>("backend", hold.clone()).await;
    space.api::<SdkClient>().delete("backend", &DeleteParams::default()).await.unwrap();
    operator.gives(&key, None, "401 api_key_unknown").await;
    assert!(space.get::<Secret>("key").await.is_some(), "until it is gone");
    space.merge::<SdkClient>("backend", release.clone()).await;

    space.merge::<UserPool>("users", hold).await;
    space.api::<UserPool>().delete("users", &DeleteParams::default()).await.unwrap();
    operator.gives(&ada, Some(&web), "401 user_pool_not_found").await;
    assert!(space.signing_secret("users").await.is_some());
    space.merge::<UserPool>("users", release).await;
}
