//! Objects that a newer version of the operator has stored, and that this one cannot read after it
//! was rolled back.

use anon_operator::testing::crd::{SdkClient, UserPool};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::harness::kubectl::kubectl;
use crate::harness::{
    Operator, Space, alone, eventually, immediately, pool, quick_pool, service, webapp,
};

const HOSTED: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/hosted/properties/algorithm/enum";
const ROLE: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/service/properties/role/enum";

/// Changes one value of an enum in a CRD.
fn patch_crd(name: &str, operation: &Value) {
    let patch = json!([operation]).to_string();
    let said = kubectl(&["patch", "crd", name, "--type=json", "--patch", &patch]);
    assert!(said.success, "{said:?}");
}

/// What kubectl shows of an object that our types cannot read.
fn shown(space: &Space, kind: &str, name: &str, path: &str) -> String {
    let output = format!("--output=jsonpath={path}");
    let said = kubectl(&["get", kind, name, "--namespace", &space.name, &output]);
    assert!(said.success, "{said:?}");
    said.stdout
}

async fn is_said(space: &Space, kind: &str, name: &str) {
    const READY: &str = r#"{.status.conditions[?(@.type=="Ready")]['status','reason']}"#;
    eventually(&format!("{kind} {name} is reported as unreadable"), async || {
        let ready = shown(space, kind, name, READY);
        if ready == "False Unreadable" { Ok(()) } else { Err(ready) }
    })
    .await;
}

#[tokio::test]
async fn one_that_cannot_be_read_holds_up_no_other() {
    let _turn = alone().await;
    let space = Space::new("newer").await;
    space.apply_all(&[quick_pool("before"), webapp("of-newer", "newer")]).await;
    let operator = Operator::start(&["--orphan-grace=2s"]).await;
    space.ready::<UserPool>("before").await;
    space.apply(&service("served", "Member", "served")).await;
    space.ready::<SdkClient>("served").await;
    let key = space.api_key("served").await;
    operator.stop().await;

    patch_crd(
        "userpools.anon.dev",
        &json!({"op": "add", "path": format!("{HOSTED}/0"), "value": "RS999"}),
    );
    patch_crd(
        "sdkclients.anon.dev",
        &json!({"op": "add", "path": format!("{ROLE}/0"), "value": "Owner"}),
    );
    let newer = pool("newer", json!({"algorithm": "RS999"}));
    eventually("a newer version stores a pool", async || space.try_apply(&newer).await).await;
    let owner = service("served", "Owner", "served");
    eventually("and changes a client", async || space.try_apply(&owner).await).await;

    // At its start the operator lists them together with all others.
    let operator = Operator::start(&["--orphan-grace=2s"]).await;
    is_said(&space, "userpool", "newer").await;
    is_said(&space, "sdkclient", "served").await;
    let message = shown(&space, "userpool", "newer", "{.status.conditions[0].message}");
    assert!(message.contains("RS999") && message.contains("not served"), "{message}");
    assert_eq!(operator.validate(&key, None).await.verdict(), "401 api_key_unknown");
    space.stands::<SdkClient>("of-newer", "UserPoolNotReady").await;
    // Others of both kinds are looked after, here and elsewhere, and the kinds are watched.
    space.apply_all(&[quick_pool("after"), service("after", "Member", "after")]).await;
    space.ready::<UserPool>("after").await;
    space.ready::<SdkClient>("after").await;
    let elsewhere = Space::new("elsewhere").await;
    elsewhere.apply_all(&[quick_pool("users"), service("backend", "Member", "key")]).await;
    elsewhere.ready::<UserPool>("users").await;
    elsewhere.ready::<SdkClient>("backend").await;
    // The sweep removes what is certain, and nothing that may be that client's.
    elsewhere.delete::<SdkClient>("backend").await;
    eventually("a Secret is swept", async || {
        elsewhere.get::<Secret>("key").await.map_or(Ok(()), |_| Err("it is there"))
    })
    .await;
    assert!(space.get::<Secret>("served").await.is_some());

    // Mended by hand, or by the newer version that is back.
    space.apply(&service("served", "Member", "served")).await;
    space.ready::<SdkClient>("served").await;
    immediately("the same key is valid again", async || {
        let verdict = operator.validate(&key, None).await.verdict();
        if verdict == "200" { Ok(()) } else { Err(verdict) }
    })
    .await;
    space.apply(&quick_pool("newer")).await;
    space.ready::<UserPool>("newer").await;
    space.ready::<SdkClient>("of-newer").await;
    patch_crd("userpools.anon.dev", &json!({"op": "remove", "path": format!("{HOSTED}/0")}));
    patch_crd("sdkclients.anon.dev", &json!({"op": "remove", "path": format!("{ROLE}/0")}));
}
