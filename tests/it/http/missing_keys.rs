//! A token that names a key which is not in the fetched set: it waits a moment, and what comes of
//! that depends on what the leader answers.

use anon_operator::testing::crd::Kind;
use anon_operator::testing::domain;
use anon_operator::testing::domain::algorithm::Algorithm;
use anon_operator::testing::domain::credential::ApiKey;
use anon_operator::testing::domain::ids::{SdkClientId, UserPoolId};
use anon_operator::testing::domain::signing::SigningKey;
use anon_operator::testing::server::PlatformSettings;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use http::Request;
use jsonwebtoken::signature::Signer as _;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

use crate::support::objects::{self, claims, token};
use crate::support::{NOW, Reply, World};

/// What the leader does when it has heard of the question.
struct Answer {
    /// The keys of the set are then those of this key.
    key: SigningKey,
    /// Whether status says that the set answers the question.
    answered: bool,
}

fn world(key: &SigningKey) -> World {
    let world = World::new();
    world.add(&objects::remote_pool("acme", "users", key, NOW));
    world.add(&objects::webapp("acme", "web", "users"));
    world
}

async fn ask(world: &World, token: &str) -> Reply {
    let client = SdkClientId::derive("acme", "web");
    world.post("/v1/validate", None, &json!({"token": token, "sdkClientId": client})).await
}

/// Waits for the question, as it would stand in the Lease, and brings the answer by a status.
async fn lead(world: &World, answer: Answer) -> Value {
    let requests = world.state.reader.refetch_requests();
    let pool = UserPoolId::derive("acme", "users");
    let asked = loop {
        let waiting = tokio::time::timeout(Duration::from_mins(1), requests.new_request());
        waiting.await.expect("no fetch was requested");
        let asked =
            requests.take_pending(|id| world.state.reader.pool(id), std::time::Instant::now());
        if asked.pools.contains_key(&pool) {
            break asked;
        }
    };
    let mut object = objects::remote_pool("acme", "users", &answer.key, NOW);
    let question = i64::try_from(asked.pools[&pool]).unwrap();
    if answer.answered {
        let answer = json!([{"by": asked.by, "question": question}]);
        object.status.as_mut().unwrap().fetch_answers = serde_json::from_value(answer).unwrap();
    }
    world.add(&object);
    world.index.advanced(Kind::UserPool, None, "7");
    serde_json::to_value(asked).unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_comes_with_a_new_key_waits_for_it() {
    let (old, new) = (objects::new_signing_key(), objects::new_signing_key());
    let (world, token) = (world(&old), token(&new, &claims()));
    let many = join_all((0..10).map(|_| ask(&world, &token)));
    let answer = Answer { key: new, answered: true };
    let (replies, asked) = futures::join!(many, lead(&world, answer));
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    // What stands in the Lease is the pool and a number: nothing of the token.
    assert_eq!(asked["pools"].as_object().unwrap().len(), 1);
    assert!(!asked.to_string().contains(&token[..20]));
}

/// The token of the end user at `/link/url` goes the same way as one at `/v1/validate`.
#[tokio::test(start_paused = true)]
async fn a_token_at_link_url_waits_for_its_key_and_is_counted() {
    let (old, new) = (objects::new_signing_key(), objects::new_signing_key());
    let link_url = Some("https://link.example".to_owned());
    let world = World::with(PlatformSettings { link_url, ..PlatformSettings::default() });
    let back = "https://acme.example/back";
    let mut web = objects::webapp("acme", "web", "users");
    web.spec.webapp.as_mut().unwrap().redirect_urls = Some(vec![back.to_owned()]);
    world.add(&web);
    let key = ApiKey::generate().unwrap();
    world.add(&objects::service("acme", "backend", "Member", &key));
    world.add(&objects::remote_pool("acme", "users", &old, NOW));

    let token = token(&new, &claims());
    let client = SdkClientId::derive("acme", "web").to_string();
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("app", "x"), ("redirectUrl", back), ("clientId", &client)])
        .append_pair("appUserIdToken", &token)
        .finish();
    let link = async || {
        let request = Request::get(format!("/link/url?{query}"))
            .header("authorization", format!("Bearer {}", key.expose()));
        world.send(request.body(Body::empty()).unwrap()).await
    };
    // Nobody answers: the result is unknown, which is not the caller's mistake.
    let unanswered = link().await;
    assert_eq!(
        (unanswered.status, &unanswered.json()["reason"]),
        (503.try_into().unwrap(), &json!("key_not_yet_known"))
    );
    let answer = Answer { key: new, answered: true };
    let (reply, _) = futures::join!(link(), lead(&world, answer));
    assert_eq!(reply.status, 200, "{}", reply.text);
    let text = world.state.metrics.expose().unwrap();
    for (endpoint, verdict, count) in
        [("link", "key_not_yet_known", 1), ("link", "active", 1), ("org", "active", 2)]
    {
        let line =
            format!(r#"anon_verdicts_total{{endpoint="{endpoint}",verdict="{verdict}"}} {count}"#);
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_invented_key_is_refused_once_that_is_known() {
    let (key, other) = (Arc::new(objects::new_signing_key()), objects::new_signing_key());
    let (world, invented) = (world(&key), token(&other, &claims()));
    let same = SigningKey::from_pkcs8(key.algorithm(), &key.to_pkcs8().unwrap()).unwrap();
    let answer = Answer { key: same, answered: true };
    let (reply, _) = futures::join!(ask(&world, &invented), lead(&world, answer));
    assert_eq!(reply.json()["reason"], "key_unknown");
    assert_eq!(ask(&world, &invented).await.json()["reason"], "key_unknown");
    // Another invented key is another question; good tokens have none.
    let another = token(&objects::new_signing_key(), &claims());
    let reply = ask(&world, &another).await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, Some("1")));
    assert_eq!(ask(&world, &token(&key, &claims())).await.status, 200);
}

/// The provider may have just added an algorithm to a key that the set has.
#[tokio::test(start_paused = true)]
async fn another_algorithm_of_a_known_kid_is_refused_once_that_is_known() {
    let key = objects::new_signing_key();
    let (world, kid) = (world(&key), key.public_jwk().kid.unwrap());
    let other = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let token = domain::token::sign(&other, &kid, &claims()).unwrap();
    let (reply, _) =
        futures::join!(ask(&world, &token), lead(&world, Answer { key, answered: true }));
    assert_eq!(reply.json()["reason"], "algorithm_mismatch");
    let another = domain::token::sign(&other, "another", &claims()).unwrap();
    assert_eq!(ask(&world, &another).await.json()["reason"], "key_not_yet_known");
}

/// Also a token without `kid`, if the set has no key of its algorithm; a bad signature is final.
#[tokio::test(start_paused = true)]
async fn token_without_kid_asks_for_no_fetch_if_its_signature_is_bad() {
    let (key, other) = (objects::new_signing_key(), objects::new_signing_key());
    let world = world(&key);
    let without_kid = |key: &SigningKey| {
        let header = json!({"alg": key.algorithm()}).to_string();
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let input = format!("{}.{}", encode(&header), encode(&claims().to_string()));
        let signature = URL_SAFE_NO_PAD.encode(key.try_sign(input.as_bytes()).unwrap());
        format!("{input}.{signature}")
    };
    assert_eq!(ask(&world, &without_kid(&key)).await.status, 200);
    assert_eq!(ask(&world, &without_kid(&other)).await.json()["reason"], "signature_invalid");
    let text = world.state.metrics.expose().unwrap();
    assert!(text.contains("anon_signature_verifications_total 2"), "{text}");
    let other = SigningKey::generate(Algorithm::EdDSA).unwrap();
    assert_eq!(ask(&world, &without_kid(&other)).await.json()["reason"], "key_not_yet_known");
}

#[tokio::test(start_paused = true)]
async fn a_set_that_does_not_answer_the_question_refuses_nobody() {
    let (key, other) = (objects::new_signing_key(), objects::new_signing_key());
    let (world, invented) = (world(&key), token(&other, &claims()));
    let answer = Answer { key, answered: false };
    let (reply, _) = futures::join!(ask(&world, &invented), lead(&world, answer));
    assert_eq!(reply.json()["reason"], "key_not_yet_known");
    assert_eq!(reply.status, 503);
}
