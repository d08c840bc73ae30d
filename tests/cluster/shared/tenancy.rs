//! Two organizations and thousands of random calls: people and backends of one, with the ids of
//! the other wherever an id can stand. Nothing of the other one may come back, nothing there may
//! change, and every answer must be the one that an id gets which does not exist.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use super::contract::examples;
use crate::harness::company::{Company, call};
use crate::harness::description::{Description, Operation};
use crate::harness::http::{Reply, send};
use crate::harness::kubectl::kubectl;
use crate::harness::{Operator, shared};

/// How many calls the people of each organization make; each of them twice.
const CALLS: usize = 1000;

/// What is drawn at random for a call.
#[derive(Clone, Debug)]
struct Draw {
    operation: Index,
    bearer: Index,
    /// For each place of an id: whether it is taken by one of the others, and by which.
    foreign: Vec<(bool, Index)>,
    /// Whether headers and query name the others, too.
    around: bool,
}

fn draws() -> impl Strategy<Value = Draw> {
    // Seldom: the first one that is refused hides the others.
    let seldom = prop::bool::weighted(0.25);
    let foreign = prop::collection::vec((seldom, any::<Index>()), 5);
    (any::<Index>(), any::<Index>(), foreign, any::<bool>()).prop_map(
        |(operation, bearer, foreign, around)| Draw { operation, bearer, foreign, around },
    )
}

/// A call as text, so that ids in it can be replaced.
#[derive(Clone, Debug)]
struct Planned {
    id: String,
    method: String,
    path: String,
    bearer: String,
    around: Option<String>,
    body: String,
}

/// The ids of everything that an organization has.
fn ids(company: &Company) -> Vec<String> {
    let Company { organization, pool, web, backend, member_id, reader_id, .. } = company;
    [organization, pool, web, backend, member_id, reader_id].map(Clone::clone).to_vec()
}

/// What must not be seen of an organization from outside.
fn marks(company: &Company) -> Vec<String> {
    let Company { admin, member, reader, key, .. } = company;
    let mut marks = ids(company);
    // The label is the prefix of every name, and of the addresses.
    let label = company.space.name.rsplit_once('-').unwrap().0.to_owned();
    marks.extend([label, admin.clone(), member.clone(), reader.clone(), key.clone()]);
    marks
}

/// Where in the body of an operation an id can stand.
const PLACES: [&str; 4] =
    ["/organizationId", "/userPoolId", "/sdkClientId", "/kind/application/userPoolId"];

/// The call of `own` people that was drawn, with at least one id of the others.
fn plan(draw: &Draw, operations: &[Operation], own: &Company, others: &[String]) -> Planned {
    let operation = draw.operation.get(operations);
    let other = |place: usize| draw.foreign[place].1.get(others).clone();
    let mut body = examples::body(operation, own);
    let places: Vec<_> = PLACES
        .into_iter()
        .filter(|place| body.as_ref().is_some_and(|body| body.pointer(place).is_some()))
        .collect();
    // Nobody ends or changes what is needed by the calls after; and some call has to be foreign.
    let path_is_foreign = operation.parameter.is_some()
        && (operation.method != "GET" || !draw.foreign[4].0)
        && (places.is_empty() || !draw.foreign[4].0);
    let sure = draw.foreign[0].1.index(places.len().max(1));
    for (number, place) in places.iter().enumerate() {
        if draw.foreign[number].0 || (number == sure && !path_is_foreign) {
            *body.as_mut().unwrap().pointer_mut(place).unwrap() = json!(other(number));
        }
    }
    let id = if path_is_foreign { Some(other(4)) } else { examples::id(operation, own) };
    // A session that logs out is gone; a backend has none.
    let bearers: &[&String] = if operation.id.starts_with("Logout") {
        &[&own.key]
    } else {
        &[&own.admin, &own.member, &own.reader, &own.key]
    };
    let path = match (operation.path.split_once('{'), id) {
        (Some((before, rest)), Some(id)) => {
            format!("{before}{id}{}", rest.split_once('}').unwrap().1)
        }
        _ => operation.path.clone(),
    };
    let mut query = url::form_urlencoded::Serializer::new(format!("{path}?"));
    for (name, value) in examples::query(operation, own) {
        let value = if name == "clientId" && !draw.foreign[4].0 { other(4) } else { value };
        query.append_pair(name, &value);
    }
    Planned {
        id: operation.id.clone(),
        method: operation.method.clone(),
        path: query.finish(),
        bearer: (*draw.bearer.get(bearers)).clone(),
        around: draw.around.then(|| other(0)),
        body: body.map(|body| body.to_string()).unwrap_or_default(),
    }
}

impl Planned {
    /// The same, with ids that do not exist in the place of the others'.
    fn twin(&self, nobodys: &BTreeMap<String, String>) -> Self {
        let replaced = |text: &String| {
            nobodys.iter().fold(text.clone(), |text, (id, nobody)| text.replace(id, nobody))
        };
        Self {
            path: replaced(&self.path),
            around: self.around.as_ref().map(replaced),
            body: replaced(&self.body),
            ..self.clone()
        }
    }

    async fn send(&self, operator: &Operator) -> Reply {
        let query = self.around.as_ref().map(|id| format!("&organizationId={id}&id={id}"));
        let url = operator.url(&format!("{}{}", self.path, query.unwrap_or_default()));
        let mut request = Request::builder()
            .method(&*self.method)
            .uri(url)
            .header("authorization", format!("Bearer {}", self.bearer));
        if let Some(id) = &self.around {
            request = request.header("orgId", id).header("x-anon-sdk-client-id", id);
        }
        send(request.body(Full::new(Bytes::from(self.body.clone()))).unwrap()).await.unwrap()
    }
}

/// What of a reply has to be the same for an id of the others and for one that does not exist.
fn telling(reply: &Reply) -> (u16, Vec<(String, String)>, Bytes) {
    let ours = |name: &&http::HeaderName| !["date", "x-request-id"].contains(&name.as_str());
    let text = |name: &http::HeaderName| (name.to_string(), format!("{:?}", reply.headers[name]));
    let mut headers: Vec<_> = reply.headers.keys().filter(ours).map(text).collect();
    headers.sort();
    if reply.status == 200 {
        // The ids counted for nothing. A token is another one each time.
        headers.retain(|(name, _)| name != "content-length");
        return (200, headers, Bytes::new());
    }
    (reply.status, headers, reply.body.clone())
}

/// Everything that the organization has, as it counts.
fn belongings(company: &Company) -> Vec<Value> {
    let of = |namespace: &str, kinds: &str| {
        let said = kubectl(&["get", kinds, "--namespace", namespace, "--output", "json"]);
        let found: Value =
            serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
        found["items"].as_array().unwrap().clone()
    };
    let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
    let mut items = of(&company.space.name, "anon,secrets,configmaps,rolebindings");
    let operators = of(&company.space.operators().name, "secrets");
    items.extend(operators.into_iter().filter(|it| name(it).starts_with(&company.space.uid)));
    let counts = |item: Value| {
        json!({
            "kind": item["kind"], "name": name(&item), "uid": item["metadata"]["uid"],
            "labels": item["metadata"]["labels"], "annotations": item["metadata"]["annotations"],
            "spec": item["spec"], "data": item["data"], "roleRef": item["roleRef"],
            "subjects": item["subjects"], "keys": item["status"]["keys"],
            "sessions": item["status"]["sessions"],
        })
    };
    items.into_iter().map(counts).collect()
}

/// The people of `own` try everything with the ids of `others`.
async fn attack(
    operator: &Operator,
    operations: &[Operation],
    runner: &mut TestRunner,
    own: &Company,
    others: &Company,
) {
    let before = belongings(others);
    assert!(before.len() >= 10, "{before:?}");
    let foreign = ids(others);
    let nobodys: BTreeMap<_, _> =
        foreign.iter().map(|id| (id.clone(), uuid::Uuid::new_v4().to_string())).collect();
    let calls: Vec<_> = (0..CALLS)
        .map(|_| plan(&draws().new_tree(runner).unwrap().current(), operations, own, &foreign))
        .collect();
    let marks = marks(others);
    let answers = stream::iter(&calls).map(async |planned| {
        let twin = planned.twin(&nobodys);
        let (reply, nobody) = (planned.send(operator).await, twin.send(operator).await);
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        let headers = format!("{:?}", reply.headers);
        for mark in &marks {
            assert!(!body.contains(mark), "{mark} came back: {planned:?}: {reply:?}");
            assert!(!headers.contains(mark), "{mark} came back: {planned:?}: {reply:?}");
        }
        assert_eq!(telling(&reply), telling(&nobody), "{planned:?}");
        assert!(reply.status < 500, "{planned:?}: {reply:?}");
        (planned.id.clone(), reply.status)
    });
    let answers: Vec<_> = answers.buffer_unordered(8).collect().await;
    let mut seen: BTreeMap<String, BTreeMap<u16, usize>> = BTreeMap::new();
    for (id, status) in answers {
        *seen.entry(id).or_default().entry(status).or_default() += 1;
    }
    eprintln!("{seen:?}");
    assert_eq!(seen.len(), operations.len(), "each operation was tried");
    assert_eq!(belongings(others), before);
}

#[tokio::test]
async fn nothing_crosses_from_one_organization_to_another() {
    let operator = shared().await;
    let seed = std::env::var("ANON_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    eprintln!("ANON_TEST_SEED={seed} repeats this run");
    let seed = [seed.to_le_bytes(); 4].concat();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);

    let description = Description::served_by(&operator).await;
    let mut operations = description.operations();
    // Rate limits allow few logins: below.
    operations.retain(|operation| operation.least_role.is_some());
    let amber = Company::found(&operator, "amber").await;
    let cobalt = Company::found(&operator, "cobalt").await;
    for company in [&amber, &cobalt] {
        let name = &company.space.name;
        let said = kubectl(&[
            "wait",
            "anon",
            "--all",
            "--for=condition=Ready",
            "--timeout=60s",
            "-n",
            name,
        ]);
        assert!(said.success, "{said:?}");
    }
    attack(&operator, &operations, &mut runner, &amber, &cobalt).await;
    attack(&operator, &operations, &mut runner, &cobalt, &amber).await;

    // A login cannot find out who belongs to whom.
    let nobody = uuid::Uuid::new_v4().to_string();
    let log_in = async |email: &str, password: &str, organization: &str| {
        let body = json!({"email": email, "password": password, "organizationId": organization});
        telling(&call(&operator, "POST", "/org/login", None, Some(&body)).await)
    };
    let (email, own) = (amber.email("Member"), &amber.organization);
    let unknown = log_in("nobody@example.test", "wrong horse", own).await;
    assert_eq!(unknown.0, 401);
    assert_eq!(log_in(&email, "wrong horse", own).await, unknown);
    assert_eq!(log_in(&email, crate::harness::company::PASSWORD, &nobody).await, unknown);
    let other = &cobalt.organization;
    assert_eq!(log_in(&email, crate::harness::company::PASSWORD, other).await, unknown);
}
