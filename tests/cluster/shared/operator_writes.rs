//! The limits of the operator's own account: RBAC has to give it Secrets, ConfigMaps and RoleBindings
//! in the whole cluster, so policies of the chart keep it from making itself cluster administrator.

use anon_operator::testing::crd::{Member, UserPool};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Resource, ResourceExt as _};
use serde_json::{Value, json};

use super::chart;
use crate::harness::cluster::{self, operator_user, variable};
use crate::harness::kubectl::kubectl_with;
use crate::harness::space::Kind;
use crate::harness::wait::expect;
use crate::harness::{Space, eventually, member, quick_pool, shared, with};

const LABELS: &str = "/metadata/labels";

/// The same namespace, as the operator's account.
async fn as_operator(space: &Space) -> Space {
    space.with(cluster::user(&operator_user()).await)
}

fn existing_namespace(space: &Space, name: &str) -> Space {
    Space { client: space.client.clone(), name: name.to_owned(), uid: String::new() }
}

fn labels(component: &str) -> Value {
    json!({
        "app.kubernetes.io/managed-by": "anon-operator",
        "anon.dev/component": component,
        "anon.dev/id": uuid::Uuid::new_v4().to_string(),
    })
}

fn secret(name: &str, labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": name, "labels": labels}, "stringData": {"entry": "value"}})
}

fn config_map(name: &str, labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels}, "data": {"jwks.json": "{}"}})
}

fn role_binding(name: &str, role: &str, subjects: &Value) -> Value {
    let rbac = "rbac.authorization.k8s.io";
    json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding",
        "metadata": {"name": name, "labels": labels("member-role")},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role}, "subjects": subjects})
}

fn user(name: &str) -> Value {
    json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}])
}

/// The message of a 403, or "accepted".
fn refusal<T>(result: kube::Result<T>) -> String {
    match result {
        Ok(_) => "accepted".to_owned(),
        Err(kube::Error::Api(status)) if status.code == 403 => status.message.clone(),
        Err(error) => panic!("{error}"),
    }
}

fn assert_refused<T>(result: kube::Result<T>, reason: &str) {
    let refusal = refusal(result);
    assert!(refusal.contains(reason), "{refusal}");
}

/// Replaces (PUT) what is there with itself, changed.
async fn update<K>(space: &Space, name: &str, change: impl Fn(&mut Value)) -> kube::Result<K>
where
    K: Kind + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let mut object = serde_json::to_value(space.get::<K>(name).await.unwrap()).unwrap();
    change(&mut object);
    let object: K = serde_json::from_value(object).unwrap();
    space.api::<K>().replace(name, &PostParams::default(), &object).await
}

async fn delete<K: Kind>(space: &Space, name: &str) -> kube::Result<()> {
    space.api::<K>().delete(name, &DeleteParams::default()).await.map(drop)
}

/// Makes the object the operator's own by its labels, as an attacker would.
fn label(component: &str) -> impl Fn(&mut Value) {
    let labels = labels(component);
    move |object| object["metadata"]["labels"] = labels.clone()
}

/// Kubernetes fills a Secret of this type in with a token for the ServiceAccount that it names.
#[tokio::test]
async fn operator_account_creates_no_service_account_token() {
    let _operator = shared().await;
    let space = Space::new("token").await;
    let kube_system = as_operator(&existing_namespace(&space, "kube-system")).await;
    // This account may escalate: it can give anybody every right.
    let account = json!({
        "kubernetes.io/service-account.name": "clusterrole-aggregation-controller",
    });
    let name = format!("anon-{}", space.uid);
    let token = with(secret(&name, &labels("api-key")), "/metadata/annotations", account);
    for type_ in [
        "kubernetes.io/service-account-token",
        "bootstrap.kubernetes.io/token",
        "helm.sh/release.v1",
    ] {
        let attempt = with(token.clone(), "/type", json!(type_));
        assert_refused(kube_system.try_create(&attempt).await, "only Secrets of type Opaque");
    }
}

#[tokio::test]
async fn operator_account_writes_no_secret_of_others() {
    let _operator = shared().await;
    let space = Space::new("secrets").await;
    let operator = as_operator(&space).await;
    for other in [json!({}), json!({"app.kubernetes.io/managed-by": "anon-operator"})] {
        let attempt = operator.try_create(&secret("theirs", &other)).await;
        assert_refused(attempt, "only Secrets with its labels");
    }

    // Theirs, and not to be adopted; also one that only agrees to be read.
    let consent = json!({"anon.dev/use": "password"});
    for (name, labels) in [("theirs", json!({"team": "blue"})), ("read", consent)] {
        space.apply(&secret(name, &labels)).await;
        let not_its_own = "only Secrets that it created";
        let attempt = update::<Secret>(&operator, name, label("api-key")).await;
        assert_refused(attempt, not_its_own);
        assert_refused(delete::<Secret>(&operator, name).await, not_its_own);
    }
    // A type cannot be changed, so a Secret of another type with the labels is not the operator's.
    let typed = with(secret("typed", &labels("api-key")), "/type", json!("example.com/x"));
    space.apply(&typed).await;
    assert_refused(delete::<Secret>(&operator, "typed").await, "only Secrets of type Opaque");

    // It creates, changes and deletes its own, even if labels were removed meanwhile.
    for (name, left) in [
        ("complete", labels("api-key")),
        ("component", json!({"anon.dev/component": "api-key"})),
        ("id", json!({"anon.dev/id": "x"})),
        ("managed-by", json!({"app.kubernetes.io/managed-by": "anon-operator"})),
        ("recorded", json!({})),
        ("key", json!({})),
    ] {
        operator.try_create(&secret(name, &labels("api-key"))).await.unwrap();
        let mut stripped = json!({"metadata": {"labels": null}});
        space.merge::<Secret>(name, stripped.clone()).await;
        stripped["metadata"]["labels"] = left;
        match name {
            "recorded" => stripped["metadata"]["annotations"] = json!({"anon.dev/keys": "[]"}),
            "key" => stripped["stringData"] = json!({"entry": "ory_apikey_0"}),
            _ => {}
        }
        space.merge::<Secret>(name, stripped).await;
        update::<Secret>(&operator, name, label("api-key")).await.unwrap();
        delete::<Secret>(&operator, name).await.unwrap();
    }
    let (home, name) = (space.operators(), format!("{}.users.signing-keys", space.uid));
    home.apply(&secret(&name, &json!({}))).await;
    let operator = as_operator(&home).await;
    update::<Secret>(&operator, &name, label("signing-keys")).await.unwrap();
    delete::<Secret>(&operator, &name).await.unwrap();
}

/// Some of these decide who is who in the cluster.
#[tokio::test]
async fn operator_account_writes_no_config_map_of_others() {
    let _operator = shared().await;
    let space = Space::new("maps").await;
    let operator = as_operator(&space).await;
    let named = "only ConfigMaps named `<pool>-jwks`";
    let kube_system = as_operator(&existing_namespace(&space, "kube-system")).await;
    for name in ["aws-auth", "coredns", "extension-apiserver-authentication"] {
        assert_refused(kube_system.try_apply(&config_map(name, &labels("jwks"))).await, named);
    }
    let name = "kube-root-ca.crt";
    eventually("there is a root CA", async || space.get::<ConfigMap>(name).await.ok_or("not yet"))
        .await;
    assert_refused(operator.try_apply(&config_map(name, &labels("jwks"))).await, named);
    assert_refused(delete::<ConfigMap>(&operator, name).await, named);
    let unlabelled = operator.try_create(&config_map("users-jwks", &json!({}))).await;
    assert_refused(unlabelled, "only ConfigMaps with its labels");

    space.apply(&config_map("theirs-jwks", &json!({}))).await;
    let not_its_own = "only ConfigMaps that it created";
    let adopted = operator.try_apply(&config_map("theirs-jwks", &labels("jwks"))).await;
    assert_refused(adopted, not_its_own);
    assert_refused(delete::<ConfigMap>(&operator, "theirs-jwks").await, not_its_own);

    let own = config_map("users-jwks", &labels("jwks"));
    operator.try_create(&own).await.unwrap();
    operator.try_apply(&with(own.clone(), "/data/more", json!("x"))).await.unwrap();
    delete::<ConfigMap>(&operator, "users-jwks").await.unwrap();
    // By its owner, where labels were removed.
    let owner = json!([{"apiVersion": "anon.dev/v1beta1", "kind": "UserPool", "name": "users",
        "uid": uuid::Uuid::new_v4(), "controller": true}]);
    let owned = with(config_map("users-jwks", &json!({})), "/metadata/ownerReferences", owner);
    space.apply(&owned).await;
    operator.try_apply(&own).await.unwrap();
    // The garbage collector may be faster, since there is no such owner.
    let _ = delete::<ConfigMap>(&operator, "users-jwks").await;
}

#[tokio::test]
async fn operator_account_binds_members_to_its_roles_only() {
    let _operator = shared().await;
    let space = Space::new("bindings").await;
    let operator = as_operator(&space).await;
    // These are not the operator's by RBAC, which a policy does not replace.
    for role in ["cluster-admin", "admin", "edit", "anon-revoker"] {
        let attempt = role_binding("anon-member-x-admin", role, &user("eve"));
        assert_refused(operator.try_create(&attempt).await, "");
        assert!(space.get::<RoleBinding>("anon-member-x-admin").await.is_none());
    }
    let account = |namespace: &str| json!([{"kind": "ServiceAccount", "name": "default", "namespace": namespace}]);
    let group = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "all"}]);
    let two = json!([user("eve")[0], user("ada")[0]]);
    let one_member = "only one user, or one ServiceAccount of the same namespace";
    let name = "anon-member-x-admin";
    for subjects in [group, two, user("system:anonymous"), account("kube-system")] {
        let attempt = operator.try_create(&role_binding(name, "anon-admin", &subjects)).await;
        assert_refused(attempt, one_member);
    }
    let attempt = operator.try_create(&role_binding("x", "anon-admin", &user("eve"))).await;
    assert_refused(attempt, "only RoleBindings named `anon-member-…`");
    let unlabelled = with(role_binding(name, "anon-admin", &user("eve")), LABELS, json!({}));
    let attempt = operator.try_create(&unlabelled).await;
    assert_refused(attempt, "only RoleBindings with its labels");

    space.apply(&unlabelled).await;
    let not_its_own = "only RoleBindings that it created";
    let adopted = operator.try_apply(&role_binding(name, "anon-admin", &user("ada"))).await;
    assert_refused(adopted, not_its_own);
    assert_refused(delete::<RoleBinding>(&operator, name).await, not_its_own);
    space.delete::<RoleBinding>(name).await;

    for subjects in [user("ada"), account(&space.name)] {
        operator.try_create(&role_binding(name, "anon-admin", &subjects)).await.unwrap();
        let changed = role_binding(name, "anon-admin", &user("eve"));
        operator.try_apply(&changed).await.unwrap();
        operator.merge::<RoleBinding>(name, json!({"subjects": null})).await;
        delete::<RoleBinding>(&operator, name).await.unwrap();
    }
    // A member loses every binding with its labels, whatever it grants.
    for (name, role) in [("x", "anon-admin"), ("anon-member-y-admin", "view")] {
        space.apply(&role_binding(name, role, &user("eve"))).await;
        delete::<RoleBinding>(&operator, name).await.unwrap();
    }
}

/// The policies hold whatever RBAC gives, and for each object of a collection.
#[tokio::test]
async fn operator_account_deletes_no_collection_of_others() {
    let _operator = shared().await;
    let space = Space::new("collection").await;
    let rbac = "rbac.authorization.k8s.io";
    let operator = as_operator(&space).await;
    space
        .apply_all(&[
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": {"name": "all"},
                "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]}]}),
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding",
                "metadata": {"name": "all"},
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "all"},
                "subjects": user(&operator_user())}),
            secret("theirs", &json!({"team": "blue"})),
            secret("own", &labels("api-key")),
        ])
        .await;
    let all = ListParams::default();
    eventually("the right is known", async || {
        let refusal = match operator
            .api::<Secret>()
            .delete_collection(&DeleteParams::default(), &all)
            .await
        {
            Ok(_) => "accepted".to_owned(),
            Err(error) => error.to_string(),
        };
        expect(!refusal.contains("cannot deletecollection"), refusal)
    })
    .await;
    let left = space.api::<Secret>().list(&all).await.unwrap();
    assert!(left.iter().any(|secret| secret.name_any() == "theirs"));
}

/// The API has an account of its own where its replicas are split off: it writes sessions, and no
/// other status. Simulated by a second set of policies for one namespace, in which the operator's
/// account is that of the API.
#[tokio::test]
async fn api_account_writes_only_sessions_of_members() {
    let _operator = shared().await;
    let space = Space::new("api-account").await;
    let api = as_operator(&space).await;
    space.apply_all(&[member("ada", "Member", json!({"user": "ada"})), quick_pool("users")]).await;
    space.ready::<Member>("ada").await;
    space.ready::<UserPool>("users").await;

    let account = variable("ANON_OPERATOR_ACCOUNT");
    let (home, account) = account.split_once(':').unwrap();
    let name = format!("api-{}", space.uid);
    let set = format!("fullnameOverride={},api.serviceAccount.name={account}", &name[..30]);
    for mut object in chart::objects_in(home, &set) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if !name.ends_with("-status") {
            continue;
        }
        if object["kind"] == "ValidatingAdmissionPolicyBinding" {
            let here = json!({"matchLabels": {"kubernetes.io/metadata.name": space.name}});
            object["spec"]["matchResources"] = json!({"namespaceSelector": here});
        }
        let said = kubectl_with(&["apply", "-f", "-"], &object.to_string());
        assert!(said.success, "{said:?}");
    }
    let sessions = json!([{"id": "0123456789abcdef", "sha256": "0".repeat(64),
        "createdAt": "2026-01-01T00:00:00Z", "expiresAt": "2026-01-02T00:00:00Z"}]);
    let patch = async |kind: &str, name: &str, status: Value| {
        let path = format!("/apis/anon.dev/v1beta1/namespaces/{}/{kind}/{name}/status", space.name);
        let body = serde_json::to_vec(&json!({"status": status})).unwrap();
        let request =
            http::Request::patch(path).header("content-type", "application/merge-patch+json");
        api.client.request::<Value>(request.body(body).unwrap()).await
    };
    let only_sessions = "may write only status.sessions of members";
    eventually("the policy is in force", async || {
        // Another one each time: what is there already is no change.
        let id = uuid::Uuid::new_v4();
        let refusal = refusal(patch("members", "ada", json!({"id": id})).await);
        expect(refusal.contains(only_sessions), refusal)
    })
    .await;
    for status in [
        json!({"sessions": sessions, "observedGeneration": 7}),
        json!({"sessions": sessions, "conditions": null}),
        json!({"sessions": sessions, "id": null}),
        Value::Null,
    ] {
        assert_refused(patch("members", "ada", status).await, only_sessions);
    }
    for sessions in [sessions, json!([]), Value::Null] {
        patch("members", "ada", json!({"sessions": sessions})).await.unwrap();
    }
    let attempt = patch("userpools", "users", json!({"keys": []})).await;
    assert_refused(attempt, "may write the status of anon.dev objects");
}
