//! What follows from pools and members: repaired when it is ours, left alone when it is not.

use anon_operator::testing::crd::{Member, UserPool};
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota, Secret};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, ListParams};
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use crate::harness::operator::operator_patches_status;
use crate::harness::{Space, eventually, member, quick_pool, shared};

#[tokio::test]
async fn a_config_map_is_repaired() {
    let _operator = shared().await;
    let space = Space::new("configmap").await;
    space.apply(&quick_pool("users")).await;
    space.ready::<UserPool>("users").await;
    let made: ConfigMap = space.get("users-jwks").await.unwrap();
    let repaired = async |what: &str| {
        eventually(what, async || {
            let map = space.get::<ConfigMap>("users-jwks").await.ok_or("there is none")?;
            let same = map.data == made.data && map.metadata.labels == made.metadata.labels;
            if same { Ok(()) } else { Err("it differs") }
        })
        .await;
    };
    space.merge::<ConfigMap>("users-jwks", json!({"data": {"jwks.json": "{}"}})).await;
    repaired("edited data").await;
    space.merge::<ConfigMap>("users-jwks", json!({"metadata": {"labels": null}})).await;
    repaired("removed labels").await;
    let orphaned = json!({"metadata": {"ownerReferences": null}, "data": {"jwks.json": "{}"}});
    space.merge::<ConfigMap>("users-jwks", orphaned).await;
    repaired("removed owner").await;
    space.api::<ConfigMap>().delete("users-jwks", &DeleteParams::default()).await.unwrap();
    repaired("deleted").await;
}

/// `edit` may make a ConfigMap of its namespace immutable. That must not keep a key in service.
#[tokio::test]
async fn a_config_map_that_was_made_immutable_is_made_again() {
    let _operator = shared().await;
    let space = Space::new("immutable").await;
    space.apply(&quick_pool("users")).await;
    space.ready::<UserPool>("users").await;
    let frozen = json!({"immutable": true, "data": {"jwks.json": "{}"}});
    space.merge::<ConfigMap>("users-jwks", frozen).await;
    eventually("it is re-created", async || {
        let map = space.get::<ConfigMap>("users-jwks").await.ok_or("there is none")?;
        let keys = map.data.unwrap_or_default()["jwks.json"].contains("\"kid\"");
        if keys && map.immutable != Some(true) { Ok(()) } else { Err("it is frozen") }
    })
    .await;
    space.ready::<UserPool>("users").await;
}

/// Nor may a policy of the cluster that refuses ConfigMaps, or a quota.
#[tokio::test]
async fn keys_are_published_where_no_config_map_may_be() {
    let _operator = shared().await;
    let space = Space::new("quota").await;
    let quota = space.refuse("ConfigMap").await;
    space.apply(&quick_pool("users")).await;
    let pool: UserPool = space.stands("users", "Refused").await;
    let status = pool.status.unwrap();
    assert_eq!(status.keys.len(), 1, "the keys are served all the same");
    let message = &status.conditions[0].message;
    assert!(message.contains("keys are in use") && message.contains("exceeded quota"), "{message}");
    space.delete::<ResourceQuota>(&quota).await;
    // Re-checked without an event.
    space.ready::<UserPool>("users").await;
    assert!(space.get::<ConfigMap>("users-jwks").await.is_some());
}

#[tokio::test]
async fn foreign_children_are_never_touched_and_are_said() {
    let _operator = shared().await;
    let space = Space::new("theirs").await;
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "users-jwks"},
        "data": {"jwks.json": "theirs"}
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "anon-member-ada-member"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    });
    space.apply_all(&[map, binding]).await;
    let map: ConfigMap = space.get("users-jwks").await.unwrap();
    let binding: RoleBinding = space.get("anon-member-ada-member").await.unwrap();
    space.apply_all(&[quick_pool("users"), member("ada", "Member", json!({"user": "ada"}))]).await;

    let pool: UserPool = space.stands("users", "ChildConflict").await;
    let status = pool.status.unwrap();
    assert_eq!(status.keys.len(), 1, "the keys are served all the same");
    assert!(status.conditions[0].message.contains("`users-jwks`"));
    let ada: Member = space.stands("ada", "ChildConflict").await;
    let message = &ada.status.unwrap().conditions[0].message;
    assert!(message.contains("`anon-member-ada-member`"), "{message}");
    assert_eq!(space.get::<ConfigMap>("users-jwks").await.unwrap(), map);
    assert_eq!(space.get::<RoleBinding>("anon-member-ada-member").await.unwrap(), binding);
}

#[tokio::test]
async fn a_pool_keeps_its_key_when_status_or_labels_are_lost() {
    let _operator = shared().await;
    let space = Space::new("signing").await;
    space.apply(&quick_pool("users")).await;
    let before = space.ready::<UserPool>("users").await.status.unwrap();
    operator_patches_status(&space, "userpools", "users", &json!({"status": null}));
    let after = space.ready::<UserPool>("users").await.status.unwrap();
    assert_eq!(after.keys, before.keys);

    let secret = space.signing_secret("users").await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    let labels = json!({"anon.dev/component": null, "anon.dev/id": null});
    let home = space.operators();
    home.merge::<Secret>(&secret.name_any(), json!({"metadata": {"labels": labels}})).await;
    eventually("the signing Secret is repaired", async || {
        let now = space.signing_secret("users").await.ok_or("there is none")?;
        if now.metadata.labels == secret.metadata.labels { Ok(()) } else { Err("it differs") }
    })
    .await;
    assert_eq!(space.signing_secret("users").await.unwrap().data, secret.data);

    // The only copy of a key is never overwritten, whatever it looks like: it is
    // reported.
    home.merge::<Secret>(&secret.name_any(), json!({"stringData": {"keyset.json": "{}"}})).await;
    let pool: UserPool = space.stands("users", "SigningKeysUnreadable").await;
    assert_eq!(pool.status.unwrap().keys, before.keys, "what was published still verifies");
    let original = serde_json::to_value(&secret.data).unwrap();
    home.merge::<Secret>(&secret.name_any(), json!({"data": original})).await;
    let restored = space.ready::<UserPool>("users").await.status.unwrap();
    assert_eq!(restored.keys, before.keys);
}

/// Anyone who may change a RoleBinding but not create one must not retain a role by removing its
/// owner.
#[tokio::test]
async fn a_demotion_takes_a_binding_without_its_owner_too() {
    let _operator = shared().await;
    let space = Space::new("orphaned").await;
    space.apply(&member("bob", "Admin", json!({"user": "bob"}))).await;
    space.ready::<Member>("bob").await;
    let orphaned = json!({"metadata": {"ownerReferences": null}});
    space.merge::<RoleBinding>("anon-member-bob-admin", orphaned.clone()).await;
    eventually("it has its owner back", async || {
        let binding = space.get::<RoleBinding>("anon-member-bob-admin").await.unwrap();
        if binding.metadata.owner_references.is_some() { Ok(()) } else { Err("it has none") }
    })
    .await;
    // With another owner, which exists, it is not the operator's; but the role is removed.
    space.apply(&quick_pool("theirs")).await;
    let owner = space.get::<UserPool>("theirs").await.unwrap().controller_owner_ref(&());
    let theirs = json!({"metadata": {"ownerReferences": [owner]}});
    space.merge::<RoleBinding>("anon-member-bob-admin", theirs).await;
    space.stands::<Member>("bob", "ChildConflict").await;
    space.apply(&member("bob", "ReadOnly", json!({"user": "bob"}))).await;
    space.ready::<Member>("bob").await;
    assert_eq!(bindings(&space).await, [("anon-readonly".to_owned(), "User bob".to_owned())]);
}

/// The RoleBindings that the operator made here: role and subject.
async fn bindings(space: &Space) -> Vec<(String, String)> {
    let ours = ListParams::default().labels("anon.dev/component=member-role");
    let list = space.api::<RoleBinding>().list(&ours).await.unwrap();
    let mut found: Vec<_> = list
        .into_iter()
        .map(|it| {
            let subject: Value = serde_json::to_value(&it.subjects.unwrap()[0]).unwrap();
            (
                it.role_ref.name,
                format!(
                    "{} {}",
                    subject["kind"].as_str().unwrap(),
                    subject["name"].as_str().unwrap()
                ),
            )
        })
        .collect();
    found.sort();
    found
}

async fn become_(space: &Space, wanted: &[(&str, &str)]) {
    eventually(&format!("the RoleBindings are {wanted:?}"), async || {
        let now = bindings(space).await;
        let same = now.iter().map(|(role, who)| (&**role, &**who)).eq(wanted.iter().copied());
        if same { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_members_rights_follow_the_member() {
    let _operator = shared().await;
    let space = Space::new("member").await;
    let user = || json!({"user": "ada@example.test"});
    space.apply(&member("ada", "Member", user())).await;
    become_(&space, &[("anon-member", "User ada@example.test")]).await;

    // A role is swapped, never added.
    space.apply(&member("ada", "ReadOnly", user())).await;
    become_(&space, &[("anon-readonly", "User ada@example.test")]).await;
    space.apply(&member("ada", "Admin", user())).await;
    become_(&space, &[("anon-admin", "User ada@example.test")]).await;

    // Repaired: edited and deleted.
    let nobody = json!({"subjects": [{"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}]});
    space.merge::<RoleBinding>("anon-member-ada-admin", nobody).await;
    become_(&space, &[("anon-admin", "User ada@example.test")]).await;
    space
        .api::<RoleBinding>()
        .delete("anon-member-ada-admin", &DeleteParams::default())
        .await
        .unwrap();
    become_(&space, &[("anon-admin", "User ada@example.test")]).await;

    // Another identity, suspension, and the end.
    space.apply(&member("ada", "Admin", json!({"serviceAccount": {"name": "ci"}}))).await;
    become_(&space, &[("anon-admin", "ServiceAccount ci")]).await;
    space.merge::<Member>("ada", json!({"spec": {"suspended": true}})).await;
    become_(&space, &[]).await;
    space.stands::<Member>("ada", "Suspended").await;
    space.merge::<Member>("ada", json!({"spec": {"suspended": false}})).await;
    become_(&space, &[("anon-admin", "ServiceAccount ci")]).await;
    space.delete::<Member>("ada").await;
    become_(&space, &[]).await;
}
