//! Revocations of keys, tokens, users and sessions, on a real cluster.

use anon_operator::testing::crd::{Member, Revocation, RevocationStatus, SdkClient, UserPool};
use anon_operator::testing::domain::signing_key_set::SigningKeyState::{Active, Next};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::harness::cluster::enforced;
use crate::harness::signing::{active, ask_to_rotate, key_set, next_is_known, states};
use crate::harness::{Operator, Space, eventually, http, immediately, quick_pool, shared, webapp};

/// The ids that a Revocation has matched.
fn matched(status: &RevocationStatus) -> Vec<&str> {
    status.matched.iter().map(|it| it.id.as_str()).collect()
}

/// Waits until each of these objects has an Event with this reason.
async fn told(space: &Space, reason: &str, names: &[&str]) {
    eventually(&format!("{names:?} have the Event {reason}"), async || {
        let events = space.api::<Event>().list(&ListParams::default()).await.unwrap();
        let of = events.into_iter().filter(|event| event.reason.as_deref() == Some(reason));
        let found: Vec<_> = of.filter_map(|event| event.regarding?.name).collect();
        let all = names.iter().all(|name| found.iter().any(|it| it == name));
        if all { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

fn revocation(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "anon.dev/v1beta1", "kind": "Revocation", "metadata": {"name": name},
        "spec": spec,
    })
}

/// An organization that can mint.
struct Acme {
    space: Space,
    web: String,
    key: String,
}

impl Acme {
    async fn new(label: &str) -> Self {
        let space = Space::new(label).await;
        space.apply(&quick_pool("users")).await;
        let (web, key) = space.web_and_backend().await;
        Self { space, web, key }
    }

    async fn token(&self, operator: &Operator, user: &str) -> String {
        let token =
            operator.minted(&self.key, &json!({"appUserId": user, "sdkClientId": self.web})).await;
        self.counts(operator, &token, "200").await;
        token
    }

    async fn revoke(&self, name: &str, of_pool: Value) {
        let mut pool = of_pool;
        pool["name"] = json!("users");
        self.space.apply(&revocation(name, &json!({"userPool": pool}))).await;
    }

    async fn counts(&self, operator: &Operator, token: &str, verdict: &str) {
        immediately(&format!("the verdict is {verdict}"), async || {
            let now = operator.validate(token, Some(&self.web)).await.verdict();
            if now == verdict { Ok(()) } else { Err(now) }
        })
        .await;
    }

    /// Waits until none of these keys is in the signing Secret or in status, and one that is
    /// fresh signs.
    async fn replaced(&self, gone: &[String]) {
        eventually("the keys are destroyed and replaced", async || {
            let set = key_set(&self.space, "users").await;
            let active = active(&self.space, "users").await;
            let states = states(&self.space, "users").await;
            let stored = set.to_string();
            let done = gone.iter().all(|kid| !stored.contains(kid) && *kid != active)
                && !active.is_empty()
                && stored.contains(&active);
            if done { Ok(()) } else { Err(format!("{states:?}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_leaked_signing_key_is_refused_and_destroyed_and_does_not_come_back() {
    let operator = shared().await;
    let acme = Acme::new("leaked").await;
    let stolen = acme.token(&operator, "ada").await;
    // A Next key lies beside it, and so has leaked too.
    ask_to_rotate(&acme.space, "users", "now").await;
    next_is_known(&acme.space, "users").await;
    assert_eq!(states(&acme.space, "users").await, [Active, Next]);
    let leaked: Vec<_> = acme.space.get::<UserPool>("users").await.unwrap().status.unwrap().keys;
    let leaked: Vec<_> = leaked.into_iter().map(|key| key.kid).collect();
    let backup = acme.space.signing_secret("users").await.unwrap();

    acme.revoke("leak", json!({"keyIds": [leaked[0]]})).await;
    acme.counts(&operator, &stolen, "401 key_revoked").await;
    acme.replaced(&leaked).await;
    let status = acme.space.ready::<Revocation>("leak").await.status.unwrap();
    let told = format!("1 of 1 signing keys revoked; {}", enforced(1).await);
    assert_eq!(status.conditions[0].message, told);
    assert_eq!(matched(&status), [leaked[0].as_str()]);
    let fresh = acme.token(&operator, "ada").await;

    // The former Secret is restored.
    let data = serde_json::to_value(&backup.data).unwrap();
    let name = backup.name_any();
    acme.space.operators().merge::<Secret>(&name, json!({"data": data})).await;
    acme.replaced(&leaked).await;
    acme.counts(&operator, &stolen, "401 key_revoked").await;
    let again = acme.token(&operator, "ada").await;
    // The restored Secret does not know of the key that came after it.
    acme.counts(&operator, &fresh, "401 key_unknown").await;

    // By age, with a time to come: what is there now, and not what replaces it.
    let second = active(&acme.space, "users").await;
    acme.revoke("all", json!({"keysCreatedBefore": "2099-01-01T00:00:00Z"})).await;
    acme.replaced(std::slice::from_ref(&second)).await;
    acme.counts(&operator, &again, "401 key_unknown").await;
    let status = acme.space.ready::<Revocation>("all").await.status.unwrap();
    assert_eq!(matched(&status), [second.as_str()]);
    let last = active(&acme.space, "users").await;
    acme.token(&operator, "ada").await;
    assert_eq!(active(&acme.space, "users").await, last, "replaced once");
}

#[tokio::test]
async fn tokens_and_users() {
    let operator = shared().await;
    let acme = Acme::new("tokens").await;
    let (one, two) = (acme.token(&operator, "ada").await, acme.token(&operator, "ada").await);
    let other = acme.token(&operator, "bob").await;
    let verdict = operator.validate(&one, Some(&acme.web)).await.json();
    let jti = verdict["claims"]["jti"].as_str().unwrap();

    acme.revoke("token", json!({"tokenIds": [jti]})).await;
    acme.counts(&operator, &one, "401 token_revoked").await;
    acme.counts(&operator, &two, "200").await;
    acme.revoke("user", json!({"subjects": ["ada"]})).await;
    acme.counts(&operator, &two, "401 user_revoked").await;
    acme.counts(&operator, &other, "200").await;
    // A time to come reaches no further than the creation of the Revocation.
    acme.revoke("before", json!({"tokensIssuedBefore": "2099-01-01T00:00:00Z"})).await;
    acme.counts(&operator, &other, "401 token_revoked").await;
    eventually("new tokens are accepted", async || {
        let fresh = acme.token(&operator, "bob").await;
        let verdict = operator.validate(&fresh, Some(&acme.web)).await.verdict();
        if verdict.starts_with("200") { Ok(()) } else { Err(verdict) }
    })
    .await;
    for name in ["token", "user", "before"] {
        acme.space.ready::<Revocation>(name).await;
    }
    assert_eq!(states(&acme.space, "users").await, [Active], "the keys are not touched");
    // Taken back.
    acme.space.delete::<Revocation>("before").await;
    acme.counts(&operator, &other, "200").await;

    // It ends by itself, and is removed.
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
    let spec = json!({
        "userPool": {"name": "users", "subjects": ["bob"]}, "expiresAt": soon.to_string(),
        "deletionPolicy": "Delete",
    });
    acme.space.apply(&revocation("short", &spec)).await;
    eventually("the revocation is collected", async || {
        let found = acme.space.get::<Revocation>("short").await;
        found.map_or(Ok(()), |_| Err("it is there"))
    })
    .await;
    acme.counts(&operator, &other, "200").await;
    told(&acme.space, "Withdrawn", &["before", "short"]).await;

    // It ends by itself, and remains.
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(8);
    let spec =
        json!({"userPool": {"name": "users", "subjects": ["bob"]}, "expiresAt": soon.to_string()});
    acme.space.apply(&revocation("kept", &spec)).await;
    acme.counts(&operator, &other, "401 user_revoked").await;
    acme.space.stands::<Revocation>("kept", "Expired").await;
    acme.counts(&operator, &other, "200").await;
    told(&acme.space, "Expired", &["kept"]).await;
}

#[tokio::test]
async fn sessions_of_a_member() {
    let operator = shared().await;
    let space = Space::new("sessions").await;
    let email = format!("ada@{}.example", space.name);
    space
        .apply_all(&[
            json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": "ada", "labels": {"anon.dev/use": "password"}},
                "stringData": {"password": "correct horse"},
            }),
            json!({
                "apiVersion": "anon.dev/v1beta1", "kind": "Member", "metadata": {"name": "ada"},
                "spec": {
                    "email": email, "role": "Admin",
                    "passwordSecretRef": {"name": "ada", "key": "password"},
                },
            }),
        ])
        .await;
    space.stands::<Member>("ada", "Accepted").await;
    let log_in = async || {
        eventually("she can log in", async || {
            let body = json!({"email": email, "password": "correct horse"});
            let reply = http::post(&operator.url("/org/login"), &[], &body).await?;
            let token = reply.json()["token"].as_str().map(str::to_owned);
            token.ok_or_else(|| reply.verdict())
        })
        .await
    };
    let counts = async |token: &str, verdict: &str| {
        eventually(&format!("the session is {verdict}"), async || {
            let now = operator.validate(token, None).await.verdict();
            if now.starts_with(verdict) { Ok(()) } else { Err(now) }
        })
        .await;
    };
    let old = log_in().await;
    counts(&old, "200").await;
    let spec = json!({"member": {"name": "ada", "sessionsCreatedBefore": "2099-01-01T00:00:00Z"}});
    space.apply(&revocation("laptop", &spec)).await;
    // Refused, and then forgotten.
    counts(&old, "401 session_").await;
    let status = space.ready::<Revocation>("laptop").await.status.unwrap();
    assert_eq!(status.matched.len(), 1, "{status:?}");
    eventually("status has no session", async || {
        let member = space.get::<Member>("ada").await.unwrap();
        let sessions = member.status.unwrap().sessions.len();
        if sessions == 0 { Ok(()) } else { Err(sessions) }
    })
    .await;
    // She can log in again. The second in which the revocation was made is over by then.
    eventually("a new session lasts", async || {
        let new = log_in().await;
        let verdict = operator.validate(&new, None).await.verdict();
        if verdict == "200" { Ok(()) } else { Err(verdict) }
    })
    .await;
}

/// In an incident nobody has time to be told that a slip of the pen was obeyed.
#[tokio::test]
async fn one_that_matches_nothing_is_not_ready_and_enforced_all_the_same() {
    let operator = shared().await;
    let acme = Acme::new("slips").await;
    let key = json!(["deadbeefdeadbeef"]);
    let slips = [
        (
            "no-pool",
            json!({"userPool": {"name": "uzers", "subjects": ["a"]}}),
            "no UserPool `uzers`",
        ),
        (
            "no-key",
            json!({"sdkClient": {"name": "backend", "keyIds": key}}),
            "none of the specified API keys",
        ),
        ("webapp", json!({"sdkClient": {"name": "web", "keyIds": key}}), "is a webapp"),
        (
            "no-kid",
            json!({"userPool": {"name": "users", "keyIds": ["x"]}}),
            "none of the specified signing keys",
        ),
        (
            "too-old",
            json!({"userPool": {"name": "users", "keysCreatedBefore": "2026-01-01T00:00:00Z"}}),
            "no signing keys from before 2026-01-01",
        ),
    ];
    for (name, spec, _) in &slips {
        acme.space.apply(&revocation(name, spec)).await;
    }
    for (name, _, problem) in &slips {
        let status = acme.space.stands::<Revocation>(name, "NoMatch").await.status.unwrap();
        let said = &status.conditions[0].message;
        assert!(said.contains(problem), "{said}");
        assert_eq!(status.summary.as_deref(), Some("NoMatch"));
    }
    told(&acme.space, "NoMatch", &slips.each_ref().map(|(name, ..)| *name)).await;

    // Its target appears: it is rejected at once, and the Revocation becomes Ready.
    acme.space.apply(&quick_pool("uzers")).await;
    acme.space.apply(&webapp("other-web", "uzers")).await;
    let status = acme.space.ready::<Revocation>("no-pool").await.status.unwrap();
    assert!(status.conditions[0].message.contains("cannot be checked"), "{status:?}");
    let mut web = None;
    for client in ["web", "other-web"] {
        web = acme.space.ready::<SdkClient>(client).await.status.unwrap().client_id;
    }
    let request = json!({"appUserId": "a", "sdkClientId": web});
    let refused = operator.mint(&acme.key, &request).await;
    assert_eq!(refused.status, 422, "{refused:?}");

    // One that hits tells what it hit, also once that is destroyed.
    let kid = active(&acme.space, "users").await;
    acme.revoke("hits", json!({"keyIds": [kid, "x"]})).await;
    acme.replaced(std::slice::from_ref(&kid)).await;
    let status = acme.space.ready::<Revocation>("hits").await.status.unwrap();
    assert_eq!(matched(&status), [kid.as_str()]);
    let said = &status.conditions[0].message;
    assert!(said.starts_with("1 of 2 signing keys revoked; not found: `x`; enforced by"), "{said}");
    // And Events tell of each key by its own name.
    let first = active(&acme.space, "users").await;
    acme.revoke("hits-again", json!({"keyIds": [first]})).await;
    acme.replaced(std::slice::from_ref(&first)).await;
    eventually("an Event names the second key", async || {
        let events: Api<Event> = acme.space.api();
        let events = events.list(&ListParams::default()).await.unwrap();
        let notes: Vec<_> = events.into_iter().filter_map(|event| event.note).collect();
        let told = notes.iter().any(|note| note.contains(&first) && note.contains("destroyed"));
        if told { Ok(()) } else { Err(format!("{notes:?}")) }
    })
    .await;
}

/// A signing Secret that cannot be written keeps no revoked key among the published ones.
#[tokio::test]
async fn a_revoked_key_is_withdrawn_whatever_becomes_of_its_secret() {
    let _operator = shared().await;
    let space = Space::new("frozen").await;
    space.apply(&quick_pool("users")).await;
    let pool: UserPool = space.ready("users").await;
    let kid = pool.status.unwrap().keys[0].kid.clone();
    let secret = space.signing_secret("users").await.unwrap().metadata.name.unwrap();
    let home = space.operators();
    home.merge::<Secret>(&secret, json!({"immutable": true})).await;
    let leak = json!({"userPool": {"name": "users", "keyIds": [kid]}});
    space.apply(&revocation("leak", &leak)).await;
    let pool: UserPool = space.stands("users", "Refused").await;
    assert_eq!(pool.status.unwrap().keys, []);
    // The platform administrator deletes the Secret, and a new key signs.
    home.delete::<Secret>(&secret).await;
    let pool: UserPool = space.ready("users").await;
    assert_ne!(pool.status.unwrap().keys[0].kid, kid);
}
