//! Health and metrics.

use anon_operator::testing::crd::Kind;
use anon_operator::testing::server;
use serde_json::json;

use crate::support::objects::{claims, token};
use crate::support::{Reply, World, get};

async fn admin(world: &World, path: &str) -> Reply {
    Reply::of(server::admin(world.state.validator.clone()), get(path)).await
}

#[tokio::test]
async fn ready_after_the_last_kind() {
    let world = World::unlisted();
    for kind in Kind::ALL {
        assert_eq!(admin(&world, "/livez").await.status, 200);
        assert_eq!(admin(&world, "/readyz").await.status, 503);
        world.index.listed(kind, None);
    }
    assert_eq!(admin(&world, "/readyz").await.status, 503, "the namespaces are missing");
    world.index.namespaces_listed([]);
    assert_eq!(admin(&world, "/readyz").await.status, 200);
    assert_eq!(admin(&world, "/org/appUserIdToken").await.error(), (404, "NotFoundError".into()));
}

#[tokio::test]
async fn not_ready_any_more_once_it_has_lost_touch() {
    let reply = admin(&World::stale(), "/readyz").await;
    assert_eq!(reply.status, 503);
    assert!(reply.text.contains("lost contact"), "{}", reply.text);
    assert_eq!(admin(&World::stale(), "/livez").await.status, 200, "a restart does not help");
}

#[tokio::test]
async fn the_age_of_the_index_is_shown_once_there_is_one() {
    let world = World::unlisted();
    assert!(!admin(&world, "/metrics").await.text.contains("anon_index_age_seconds{"));
    assert!(!admin(&world, "/readyz").await.text.contains("received nothing"));
    world.index.advanced(Kind::UserPool, None, "1");
    let text = admin(&world, "/metrics").await.text;
    assert!(text.contains("anon_index_age_seconds{kind=\"UserPool\"} 0\n"), "{text}");
    let text = admin(&world, "/readyz").await.text;
    assert!(text.ends_with("\nreceived nothing about UserPool for 0 s\n"), "{text}");
}

/// Each line of the exposition is a comment or `name{labels} value`.
fn parses(text: &str) -> bool {
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
        ["anon_", "process_"].iter().any(|prefix| name.starts_with(prefix))
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && labels.ends_with('}')
            && value.parse::<f64>().is_ok()
    };
    text.ends_with("# EOF\n") && text.lines().all(|line| line.starts_with('#') || sample(line))
}

/// Every endpoint counts: callers of the REST API by one label, end users at `/link/url` by another
/// (`missing_keys.rs`).
#[tokio::test]
async fn calls_of_the_rest_api_are_counted() {
    let (world, acme) = World::acme();
    let body = json!({"appUserId": "u"});
    let path = "/org/appUserIdToken";
    world.post(path, Some(acme.key()), &body).await;
    world.post(path, Some(acme.key()), &json!({})).await;
    world.post(path, None, &body).await;
    world.post(path, Some(&token(acme.signing, &claims())), &body).await;
    let text = admin(&world, "/metrics").await.text;
    for (verdict, count) in
        [("active", 2), ("credential_missing", 1), ("credential_kind_refused", 1)]
    {
        let line = format!(r#"anon_verdicts_total{{endpoint="org",verdict="{verdict}"}} {count}"#);
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn requests_are_counted_by_endpoint_and_result() {
    let (world, acme) = World::acme();
    world.post("/v1/validate", Some(acme.key()), &json!({})).await;
    world.post("/v1/validate", Some(acme.key()), &json!({})).await;
    world.post("/v1/validate", Some("junk"), &json!({})).await;
    world.post("/v1/validate", None, &json!([])).await;
    world.get("/userPools/x/.well-known/jwks.json").await;
    world.get("/nothing").await;
    world.post("/org/appUserIdToken", Some(acme.key()), &json!({"appUserId": "u"})).await;
    let login = json!({"email": "ada@acme.example", "password": "wrong"});
    world.post("/org/login", None, &login).await;
    let text = admin(&world, "/metrics").await.text;
    for line in [
        r#"anon_requests_total{endpoint="validate",result="ok"} 2"#,
        r#"anon_requests_total{endpoint="validate",result="rejected"} 1"#,
        r#"anon_requests_total{endpoint="validate",result="client_error"} 1"#,
        r#"anon_requests_total{endpoint="validate",result="unavailable"} 0"#,
        r#"anon_requests_total{endpoint="documents",result="client_error"} 1"#,
        r#"anon_requests_total{endpoint="other",result="client_error"} 1"#,
        r#"anon_request_duration_seconds_count{endpoint="validate",result="ok"} 2"#,
        r#"anon_requests_total{endpoint="org",result="rejected"} 1"#,
        r#"anon_requests_in_progress{part="validator"} 0"#,
        r#"anon_requests_waiting{part="api"} 0"#,
        r#"anon_logins_total{result="rejected"} 1"#,
        r#"anon_logins_total{result="ok"} 0"#,
        r#"anon_verdicts_total{endpoint="validate",verdict="token_expired"} 0"#,
        r#"anon_build_info{version=""#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn metrics_name_nobody() {
    let (world, acme) = World::acme();
    let mut claims = claims();
    claims["sub"] = json!("sub-of-a-person");
    let token = token(acme.signing, &claims);
    let body = json!({"token": token, "sdkClientId": acme.client()});
    assert_eq!(world.post("/v1/validate", None, &body).await.status, 200);
    world.post("/v1/validate", Some(acme.key()), &json!({})).await;
    world.post("/v1/validate", Some("junk"), &json!({"sdkClientId": "who-is-this"})).await;
    world.state.metrics.reconciled("UserPool", "ok", std::time::Duration::from_millis(3));

    let reply = admin(&world, "/metrics").await;
    assert_eq!(
        reply.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let text = &reply.text;
    assert!(parses(text), "{text}");
    for line in [
        r#"anon_verdicts_total{endpoint="validate",verdict="active"} 2"#,
        r#"anon_verdicts_total{endpoint="validate",verdict="credential_unrecognized"} 1"#,
        r#"anon_index_objects{kind="UserPool"} 1"#,
        r#"anon_index_objects{kind="SdkClient"} 2"#,
        r#"anon_index_objects{kind="Member"} 0"#,
        r#"anon_reconciles_total{kind="UserPool",outcome="ok"} 1"#,
        "anon_leader 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    for private in [
        "acme",
        "users",
        "backend",
        "sub-of-a-person",
        "who-is-this",
        "junk",
        acme.key(),
        &token,
        &acme.client().to_string(),
        &acme.api_key.hash().id(),
        &acme.api_key.hash().to_string(),
    ] {
        assert!(!text.contains(private), "{private} is in\n{text}");
    }
}
