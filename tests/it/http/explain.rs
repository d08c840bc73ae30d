//! `POST /v1/explain`.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anon_operator::testing::config::Role;
use anon_operator::testing::domain::credential::{ApiKey, SessionToken};
use anon_operator::testing::domain::ids::SdkClientId;
use serde_json::{Value, json};

use super::serve::start;
use crate::support::objects::{self, claims, issuer, token};
use crate::support::{Acme, NOW, World};

const PATH: &str = "/v1/explain";

/// Acme, with the session of an Admin.
fn acme() -> (World, Acme, SessionToken) {
    let (world, acme) = World::acme();
    let session = SessionToken::generate().unwrap();
    world.add(&objects::member("acme", "ada", "Admin", &session));
    (world, acme, session)
}

async fn explain(world: &World, caller: &SessionToken, body: &Value) -> Value {
    let reply = world.post(PATH, Some(caller.expose()), body).await;
    assert_eq!(reply.status, 200, "{body}: {}", reply.text);
    for secret in ["token", "sdkClientId"] {
        let secret = body[secret].as_str();
        assert!(secret.is_none_or(|secret| !reply.text.contains(secret)), "{secret:?}");
    }
    reply.json()
}

/// The names of the steps, in three groups: passed, failed, not reached.
fn groups(explained: &Value) -> [Vec<&str>; 3] {
    ["pass", "fail", "notReached"].map(|result| {
        let steps = explained["steps"].as_array().unwrap().iter();
        steps.filter(|it| it["result"] == result).map(|it| it["name"].as_str().unwrap()).collect()
    })
}

#[tokio::test]
async fn every_step_of_a_token() {
    let (world, acme, admin) = acme();
    let good = token(acme.signing, &claims());
    let ask = |token: &str| json!({"token": token, "sdkClientId": acme.client()});
    let explained = explain(&world, &admin, &ask(&good)).await;
    assert_eq!(explained["verdict"], "valid");
    let [all, failed, missing] = groups(&explained);
    assert_eq!((failed.len(), missing.len()), (0, 0));

    let changed = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        token(acme.signing, &claims)
    };
    for (token, step, reason) in [
        ("junk".to_owned(), "format", "credential_unrecognized"),
        (changed("exp", json!(NOW - 3600)), "dates", "token_expired"),
        (changed("iss", json!("x")), "issuer", "issuer_mismatch"),
        (changed("aud", json!("x")), "audience", "audience_mismatch"),
        (changed("cnf", json!({})), "senderConstraint", "token_sender_constrained"),
        (changed("sdkClientId", json!("x")), "tokenClient", "token_client_gone"),
        (changed("sub", json!("")), "appUserId", "subject_missing"),
        (changed("jti", json!(1)), "tokenId", "token_id_invalid"),
    ] {
        let explained = explain(&world, &admin, &ask(&token)).await;
        assert_eq!(
            (&explained["verdict"], &explained["reason"]),
            (&json!("invalid"), &json!(reason))
        );
        let position = all.iter().position(|name| *name == step).unwrap();
        let (before, rest) = all.split_at(position);
        assert_eq!(groups(&explained), [before.to_vec(), vec![step], rest[1..].to_vec()], "{step}");
    }
}

#[tokio::test]
async fn unknown_is_not_invalid() {
    let (world, acme, admin) = acme();
    world.add(&objects::pool_without_keys("acme", "new"));
    world.add(&objects::webapp("acme", "fresh", "new"));
    let fresh = SdkClientId::derive("acme", "fresh");
    let body = json!({"token": token(acme.signing, &claims()), "sdkClientId": fresh});
    let explained = explain(&world, &admin, &body).await;
    assert_eq!(
        (&explained["verdict"], &explained["reason"]),
        (&json!("unknown"), &json!("pool_not_ready"))
    );
    assert_eq!(groups(&explained)[1], ["userPool"]);
}

#[tokio::test]
async fn other_organizations_look_like_unknown_ones() {
    let (world, acme, admin) = acme();
    let (key, session) = (ApiKey::generate().unwrap(), SessionToken::generate().unwrap());
    let suspended = SessionToken::generate().unwrap();
    world.add(&objects::service("other", "backend", "Member", &key));
    world.add(&objects::member("other", "eve", "Admin", &session));
    let mut member = objects::member("other", "bob", "Admin", &suspended);
    member.spec.suspended = Some(true);
    world.add(&member);
    world.add(&objects::pool("other", "users", acme.signing));
    world.add(&objects::webapp("other", "web", "users"));
    let other = SdkClientId::derive("other", "web");
    let mut foreign = claims();
    foreign["iss"] = json!(issuer("other", "users"));
    foreign["aud"] = json!(other);
    let of_client = token(acme.signing, &foreign);
    foreign["sdkClientId"] = json!(other);
    let of_token = token(acme.signing, &foreign);
    let (no_key, no_session) = (ApiKey::generate().unwrap(), SessionToken::generate().unwrap());
    let nobody = SdkClientId::derive("other", "nobody");
    for (foreign, unknown) in [
        (json!({"token": key.expose()}), json!({"token": no_key.expose()})),
        (json!({"token": session.expose()}), json!({"token": no_session.expose()})),
        (json!({"token": suspended.expose()}), json!({"token": no_session.expose()})),
        (
            json!({"token": of_client, "sdkClientId": other}),
            json!({"token": of_client, "sdkClientId": nobody}),
        ),
        (json!({"token": of_token}), json!({"token": of_client, "sdkClientId": "junk"})),
    ] {
        let foreign = explain(&world, &admin, &foreign).await;
        assert_eq!(foreign["verdict"], "invalid");
        assert_eq!(foreign, explain(&world, &admin, &unknown).await);
    }
}

#[tokio::test]
async fn own_keys_and_sessions() {
    let (world, acme, admin) = acme();
    for credential in [acme.key(), admin.expose()] {
        let explained = explain(&world, &admin, &json!({"token": credential})).await;
        assert_eq!(explained["verdict"], "valid");
    }
    world.add(&objects::revocation("acme", "backend", &acme.api_key));
    let explained = explain(&world, &admin, &json!({"token": acme.key()})).await;
    assert_eq!(explained["reason"], "api_key_revoked");
    assert_eq!(groups(&explained)[1], ["revocation"]);
    assert_eq!(groups(&explained)[2], ["organization"]);
}

#[tokio::test]
async fn only_for_admins() {
    let (world, acme, _) = acme();
    let member = SessionToken::generate().unwrap();
    world.add(&objects::member("acme", "bob", "Member", &member));
    let body = json!({"token": acme.key()});
    for (bearer, status) in [(None, 401), (Some("junk"), 401), (Some(member.expose()), 403)] {
        let reply = world.post(PATH, bearer, &body).await;
        assert_eq!(reply.status, status, "{}", reply.text);
        assert!(reply.json().get("steps").is_none());
    }
}

/// `kubectl anon token explain`, which asks over a socket.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_every_step() {
    let (world, acme, admin) = acme();
    let server = start(world.routes(&[Role::Api]), Duration::ZERO);
    let run = |session: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-anon"));
        command.args(["token", "explain", "--server", &format!("http://{}", server.address)]);
        command.args(arguments).env("ANON_SESSION_TOKEN", session);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{}\n", acme.key()).as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let run =
        |session: &str, arguments: &[&str]| tokio::task::block_in_place(|| run(session, arguments));
    let (success, text, _) = run(admin.expose(), &[]);
    assert!(success && text.starts_with("verdict: valid\n\npass         replica "), "{text}");
    world.add(&objects::revocation("acme", "backend", &acme.api_key));
    let (success, text, _) = run(admin.expose(), &["-o", "json"]);
    let explained: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((success, &explained["reason"]), (true, &json!("api_key_revoked")));
    let (success, text, error) = run("junk", &[]);
    assert!(!success && text.is_empty() && error.contains("401"), "{text} {error}");
    assert!(!error.contains(acme.key()));
    let (success, _, error) = run("", &[]);
    assert!(!success && error.contains("ANON_SESSION_TOKEN"), "{error}");
}
