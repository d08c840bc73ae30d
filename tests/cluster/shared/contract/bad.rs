//! Bad requests, made from the description: what it does not allow has to be refused.

use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::{Call, examples};
use crate::harness::company::Company;
use crate::harness::description::{Description, Operation};

/// A request, what is wrong with it, and how it has to be answered.
pub struct Bad {
    pub what: String,
    pub call: Call,
    /// One of these.
    pub statuses: Vec<u16>,
    /// `name` and `field` in the reply, where they are known.
    pub name: Option<&'static str>,
    pub field: Option<String>,
}

impl Bad {
    fn new(what: impl Into<String>, status: u16, call: Call) -> Self {
        Self { what: what.into(), call, statuses: vec![status], name: None, field: None }
    }

    fn named(self, name: &'static str) -> Self {
        Self { name: Some(name), ..self }
    }
}

/// Every way in which this operation can be called wrongly. `token` is one of an end user.
pub fn requests(
    description: &Description,
    operation: &Operation,
    good: &Call,
    company: &Company,
    token: &str,
) -> Vec<Bad> {
    let mut bad = Vec::new();
    if let Some(least) = &operation.least_role {
        bad.extend(credentials(good, token));
        let weaker = ["ReadOnly", "Member", "Admin"].into_iter().take_while(|role| role != least);
        bad.extend(weaker.map(|role| {
            let call = Call { bearer: Some(company.bearer(role).to_owned()), ..good.clone() };
            Bad::new(format!("role {role}"), 403, call).named("ForbiddenError")
        }));
    }
    if operation.parameter.is_some() {
        let nobody = uuid::Uuid::new_v4().to_string();
        let of_another_kind = examples::id_of_another_kind(operation, company);
        for id in [&nobody, of_another_kind, "no-uuid", "%00", "%ff"] {
            let call = Call { id: Some(id.to_owned()), ..good.clone() };
            bad.push(Bad::new(format!("id {id}"), 404, call).named("NotFoundError"));
        }
    }
    for parameter in &operation.query {
        let mut call = good.clone();
        call.query.retain(|(name, _)| name != parameter);
        let missing = Bad::new(format!("no {parameter}"), 400, call).named("MissingFieldError");
        bad.push(Bad { field: Some(parameter.clone()), ..missing });
    }
    if let Some(schema) = &operation.request {
        bad.extend(bodies(good).into_iter().skip(usize::from(!operation.requires_body)));
        bad.extend(fields(description, schema, good));
    }
    bad
}

fn credentials(good: &Call, token: &str) -> Vec<Bad> {
    let with = |bearer: &str| Call { bearer: Some(bearer.to_owned()), ..good.clone() };
    let mut bad = vec![
        Bad::new("no credential", 401, Call { bearer: None, ..good.clone() }),
        Bad::new("two words", 401, with("two words")),
        Bad::new("a token of an end user", 401, with(token)),
    ];
    for junk in ["junk", "ory_st_junk", "ory_apikey_junk", "e30.e30.e30"] {
        bad.push(Bad::new(junk, 401, with(junk)).named("UnauthorizedError"));
    }
    bad
}

/// Bodies that are no object. The first is none at all.
fn bodies(good: &Call) -> Vec<Bad> {
    let with = |body: &[u8]| Call { body: Bytes::copy_from_slice(body), ..good.clone() };
    let huge = json!({"pad": "x".repeat(70_000)}).to_string();
    let mut bad = vec![
        Bad::new("no body", 400, with(b"")).named("MissingBodyError"),
        Bad::new("a huge body", 413, with(huge.as_bytes())).named("RequestTooLargeError"),
    ];
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    let twice = r#"{"name": "a", "name": "b"}"#;
    for junk in ["null", "[]", "\"text\"", "7", "{", "\u{0}", deep.as_str(), twice] {
        let what = format!("the body {}", junk.chars().take(30).collect::<String>());
        bad.push(Bad::new(what, 400, with(junk.as_bytes())).named("MalformedRequestError"));
    }
    bad.push(Bad::new("no UTF-8", 400, with(b"{\"name\": \"\xff\"}")));
    bad
}

/// Each field absent where it is required, and with every value that its schema does not take.
fn fields(description: &Description, schema: &Value, good: &Call) -> Vec<Bad> {
    let body: Map<String, Value> = serde_json::from_slice(&good.body).unwrap();
    let mut bad = Vec::new();
    for field in schema["required"].as_array().into_iter().flatten() {
        let field = field.as_str().unwrap();
        let mut body = body.clone();
        body.remove(field);
        let call = Call { body: json!(body).to_string().into(), ..good.clone() };
        let missing = Bad::new(format!("no {field}"), 400, call).named("MissingFieldError");
        bad.push(Bad { field: Some(field.to_owned()), ..missing });
    }
    for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
        for value in candidates().into_iter().filter(|it| !description.accepts(schema, it)) {
            let mut body = body.clone();
            body.insert(field.clone(), value.clone());
            let call = Call { body: json!(body).to_string().into(), ..good.clone() };
            let what: String = format!("{field}: {value}").chars().take(60).collect();
            // Some of the rules are those of the custom resources: 422.
            bad.push(Bad { statuses: vec![400, 422], ..Bad::new(what, 400, call) });
        }
    }
    bad
}

/// Values of every type, and of every length that matters.
fn candidates() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(1.5),
        json!(7),
        json!(1_u64 << 32),
        json!(""),
        json!("Owner"),
        json!("ä".repeat(129)),
        json!("x".repeat(1025)),
        json!([]),
        json!({}),
        json!({"application": 7}),
        json!({"application": {"userPoolId": 7}}),
        json!({"redirectUrls": "https://one.example"}),
        json!({"logoUrl": 7}),
    ]
}
