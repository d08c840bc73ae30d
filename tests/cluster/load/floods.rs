//! Floods of requests and of fetched key sets that are made to take memory: how much the process
//! takes at its peak, and that it gives it back.

use std::fs;
use std::time::Duration;

use anon_operator::testing::crd::UserPool;
use anon_operator::testing::domain::algorithm::VerifyingAlgorithm;
use anon_operator::testing::domain::ids::SdkClientId;
use anon_operator::testing::domain::jwk::Jwk;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::h2::{ask_and_close_the_window, keep_alive};
use crate::harness::provider::{Key, ca_secret, fetching_operator, follow, remote_pool};
use crate::harness::wait::expect;
use crate::harness::{Operator, Space, alone, consenting_secret, eventually, http, pool_with};
use crate::idp::{Idp, JWKS, Page};

/// How much a flood may take, and how much of that may be left half a minute later, in bytes.
const MAX_GROWTH: f64 = 60e6;
const MAX_LEFT: f64 = 20e6;

/// What the process takes now, as it says itself.
async fn resident(operator: &Operator) -> f64 {
    let text = http::get(&operator.admin_url("/metrics")).await.unwrap().body;
    let text = String::from_utf8(text.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    // An older build, to compare with, does not.
    let metric = line.map(|value| value.parse().unwrap());
    metric.unwrap_or_else(|| status_bytes(operator, "VmRSS:"))
}

fn status_bytes(operator: &Operator, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", operator.pid())).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    value.split_whitespace().next().unwrap().parse::<f64>().unwrap() * 1024.0
}

/// The most that the process has taken since the last call of [`forget_peak`].
fn peak(operator: &Operator) -> f64 {
    status_bytes(operator, "VmHWM:")
}

fn forget_peak(operator: &Operator) {
    fs::write(format!("/proc/{}/clear_refs", operator.pid()), "5").unwrap();
}

/// Floods, and holds the process to the bars.
async fn within_bars<T>(operator: &Operator, what: &str, flood: impl Future<Output = T>) -> T {
    let before = resident(operator).await;
    forget_peak(operator);
    let result = flood.await;
    let growth = peak(operator) - before;
    let mut left = resident(operator).await - before;
    let over = Instant::now();
    while left > MAX_LEFT && over.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(250)).await;
        left = resident(operator).await - before;
    }
    eprintln!(
        "{what}: from {:.1} MB, {:.1} MB more, {:.1} MB left after {:?}",
        before / 1e6,
        growth / 1e6,
        left / 1e6,
        over.elapsed()
    );
    assert!(growth <= MAX_GROWTH, "{what}: {growth} bytes more");
    assert!(left <= MAX_LEFT, "{what}: {left} bytes are left");
    result
}

/// A list that takes this many bytes, and a hundred times as many as a tree.
fn junk(bytes: usize) -> String {
    let item = r#"{"":0}"#;
    format!("[{}]", vec![item; bytes / (item.len() + 1)].join(","))
}

#[tokio::test]
async fn sixty_junk_bodies_take_little_memory_and_give_it_back() {
    let _turn = alone().await;
    let operator = fetching_operator(0, &["--trusted-proxy-hops=1"]).await;
    let (space, idp, key) = (Space::new("junk").await, Idp::start(), Key::new());
    idp.serve_keys(&[key.jwk()]);
    follow(&space, &idp, "users", JWKS).await;
    space.ready::<UserPool>("users").await;
    let web = SdkClientId::derive(&space.name, "users").to_string();
    operator.gives(&key.token(), Some(&web), "200").await;

    // They wait for a hash, each from an address of its own.
    let junk = junk(63 * 1024);
    let logins =
        join_all(
            (0..60).map(|n| {
                let (url, address) = (operator.url("/org/login"), format!("198.51.100.{n}"));
                let email = format!("u{n}@junk.example");
                let body = format!(r#"{{"email":"{email}","password":"guess","x":{junk}}}"#);
                async move {
                    http::post_text(&url, &[("x-forwarded-for", &address)], body).await.unwrap()
                }
            }),
        );
    for reply in within_bars(&operator, "logins", logins).await {
        assert_eq!(reply.status, 400, "{reply:?}");
    }

    // They wait for a key that nobody has.
    let junk = junk.clone();
    idp.serve(JWKS, Page::Hang);
    let validations = join_all((0..60).map(|_| {
        let (url, token) = (operator.url("/v1/validate"), Key::new().token());
        let body = format!(r#"{{"token":"{token}","sdkClientId":"{web}","x":{junk}}}"#);
        async move { http::post_text(&url, &[], body).await.unwrap() }
    }));
    for reply in within_bars(&operator, "validations", validations).await {
        assert_eq!(reply.status, 400, "{reply:?}");
    }
}

#[tokio::test]
async fn sixty_junk_key_sets_take_little_memory_and_give_it_back() {
    let _turn = alone().await;
    let operator = fetching_operator(0, &[]).await;
    let idp = Idp::start();
    let keys = junk(500 * 1024);
    let pages = [
        ("/keys", format!(r#"{{"keys":{keys}}}"#)),
        ("/more", format!(r#"{{"keys":[],"more":{keys}}}"#)),
        ("/key", format!(r#"{{"keys":[{{"kty":"OKP","x5c":{keys}}}]}}"#)),
    ];
    idp.serve(JWKS, Page::json(json!({"keys": []})));
    // No namespace fetches more than sixteen at a time.
    let spaces = join_all((0..4).map(|_| Space::new("sets"))).await;
    let pools: Vec<_> = (0..60).map(|n| (&spaces[n % 4], format!("p{n}"))).collect();
    for space in &spaces {
        space.apply(&ca_secret(&idp)).await;
    }
    // Pools, too, take memory: first there are all of them, then they turn to junk.
    let apply = async |path: &dyn Fn(usize) -> String| {
        for (number, (space, name)) in pools.iter().enumerate() {
            space.apply(&remote_pool(name, &idp.url(&path(number)))).await;
        }
    };
    apply(&|_| JWKS.to_owned()).await;
    eventually("each was fetched", async || {
        let hits = idp.hits(JWKS);
        expect(hits >= pools.len(), hits)
    })
    .await;
    for (path, text) in &pages {
        idp.serve(path, Page::Raw(200, vec![], text.clone().into_bytes()));
    }
    let flood = async {
        apply(&|number| pages[number % 3].0.to_owned()).await;
        eventually("each was fetched again", async || {
            let hits: usize = pages.iter().map(|(path, _)| idp.hits(path)).sum();
            expect(hits >= pools.len(), hits)
        })
        .await;
        eventually("status says what was found", async || {
            for (space, name) in &pools {
                let status = space.get::<UserPool>(name).await.unwrap().status.unwrap_or_default();
                expect(status.last_fetch_error.is_some(), name)?;
                expect(status.source.is_some_and(|it| !it.ends_with(JWKS)), name)?;
            }
            Ok::<(), String>(())
        })
        .await;
    };
    within_bars(&operator, "key sets", flood).await;
}

/// A key set of 140 kB: a hundred RSA keys that nobody has the private halves of.
fn large_set() -> String {
    let key = |number: usize| loop {
        let mut modulus: Vec<u8> = Vec::new();
        while modulus.len() < 1024 {
            modulus.extend_from_slice(uuid::Uuid::new_v4().as_bytes());
        }
        modulus[0] |= 0x80;
        modulus[1023] |= 1;
        let jwk = Jwk {
            kty: "RSA".into(),
            kid: Some(format!("{number}")),
            n: Some(URL_SAFE_NO_PAD.encode(&modulus)),
            e: Some("AQAB".into()),
            ..Jwk::default()
        };
        if jwk.verifying_key(VerifyingAlgorithm::RS256).is_ok() {
            return jwk;
        }
    };
    let keys: Vec<_> = (0..100).map(key).collect();
    json!({"keys": keys}).to_string()
}

#[tokio::test]
async fn forty_connections_that_do_not_read_take_little_memory_and_are_closed() {
    let _turn = alone().await;
    let operator = Operator::start(&[]).await;
    let space = Space::new("unread").await;
    space.apply(&consenting_secret("keys", "jwks", "jwks.json", &large_set())).await;
    let source = json!({"secretRef": {"name": "keys", "key": "jwks.json"}});
    space.apply(&pool_with("users", json!({"provided": source}))).await;
    let pool: UserPool = space.ready("users").await;
    let path = format!("/userPools/{}/.well-known/jwks.json", pool.status.unwrap().id.unwrap());
    let url = operator.url(&path);
    let length = eventually("the set is served", async || {
        let reply = http::get(&url).await.unwrap();
        expect(reply.status == 200, reply.status).map(|()| reply.body.len())
    })
    .await;
    assert!(length > 130_000, "{length}");

    let asked = ask_and_close_the_window(&path, 64);
    let flood = join_all((0..40).map(|_| async {
        let mut stream = TcpStream::connect(operator.address()).await.unwrap();
        stream.write_all(&asked).await.unwrap();
        keep_alive(stream, || ()).await
    }));
    // It ends when the operator has closed all of them.
    let flood = async {
        let closed = tokio::time::timeout(Duration::from_mins(3), flood);
        let meanwhile = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            http::get(&url).await.unwrap()
        };
        tokio::join!(closed, meanwhile)
    };
    let (closed, meanwhile) = within_bars(&operator, "unread responses", flood).await;
    assert_eq!(meanwhile.status, 200, "others are served");
    for (_, data) in closed.expect("connections are still open") {
        assert_eq!(data, 0);
    }
}
