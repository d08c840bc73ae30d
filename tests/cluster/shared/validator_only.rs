//! A process with the role `validator` alone, under an account that has the chart's permissions of
//! that role and no others.

use std::collections::BTreeSet;
use std::fs;

use anon_operator::testing::domain::credential::ApiKey;
use serde_json::{Value, json};

use super::chart;
use crate::harness::cluster;
use crate::harness::kubectl::{kubectl, kubectl_with};
use crate::harness::operator::Setup;
use crate::harness::wait::expect;
use crate::harness::{Operator, Space, eventually, http, shared};

/// What every validator may do anywhere, as `kubectl auth can-i --list` words it.
const EVERYWHERE: [&str; 6] = [
    "members.anon.dev [list watch]",
    "namespaces [get list]",
    "organizations.anon.dev [list watch]",
    "revocations.anon.dev [list watch]",
    "sdkclients.anon.dev [list watch]",
    "userpools.anon.dev [list watch]",
];

/// A ServiceAccount in `home` with what the chart, installed there, gives a validator. Returns a
/// kubeconfig with its token. The policy that limits Leases to Pods is not installed there.
fn validator_account(home: &Space) -> std::path::PathBuf {
    let name = format!("v-{}", &home.uid[..8]);
    let set = format!("fullnameOverride={name}");
    let kinds = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
    for object in chart::objects_in(&home.name, &set) {
        let kind = object["kind"].as_str().unwrap();
        let of_role = object["metadata"]["name"] == format!("{name}-validator");
        if of_role && kinds.contains(&kind) {
            let said = kubectl_with(&["apply", "-f", "-"], &object.to_string());
            assert!(said.success, "{said:?}");
        }
    }
    let account = format!("{name}-validator");
    let token = kubectl(&["create", "token", &account, "--namespace", &home.name]);
    assert!(token.success, "{token:?}");
    cluster::kubeconfig(&name, token.stdout.trim())
}

/// The resources and verbs that an account has in a namespace, but for those that every
/// authenticated user has: to ask about itself.
fn rights(kubeconfig: &str, namespace: &str) -> BTreeSet<String> {
    let kubeconfig = format!("--kubeconfig={kubeconfig}");
    let said = kubectl(&[&kubeconfig, "auth", "can-i", "--list", "--namespace", namespace]);
    assert!(said.success, "{said:?}");
    // Resources, non-resource URLs, resource names, verbs; rows of URLs begin with a space.
    let rows = said.stdout.lines().skip(1).filter(|row| !row.starts_with(' '));
    let rows = rows.filter(|row| !row.starts_with("self"));
    rows.map(|row| {
        let (resource, rest) = row.split_once(' ').unwrap();
        let verbs = rest.rfind('[').map_or("", |at| &rest[at..]);
        format!("{resource} {verbs}")
    })
    .collect()
}

fn hash_threads(pid: u32) -> usize {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names =
        threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("hash-")).count()
}

#[tokio::test]
async fn a_validator_needs_no_secrets_and_starts_no_hashing_thread() {
    let all_roles = shared().await;
    let (home, space) = (Space::new("validator-home").await, Space::new("validated").await);
    let key = space.backend().await;

    let kubeconfig = validator_account(&home);
    let path = kubeconfig.to_str().unwrap().to_owned();
    let everywhere: BTreeSet<_> = EVERYWHERE.map(str::to_owned).into();
    eventually("the roles are bound", async || {
        let found = rights(&path, &space.name);
        expect(found == everywhere, format!("{found:?}"))
    })
    .await;
    for namespace in [space.operators().name.as_str(), "kube-system", "default"] {
        assert_eq!(rights(&path, namespace), everywhere, "{namespace}");
    }
    let mut at_home = everywhere;
    at_home.insert("leases.coordination.k8s.io [create patch delete]".to_owned());
    assert_eq!(rights(&path, &home.name), at_home);

    // Ready with these permissions alone.
    let flags = ["--roles=validator".to_owned(), format!("--namespace={}", home.name)];
    let setup = Setup { kubeconfig: Some(kubeconfig), flags: flags.into(), ..Setup::default() };
    let validator = Operator::launch(setup).await;
    validator.gives(&key, None, "200").await;
    let unknown = ApiKey::generate().unwrap();
    let refused = validator.validate(unknown.expose(), None).await;
    assert_eq!(refused.verdict(), "401 api_key_unknown");
    for path in ["/org/members", "/link/url", "/openapi.json"] {
        let reply = http::get(&validator.url(path)).await.unwrap();
        assert_eq!((reply.status, &reply.json()["name"]), (404, &json!("NotFoundError")));
    }
    assert_eq!(hash_threads(validator.pid()), 0);
    assert!(hash_threads(all_roles.pid()) > 0, "the threads have another name");
    assert!(validator.stop().await.success());
}

/// The rules of the chart's roles for a role of the binary.
fn rules(rendered: &[Value], role: &str) -> Vec<Value> {
    let name = format!("anon-operator-{role}");
    let own = rendered.iter().filter(|object| {
        let kind = object["kind"].as_str().unwrap_or_default();
        ["ClusterRole", "Role"].contains(&kind) && object["metadata"]["name"] == name.as_str()
    });
    let rules: Vec<Value> =
        own.flat_map(|object| object["rules"].as_array().unwrap().clone()).collect();
    assert!(!rules.is_empty(), "{role}");
    rules
}

#[test]
fn each_role_of_the_binary_has_its_own_permissions() {
    let rendered = chart::objects_in("anon-system", "api.allowSignUp=true");
    let kinds_with_secrets = |role: &str| {
        let name = format!("anon-operator-{role}");
        let has = |object: &&Value| {
            object["metadata"]["name"] == name.as_str() && object.to_string().contains("secrets")
        };
        let kinds = rendered.iter().filter(has).map(|object| object["kind"].clone());
        kinds.collect::<Vec<_>>()
    };
    assert_eq!(kinds_with_secrets("validator"), Vec::<Value>::new());
    assert_eq!(kinds_with_secrets("api"), ["Role"], "in the operator's namespace only");
    assert_eq!(kinds_with_secrets("controller"), ["ClusterRole", "Role"]);
    for rule in rules(&rendered, "validator") {
        let leases = rule["resources"] == json!(["leases"]);
        let reads = ["get", "list", "watch"].map(Value::from);
        let verbs = rule["verbs"].as_array().unwrap();
        assert!(leases || verbs.iter().all(|verb| reads.contains(verb)), "{rule}");
    }
}

/// The accounts to which each role's permissions are bound, and the account of each Deployment.
#[test]
fn each_deployment_has_the_permissions_of_its_role_alone() {
    let one = "anon-operator";
    let roles = ["controller", "api", "validator"];
    for (set, accounts) in [
        ("allInOne=false", roles.map(|role| format!("anon-operator-{role}"))),
        ("allInOne=true", [one, one, one].map(str::to_owned)),
        ("watchNamespaces={acme}", roles.map(|role| format!("anon-operator-{role}"))),
    ] {
        let rendered = chart::objects_in("anon-system", set);
        let bound: BTreeSet<_> = rendered
            .iter()
            .filter(|it| {
                ["ClusterRoleBinding", "RoleBinding"].contains(&it["kind"].as_str().unwrap())
            })
            .map(|it| (text(&it["roleRef"]["name"]), text(&it["subjects"][0]["name"])))
            .collect();
        let of_role = |(role, account): (&str, &String)| {
            let role = format!("anon-operator-{role}");
            [(role.clone(), account.clone()), (format!("{role}-watched"), account.clone())]
        };
        let expected: BTreeSet<_> = roles.into_iter().zip(&accounts).flat_map(of_role).collect();
        let watched = set.starts_with("watch");
        let expected =
            expected.into_iter().filter(|(role, _)| watched || !role.ends_with("-watched"));
        assert_eq!(bound, expected.collect(), "{set}");
        let used = rendered.iter().filter(|it| it["kind"] == "Deployment");
        let used = used.map(|it| text(&it["spec"]["template"]["spec"]["serviceAccountName"]));
        assert_eq!(used.collect::<BTreeSet<_>>(), accounts.into(), "{set}");
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
