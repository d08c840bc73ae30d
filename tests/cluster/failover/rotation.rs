//! Tokens are minted by several replicas through rotations, and none of them dies early.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use anon_operator::testing::domain::signing_key_set::SigningKeyState::{Active, Retiring};
use serde_json::{Value, json};

use crate::harness::operator::Setup;
use crate::harness::signing::{active, ask_to_rotate, backdate, finish_rotation, states};
use crate::harness::tokens::minted;
use crate::harness::wait::expect;
use crate::harness::{Operator, Space, alone, eventually, pool};

const ROTATIONS: usize = 3;

#[tokio::test]
async fn no_token_of_a_rotation_dies_early() {
    let _turn = alone().await;
    let mut killed = Operator::start(&[]).await;
    // The first of them takes over when the leader is killed.
    let mut replicas = Vec::new();
    for (replica, roles) in [(1, "controller,api,validator"), (2, "api,validator")] {
        let flags = vec![format!("--roles={roles}")];
        replicas.push(Operator::launch(Setup { replica, flags, ..Setup::default() }).await);
    }
    let space = Space::new("rotation").await;
    let hosted = json!({"algorithm": "ES256", "tokenLifetime": {"default": "1h", "max": "1h"}});
    space.apply(&pool("users", hosted)).await;
    let (web, key) = space.web_and_backend().await;
    let body = json!({"appUserId": "ada", "sdkClientId": web});
    for replica in &replicas {
        let token = replica.minted(&key, &body).await;
        everywhere(&replicas, &token, &web).await;
    }

    let tokens = RefCell::new(Vec::new());
    let done = Cell::new(false);
    let mint = async {
        while !done.get() {
            for replica in &replicas {
                // 200 each time: the key that signs is one that this replica knows.
                let token = minted(&replica.mint(&key, &body).await);
                for validator in &replicas {
                    let verdict = validator.validate(&token, Some(&web)).await.verdict();
                    assert_eq!(verdict, "200", "{}", kid(&token));
                }
                tokens.borrow_mut().push(token);
            }
        }
    };
    let rotate = async {
        for n in 1..=ROTATIONS {
            ask_to_rotate(&space, "users", &n.to_string()).await;
            if n == 2 {
                assert!(killed.leads().await && !replicas[0].leads().await);
                killed.kill();
                eventually("the other takes over", async || {
                    expect(replicas[0].leads().await, "not yet")
                })
                .await;
                // As the kubelet restarts the container; otherwise the validator in it is missing.
                killed = Operator::start(&[]).await;
            }
            finish_rotation(&space, "users").await;
            let new = active(&space, "users").await;
            eventually("the new key signs", async || {
                let signs = tokens.borrow().iter().any(|token| kid(token) == new);
                if signs { Ok(()) } else { Err("not yet") }
            })
            .await;
        }
        done.set(true);
        killed
    };
    let (_restarted, ()) = tokio::join!(rotate, mint);

    assert_eq!(states(&space, "users").await, [Retiring, Retiring, Retiring, Active]);
    let tokens = tokens.into_inner();
    let kids: BTreeSet<_> = tokens.iter().map(|token| kid(token)).collect();
    assert_eq!(kids.len(), ROTATIONS + 1, "each key has signed");
    for token in &tokens {
        for validator in &replicas {
            assert_eq!(validator.validate(token, Some(&web)).await.verdict(), "200");
        }
    }

    // A retired key goes once the last of its tokens must have expired.
    backdate(&space, "users", "Retiring", "activeUntil").await;
    eventually("the retired keys are gone", async || {
        let states = states(&space, "users").await;
        if states == [Active] { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await;
    eventually("and count no more", async || {
        let verdict = replicas[0].validate(&tokens[0], Some(&web)).await.verdict();
        if verdict == "401 key_unknown" { Ok(()) } else { Err(verdict) }
    })
    .await;
}

/// Waits until the token is valid everywhere: the first key is Active at once.
async fn everywhere(replicas: &[Operator], token: &str, client: &str) {
    for replica in replicas {
        replica.gives(token, Some(client), "200").await;
    }
}

fn kid(token: &str) -> String {
    let header: Value = serde_json::to_value(jsonwebtoken::decode_header(token).unwrap()).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}
