//! What holds for every path: methods, unknown paths, sizes, request ids, roles.

use anon_operator::testing::config::Role;
use http::Request;
use serde_json::json;

use crate::support::objects::{claims, token};
use crate::support::{Reply, World, get, post};

const PATHS: [(&str, &str); 4] = [
    ("POST", "/v1/validate"),
    ("POST", "/org/appUserIdToken"),
    ("GET", "/userPools/x/.well-known/jwks.json"),
    ("GET", "/userPools/x/.well-known/openid-configuration"),
];

#[tokio::test]
async fn another_method_is_405_in_json() {
    let (world, _) = World::acme();
    for (method, path) in PATHS {
        for other in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            // Key sets answer preflights.
            let preflight = other == "OPTIONS" && path.starts_with("/userPools/");
            if other == method || preflight {
                continue;
            }
            let request = Request::builder().method(other).uri(path).body("".into()).unwrap();
            let reply = world.send(request).await;
            assert_eq!(reply.error(), (405, "MethodNotAllowedError".into()), "{other} {path}");
            assert!(reply.header("allow").unwrap().contains(method), "{other} {path}");
        }
    }
}

#[tokio::test]
async fn another_path_is_404_in_json() {
    let (world, acme) = World::acme();
    for path in ["/", "/v1", "/v1/validate/", "/v1//validate", "/org/user", "/metrics", "/livez"] {
        assert_eq!(world.get(path).await.error(), (404, "NotFoundError".into()), "{path}");
        let reply = world.post(path, None, &json!({})).await;
        assert_eq!(reply.error(), (404, "NotFoundError".into()), "{path}");
    }
    // A credential that was put into the path by mistake does not come back.
    let reply = world.get(&format!("/v1/validate/{}", acme.key())).await;
    assert!(!reply.text.contains(acme.key()), "{}", reply.text);
}

#[tokio::test]
async fn a_body_that_is_too_large() {
    let (world, acme) = World::acme();
    for path in ["/v1/validate", "/org/appUserIdToken"] {
        let body = json!({"appUserId": "u", "padding": "x".repeat(64 * 1024)});
        let reply = world.post(path, Some(acme.key()), &body).await;
        assert_eq!(reply.error(), (413, "RequestTooLargeError".into()), "{path}");
    }
    let mut request = post("/v1/validate", format!("{{{}}}", " ".repeat(64 * 1024 - 2)));
    let bearer = format!("Bearer {}", acme.key()).parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    assert_eq!(world.send(request).await.status, 200);
}

#[tokio::test]
async fn deep_nesting_is_refused() {
    let (world, _) = World::acme();
    let body = format!("{}{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let reply = world.send(post("/v1/validate", body)).await;
    assert_eq!(reply.error(), (400, "MalformedRequestError".into()));
}

#[tokio::test]
async fn request_ids() {
    let (world, _) = World::acme();
    let mut request = get("/nothing");
    request.headers_mut().insert("x-request-id", "mine-1".parse().unwrap());
    assert_eq!(world.send(request).await.header("x-request-id"), Some("mine-1"));
    let first = world.get("/nothing").await;
    let second = world.get("/nothing").await;
    assert!(first.header("x-request-id").is_some());
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[tokio::test]
async fn a_process_serves_its_roles_only() {
    let (world, acme) = World::acme();
    for (roles, served) in [
        (vec![Role::Validator], [true, false, true, true]),
        (vec![Role::Api], [false, true, false, false]),
        (vec![Role::Api, Role::Validator], [true; 4]),
        (vec![Role::Controller], [false; 4]),
    ] {
        for ((method, path), served) in PATHS.into_iter().zip(served) {
            let authorization = format!("Bearer {}", acme.key());
            let request = Request::builder().method(method).uri(path);
            let request = request.header("authorization", authorization).body("".into()).unwrap();
            let reply = Reply::of(world.routes(&roles), request).await;
            let absent = reply.status == 404 && reply.text.contains("unknown path");
            assert_eq!(!absent, served, "{roles:?} {path}: {}", reply.text);
        }
    }
}

#[tokio::test]
async fn no_refusal_echoes_the_credential() {
    let (world, acme) = World::acme();
    let good = token(acme.signing, &claims());
    let (signing_input, signature) = good.rsplit_once('.').unwrap();
    let tampered = format!("{signing_input}.{}", signature.to_uppercase());
    let broken = acme.key().replace("ory_apikey_", "ory_apikey_x");
    for credential in [good.as_str(), &tampered, &broken, "s3cr3t-s3cr3t", "s3cr3t.s3cr3t.s3cr3t"] {
        for client in [json!(null), json!("nobody"), json!(acme.client())] {
            let body = json!({"sdkClientId": client});
            let reply = world.post("/v1/validate", Some(credential), &body).await;
            for part in credential.split('.').filter(|part| part.len() > 5) {
                assert!(!reply.text.contains(part), "{}", reply.text);
                assert!(!format!("{:?}", reply.headers).contains(part));
            }
        }
        let reply = world.post("/org/appUserIdToken", Some(credential), &json!({})).await;
        assert!(!reply.text.contains(credential), "{}", reply.text);
    }
}

/// Requests without a body and with few headers do not go through the router.
#[tokio::test]
async fn neither_an_empty_object_nor_many_headers_change_a_response() {
    let (world, acme) = World::acme();
    let good = token(acme.signing, &claims());
    let (input, _) = good.rsplit_once('.').unwrap();
    let (forged, web) = (format!("{input}.{}", "A".repeat(86)), acme.client().to_string());
    for (credential, status) in [
        (Some(good.as_str()), 200),
        (Some(acme.key()), 200),
        (Some(forged.as_str()), 401),
        (Some("junk"), 401),
        (Some("two words"), 401),
        (None, 401),
    ] {
        for path in ["/v1/validate", &format!("/v1/auth/client/{web}")] {
            let mut replies = Vec::new();
            for (body, padding) in [("", 0), ("{}", 0), ("", 100)] {
                let mut request = Request::post(path).header("x-anon-sdk-client-id", &web);
                request = request.header("x-request-id", "mine");
                if let Some(credential) = credential {
                    request = request.header("authorization", format!("Bearer {credential}"));
                }
                for number in 0..padding {
                    request = request.header(format!("x-padding-{number}"), "x");
                }
                let mut reply = world.send(request.body(body.into()).unwrap()).await;
                // Which hyper adds if it is missing.
                reply.headers.remove("content-length");
                replies.push((reply.status, reply.headers, reply.text));
            }
            assert_eq!(replies[0], replies[1], "{path} {credential:?}");
            assert_eq!(replies[0], replies[2], "{path} {credential:?}");
            // A gateway accepts only tokens.
            let is_key = credential == Some(acme.key()) && path != "/v1/validate";
            assert_eq!(replies[0].0, if is_key { 401 } else { status }, "{path} {credential:?}");
        }
    }
    let request = Request::head(format!("/v1/auth/client/{web}")).body("".into()).unwrap();
    let reply = world.send(request).await;
    assert_eq!((u16::from(reply.status), reply.text), (401, String::new()));
}
