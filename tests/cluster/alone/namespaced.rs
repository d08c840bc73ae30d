//! The whole chart, installed for two namespaces: each role runs under its own account, with the
//! Roles that the chart renders and no ClusterRole, and sees nothing else.

use std::collections::HashMap;
use std::time::Duration;

use anon_operator::testing::crd::{Revocation, SdkClient, UserPool};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::harness::cluster::{enforced, kubeconfig};
use crate::harness::kubectl::{kubectl, kubectl_with};
use crate::harness::operator::Setup;
use crate::harness::{Operator, Space, alone, eventually, quick_pool, service, webapp};
use crate::shared::chart;

/// The label by which a namespace is excluded from the policies of the release that is installed
/// already: they would deny every status that another operator writes.
const OTHER: &str = "anon-test/other-release";

/// The release under test, in a namespace of its own.
struct Release {
    home: Space,
    /// The flags of each role's Deployment that are about the namespaces.
    flags: HashMap<String, Vec<String>>,
}

impl Release {
    async fn install(watched: &[&Space]) -> Self {
        let home = Space::new("home").await;
        let names: Vec<_> = watched.iter().map(|space| space.name.as_str()).collect();
        for name in &names {
            let said = kubectl(&["label", "namespace", name, &format!("{OTHER}=true")]);
            assert!(said.success, "{said:?}");
        }
        let elsewhere = json!({"spec": {"matchResources": {"namespaceSelector": {
            "matchExpressions": [{"key": OTHER, "operator": "DoesNotExist"}]}}}});
        let binding = "validatingadmissionpolicybinding/anon-operator-status";
        let said = kubectl(&["patch", binding, "--type=merge", "--patch", &elsewhere.to_string()]);
        assert!(said.success, "{said:?}");
        let set = format!(
            "fullnameOverride={},watchNamespaces={{{}}},crds.install=false,userRoles.install=false",
            home.name,
            names.join(",")
        );
        let mut flags = HashMap::new();
        let rendered = chart::objects_in(&home.name, &set);
        for object in &rendered {
            assert_ne!(object["kind"], "ClusterRole");
            assert_ne!(object["kind"], "ClusterRoleBinding");
            let said = kubectl_with(&["apply", "-f", "-"], &object.to_string());
            assert!(said.success, "{said:?}");
            let args = &object["spec"]["template"]["spec"]["containers"][0]["args"];
            let args = args.as_array().into_iter().flatten().filter_map(Value::as_str);
            let about_namespaces = args
                .filter(|it| it.starts_with("--roles=") || it.starts_with("--watch-namespace="));
            let name = object["metadata"]["name"].as_str().unwrap();
            if object["kind"] == "Deployment" {
                let role = name.strip_prefix(&format!("{}-", home.name)).unwrap();
                flags.insert(role.to_owned(), about_namespaces.map(str::to_owned).collect());
            }
        }
        Self { home, flags }
    }

    /// A process in the place of a Pod of this role's Deployment.
    async fn launch(&self, role: &str) -> Operator {
        let home = &self.home.name;
        let account = format!("{home}-{role}");
        let selector = format!("app.kubernetes.io/component={role}");
        let pod = eventually("the Deployment has a Pod", async || {
            let pods = self.home.api::<Pod>().list(&ListParams::default().labels(&selector)).await;
            pods.unwrap().items.pop().map(|pod| pod.name_any()).ok_or("none")
        })
        .await;
        let bound = format!("--bound-object-name={pod}");
        let arguments =
            ["create", "token", &account, "-n", home, "--bound-object-kind=Pod", &bound];
        let token = kubectl(&arguments);
        assert!(token.success, "{token:?}");
        let kubeconfig = Some(kubeconfig(&account, token.stdout.trim()));
        let mut flags = self.flags[role].clone();
        flags.extend([format!("--namespace={home}"), format!("--identity={pod}")]);
        Operator::launch(Setup { flags, kubeconfig, ..Setup::default() }).await
    }
}

/// A client with an API key, and an organization that can mint.
async fn organization(space: &Space) {
    let manifests =
        [quick_pool("users"), webapp("web", "users"), service("backend", "Member", "key")];
    space.apply_all(&manifests).await;
}

#[tokio::test]
async fn namespaced_operator_needs_no_cluster_role_and_propagates() {
    let _turn = alone().await;
    let (acme, globex) = (Space::new("acme").await, Space::new("globex").await);
    let unwatched = Space::new("unwatched").await;
    for space in [&acme, &globex, &unwatched] {
        organization(space).await;
    }
    let release = Release::install(&[&acme, &globex]).await;
    let _controller = release.launch("controller").await;
    let (api, validator) = (release.launch("api").await, release.launch("validator").await);

    // Both replicas that authenticate know the keys and tokens of both namespaces.
    let mut keys = Vec::new();
    for space in [&acme, &globex] {
        space.ready::<UserPool>("users").await;
        space.ready::<SdkClient>("backend").await;
        let web = space.ready::<SdkClient>("web").await.status.unwrap().client_id.unwrap();
        let key = space.api_key("key").await;
        let token = api.minted(&key, &json!({"appUserId": "ada", "sdkClientId": web})).await;
        for replica in [&api, &validator] {
            replica.gives(&key, None, "200").await;
            replica.gives(&token, Some(&web), "200").await;
        }
        keys.push(key);
    }

    // A rotation waits for both of them, and for no bookmark of the other namespace: those come
    // every minute.
    let started = std::time::Instant::now();
    let rotate = json!({"metadata": {"annotations": {"anon.dev/rotate": "1"}}});
    globex.merge::<SdkClient>("backend", rotate).await;
    let rotated = eventually("the key is rotated", async || {
        let key = globex.api_key("key").await;
        if key == keys[1] { Err("not yet") } else { Ok(key) }
    })
    .await;
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    for replica in [&api, &validator] {
        replica.gives(&rotated, None, "200").await;
    }

    // A Revocation is enforced by both. The controller then replaces the key, and the old one is unknown.
    let key_id = &acme.get::<SdkClient>("backend").await.unwrap().status.unwrap().keys[0].id;
    let revocation = json!({"apiVersion": "anon.dev/v1beta1", "kind": "Revocation",
        "metadata": {"name": "leaked"}, "spec": {"sdkClient": {"name": "backend", "keyIds": [key_id]}}});
    acme.apply(&revocation).await;
    let leaked = acme.ready::<Revocation>("leaked").await;
    let message = serde_json::to_string(&leaked.status).unwrap();
    assert!(message.contains(&enforced(2).await), "{message}");
    for replica in [&api, &validator] {
        replica.gives(&keys[0], None, "401 api_key_unknown").await;
    }

    // The other namespace is as it was applied: status has nothing but what the schema sets.
    let web: SdkClient = unwatched.get("web").await.unwrap();
    assert_eq!(web.status.and_then(|status| status.client_id), None);
    assert_eq!(unwatched.value("key", "apiKey").await, None);
}
