//! Every operation of the OpenAPI description, as the operator serves it, driven over a socket:
//! well and in every wrong way that the description rules out. Each reply has to be one that it
//! allows. A new operation is called, or fails the test.

mod bad;
pub mod examples;

use std::fs;

use anon_operator::testing::crd::UserPool;
use http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::{Value, json};

use bad::Bad;

use crate::harness::company::{Company, log_in};
use crate::harness::description::{Description, Operation};
use crate::harness::http::{Reply, send};
use crate::harness::{Operator, quick_pool, shared};

/// What is not sent here, because other programs define the form of its requests. tests/it/http drives
/// it.
const DEFINED_ELSEWHERE: [&str; 3] = ["/v1/auth/client/", "/v1/introspect", "/v1/tokenreview/"];

/// A request that is yet to be sent.
#[derive(Clone, Debug)]
pub struct Call {
    method: String,
    /// With a placeholder for the id.
    path: String,
    id: Option<String>,
    query: Vec<(&'static str, String)>,
    bearer: Option<String>,
    body: Bytes,
}

impl Call {
    async fn send(&self, operator: &Operator) -> Reply {
        let mut request = Request::builder()
            .method(&*self.method)
            .uri(operator.url(&self.path()))
            // As existing clients and gateways do; neither decides anything.
            .header("x-anon-sdk-client-id", "")
            .header("userId", "somebody")
            .header("content-type", "application/json");
        if let Some(bearer) = &self.bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        send(request.body(Full::new(self.body.clone())).unwrap()).await.unwrap()
    }

    fn path(&self) -> String {
        let id = self.id.as_deref().unwrap_or_default();
        let path = match self.path.split_once('{') {
            Some((before, rest)) => format!("{before}{id}{}", rest.split_once('}').unwrap().1),
            None => self.path.clone(),
        };
        let mut query = url::form_urlencoded::Serializer::new(format!("{path}?"));
        query.extend_pairs(&self.query).append_pair("futureParameter", "yes").finish()
    }
}

/// The good request, by somebody of just the role that it takes, with fields that nobody knows where
/// those are allowed.
fn good(operation: &Operation, company: &Company) -> Call {
    let open = operation.request.as_ref().is_some_and(|it| it["additionalProperties"] != false);
    let body = examples::body(operation, company).map(|mut body| {
        if open {
            body["futureField"] = json!({"of": ["a", "newer", "client"]});
        }
        body.to_string().into()
    });
    assert_eq!(body.is_some(), operation.request.is_some(), "{}", operation.id);
    Call {
        method: operation.method.clone(),
        path: operation.path.clone(),
        id: examples::id(operation, company),
        query: examples::query(operation, company),
        bearer: operation.least_role.as_deref().map(|role| company.bearer(role).to_owned()),
        body: body.unwrap_or_default(),
    }
}

/// What is wrong with the reply to a bad request, if anything is.
fn complaint(
    description: &Description,
    operation: &Operation,
    bad: &Bad,
    reply: &Reply,
) -> Option<String> {
    if let Err(error) = description.check(operation, reply) {
        return Some(error);
    }
    let body = reply.json();
    let is = |member: &str, wanted: Option<&str>| wanted.is_none_or(|it| body[member] == it);
    let as_wanted = bad.statuses.contains(&reply.status)
        && is("name", bad.name)
        && is("field", bad.field.as_deref());
    (!as_wanted).then(|| format!("wanted {:?} {:?} {:?}", bad.statuses, bad.name, bad.field))
}

#[tokio::test]
async fn the_description_is_kept() {
    let operator = shared().await;
    let description = Description::served_by(&operator).await;
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let committed: Value = serde_json::from_str(&fs::read_to_string(committed).unwrap()).unwrap();
    assert!(description.is(&committed), "another one is served than docs/openapi.json");

    let company = Company::found(&operator, "contract").await;
    company.space.apply(&quick_pool(examples::SPARE_POOL)).await;
    company.space.ready::<UserPool>(examples::SPARE_POOL).await;
    let user = json!({"appUserId": "user-1", "sdkClientId": company.web});
    let token = operator.minted(&company.key, &user).await;
    let mut operations = description.operations();
    operations.retain(|it| !DEFINED_ELSEWHERE.iter().any(|path| it.path.starts_with(path)));
    let mut wrong = Vec::new();
    for operation in &operations {
        let good = good(operation, &company);
        for bad in bad::requests(&description, operation, &good, &company, &token) {
            let reply = bad.call.send(&operator).await;
            if let Some(error) = complaint(&description, operation, &bad, &reply) {
                wrong.push(format!("{} with {}: {error}: {reply:?}", operation.id, bad.what));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong replies:\n{}", wrong.len(), wrong.join("\n"));

    operations.sort_by_key(examples::rank);
    for operation in &operations {
        let mut call = good(operation, &company);
        if operation.id.starts_with("Logout") {
            // Others still need the session that they have.
            call.bearer = Some(log_in(&operator, &company.email("ReadOnly")).await);
        }
        let reply = call.send(&operator).await;
        assert_eq!(reply.status, 200, "{}: {reply:?}", operation.id);
        description.check(operation, &reply).unwrap_or_else(|error| {
            panic!("{}: {error}: {reply:?}", operation.id);
        });
    }
}

/// What is not described is not served, and says so in the same form.
#[tokio::test]
async fn nothing_else_is_served() {
    let operator = shared().await;
    let description = Description::served_by(&operator).await;
    let operations = description.operations();
    let call = |method: &str, path: &str| Call {
        method: method.to_owned(),
        path: path.to_owned(),
        id: Some(uuid::Uuid::new_v4().to_string()),
        query: Vec::new(),
        bearer: None,
        body: Bytes::new(),
    };
    for operation in &operations {
        let path = &operation.path;
        let methods = ["GET", "POST", "PATCH", "DELETE", "PUT"];
        let others = methods.iter().filter(|method| {
            !operations.iter().any(|it| it.path == *path && it.method == **method)
        });
        for method in others {
            let reply = call(method, path).send(&operator).await;
            // The static path is a path with an id for the methods that it does not have.
            let status = if path == "/org/sdkClient/auth" { [401, 405] } else { [405, 405] };
            assert!(status.contains(&reply.status), "{method} {path}: {reply:?}");
            description.check_error(&reply).unwrap();
        }
    }
    for path in [
        "/org",
        "/org/user",
        "/org/users",
        "/org/member/",
        "/org/member/a/b",
        "/account/api/v1/sessions",
    ] {
        let reply = call("GET", path).send(&operator).await;
        assert_eq!(reply.status, 404, "{path}: {reply:?}");
        description.check_error(&reply).unwrap();
    }
}
