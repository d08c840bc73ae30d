//! The admission webhook, asked by the real API server: by URL, because there is no network for
//! Services here.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anon_operator::testing::crd::{Member, Organization, SdkClient, UserPool};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::harness::cluster::{admin, directory, operator_namespace};
use crate::harness::kubectl::kubectl_with;
use crate::harness::operator::{Setup, free_port};
use crate::harness::turn::free_lease;
use crate::harness::wait::expect;
use crate::harness::{
    Operator, Space, alone, eventually, member, organization, quick_pool, service, webapp, with,
};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/anon-operator");
const CONFIGURATION: &str = "anon-operator";
const SECRET: &str = "anon-operator.webhook-certificate";

/// The objects of `templates/webhook.yaml`, with a URL of this machine.
struct Webhook {
    port: u16,
}

impl Webhook {
    /// Installs them. With `Fail`, a call that fails cannot be overlooked.
    async fn install(failure_policy: &str) -> Self {
        let port = free_port();
        let text = rendered("webhook.enabled=true,allInOne=true");
        let mut applied = String::new();
        for document in text.split("\n---\n") {
            if !document.contains("templates/webhook.yaml") {
                continue;
            }
            let mut object: Value = serde_saphyr::from_str(document).unwrap();
            if object["kind"] == "ValidatingWebhookConfiguration" {
                let webhook = &mut object["webhooks"][0];
                let url = format!("https://127.0.0.1:{port}/admission/conflicts");
                webhook["clientConfig"] = json!({"url": url});
                webhook["failurePolicy"] = json!(failure_policy);
            }
            applied.extend(["---\n", &object.to_string(), "\n"]);
        }
        Self::remove().await;
        let said = kubectl_with(&["apply", "-f", "-"], &applied);
        assert!(said.success, "{said:?}");
        Self { port }
    }

    async fn remove() {
        let configurations = Self::configurations().await;
        let deleted = configurations.delete(CONFIGURATION, &DeleteParams::default()).await;
        assert!(deleted.is_ok() || deleted.unwrap_err().to_string().contains("not found"));
        let secrets: Api<Secret> = Api::namespaced(admin().await, &operator_namespace());
        let _ = secrets.delete(SECRET, &DeleteParams::default()).await;
    }

    async fn configurations() -> Api<ValidatingWebhookConfiguration> {
        Api::all(admin().await)
    }

    /// How many certificates the API server trusts.
    async fn trusted() -> usize {
        let read = Self::configurations().await.get(CONFIGURATION).await.unwrap();
        let bundle = read.webhooks.unwrap().remove(0).client_config.ca_bundle;
        let pem = bundle.map(|it| String::from_utf8(it.0).unwrap()).unwrap_or_default();
        pem.matches("BEGIN CERTIFICATE").count()
    }

    /// An operator that serves it.
    async fn serve(&self, replica: usize, flags: &[&str]) -> Operator {
        let mut all = vec![
            "--roles=controller,api,validator,webhook".to_owned(),
            format!("--webhook-listen=127.0.0.1:{}", self.port),
        ];
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Operator::launch(Setup { replica, flags: all, ..Setup::default() }).await
    }
}

const ISSUED: [&str; 1] = ["--webhook-configuration=anon-operator"];

/// Creates without storing: what the API server makes of it.
async fn try_dry(space: &Space, manifest: &Value) -> Result<(), String> {
    let kind = manifest["kind"].as_str().unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("anon.dev", "v1beta1", kind));
    let api: Api<DynamicObject> =
        Api::namespaced_with(space.client.clone(), &space.name, &resource);
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    let object = serde_json::from_value(manifest.clone()).unwrap();
    api.create(&parameters, &object).await.map(drop).map_err(|error| error.to_string())
}

/// What the API server says, without the rest of its status.
fn message(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    }
}

fn is_duplicate(result: &Result<(), String>) -> bool {
    result.as_ref().is_err_and(|error| error.contains("is already in use by another "))
}

/// A member without an identity at the API server.
fn person(name: &str) -> Value {
    let mut person = member(name, "Member", json!({}));
    person["spec"].as_object_mut().unwrap().remove("kubernetes");
    person
}

/// A member whose e-mail address member `ada` has.
fn duplicate(name: &str) -> Value {
    with(person(name), "/spec/email", json!("Ada@example.test"))
}

/// Waits until the API server asks the webhook.
async fn asked(space: &Space) {
    space.apply(&person("ada")).await;
    eventually("a duplicate is rejected", async || {
        let result = try_dry(space, &duplicate("eve")).await;
        expect(is_duplicate(&result), format!("{result:?}"))
    })
    .await;
}

fn certificates(outcome: &str) -> String {
    format!("anon_tls_certificates_total{{listener=\"webhook\",outcome=\"{outcome}\"}}")
}

#[tokio::test]
async fn duplicates_are_rejected_and_everything_else_is_applied_in_any_order() {
    let _turn = alone().await;
    let webhook = Webhook::install("Ignore").await;
    let operator = webhook.serve(0, &ISSUED).await;
    let (space, other) = (Space::new("admitted").await, Space::new("other").await);
    asked(&space).await;

    // By every name that a message could leak.
    let id = uuid::Uuid::new_v4().to_string();
    let namespaces: Api<Namespace> = Api::all(space.client.clone());
    let consent = json!({"metadata": {"annotations": {"anon.dev/client-ids": "*"}}});
    for space in [&space, &other] {
        let patch = Patch::Merge(&consent);
        namespaces.patch(&space.name, &PatchParams::default(), &patch).await.unwrap();
    }
    let chosen = |name: &str, secret: &str| {
        with(service(name, "Member", secret), "/spec/clientId", json!(id))
    };
    other.apply(&chosen("hidden", "hidden-key")).await;
    other.ready::<SdkClient>("hidden").await;
    space.apply(&service("backend", "Member", "key")).await;
    space.ready::<SdkClient>("backend").await;
    for (manifest, field) in [
        (duplicate("eve"), "spec.email"),
        (service("second", "Member", "key"), "spec.service.apiKey.delivery.secretName"),
        (chosen("second", "second-key"), "spec.clientId"),
    ] {
        let rejected = eventually("a duplicate is rejected", async || {
            let result = space.try_apply(&manifest).await.map(drop).map_err(message);
            if is_duplicate(&result) { Ok(result.unwrap_err()) } else { Err(format!("{result:?}")) }
        })
        .await;
        assert!(rejected.contains(field) && rejected.contains("conflicts.anon.dev"), "{rejected}");
        for whose in ["ada", "backend", "hidden", &id, other.name.as_str()] {
            assert!(!rejected.contains(whose), "{whose}: {rejected}");
        }
    }
    assert!(space.get::<Member>("eve").await.is_none());
    assert!(space.get::<SdkClient>("second").await.is_none());
    // What the API server shows of the rejection has the status of an invalid object.
    let kube::Error::Api(status) = space.try_apply(&duplicate("eve")).await.unwrap_err() else {
        panic!("no status");
    };
    assert_eq!(status.code, 422, "{status:?}");

    // The order of manifests does not matter; kubectl shows the warning.
    let manifests = [
        organization("default", json!({"defaultUserPoolRef": {"name": "users"}})),
        webapp("web", "users"),
    ];
    for manifest in &manifests {
        let namespace = format!("--namespace={}", space.name);
        let said = kubectl_with(&["apply", &namespace, "-f", "-"], &manifest.to_string());
        let warned = said.stderr.contains("UserPool `users` does not exist in this namespace yet");
        assert!(said.success && warned, "{said:?}");
    }
    space.stands::<SdkClient>("web", "UserPoolNotFound").await;
    space.apply(&quick_pool("users")).await;
    space.ready::<SdkClient>("web").await;
    space.ready::<Organization>("default").await;

    // A pool in use is deleted like any other object, and so is a namespace.
    space.delete::<UserPool>("users").await;
    namespaces.delete(&space.name, &DeleteParams::default()).await.unwrap();
    eventually("the namespace is deleted", async || {
        namespaces.get_opt(&space.name).await.unwrap().map_or(Ok(()), |_| Err("it exists"))
    })
    .await;
    for kind in ["Member", "SdkClient"] {
        let name = format!("anon_admission_reviews_total{{kind=\"{kind}\",verdict=\"rejected\"}}");
        assert!(operator.metric(&name).await > 0, "{name}");
    }
    Webhook::remove().await;
}

#[tokio::test]
async fn writes_continue_while_the_webhook_is_down() {
    let _turn = alone().await;
    let webhook = Webhook::install("Ignore").await;
    let operator = webhook.serve(0, &ISSUED).await;
    let space = Space::new("down").await;
    asked(&space).await;

    // Gone, and then hanging: each write waits for at most the two seconds of the chart.
    operator.pause().await;
    let start = Instant::now();
    space.apply(&duplicate("eve")).await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    operator.kill();
    free_lease().await;
    let start = Instant::now();
    space.apply(&duplicate("mallory")).await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    space.delete::<Member>("mallory").await;

    // What was admitted meanwhile is reported, and may be changed.
    let _operator = webhook.serve(0, &ISSUED).await;
    space.stands::<Member>("eve", "EmailConflict").await;
    asked(&space).await;
    let labelled = with(duplicate("eve"), "/metadata/labels", json!({"team": "a"}));
    space.apply(&labelled).await;
    space.apply(&with(labelled, "/spec/displayName", json!("Eve"))).await;
    Webhook::remove().await;
}

/// With failurePolicy Fail, every failed call is an error of the write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_of_the_ca_fails_no_call() {
    let _turn = alone().await;
    let webhook = Webhook::install("Fail").await;
    let operator = webhook.serve(0, &ISSUED).await;
    let space = Space::new("rotates").await;
    eventually("the webhook answers", async || space.try_apply(&person("ada")).await.map(drop))
        .await;
    asked(&space).await;
    assert_eq!(Webhook::trusted().await, 1);
    let home = space.operators();
    let first = home.value(SECRET, "tls.crt").await.unwrap();

    let (stop, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = async {
        while !stop.load(Ordering::Relaxed) {
            let result = try_dry(&space, &duplicate("eve")).await;
            assert!(is_duplicate(&result), "{result:?}");
            calls.fetch_add(1, Ordering::Relaxed);
        }
    };
    let rotate = async {
        home.delete::<Secret>(SECRET).await;
        let second = eventually("there is another certificate", async || {
            home.value(SECRET, "tls.crt").await.ok_or("none yet")
        })
        .await;
        assert_ne!(first, second);
        assert_eq!(
            Webhook::trusted().await,
            2,
            "the old CA is trusted until replicas have reloaded"
        );
        let loaded = certificates("loaded");
        eventually("the replica has reloaded", async || {
            let count = operator.metric(&loaded).await;
            expect(count == 2, count)
        })
        .await;
        // With the new certificate for a while, in new connections, too.
        let before = calls.load(Ordering::Relaxed);
        eventually("it is asked again and again", async || {
            let count = calls.load(Ordering::Relaxed) - before;
            expect(count > 100, count)
        })
        .await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(load, rotate);
    assert_eq!(operator.metric(&certificates("rejected")).await, 0);
    Webhook::remove().await;
}

/// A pair by a CA of its own, in PEM: CA, certificate, key.
fn pair() -> [String; 3] {
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let name = format!("test {}", uuid::Uuid::new_v4());
    ca.distinguished_name.push(rcgen::DnType::CommonName, name);
    let ca = rcgen::CertifiedIssuer::self_signed(ca, rcgen::KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = server.signed_by(&key, &ca).unwrap();
    [ca.pem(), certificate.pem(), key.serialize_pem()]
}

/// As cert-manager provides them: files that change, and a bundle that another program writes.
#[tokio::test]
async fn broken_files_do_not_interrupt_the_webhook() {
    let _turn = alone().await;
    let webhook = Webhook::install("Fail").await;
    let files: PathBuf = directory().join(format!("webhook-tls-{}", uuid::Uuid::new_v4()));
    fs::create_dir(&files).unwrap();
    let ([first_ca, first, first_key], [second_ca, second, second_key]) = (pair(), pair());
    let write = |certificate: &str, key: &str| {
        fs::write(files.join("tls.crt"), certificate).unwrap();
        fs::write(files.join("tls.key"), key).unwrap();
    };
    write(&first, &first_key);
    let bundle = data_encoding::BASE64.encode(format!("{first_ca}{second_ca}").as_bytes());
    let patch =
        json!({"webhooks": [{"name": "conflicts.anon.dev", "clientConfig": {"caBundle": bundle}}]});
    let configurations = Webhook::configurations().await;
    let parameters = PatchParams::default();
    configurations.patch(CONFIGURATION, &parameters, &Patch::Strategic(&patch)).await.unwrap();

    let flag =
        |name: &str, file: &str| format!("--webhook-tls-{name}={}", files.join(file).display());
    let operator = webhook.serve(0, &[&flag("cert", "tls.crt"), &flag("key", "tls.key")]).await;
    let space = Space::new("files").await;
    eventually("the webhook answers", async || space.try_apply(&person("ada")).await.map(drop))
        .await;
    asked(&space).await;
    let steps = [
        (&second[..second.len() / 2], second_key.as_str(), "rejected", 1),
        (&second, &second_key[..40], "rejected", 2),
        (&second, &first_key, "rejected", 3),
        (&second, &second_key, "loaded", 2),
    ];
    for (certificate, key, outcome, count) in steps {
        write(certificate, key);
        let name = certificates(outcome);
        eventually(&format!("{outcome} {count}"), async || {
            let result = try_dry(&space, &duplicate("eve")).await;
            assert!(is_duplicate(&result), "{result:?}");
            let now = operator.metric(&name).await;
            expect(now >= count, now)
        })
        .await;
        let result = try_dry(&space, &duplicate("eve")).await;
        assert!(is_duplicate(&result), "{result:?}");
    }
    Webhook::remove().await;
}

/// The chart's part of the webhook, with these values.
fn rendered(values: &str) -> String {
    let arguments = ["template", "anon-operator", CHART, "--namespace=anon-system", "--set"];
    let output = Command::new("helm").args(arguments).arg(values).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn chart_installs_the_webhook_only_if_it_is_enabled() {
    let off = rendered("webhook.enabled=false");
    assert!(!off.contains("WebhookConfiguration") && !off.contains("--webhook"));
    let own = rendered("webhook.enabled=true");
    let cert_manager = rendered(
        "webhook.enabled=true,webhook.certManager.enabled=true,webhook.certManager.issuerRef.name=ca",
    );
    for text in [&own, &cert_manager] {
        assert!(text.contains("failurePolicy: Ignore"));
        assert!(text.contains(",webhook\n") && text.contains("--webhook-listen=0.0.0.0:8443\n"));
        assert!(!text.contains(" caBundle: "), "a manifest that sets it would fight the leader");
    }
    let permission = "resources: [validatingwebhookconfigurations]";
    assert!(own.contains(permission) && own.contains("--webhook-configuration=anon-operator\n"));
    assert!(!cert_manager.contains(permission) && !cert_manager.contains("--webhook-conf"));
    assert!(cert_manager.contains("inject-ca-from: anon-system/anon-operator-webhook\n"));
    assert!(cert_manager.contains("--webhook-tls-key=/etc/anon-operator/webhook-tls/tls.key\n"));
}
