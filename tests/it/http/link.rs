//! `GET /link/url`.

use anon_operator::testing::crd;
use anon_operator::testing::server::PlatformSettings;
use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use crate::support::log::Log;
use crate::support::objects::{self, claims, parse, token};
use crate::support::{Acme, Reply, World};

const BACK: &str = "https://acme.example/back?x=1";

/// [`World::acme`] where Link is known, with a client that may be sent back to.
fn acme() -> (World, Acme) {
    let link_url = Some("https://link.example".to_owned());
    let (acme, api_key) = World::acme();
    let mut world = World::with(PlatformSettings { link_url, ..PlatformSettings::default() });
    world.state.validator.reader = acme.state.validator.reader.clone();
    world.index = acme.index.clone();
    let mut web = objects::webapp("acme", "web", "users");
    let webapp = web.spec.webapp.as_mut().unwrap();
    webapp.redirect_urls = Some(vec![BACK.to_owned()]);
    webapp.chrome_extension_id = Some("ext".to_owned());
    world.add(&web);
    (world, api_key)
}

async fn link(world: &World, acme: &Acme, parameters: &[(&str, &str)]) -> Reply {
    let query =
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let request = Request::get(format!("/link/url?{query}"))
        .header("authorization", format!("Bearer {}", acme.key()));
    world.send(request.body(Body::empty()).unwrap()).await
}

/// The parameters of the address in the reply.
fn parameters(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text);
    let url = reply.json()["url"].as_str().unwrap().to_owned();
    let query = url.strip_prefix("https://link.example?").unwrap();
    url::form_urlencoded::parse(query.as_bytes()).map(|(k, v)| (k.into_owned(), json!(v))).collect()
}

#[tokio::test]
async fn for_a_user_id_and_for_a_token() {
    let (world, acme) = acme();
    let client = acme.client().to_string();
    let base = [("app", "amazon"), ("redirectUrl", BACK), ("clientId", &client)];
    let by_id = link(&world, &acme, &[&base[..], &[("appUserId", "u & 1")]].concat()).await;
    assert_eq!(
        parameters(&by_id),
        json!({
            "app": "amazon", "redirectUrl": BACK, "clientId": client, "appUserId": "u & 1",
            "chromeExtensionId": "ext", "companyName": "acme", "state": "{}",
        })
    );

    let spec = json!({"displayName": "Acme", "logoUrl": "https://acme.example/logo.png",
        "defaultSdkClientRef": {"name": "portal"}});
    world.add(&objects::organization("acme", &spec));
    // Without a client it is the organization's, whatever id that has.
    let chosen = "6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111";
    let mut portal = objects::webapp_of_id("acme", "portal", "users", chosen);
    portal.spec.webapp.as_mut().unwrap().redirect_urls = Some(vec![BACK.to_owned()]);
    world.add(&portal);
    let by_default = [("app", "amazon"), ("redirectUrl", BACK), ("appUserId", "u")];
    assert_eq!(parameters(&link(&world, &acme, &by_default).await)["clientId"], chosen);
    // The token names the client, so nobody else has to.
    let mut claims = claims();
    claims["sdkClientId"] = json!(client);
    let token = token(acme.signing, &claims);
    let by_token = [
        ("app", "amazon"),
        ("redirectUrl", BACK),
        ("appUserIdToken", &token),
        ("state", r#"{"a": [1]}"#),
        ("checkUrl", "https://acme.example/check"),
        ("displayName", "Shop"),
    ];
    let shown = parameters(&link(&world, &acme, &by_token).await);
    assert_eq!((&shown["appUserId"], &shown["clientId"]), (&json!("user-123"), &json!(client)));
    assert_eq!((&shown["companyName"], &shown["displayName"]), (&json!("Acme"), &json!("Shop")));
    assert_eq!(shown["companyLogoUrl"], "https://acme.example/logo.png");
    assert_eq!(
        (&shown["state"], &shown["appUserIdToken"]),
        (&json!(r#"{"a": [1]}"#), &json!(token))
    );
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_name() {
    let (world, acme) = acme();
    let client = acme.client().to_string();
    let good = token(acme.signing, &claims());
    let foreign = token(&objects::new_signing_key(), &claims());
    let base =
        [("app", "amazon"), ("redirectUrl", BACK), ("clientId", &client), ("appUserId", "u")];
    for (name, value) in [
        ("app", ""),
        ("redirectUrl", ""),
        ("redirectUrl", "https://acme.example/back"),
        ("redirectUrl", "https://acme.example/back?x=1#y"),
        ("appUserId", ""),
        ("clientId", ""),
        ("chromeExtensionId", "another"),
        ("state", "{"),
        ("authUrl", "javascript:alert(1)"),
        ("companyLogoUrl", "data:x"),
        ("appUserIdToken", &foreign),
        ("appUserIdToken", acme.key()),
    ] {
        let mut changed: Vec<_> = base.iter().copied().filter(|it| it.0 != name).collect();
        changed.push((name, value));
        let reply = link(&world, &acme, &changed).await;
        assert_eq!(reply.status, 400, "{name}={value}: {}", reply.text);
        assert_eq!(reply.json()["field"], name, "{name}={value}: {}", reply.text);
    }
    // The token of another user than the one that was specified.
    let mut both = base.to_vec();
    both.push(("appUserIdToken", &good));
    assert_eq!(link(&world, &acme, &both).await.json()["field"], "appUserId");
    let twice = [&base[..], &[("app", "ebay")]].concat();
    assert_eq!(link(&world, &acme, &twice).await.error(), (400, "MalformedRequestError".into()));

    // Clients of others do not exist.
    let globex = objects::webapp("globex", "web", "users");
    world.add(&globex);
    let other =
        anon_operator::testing::domain::ids::SdkClientId::derive("globex", "web").to_string();
    for id in [other.as_str(), "00000000-0000-4000-8000-000000000000", "x"] {
        let mut changed = base;
        changed[2].1 = id;
        assert_eq!(link(&world, &acme, &changed).await.error(), (404, "NotFoundError".into()));
    }
    let suspended: crd::SdkClient = objects::suspended(objects::webapp("acme", "web", "users"));
    world.add(&parse::<crd::SdkClient>(serde_json::to_value(suspended).unwrap()));
    assert_eq!(link(&world, &acme, &base).await.json()["field"], "clientId");
}

#[tokio::test]
async fn without_a_link_url_there_are_no_links() {
    let (world, acme) = World::acme();
    let reply = link(&world, &acme, &[("app", "amazon")]).await;
    assert_eq!(reply.error(), (404, "NotFoundError".into()));
    assert!(reply.text.contains("--link-url"));
}

#[tokio::test]
async fn the_token_is_not_logged() {
    let (world, acme) = acme();
    let (log, guard) = Log::listen();
    let client = acme.client().to_string();
    let token = token(acme.signing, &claims());
    for redirect in [BACK, "https://evil.example"] {
        let query = [
            ("app", "amazon"),
            ("redirectUrl", redirect),
            ("clientId", &client),
            ("appUserIdToken", &token),
        ];
        link(&world, &acme, &query).await;
    }
    tracing::info!("heard");
    drop(guard);
    let log = log.text();
    assert!(log.contains("heard"));
    assert!(!log.contains(&token[..30]), "{log}");
    assert!(!log.contains("link/url?"), "{log}");
}
