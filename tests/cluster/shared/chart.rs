//! The chart: clean, and rendered with the defaults and with each value changed. That it works is
//! what every other test here shows, for each runs under what it installs.

use std::fs;
use std::process::Command;

use anon_operator::testing::config::Config;
use clap::Parser;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::api::Api;
use serde_json::{Value, json};

use crate::harness::cluster::admin;
use crate::harness::eventually;
use crate::harness::kubectl::kubectl_with;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/anon-operator");

/// The files with values that render every template and every branch that adds something to an
/// object. `dev/lint-chart` checks them, too.
fn variants() -> Vec<String> {
    let files = fs::read_dir(format!("{CHART}/ci")).unwrap();
    let paths = files.map(|file| file.unwrap().path().to_str().unwrap().to_owned());
    paths.collect()
}

/// Whether the API server knows the kind without further CustomResourceDefinitions.
fn is_built_in(object: &Value) -> bool {
    let group = object["apiVersion"].as_str().unwrap().split('/').next().unwrap();
    !["monitoring.coreos.com", "cert-manager.io", "gateway.networking.k8s.io"].contains(&group)
}

fn helm(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("helm").args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn render(set: &str) -> String {
    render_in("anon-system", set)
}

fn render_in(namespace: &str, set: &str) -> String {
    let namespace = format!("--namespace={namespace}");
    let (success, text) = helm(&["template", "anon-operator", CHART, &namespace, "--set", set]);
    assert!(success, "{set}: {text}");
    text
}

#[test]
fn it_is_clean() {
    let (success, text) = helm(&["lint", "--strict", CHART]);
    assert!(success, "{text}");
}

#[test]
fn what_it_renders_is_accepted() {
    let variants = variants();
    assert!(variants.len() > 5, "{variants:?}");
    for set in &variants {
        // The Namespace exists, and server-side apply does not mind what the release owns.
        let arguments =
            ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"];
        let (success, rendered) =
            helm(&["template", "anon-operator", CHART, "--namespace=anon-system", "--values", set]);
        assert!(success, "{set}: {rendered}");
        let known: Vec<_> = parsed(&rendered).into_iter().filter(is_built_in).collect();
        // A list, and not several documents: on several of JSON, kubectl 1.33.0 panics.
        let list = json!({"apiVersion": "v1", "kind": "List", "items": known});
        let said = kubectl_with(&arguments, &list.to_string());
        assert!(said.success, "{set}: {said:?}");
        assert!(!said.stderr.contains("Warning"), "{set}: {said:?}");
    }
}

#[test]
fn values_reach_what_they_are_for() {
    assert!(render("publicUrl=https://anon.example.com").contains("https://anon.example.com"));
    assert!(render("publicUrl=").contains("http://anon-operator.anon-system.svc:8080"));
    assert!(render("orphanGrace=2h").contains("2h"));
    assert!(render("idleTimeout=5m30s").contains("--idle-timeout=5m30s"));
    assert!(render("api.linkUrl=https://link.example").contains("--link-url=https://link.example"));
    assert!(render("publicUrl=").contains("--gateway-accepts=appUserIdToken\n"));
    let accepts = render("gateways.accept={appUserIdToken,apiKey}");
    assert!(accepts.contains("--gateway-accepts=appUserIdToken,apiKey\n"));
    let id = "fb18ec6c-7b4e-5bff-8551-f3fbf9c8f841";
    let reviews = render(&format!("tokenReview.clients={{{id}}}"));
    assert!(reviews.contains(&format!("--token-review-client={id}")));
    let origins = render("api.allowedOrigins={https://a.example,http://localhost:3000}");
    assert!(origins.contains("--api-allowed-origin=http://localhost:3000"));
    assert!(render("api.trustedProxyHops=2").contains("--trusted-proxy-hops=2"));
    // Nobody gets rights over Namespaces who has not asked for them.
    for (allowed, set) in [(true, "api.allowSignUp=true"), (false, "api.allowSignUp=false")] {
        let rendered = render(set);
        let write = ["create", "delete", "patch"];
        assert_eq!(namespace_verbs(set), if allowed { &write[..] } else { &[] });
        assert_eq!(rendered.contains("--allow-sign-up"), allowed);
        assert_eq!(rendered.contains("name: anon-operator-sign-up"), allowed);
    }
    let opened = render("remoteKeySets.allowFrom={10.20.0.0/16,fd12::/16}");
    assert!(opened.contains("- --allow-fetch-from=10.20.0.0/16\n"), "{opened}");
    assert!(opened.contains("- --allow-fetch-from=fd12::/16\n"), "{opened}");
    let hosts = render("remoteKeySets.hosts={id.example.com,*.auth0.com}");
    assert!(hosts.contains(r#"- "--fetch-host=*.auth0.com""#), "{hosts}");
    assert!(render("remoteKeySets.denyFrom={8.0.0.0/8}").contains("--deny-fetch-from=8.0.0.0/8"));
    assert!(render("remoteKeySets.maxAge=2h").contains("--max-jwks-age=2h"));
    assert!(!render("crds.install=false").contains("CustomResourceDefinition"));
    assert!(!render("userRoles.aggregate=false").contains("aggregate-to-"));
}

/// What the rendered roles allow on Namespaces, besides reading them.
fn namespace_verbs(set: &str) -> Vec<String> {
    let mut found = std::collections::BTreeSet::new();
    for role in objects(set) {
        for rule in role["rules"].as_array().into_iter().flatten() {
            if rule["resources"].to_string().contains("\"namespaces") {
                let verbs = rule["verbs"].as_array().unwrap().iter();
                found.extend(verbs.map(|verb| verb.as_str().unwrap().to_owned()));
            }
        }
    }
    found.into_iter().filter(|verb| !["get", "list", "watch"].contains(&&**verb)).collect()
}

#[test]
fn each_role_of_the_binary_has_its_own_account_in_the_policies() {
    let roles = ["controller", "api", "validator"];
    let policies = objects("api.allowSignUp=true");
    let users = |name: &str| {
        let policy = policies.iter().find(|it| {
            it["kind"] == "ValidatingAdmissionPolicy"
                && it["metadata"]["name"] == format!("anon-operator-{name}")
        });
        let text = policy.unwrap_or_else(|| panic!("no policy {name}")).to_string();
        roles.map(|role| {
            text.contains(&format!("'system:serviceaccount:anon-system:anon-operator-{role}'"))
        })
    };
    assert_eq!(users("status"), [true, true, false]);
    assert_eq!(users("service-role"), [false, true, false]);
    assert_eq!(users("validator-lease"), [false, true, true]);
    assert_eq!(users("sign-up"), [true, true, false]);
    for name in ["secrets", "config-maps", "role-bindings"] {
        assert_eq!(users(name), [true, true, true], "{name}");
    }
}

/// The API server checks the types of a policy's expressions after it has stored the policy, and
/// only reports what it finds.
#[tokio::test]
async fn policies_have_no_type_errors() {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(admin().await);
    for object in objects("api.allowSignUp=true") {
        if object["kind"] != "ValidatingAdmissionPolicy" {
            continue;
        }
        let name = object["metadata"]["name"].as_str().unwrap();
        let checked = eventually("the policy is checked", async || {
            let status = policies.get(name).await.unwrap().status.unwrap_or_default();
            status.type_checking.ok_or("not yet")
        })
        .await;
        assert_eq!(checked.expression_warnings, None, "{name}");
    }
}

/// The objects that are rendered.
fn objects(set: &str) -> Vec<Value> {
    objects_in("anon-system", set)
}

/// The objects that are rendered for an installation in this namespace.
pub fn objects_in(namespace: &str, set: &str) -> Vec<Value> {
    parsed(&render_in(namespace, set))
}

fn parsed(rendered: &str) -> Vec<Value> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(rendered).unwrap();
    objects.into_iter().filter(|object| !object.is_null()).collect()
}

fn object(set: &str, kind: &str, name: &str) -> Value {
    let is = |object: &Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects(set).into_iter().find(is).unwrap_or_else(|| panic!("{set}: no {kind} {name}"))
}

fn pod(set: &str) -> Value {
    let set = format!("allInOne=true,{set}");
    object(&set, "Deployment", "anon-operator")["spec"]["template"].clone()
}

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    config: Config,
}

/// The process that is started elsewhere under the chart's account has flags of its own, so that the
/// chart's are understood has to be shown here.
#[test]
fn the_operator_understands_every_flag_that_it_is_started_with() {
    for set in [
        "replicas=1",
        "watchNamespaces={acme,globex},tokenCacheSize=0,shutdown.drainSeconds=40,tls.enabled=true",
        "api.allowSignUp=true,api.trustedProxyHops=1,api.linkUrl=https://link.example/a",
        "api.allowedOrigins={https://console.example.com,http://localhost:3000}",
        "remoteKeySets.hosts={id.example.com,*.auth0.com},remoteKeySets.maxAge=60s",
        "remoteKeySets.allowFrom={10.20.0.0/16,fd12::/16},remoteKeySets.denyFrom={8.0.0.0/8}",
        "orphanGrace=1h2m3s,log.format=text,publicUrl=https://anon.example.com/base/",
    ] {
        let container = pod(set)["spec"]["containers"][0].clone();
        let args: Vec<_> = container["args"].as_array().unwrap().iter().collect();
        let args: Vec<_> = args.iter().map(|arg| arg.as_str().unwrap()).collect();
        assert_eq!(args[0], "run");
        let parsed = Arguments::try_parse_from(&args).unwrap_or_else(|error| panic!("{error}"));
        assert!(parsed.config.admin_listen.ip().is_unspecified(), "the kubelet has to reach it");
        let port = |name: &str| {
            let ports = container["ports"].as_array().unwrap();
            let port = ports.iter().find(|port| port["name"] == name).unwrap();
            port["containerPort"].as_u64().unwrap()
        };
        assert_eq!(port("http"), u64::from(parsed.config.listen.port()));
        assert_eq!(port("admin"), u64::from(parsed.config.admin_listen.port()));
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let get = &container[probe]["httpGet"];
            assert_eq!(get["port"], "admin", "{probe}");
            assert!(matches!(get["path"].as_str(), Some("/livez" | "/readyz")), "{probe}: {get}");
        }
    }
}

#[test]
fn values_about_pods_and_services_reach_them() {
    let image = |set: &str| pod(set)["spec"]["containers"][0]["image"].clone();
    let digest = format!("sha256:{}", "0".repeat(64));
    assert_eq!(image("image.repository=r.example:5000/a"), "r.example:5000/a:0.1.0");
    assert_eq!(image("image.tag=v2"), "anon-operator:v2");
    assert_eq!(
        image(&format!("image.tag=v2,image.digest={digest}")),
        format!("anon-operator@{digest}")
    );
    let spec = |set: &str, field: &str| pod(set)["spec"][field].clone();
    assert_eq!(
        spec("imagePullSecrets[0].name=pull", "imagePullSecrets"),
        json!([{"name": "pull"}])
    );
    assert_eq!(spec("priorityClassName=high", "priorityClassName"), "high");
    assert_eq!(spec("nodeSelector.a=b", "nodeSelector"), json!({"a": "b"}));
    let toleration = json!([{"key": "a", "operator": "Exists"}]);
    assert_eq!(
        spec("tolerations[0].key=a,tolerations[0].operator=Exists", "tolerations"),
        toleration
    );
    let affinity = spec("affinity.podAntiAffinity.x=y", "affinity");
    assert_eq!(affinity, json!({"podAntiAffinity": {"x": "y"}}));
    let container = |set: &str, field: &str| pod(set)["spec"]["containers"][0][field].clone();
    assert_eq!(container("resources.limits.memory=1Gi", "resources")["limits"]["memory"], "1Gi");
    assert_eq!(container("image.pullPolicy=Always", "imagePullPolicy"), "Always");
    let metadata = pod("podLabels.a=b,podAnnotations.c=d")["metadata"].clone();
    assert_eq!(
        (&metadata["labels"]["a"], &metadata["annotations"]["c"]),
        (&json!("b"), &json!("d"))
    );
    let service =
        object("service.type=NodePort,service.annotations.a=b", "Service", "anon-operator");
    assert_eq!(service["spec"]["type"], "NodePort");
    assert_eq!(service["metadata"]["annotations"]["a"], "b");
    let to_api_server = |set: &str| {
        let policy = object(set, "NetworkPolicy", "anon-operator-validator");
        let mut rules = policy["spec"]["egress"].as_array().unwrap().iter();
        rules.find(|rule| rule["ports"][0]["port"] == 6443).unwrap()["to"].clone()
    };
    let set = "networkPolicy.enabled=true,networkPolicy.apiServerPorts={6443}";
    assert_eq!(to_api_server(set), Value::Null);
    let address = "networkPolicy.apiServerTo[0].ipBlock.cidr=192.0.2.10/32";
    let expected = json!([{"ipBlock": {"cidr": "192.0.2.10/32"}}]);
    assert_eq!(to_api_server(&format!("{set},{address}")), expected);
    let account = "allInOne=true,serviceAccount.create=false,serviceAccount.name=mine";
    assert_eq!(spec(account, "serviceAccountName"), "mine");
    assert!(!objects(account).iter().any(|object| object["kind"] == "ServiceAccount"));
    let policy = object(account, "ValidatingAdmissionPolicy", "anon-operator-status");
    assert!(policy.to_string().contains("system:serviceaccount:anon-system:mine"), "{policy}");
    object("allInOne=true,fullnameOverride=identity", "Deployment", "identity");
}

#[test]
fn a_value_that_cannot_be_is_refused_by_name() {
    for wrong in [
        "replica=3",
        "replicas=many",
        "publicUrl=nonsense",
        "log.level=%%%",
        "remoteKeySets.allowFrom={all}",
        // What would end the process at its start, or name no image.
        "remoteKeySets.allowFrom={10.0.0.0/99}",
        "remoteKeySets.denyFrom={::/129}",
        "remoteKeySets.maxAge=30s",
        "remoteKeySets.maxAge=1d",
        "orphanGrace=30m1h",
        "orphanGrace=1h1h",
        "tokenReview.clients={web}",
        "gateways.accept={jwt}",
        "gateways.accept={}",
        "idleTimeout=9s",
        "idleTimeout=24h1s",
        "image.repository=registry.example.com/anon:1.0",
        "serviceAccount.create=false",
        "controller.replicas=two",
        "validator.podLabel.a=b",
        "watchNamespaces={Acme}",
        "tls.secretName=mine",
        "tls.enabled=true,tls.certManager.enabled=true",
        "ingress.enabled=true",
        "api.allowSignUp=true,watchNamespaces={acme}",
        "podDisruptionBudget.maxUnavailable=0",
        "autoscaling.targetCPU=0",
        "probes.liveness.path=/",
        "networkPolicy.apiServerPorts={https}",
    ] {
        let arguments = ["template", "anon-operator", CHART, "--set", wrong];
        let (success, text) = helm(&arguments);
        let name = wrong.split(['=', '.']).next().unwrap();
        assert!(!success && text.contains(name), "{wrong}: {text}");
    }
}
