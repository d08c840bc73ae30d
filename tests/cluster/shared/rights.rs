//! The permissions of each role, by impersonation: the chart's roles and policies on the real server.

use anon_operator::testing::crd::{Member, Revocation, SdkClient, UserPool};
use anon_operator::testing::domain::credential::ApiKey;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::harness::cluster::variable;
use crate::harness::kubectl::kubectl;
use crate::harness::{
    Space, cluster, eventually, member, organization, quick_pool, service, shared, webapp, with,
};

/// A user to whom `role` is bound in `space`, by the administrator.
async fn bound(space: &Space, name: &str, kind: &str, role: &str) -> Space {
    space.bind(name, kind, role).await;
    let user: Client = cluster::user(name).await;
    let user = space.with(user);
    // The authorizer learns of it by a watch.
    eventually("the role is bound", async || {
        let clients = user.api::<SdkClient>().list(&ListParams::default()).await.map(|_| ());
        // A user with the verb `revoke` alone sees no clients.
        let revocations = user.api::<Revocation>().list(&ListParams::default()).await.map(|_| ());
        clients.or(revocations)
    })
    .await;
    user
}

/// Why the server refused.
async fn refusal(space: &Space, manifest: &Value) -> String {
    match space.try_apply(manifest).await {
        Ok(_) => "accepted".to_owned(),
        Err(kube::Error::Api(status)) => format!("{} {}", status.code, status.message),
        Err(error) => panic!("{error}"),
    }
}

fn assert_refused(refusal: &str, text: &str) {
    assert!(refusal.starts_with("403 ") && refusal.contains(text), "{refusal}");
}

const STATUS: &str =
    "only the operator (system:serviceaccount:anon-system:anon-operator) may write the status";

/// An attempt to write a status as `user`; what kubectl said.
fn write_status(space: &Space, user: Option<&str>, kind: &str, name: &str) -> String {
    let patch = r#"{"status":{"observedGeneration":7}}"#;
    let mut arguments = vec!["patch", kind, name, "--namespace", &space.name];
    arguments.extend(["--subresource=status", "--type=merge", "--patch", patch]);
    arguments.extend(user.into_iter().flat_map(|user| ["--as", user]));
    let said = kubectl(&arguments);
    assert!(!said.success, "{said:?}");
    said.stderr
}

#[tokio::test]
async fn an_edit_user_makes_pools_and_clients_and_raises_no_role() {
    let _operator = shared().await;
    let space = Space::new("edit").await;
    let edit = bound(&space, "edith", "ClusterRole", "edit").await;
    edit.apply_all(&[
        quick_pool("users"),
        webapp("web", "users"),
        service("backend", "Member", "key"),
        service("reader", "ReadOnly", "reader"),
    ])
    .await;
    edit.ready::<UserPool>("users").await;
    edit.ready::<SdkClient>("backend").await;
    edit.merge::<SdkClient>("backend", json!({"spec": {"description": "mine"}})).await;

    // Members and the Organization are the Admins'.
    for manifest in
        [member("edith", "Admin", json!({"user": "edith"})), organization("default", json!({}))]
    {
        assert_refused(&refusal(&edit, &manifest).await, "cannot patch resource");
    }
    assert!(edit.api::<Member>().list(&ListParams::default()).await.is_err());
    // Nor is there another way to an Admin's key: neither delivered (the schema says no to
    // everybody) nor otherwise.
    let admin = service("admin", "Admin", "key-2");
    let delivered = edit.try_apply(&admin).await.unwrap_err().to_string();
    assert!(delivered.contains("never delivered into a Secret"), "{delivered}");
    let hash = |key: &ApiKey| json!({"id": key.hash().id(), "sha256": key.hash().to_string()});
    let [own, theirs] = [ApiKey::generate().unwrap(), ApiKey::generate().unwrap()];
    let by_hash = |keys: &[&ApiKey]| {
        let hashes: Vec<_> = keys.iter().map(|key| hash(key)).collect();
        with(admin.clone(), "/spec/service/apiKey", json!({"hashes": hashes}))
    };
    assert_refused(&refusal(&edit, &by_hash(&[&own])).await, "Admin");
    // Into a client that an Admin has made he can slip no key of his own.
    space.apply(&by_hash(&[&theirs])).await;
    assert_refused(&refusal(&edit, &by_hash(&[&theirs, &own])).await, "Admin");
    for (kind, name) in [("userpools", "users"), ("sdkclients", "backend")] {
        let said = write_status(&space, Some("edith"), kind, name);
        assert!(said.contains("cannot") && said.contains("status"), "{said}");
    }
    edit.delete::<SdkClient>("backend").await;
    edit.api::<UserPool>().delete("users", &DeleteParams::default()).await.unwrap();
}

/// A Revocation of `spec`.
fn revocation(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "anon.dev/v1beta1", "kind": "Revocation", "metadata": {"name": name}, "spec": spec,
    })
}

/// Whether creating the Revocation is allowed, and why not.
async fn revokes(space: &Space, name: &str, spec: &Value) -> String {
    match space.try_create(&revocation(name, spec.clone())).await {
        Ok(_) => "allowed".to_owned(),
        Err(kube::Error::Api(status)) => format!("{} {}", status.code, status.message),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn revoking_requires_rights_on_what_is_revoked() {
    let _operator = shared().await;
    let space = Space::new("revoking").await;
    space
        .apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "narrow"},
            "rules": [
                {"apiGroups": ["anon.dev"], "resources": ["revocations"], "verbs": ["get", "list", "create"]},
                {"apiGroups": ["anon.dev"], "resources": ["sdkclients"], "resourceNames": ["mine"],
                    "verbs": ["update"]},
            ],
        }))
        .await;
    let narrow = bound(&space, "nora-revokes", "Role", "narrow").await;
    let edit = bound(&space, "edith-revokes", "ClusterRole", "edit").await;
    let revoker = bound(&space, "rita-revokes", "ClusterRole", "anon-revoker").await;
    let admin = bound(&space, "ada-revokes", "ClusterRole", "anon-admin").await;
    let then = "2026-01-01T00:00:00Z";
    // Each case, and whether a user with rights on one client, an edit user, a revoker and an Admin may.
    let cases = [
        (
            json!({"sdkClient": {"name": "mine", "keysCreatedBefore": then}}),
            [true, true, true, true],
        ),
        (
            json!({"sdkClient": {"name": "other", "keysCreatedBefore": then}}),
            [false, true, true, true],
        ),
        (
            json!({"userPool": {"name": "users", "subjects": ["user-123"]}}),
            [false, true, true, true],
        ),
        (json!({"userPool": {"name": "users", "tokenIds": ["t-1"]}}), [false, true, true, true]),
        (
            json!({"userPool": {"name": "users", "tokensIssuedBefore": then}}),
            [false, true, true, true],
        ),
        (json!({"userPool": {"name": "users", "keyIds": ["k"]}}), [false, false, true, true]),
        (
            json!({"userPool": {"name": "users", "keysCreatedBefore": then}}),
            [false, false, true, true],
        ),
        (
            json!({"member": {"name": "ada", "sessionsCreatedBefore": then}}),
            [false, false, true, true],
        ),
    ];
    for (number, (spec, allowed)) in cases.iter().enumerate() {
        for (user, allowed) in [&narrow, &edit, &revoker, &admin].into_iter().zip(allowed) {
            let name = format!("r-{number}-{}", uuid::Uuid::new_v4().simple());
            let outcome = revokes(user, &name, spec).await;
            if *allowed {
                assert_eq!(outcome, "allowed", "{spec}");
            } else {
                assert!(
                    outcome.starts_with("403 ") && outcome.contains("requires permission"),
                    "{outcome}"
                );
            }
        }
    }
    // Nobody but an Admin can undo a Revocation.
    admin.try_create(&revocation("r", cases[0].0.clone())).await.unwrap();
    for user in [&narrow, &edit, &revoker] {
        assert!(user.api::<Revocation>().delete("r", &DeleteParams::default()).await.is_err());
    }
    admin.api::<Revocation>().delete("r", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn rights_on_clients_alone_give_no_member_role() {
    let _operator = shared().await;
    let space = Space::new("clients-only").await;
    space
        .apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "clients"},
            "rules": [{"apiGroups": ["anon.dev"], "resources": ["sdkclients"], "verbs": ["*"]}],
        }))
        .await;
    let clara = bound(&space, "clara", "Role", "clients").await;
    let who_may = "requires permission to create userpools in this namespace";
    assert_refused(&refusal(&clara, &service("b", "Member", "key")).await, who_may);
    assert_eq!(refusal(&clara, &service("b", "ReadOnly", "key")).await, "accepted");
    assert_eq!(refusal(&clara, &webapp("w", "users")).await, "accepted");
    // Nor by the way of an edit.
    assert_refused(&refusal(&clara, &service("b", "Member", "key")).await, who_may);
    // A change of metadata asks for nothing, even on a client above her.
    space.apply(&service("above", "Member", "key-2")).await;
    let labels = json!({"metadata": {"labels": {"team": "blue"}}});
    clara.merge::<SdkClient>("above", labels).await;
    let spec = json!({"spec": {"service": {"apiKey": {"delivery": {"secretName": "clara"}}}}});
    let error = clara.try_merge::<SdkClient>("above", &spec).await.unwrap_err().to_string();
    assert!(error.contains(who_may), "{error}");
    // `*` on the kind does not name its status.
    let said = write_status(&space, Some("clara"), "sdkclients", "above");
    assert!(said.contains("cannot"), "{said}");
}

#[tokio::test]
async fn nobody_but_the_operator_writes_status() {
    let _operator = shared().await;
    let space = Space::new("status").await;
    space
        .apply_all(&[
            organization("default", json!({})),
            member("ada", "Member", json!({"user": "ada"})),
            quick_pool("users"),
            service("backend", "Member", "key"),
            json!({"apiVersion": "anon.dev/v1beta1", "kind": "Revocation",
                "metadata": {"name": "leak"},
                "spec": {"sdkClient": {"name": "gone", "keyIds": ["0123456789abcdef"]}}}),
        ])
        .await;
    let before = space.ready::<SdkClient>("backend").await.status;
    for (kind, name) in [
        ("organizations", "default"),
        ("members", "ada"),
        ("userpools", "users"),
        ("sdkclients", "backend"),
        ("revocations", "leak"),
    ] {
        let said = write_status(&space, None, kind, name);
        assert!(said.contains(STATUS), "{said}");
    }
    assert_eq!(space.ready::<SdkClient>("backend").await.status, before);
    // A status that comes along with a new object is dropped.
    let forged = json!({"clientId": "00000000-0000-0000-0000-000000000000"});
    let forged = with(webapp("forged", "users"), "/status", forged);
    let made = space.try_create(&forged).await.unwrap();
    assert_eq!(made.data["status"]["clientId"], Value::Null);
}

/// What the Leases of validators say decides when a key is switched: nobody speaks for another.
#[tokio::test]
async fn a_validator_speaks_for_itself_only() {
    let _operator = shared().await;
    let home = Space::new("leases").await.operators();
    let pods: Vec<_> = variable("ANON_OPERATOR_PODS").split(':').map(str::to_owned).collect();
    let lease = |pod: &str| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": format!("anon-validator-{pod}"),
                "annotations": {"anon.dev/applied": r#"{"SdkClient":999999999999}"#}}})
    };
    let own_pod_only = "only the Pod that a validator's Lease is named after may write it";
    // An administrator.
    assert_refused(&refusal(&home, &lease(&pods[0])).await, own_pod_only);
    assert_refused(&refusal(&home, &lease("invented")).await, own_pod_only);
    // The operator's own account, in another Pod; and without any.
    let second = variable("ANON_OPERATOR_KUBECONFIGS").split(':').nth(1).unwrap().to_owned();
    let second = home.with(cluster::of_kubeconfig(&second).await);
    assert_refused(&refusal(&second, &lease(&pods[0])).await, own_pod_only);
    let account = home.with(cluster::user(&cluster::operator_user()).await);
    assert_refused(&refusal(&account, &lease(&pods[1])).await, own_pod_only);
    // Its own it may write, and give up; the leader's is nobody's in particular.
    let own = lease(&pods[1]);
    assert_eq!(refusal(&second, &own).await, "accepted");
    second.delete::<Lease>(own["metadata"]["name"].as_str().unwrap()).await;
}

#[tokio::test]
async fn a_member_has_the_rights_of_its_role() {
    let _operator = shared().await;
    let space = Space::new("roles").await;
    let roles = [("amy", "Admin"), ("max", "Member"), ("rob", "ReadOnly")];
    for (name, role) in roles {
        space.apply(&member(name, role, json!({"user": format!("{name}-{}", space.uid)}))).await;
        space.stands::<Member>(name, "Bound").await;
    }
    for (name, role) in roles {
        let user = space.with(cluster::user(&format!("{name}-{}", space.uid)).await);
        eventually("the role is bound", async || {
            user.api::<UserPool>().list(&ListParams::default()).await.map(|_| ())
        })
        .await;
        let builds = refusal(&user, &quick_pool(name)).await == "accepted";
        assert_eq!(builds, role != "ReadOnly", "{role}");
        let hires = member(&format!("{name}-friend"), "Admin", json!({"user": "friend"}));
        let hires = refusal(&user, &hires).await == "accepted";
        assert_eq!(hires, role == "Admin", "{role}");
        let secrets: Result<_, _> = user.api::<Secret>().list(&ListParams::default()).await;
        assert!(secrets.is_err(), "{role} reads no Secrets");
    }
    // And nowhere else.
    let elsewhere = Space::new("elsewhere").await;
    let amy = elsewhere.with(cluster::user(&format!("amy-{}", space.uid)).await);
    assert_refused(&refusal(&amy, &quick_pool("users")).await, "cannot patch resource");
}
