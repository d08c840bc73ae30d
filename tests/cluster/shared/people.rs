//! Members as `kubectl` and the API make them together.

use anon_operator::testing::crd;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::caller::{Caller, PASSWORD, log_in};
use crate::harness::{Space, eventually, shared, wait::expect};

fn member(name: &str, email: &str) -> Value {
    json!({
        "apiVersion": "anon.dev/v1beta1", "kind": "Member", "metadata": {"name": name},
        "spec": {"email": email, "role": "Member"},
    })
}

/// A member who is deleted and re-created by kubectl is another person: a password that the API was sent for
/// the first does not open the second's account.
#[tokio::test]
async fn a_password_does_not_outlive_its_member() {
    let operator = shared().await;
    let space = Space::new("people").await;
    let ada = Caller::ada(&operator, &space).await;
    let email = format!("bob@{}.example", space.name);
    let bob = json!({"name": "bob", "email": email, "password": PASSWORD, "role": "Member"});
    ada.ok("POST", "/org/member", bob).await;
    assert!(log_in(&operator, &email, PASSWORD).await.is_ok());
    let backup: crd::Member = space.get("bob").await.unwrap();

    space.delete::<crd::Member>("bob").await;
    space.apply(&member("bob", &email)).await;
    space.stands::<crd::Member>("bob", "Accepted").await;
    assert_eq!(log_in(&operator, &email, PASSWORD).await, Err(401));

    // The very Bob, from a backup of the object: an Admin can give him another password.
    let id = backup.metadata.annotations.unwrap()["anon.dev/password-id"].clone();
    let annotations = json!({"metadata": {"annotations": {"anon.dev/password-id": id}}});
    space.merge::<crd::Member>("bob", annotations).await;
    let bob: crd::Member = space.get("bob").await.unwrap();
    let path = format!("/org/member/{}", bob.status.unwrap().id.unwrap());
    ada.ok("PATCH", &path, json!({"password": "another horse"})).await;
    assert!(log_in(&operator, &email, "another horse").await.is_ok());
}

#[tokio::test]
async fn of_two_members_with_one_address_the_older_logs_in() {
    let operator = shared().await;
    let space = Space::new("people").await;
    let ada = Caller::ada(&operator, &space).await;
    let email = format!("ada@{}.example", space.name);
    let before = log_in(&operator, &email, PASSWORD).await;
    assert!(before.is_ok());
    // Ages are told in seconds; of two of one second the lesser name would decide.
    let created = space.get::<crd::Member>("ada").await.unwrap().metadata.creation_timestamp;
    let created = created.unwrap().0.as_second();
    eventually("a second is over", async || {
        expect(Timestamp::now().as_second() > created, "not yet")
    })
    .await;
    let mut eve = member("a-eve", &email.to_uppercase());
    eve["spec"]["passwordSecretRef"] = json!({"name": "eve", "key": "password"});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "eve", "labels": {"anon.dev/use": "password"}},
        "stringData": {"password": "eves own horse"},
    });
    space.apply_all(&[secret, eve]).await;
    let stands = space.stands::<crd::Member>("a-eve", "EmailConflict").await;
    let conditions = stands.status.unwrap().conditions;
    assert!(conditions.iter().any(|it| it.message.contains("`ada`")), "{conditions:?}");
    assert_eq!(log_in(&operator, &email, "eves own horse").await, Err(401));
    assert!(log_in(&operator, &email, PASSWORD).await.is_ok());
    // Through the API there is no such thing.
    let path = format!("/org/member/{}", ada.id().await);
    ada.ok("PATCH", &path, json!({"email": email})).await;

    space.merge::<crd::Member>("ada", json!({"spec": {"email": "other@acme.example"}})).await;
    eventually("the address is free", async || {
        let reply = log_in(&operator, &email, "eves own horse").await;
        expect(reply.is_ok(), format!("{reply:?}"))
    })
    .await;
    space.stands::<crd::Member>("a-eve", "Accepted").await;
}

/// A login with the old password that races a change of it: whatever it got is worth nothing.
#[tokio::test]
async fn no_session_of_the_old_password_survives_a_change() {
    let operator = shared().await;
    let space = Space::new("race").await;
    let ada = Caller::ada(&operator, &space).await;
    for round in 0..6 {
        // Of its own: an e-mail address has a budget of ten logins in a row.
        let email = format!("bob-{round}@{}.example", space.name);
        let bob = json!({
            "name": format!("bob {round}"), "email": email, "role": "Member",
            "password": format!("horse {round} {round}"),
        });
        let bob = ada.ok("POST", "/org/member", bob).await;
        let path = format!("/org/member/{}", bob["id"].as_str().unwrap());
        let (old, new) = (format!("horse {round} {round}"), round + 1);
        let new = json!({"password": format!("horse {new} {new}")});
        let change = ada.ok("PATCH", &path, new);
        let login = async {
            // In the middle of it: hashing takes some tens of milliseconds.
            let mut tokens = Vec::new();
            for _ in 0..2 {
                tokens.push(log_in(&operator, &email, &old).await);
            }
            tokens
        };
        let (_, tokens) = tokio::join!(change, login);
        for token in tokens.into_iter().flatten() {
            let verdict = operator.validate(&token, None).await.verdict();
            assert_eq!(verdict, "401 session_unknown", "round {round}");
        }
        assert_eq!(log_in(&operator, &email, &old).await, Err(401), "round {round}");
    }
}
