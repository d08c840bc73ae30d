use serde_json::{Value, json};

use super::installation::Installation;
use super::judge::judge;
use super::outcome::{Check, Grade};
use crate::cli::read::{Listed, Readiness};
use crate::cli::samples::{at, failing_pool, now, pool};
use crate::cli::terminal::Terminal;
use crate::crd::Kind;

fn parse<T: serde::de::DeserializeOwned>(values: &[Value]) -> Listed<T> {
    let parse = |value: &Value| serde_json::from_value(value.clone()).unwrap();
    Listed::Items(values.iter().map(parse).collect())
}

fn deployment(ready: i32, version: &str) -> Value {
    json!({
        "metadata": {
            "name": "anon-operator-api", "namespace": "anon-system", "generation": 1,
            "labels": {"app.kubernetes.io/version": version},
        },
        "spec": {
            "replicas": 2, "selector": {},
            "template": {"metadata": {}, "spec": {"containers": []}},
        },
        "status": {"observedGeneration": 1, "readyReplicas": ready, "updatedReplicas": 2},
    })
}

fn lease(name: &str, renewed: i64) -> Value {
    let renewed = format!("{}.000000Z", at(renewed).trim_end_matches('Z'));
    json!({
        "metadata": {"name": name},
        "spec": {"holderIdentity": "pod-1", "leaseDurationSeconds": 15, "renewTime": renewed},
    })
}

fn webhook(ca: Option<&str>) -> Value {
    let mut webhook = json!({
        "name": "conflicts.anon.dev", "clientConfig": {}, "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    });
    if let Some(ca) = ca {
        webhook["clientConfig"]["caBundle"] = json!(ca);
    }
    json!({"metadata": {"name": "anon-operator"}, "webhooks": [webhook]})
}

fn healthy() -> Installation {
    let resources = ["organizations", "members", "userpools", "sdkclients", "revocations"];
    let ready = ("acme/users".to_owned(), Readiness::of(&pool()));
    Installation {
        served: resources.map(ToOwned::to_owned).to_vec(),
        definitions: Listed::Forbidden,
        namespace: "anon-system".to_owned(),
        deployments: parse(&[deployment(2, env!("CARGO_PKG_VERSION"))]),
        leases: parse(&[lease("anon-operator-leader", -3), lease("anon-validator-pod-1", -3)]),
        webhooks: parse(&[webhook(Some("eA=="))]),
        policies: parse(&[json!({"metadata": {"name": "anon-operator-status"}})]),
        objects: vec![(Kind::UserPool, Listed::Items(vec![ready]))],
    }
}

/// The one check that did not pass.
fn judged(installation: &Installation) -> Check {
    let checks = judge(installation, now());
    let mut found: Vec<_> = checks.into_iter().filter(|it| it.remedy.is_some()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn a_healthy_installation_passes() {
    let checks = judge(&healthy(), now());
    assert!(checks.iter().all(|check| check.grade == Grade::Ok), "{checks:?}");
    let text = super::text(&checks, &Terminal::default());
    insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"), @r"
    CHECK                RESULT   MESSAGE
    custom resources     ok       5 kinds are served; you may not read their definitions
    deployments          ok       ready: anon-operator-api 2/2
    version              ok       kubectl-anon VERSION, and no operator of another version
    leader               ok       pod-1, renewed 3s ago
    validators           ok       1 with a current Lease
    admission policies   ok       1 installed
    admission webhook    ok       enabled, with a CA
    userpools            ok       1 of 1 ready
    ");
}

#[test]
fn each_fault_is_found() {
    let unready = ("acme/partners".to_owned(), Readiness::of(&failing_pool()));
    let old = lease("anon-operator-leader", -60);
    let validator = lease("anon-validator-pod-1", -3);
    let leader = lease("anon-operator-leader", -3);
    for (installation, grade, text) in [
        (Installation { served: Vec::new(), ..healthy() }, Grade::Fail, "does not serve"),
        (
            Installation { deployments: parse(&[deployment(1, "0.1.0")]), ..healthy() },
            Grade::Fail,
            "anon-operator-api 1/2",
        ),
        (Installation { deployments: parse(&[]), ..healthy() }, Grade::Warn, "anon-system"),
        (
            Installation { deployments: parse(&[deployment(2, "9.0.0")]), ..healthy() },
            Grade::Warn,
            "operator 9.0.0",
        ),
        (
            Installation { leases: parse(&[old, validator.clone()]), ..healthy() },
            Grade::Fail,
            "pod-1 renewed its Lease 60s ago",
        ),
        (
            Installation { leases: parse(std::slice::from_ref(&validator)), ..healthy() },
            Grade::Fail,
            "no Lease",
        ),
        (
            Installation { leases: parse(std::slice::from_ref(&leader)), ..healthy() },
            Grade::Fail,
            "no replica that validates",
        ),
        (
            Installation {
                leases: parse(&[leader, validator, lease("anon-validator-pod-2", -99)]),
                ..healthy()
            },
            Grade::Warn,
            "anon-validator-pod-2",
        ),
        (Installation { policies: parse(&[]), ..healthy() }, Grade::Warn, "not installed"),
        (Installation { webhooks: parse(&[webhook(None)]), ..healthy() }, Grade::Fail, "caBundle"),
        (
            Installation {
                objects: vec![(Kind::UserPool, Listed::Items(vec![unready]))],
                ..healthy()
            },
            Grade::Warn,
            "0 of 1 ready; not ready: acme/partners (JwksSecretUnusable)",
        ),
    ] {
        let check = judged(&installation);
        assert_eq!(check.grade, grade, "{check:?}");
        assert!(check.message.contains(text), "{check:?}");
    }
}

#[test]
fn definitions_of_another_version_are_found() {
    let definitions: Vec<Value> = crate::crd::generate::files()
        .unwrap()
        .iter()
        .map(|(_, yaml)| serde_saphyr::from_str(yaml).unwrap())
        .collect();
    let with =
        |definitions: &[Value]| Installation { definitions: parse(definitions), ..healthy() };
    assert!(judge(&with(&definitions), now()).iter().all(|check| check.grade == Grade::Ok));

    let properties = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let mut other = definitions.clone();
    let spec = other[0].pointer_mut(properties).unwrap().as_object_mut().unwrap();
    spec.insert("newField".to_owned(), json!({"type": "string"}));
    let check = judged(&with(&other));
    assert_eq!(check.grade, Grade::Warn);
    assert!(check.message.contains("spec.newField"), "{check:?}");

    let mut other = definitions.clone();
    let spec = other[0].pointer_mut(properties).unwrap().as_object_mut().unwrap();
    let removed = spec.keys().next().unwrap().clone();
    spec.remove(&removed);
    let check = judged(&with(&other));
    assert_eq!(check.grade, Grade::Fail);
    assert!(check.message.contains(&format!("spec.{removed}")), "{check:?}");
}

#[test]
fn what_may_not_be_read_is_skipped() {
    let installation = Installation {
        deployments: Listed::Forbidden,
        leases: Listed::Forbidden,
        webhooks: Listed::Forbidden,
        policies: Listed::Forbidden,
        objects: vec![(Kind::Member, Listed::Forbidden)],
        ..healthy()
    };
    let checks = judge(&installation, now());
    let skipped = checks.iter().filter(|check| check.grade == Grade::Skip).count();
    assert_eq!(skipped, 7, "{checks:?}");
}
