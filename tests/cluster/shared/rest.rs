//! The REST API as a client of the platform uses it: from login to a validated end-user token.

use std::collections::HashSet;

use anon_operator::testing::crd;
use anon_operator::testing::domain::credential::ApiKey;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::harness::caller::{Caller, PASSWORD, log_in};
use crate::harness::{Space, eventually, service, shared};

#[tokio::test]
async fn from_login_to_a_validated_token() {
    let operator = shared().await;
    let space = Space::new("rest").await;
    let ada = Caller::ada(&operator, &space).await;

    let pool =
        ada.ok("POST", "/org/userPool", json!({"name": "Our Users", "description": "d"})).await;
    assert_eq!((&pool["name"], &pool["hosted"]), (&json!("Our Users"), &json!(true)));
    assert_eq!(pool["authorization"]["idClaim"], "sub");
    let kind = json!({"application": {"userPoolId": pool["id"]}});
    let web = json!({"name": "Web", "description": "", "kind": kind, "oauthDisabled": true});
    let web = ada.ok("POST", "/org/sdkClient", web).await;
    assert_eq!(web["auth"], json!({"type": "userPool", "userPoolId": pool["id"]}));
    let wish = json!({"name": "Backend", "description": "", "kind": "service"});
    let first = ada.ok("POST", "/org/sdkClient", wish.clone()).await;
    // A retry: the same client, another key.
    let backend = ada.ok("POST", "/org/sdkClient", wish).await;
    assert_eq!(first["id"], backend["id"]);
    assert_ne!(first["auth"]["secret"], backend["auth"]["secret"]);
    let shown = ada.get(&format!("/org/sdkClient/{}", backend["id"].as_str().unwrap())).await;
    assert_eq!(shown["auth"], json!({"type": "apiKey"}));

    let bearer = backend["auth"]["secret"].as_str().unwrap().to_owned();
    let lost =
        Caller { operator: &operator, bearer: first["auth"]["secret"].as_str().unwrap().into() };
    assert_eq!(lost.call("GET", "/org/sdkClient/auth", &json!({})).await.0, 401);
    let backend = Caller { operator: &operator, bearer };
    let auth = backend.get("/org/sdkClient/auth").await;
    assert_eq!(auth, json!({"authenticatorId": first["id"]}));
    let ask = json!({"appUserId": "user-1", "sdkClientId": web["id"]});
    let minted = backend.ok("POST", "/org/appUserIdToken", ask).await;
    let token = minted["appUserIdToken"].as_str().unwrap();
    let verdict = operator.validate(token, web["id"].as_str()).await;
    assert_eq!(verdict.json()["appUserId"], "user-1");
    // A member may, too, with the session.
    let by_session = json!({"appUserId": "user-2", "userPoolId": pool["id"]});
    let by_session = ada.ok("POST", "/org/appUserIdToken", by_session).await;
    let token = by_session["appUserIdToken"].as_str().unwrap();
    let verdict = operator.validate(token, web["id"].as_str()).await;
    assert_eq!(verdict.json()["appUserId"], "user-2");

    // A backend of role Member manages no members; nor does anybody take its role for more.
    let eve =
        json!({"name": "Eve", "email": "eve@x.example", "password": PASSWORD, "role": "Admin"});
    assert_eq!(backend.call("POST", "/org/member", &eve).await.0, 403);

    let pool = format!("/org/userPool/{}", pool["id"].as_str().unwrap());
    assert_eq!(ada.ok("PATCH", &pool, json!({"name": "People"})).await, json!(true));
    assert_eq!(ada.get(&pool).await["name"], "People");
    let remote = json!({"authorization": {"jwksUri": "https://idp.example/jwks"}});
    assert_eq!(ada.call("PATCH", &pool, &remote).await.0, 422);
    assert_eq!(ada.get("/org/userPools").await["items"].as_array().unwrap().len(), 1);
    assert_eq!(ada.get("/org/sdkClients").await["items"].as_array().unwrap().len(), 2);
    let backend = format!("/org/sdkClient/{}", first["id"].as_str().unwrap());
    let rotated = ada.ok("POST", &format!("{backend}/rotate"), json!({})).await;
    let new = rotated["auth"]["secret"].as_str().unwrap();
    assert_eq!(operator.validate(new, None).await.status, 200);
    assert_eq!(ada.ok("DELETE", &backend, json!({})).await, json!(true));
    assert_eq!(ada.call("GET", &backend, &json!({})).await.0, 404);
}

/// The operator rotates a key that it delivers. The REST API only requests that.
#[tokio::test]
async fn a_delivered_key_is_rotated_without_being_shown() {
    let operator = shared().await;
    let space = Space::new("rest").await;
    let ada = Caller::ada(&operator, &space).await;
    space.apply(&service("backend", "Member", "key")).await;
    let client: crd::SdkClient = space.ready("backend").await;
    let old = space.api_key("key").await;
    let path = format!("/org/sdkClient/{}/rotate", client.status.unwrap().client_id.unwrap());
    let shown = ada.ok("POST", &path, json!({})).await;
    assert_eq!(shown["auth"], json!({"type": "apiKey"}));
    eventually("there is a new key", async || match space.value("key", "apiKey").await {
        Some(new) if new != old && operator.validate(&new, None).await.status == 200 => Ok(()),
        _ => Err("the old key"),
    })
    .await;
    assert_eq!(operator.validate(&old, None).await.status, 200, "within the overlap");

    // Each request is a new one, also within one second.
    let mut requests = HashSet::new();
    for _ in 0..5 {
        ada.ok("POST", &path, json!({})).await;
        let requested: crd::SdkClient = space.get("backend").await.unwrap();
        requests.insert(requested.metadata.annotations.unwrap()["anon.dev/rotate"].clone());
    }
    assert_eq!(requests.len(), 5, "{requests:?}");

    // Argo CD would undo the request.
    let labels = json!({"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": "x"}}});
    space.merge::<crd::SdkClient>("backend", labels).await;
    let (status, reply) = ada.call("POST", &path, &json!({})).await;
    assert!(status == 422 && reply["message"].as_str().unwrap().contains("Argo CD"), "{reply}");
}

/// Anyone who may annotate a client can make it look like what a request has created. Not with a role that
/// the request would not give: the reply holds a key.
#[tokio::test]
async fn a_client_of_more_than_the_request_asks_for_is_no_repeat() {
    let operator = shared().await;
    let space = Space::new("rest").await;
    let ada = Caller::ada(&operator, &space).await;
    let wish = json!({"name": "ops", "description": "", "kind": "service"});
    let first = ada.ok("POST", "/org/sdkClient", wish.clone()).await;
    let made: crd::SdkClient = space.get("ops").await.unwrap();
    let mark = made.metadata.annotations.unwrap()["anon.dev/request"].clone();
    space.delete::<crd::SdkClient>("ops").await;
    let key = ApiKey::generate().unwrap();
    let hash = json!({"id": key.hash().id(), "sha256": key.hash().to_string()});
    space
        .apply(&json!({
            "apiVersion": "anon.dev/v1beta1", "kind": "SdkClient",
            "metadata": {"name": "ops", "annotations": {"anon.dev/request": mark}},
            "spec": {"displayName": "ops", "description": "",
                "service": {"role": "Admin", "apiKey": {"hashes": [hash]}}},
        }))
        .await;
    let second = ada.ok("POST", "/org/sdkClient", wish).await;
    let admin: crd::SdkClient = space.get("ops").await.unwrap();
    let hashes = admin.spec.service.unwrap().api_key.hashes.unwrap();
    assert_eq!(hashes[0].sha256, key.hash().to_string(), "untouched");
    assert_ne!(first["id"], second["id"]);
    let bearer = second["auth"]["secret"].as_str().unwrap();
    assert_eq!(operator.validate(bearer, None).await.json()["role"], "Member");
}

/// Pools of the organization's own identity provider, created by the API.
#[tokio::test]
async fn own_key_sets() {
    let operator = shared().await;
    let space = Space::new("rest").await;
    let ada = Caller::ada(&operator, &space).await;
    let authorization = json!({"jwksUri": "https://id.example.test/jwks", "idClaim": "email"});
    let wish = json!({"name": "Theirs", "description": "", "authorization": authorization});
    let pool = ada.ok("POST", "/org/userPool", wish).await;
    assert_eq!((&pool["authorization"], &pool["hosted"]), (&authorization, &json!(false)));
    let spec = space.get::<crd::UserPool>("theirs").await.unwrap().spec;
    assert_eq!((spec.any_audience, spec.id_claim.as_deref()), (Some(true), Some("email")));
    let path = format!("/org/userPool/{}", pool["id"].as_str().unwrap());
    let moved = json!({"authorization": {"jwksUri": "https://id.example.test/keys"}});
    assert_eq!(ada.ok("PATCH", &path, moved).await, json!(true));
    let moved = json!({"jwksUri": "https://id.example.test/keys", "idClaim": "email"});
    assert_eq!(ada.get(&path).await["authorization"], moved);
    let (status, reply) = ada
        .call(
            "POST",
            "/org/userPool",
            &json!({"name": "x", "authorization": {"jwksUri": "http://a"}}),
        )
        .await;
    assert!(status == 422 && reply["message"].as_str().unwrap().contains("https"), "{reply}");

    // With a client that has no pool yet; a retry makes neither of them twice.
    let wish = json!({"name": "App", "description": "", "authorization": authorization});
    let app = ada.ok("POST", "/org/sdkClient", wish.clone()).await;
    assert_eq!(ada.ok("POST", "/org/sdkClient", wish).await["id"], app["id"]);
    let pools = ada.get("/org/userPools").await["items"].clone();
    let made: Vec<_> =
        pools.as_array().unwrap().iter().map(|it| (&it["name"], &it["id"])).collect();
    assert!(
        made.len() == 2 && made.contains(&(&json!("App"), &app["auth"]["userPoolId"])),
        "{made:?}"
    );
    for (wish, field) in [
        (json!({"name": "S", "kind": "service", "authorization": authorization}), "authorization"),
        (
            json!({"name": "A", "kind": {"application": {"userPoolId": pool["id"]}}, "authorization": authorization}),
            "authorization",
        ),
    ] {
        let (status, reply) = ada.call("POST", "/org/sdkClient", &wish).await;
        assert!(status == 400 && reply["field"] == field, "{status} {reply}");
    }
    // Tokens of such a pool are not ours to mint.
    let mint = json!({"appUserId": "u", "userPoolId": pool["id"]});
    assert_eq!(ada.call("POST", "/org/appUserIdToken", &mint).await.0, 422);
}

#[tokio::test]
async fn members() {
    let operator = shared().await;
    let space = Space::new("rest").await;
    let ada = Caller::ada(&operator, &space).await;
    let email = format!("bob@{}.example", space.name);
    let bob =
        json!({"name": "Bob", "email": email, "password": "another horse", "role": "ReadOnly"});
    let made = ada.ok("POST", "/org/member", bob.clone()).await;
    assert_eq!(made["role"], "ReadOnly");
    assert_eq!(ada.ok("POST", "/org/member", bob).await["id"], made["id"], "a retry");
    let other =
        json!({"name": "Robert", "email": email, "password": "third horse", "role": "Admin"});
    assert_eq!(ada.call("POST", "/org/member", &other).await.0, 422, "the address is taken");

    let bearer = log_in(&operator, &email, "another horse").await.unwrap();
    let bob = Caller { operator: &operator, bearer };
    assert_eq!(bob.get("/org/members").await["items"].as_array().unwrap().len(), 2);
    assert_eq!(bob.call("POST", "/org/userPool", &json!({"name": "x"})).await.0, 403);
    let path = format!("/org/member/{}", made["id"].as_str().unwrap());
    assert_eq!(bob.get(&path).await, made);

    // A new password ends the sessions, a suspension too.
    assert_eq!(ada.ok("PATCH", &path, json!({"password": "fourth horse"})).await, json!(true));
    assert_eq!(bob.call("GET", &path, &json!({})).await.0, 401);
    assert_eq!(log_in(&operator, &email, "another horse").await, Err(401));
    assert!(log_in(&operator, &email, "fourth horse").await.is_ok());
    ada.ok("PATCH", &path, json!({"suspended": true})).await;
    assert_eq!(log_in(&operator, &email, "fourth horse").await, Err(401));

    // The last Admin stays.
    let own = ada.get("/org/sdkClient/auth").await["authenticatorId"].as_str().unwrap().to_owned();
    let own = format!("/org/member/{own}");
    for body in [json!({"role": "Member"}), json!({"suspended": true})] {
        assert_eq!(ada.call("PATCH", &own, &body).await.0, 422, "{body}");
    }
    assert_eq!(ada.call("DELETE", &own, &json!({})).await.0, 422);
    assert_eq!(ada.ok("DELETE", &path, json!({})).await, json!(true));

    let organization = made["organizationId"].as_str().unwrap();
    let path = format!("/org/organization/{organization}");
    assert_eq!(ada.ok("PATCH", &path, json!({"name": "Cool Kids"})).await, json!(true));
    let shown = ada.get(&path).await;
    assert_eq!((&shown["name"], &shown["id"]), (&json!("Cool Kids"), &json!(organization)));
    assert_eq!(shown["members"].as_array().unwrap().len(), 1);

    // What Helm has made is Helm's to change.
    let labels = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}});
    space.merge::<crd::Organization>("default", labels).await;
    let refused = async |method: &str, tool: &str| {
        let (status, reply) = ada.call(method, &path, &json!({"name": "x"})).await;
        assert!(status == 422 && reply["message"].as_str().unwrap().contains(tool), "{reply}");
    };
    refused("PATCH", "Helm").await;
    refused("DELETE", "Helm").await;
    // And what Argo CD applies, without a mark that we know.
    let labels = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}});
    space.merge::<crd::Organization>("default", labels).await;
    ada.ok("PATCH", &path, json!({"name": "Kids"})).await;
    let manifest = json!({
        "apiVersion": "anon.dev/v1beta1", "kind": "Organization", "metadata": {"name": "default"},
        "spec": {"displayName": "Kids"},
    });
    let by_argo = PatchParams::apply("argocd-controller").force();
    let api = space.api::<crd::Organization>();
    api.patch("default", &by_argo, &Patch::Apply(&manifest)).await.unwrap();
    refused("PATCH", "Argo CD").await;
}
