//! `POST /org/organization`.

use std::time::Duration;

use anon_operator::testing::crd;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::harness::caller::{Caller, PASSWORD, log_in};
use crate::harness::cluster::{admin, operator_user, user};
use crate::harness::fuse::run_until_dead;
use crate::harness::operator::{Setup, free_port};
use crate::harness::wait::expect;
use crate::harness::{Operator, Space, alone, eventually, http};

fn wish(email: &str, password: &str) -> Value {
    json!({
        "name": "Cool Kids", "member": {"name": "Ada L.", "email": email, "password": password},
    })
}

async fn sign_up(operator: &Operator, wish: &Value) -> http::Reply {
    http::post(&operator.url("/org/organization"), &[], wish).await.unwrap()
}

fn address() -> String {
    format!("ada@{}.example", &uuid::Uuid::new_v4().simple().to_string()[..8])
}

async fn namespaces() -> Api<Namespace> {
    Api::all(admin().await)
}

/// The namespaces of sign-ups, whatever became of these.
async fn made() -> Vec<String> {
    let found = namespaces().await.list(&ListParams::default()).await.unwrap().items;
    let names = found.iter().map(ResourceExt::name_any);
    names.filter(|name| name.starts_with("anon-org-")).collect()
}

#[tokio::test]
async fn an_organization_in_one_call() {
    let _turn = alone().await;
    let off = Operator::start(&[]).await;
    let before = made().await;
    let refused = sign_up(&off, &wish(&address(), PASSWORD)).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(refused.json()["name"], "ForbiddenError");
    assert_eq!(made().await, before);
    off.stop().await;

    let flags = vec!["--allow-sign-up".to_owned()];
    let one = Operator::launch(Setup { flags: flags.clone(), ..Setup::default() }).await;
    let two = Operator::launch(Setup { replica: 1, flags, ..Setup::default() }).await;
    let email = address();
    let wish = wish(&email, PASSWORD);
    // A request is repeated if it comes in the same minute.
    let second = jiff::Timestamp::now().as_second() % 60;
    if second > 50 {
        sleep(Duration::from_secs(u64::try_from(60 - second).unwrap())).await;
    }
    // Twice at once, on two replicas, as behind a proxy that tries again too soon.
    let (first, second) = tokio::join!(sign_up(&one, &wish), sign_up(&two, &wish));
    assert_eq!((first.status, second.status), (200, 200), "{first:?} {second:?}");
    let shown = first.json();
    assert_eq!(shown, second.json());
    assert_eq!(shown["name"], "Cool Kids");
    let member = &shown["members"][0];
    assert_eq!((&member["role"], &member["email"]), (&json!("Admin"), &json!(email)));
    assert_eq!(member["organizationId"], shown["id"]);
    let mut spaces = made().await;
    spaces.retain(|name| !before.contains(name));
    assert_eq!(spaces.len(), 1, "{spaces:?}");
    let space = namespaces().await.get(&spaces[0]).await.unwrap();
    assert!(!space.labels().contains_key("anon.dev/sign-up"));

    let bearer = log_in(&one, &email, PASSWORD).await.unwrap();
    let ada = Caller { operator: &one, bearer };
    let path = format!("/org/organization/{}", shown["id"].as_str().unwrap());
    assert_eq!(ada.get(&path).await, shown);
    ada.ok("POST", "/org/userPool", json!({"name": "Users"})).await;

    // Another caller that requests the same does not get it.
    let mut other = wish.clone();
    other["member"]["password"] = json!("another horse");
    let other = sign_up(&two, &other).await;
    assert_eq!(other.status, 200, "{other:?}");
    assert_ne!(other.json()["id"], shown["id"]);

    // What is deleted is what is ours; the namespace stays with the rest.
    assert_eq!(ada.ok("DELETE", &path, json!({})).await, json!(true));
    let name = &spaces[0];
    let members: Api<crd::Member> = Api::namespaced(admin().await, name);
    assert!(members.list(&ListParams::default()).await.unwrap().items.is_empty());
    assert!(namespaces().await.get_opt(name).await.unwrap().is_some());

    for (body, field) in [
        (json!({"name": "x"}), "member"),
        (json!({"name": "x", "member": {"name": "y", "email": "y"}}), "password"),
        (
            json!({"name": "x", "member": {"name": "y", "email": "y", "password": PASSWORD}}),
            "email",
        ),
    ] {
        let reply = sign_up(&one, &body).await;
        assert_eq!((reply.status, &reply.json()["field"]), (400, &json!(field)), "{reply:?}");
    }
    let log = std::fs::read_to_string(&one.log).unwrap();
    assert!(!log.contains(&email) && !log.contains("horse"));
}

/// A caller without a response repeats the request, and gets one organization, wherever the first
/// replica died.
#[tokio::test]
async fn dead_after_each_write_of_a_sign_up() {
    let _turn = alone().await;
    let people: Api<crd::Member> = Api::all(admin().await);
    // Record, Namespace, its uid in the record, hash, Organization, Member, label.
    for writes in 0..7 {
        let email = address();
        let wish = wish(&email, PASSWORD);
        let port = free_port();
        let listen = format!("--listen=127.0.0.1:{port}");
        let flags = ["--allow-sign-up", "--roles=api", &listen];
        let knocks = async {
            loop {
                let url = format!("http://127.0.0.1:{port}/org/organization");
                // Not there yet, not ready yet, or dead in the middle of it.
                let _ = http::post(&url, &[], &wish).await;
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            dead = run_until_dead(writes, &flags) => assert!(dead, "{writes} writes"),
            () = knocks => {}
        }
        let asked = ListParams::default().fields(&format!("spec.email={email}"));
        let there = people.list(&asked).await.unwrap().items.len();
        assert_eq!(there, usize::from(writes >= 6), "{writes} writes");

        let operator = Operator::start(&["--allow-sign-up"]).await;
        let reply = sign_up(&operator, &wish).await;
        assert_eq!(reply.status, 200, "{writes} writes: {reply:?}");
        let members = people.list(&asked).await.unwrap().items;
        assert_eq!(members.len(), 1, "{writes} writes");
        let space = members[0].namespace().unwrap();
        let space = namespaces().await.get(&space).await.unwrap();
        assert!(!space.labels().contains_key("anon.dev/sign-up"), "{writes} writes");
        assert!(log_in(&operator, &email, PASSWORD).await.is_ok(), "{writes} writes");
        operator.stop().await;
    }
}

/// Nobody can have a sign-up happen in a namespace that he owns: its name is random, and one that the
/// operator has not created itself is never gone on with.
#[tokio::test]
async fn a_namespace_of_somebody_elses_is_not_adopted() {
    let _turn = alone().await;
    let operator = Operator::start(&["--allow-sign-up"]).await;
    let wish = wish(&address(), PASSWORD);
    let first = sign_up(&operator, &wish).await;
    assert_eq!(first.status, 200, "{first:?}");
    let organization = |reply: &http::Reply| reply.json()["id"].as_str().unwrap().to_owned();
    let first = organization(&first);
    assert_eq!(organization(&sign_up(&operator, &wish).await), first, "the same request");
    // Another namespace takes the place of the one that is recorded.
    let spaces = made().await;
    let id = |name: &String| {
        anon_operator::testing::domain::ids::OrganizationId::derive(name).to_string() == first
    };
    let taken = spaces.into_iter().find(id).unwrap();
    let all = namespaces().await;
    all.delete(&taken, &DeleteParams::default()).await.unwrap();
    eventually("the namespace is gone", async || {
        expect(all.get_opt(&taken).await.unwrap().is_none(), "it is there")
    })
    .await;
    Space::named(&taken).await;
    let again = sign_up(&operator, &wish).await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_ne!(organization(&again), first);
    let members: Api<crd::Member> = Api::namespaced(admin().await, &taken);
    assert!(members.list(&ListParams::default()).await.unwrap().items.is_empty());
}

/// What an interrupted sign-up has left: without a Member it goes, with one it is complete.
#[tokio::test]
async fn what_a_crash_left_is_removed() {
    let _turn = alone().await;
    let flags = ["--allow-sign-up", "--orphan-grace=1s"];
    let ours = user(&operator_user()).await;
    let ours: Api<Namespace> = Api::all(ours);
    let name = |kind: &str| format!("anon-org-{kind}{}", &address()[4..12]);
    let pending = |name: &str| -> Namespace {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"anon.dev/sign-up": "pending"}},
        }))
        .unwrap()
    };
    let (ruin, whole) = (name("a"), name("b"));
    for name in [&ruin, &whole] {
        ours.create(&PostParams::default(), &pending(name)).await.unwrap();
    }
    let spec = json!({"email": address(), "role": "Admin"});
    let member = crd::Member::new("ada", serde_json::from_value(spec).unwrap());
    let members: Api<crd::Member> = Api::namespaced(admin().await, &whole);
    members.create(&PostParams::default(), &member).await.unwrap();

    let _operator = Operator::start(&flags).await;
    let all = namespaces().await;
    eventually("the ruin goes", async || {
        let found = all.get_opt(&ruin).await.unwrap();
        let going = found.is_none_or(|it| it.metadata.deletion_timestamp.is_some());
        expect(going, "it is there")
    })
    .await;
    eventually("the other is complete", async || {
        let found = all.get(&whole).await.unwrap();
        assert!(found.metadata.deletion_timestamp.is_none());
        expect(!found.labels().contains_key("anon.dev/sign-up"), "it is pending")
    })
    .await;
}

/// The right to make namespaces is kept to those of sign-ups.
#[tokio::test]
async fn the_operator_writes_no_other_namespace() {
    let _turn = alone().await;
    let ours: Api<Namespace> = Api::all(user(&operator_user()).await);
    let everybody = namespaces().await;
    let random = &address()[4..12];
    let namespace = |name: &str, labels: Value| -> Namespace {
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
    };
    let label = json!({"anon.dev/sign-up": "pending"});
    let create = async |api: &Api<Namespace>, name: &str, labels: &Value| {
        let made = api.create(&PostParams::default(), &namespace(name, labels.clone())).await;
        made.map(drop).map_err(|error| error.to_string())
    };
    for (name, labels) in [
        (format!("other-{random}"), &label),
        (format!("anon-org-{random}"), &json!({})),
        (format!("anon-org-{random}"), &json!({"anon.dev/sign-up": "x"})),
    ] {
        let refused = create(&ours, &name, labels).await.unwrap_err();
        assert!(refused.contains("whose sign-up is in progress"), "{refused}");
    }
    let name = format!("anon-org-{random}");
    let refused = create(&everybody, &name, &label).await.unwrap_err();
    let by_the_operator_only = "only the operator may set, change or remove";
    assert!(refused.contains(by_the_operator_only), "{refused}");

    // One that it made, once complete, is as strange to it as any other. Until then nobody else says
    // that it is.
    create(&ours, &name, &label).await.unwrap();
    let patch = |labels: Value| Patch::Merge(json!({"metadata": {"labels": labels}}));
    let done = patch(json!({"anon.dev/sign-up": null}));
    let refused = everybody.patch(&name, &PatchParams::default(), &done).await.unwrap_err();
    assert!(refused.to_string().contains(by_the_operator_only), "{refused}");
    ours.patch(&name, &PatchParams::default(), &done).await.unwrap();
    let again = patch(label.clone());
    for (api, who) in [(&ours, "the operator"), (&everybody, "an administrator")] {
        let refused = api.patch(&name, &PatchParams::default(), &again).await;
        assert!(refused.is_err(), "{who}");
    }
    let other = Space::new("other").await.name;
    for name in [&name, &other] {
        let refused = ours.delete(name, &DeleteParams::default()).await.unwrap_err().to_string();
        assert!(refused.contains("whose sign-up is in progress"), "{refused}");
    }
    // Everybody's own labels are their own business.
    let other = patch(json!({"team": "x"}));
    everybody.patch(&name, &PatchParams::default(), &other).await.unwrap();
}
