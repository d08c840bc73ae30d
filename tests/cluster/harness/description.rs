//! The OpenAPI description that the operator serves, and checks of replies against it.

use serde_json::{Map, Value, json};

use super::Operator;
use super::http::{self, Reply};

/// The OpenAPI description of the HTTP endpoints.
pub struct Description {
    document: Value,
    /// The same document, but its object schemas reject properties that are not described.
    closed: Value,
}

/// An operation in the description.
#[derive(Clone, Debug)]
pub struct Operation {
    pub id: String,
    pub method: String,
    pub path: String,
    /// The minimum role of the caller, or `None` if the caller authenticates in another way.
    pub least_role: Option<String>,
    /// The name of the path parameter, if there is one.
    pub parameter: Option<String>,
    /// The names of the required query parameters.
    pub query: Vec<String>,
    /// The schema of the request body.
    pub request: Option<Value>,
    /// Whether the request body is required.
    pub requires_body: bool,
    responses: Map<String, Value>,
}

impl Description {
    /// Fetches the description that this operator serves.
    pub async fn served_by(operator: &Operator) -> Self {
        let reply = http::get(&operator.url("/openapi.json")).await.unwrap();
        let document = reply.json();
        let mut closed = document.clone();
        close(&mut closed);
        Self { document, closed }
    }

    /// Whether the description equals this document.
    pub fn is(&self, document: &Value) -> bool {
        self.document == *document
    }

    /// All operations in the description.
    pub fn operations(&self) -> Vec<Operation> {
        let paths = self.document["paths"].as_object().unwrap();
        let of_path = |(path, methods): (&String, &Value)| {
            let methods = methods.as_object().unwrap().clone();
            let path = path.clone();
            methods.into_iter().map(move |(method, described)| (path.clone(), method, described))
        };
        let all = paths.iter().flat_map(of_path);
        all.map(|(path, method, described)| self.operation(path, &method, &described)).collect()
    }

    fn operation(&self, path: String, method: &str, described: &Value) -> Operation {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let body = &described["requestBody"]["content"]["application/json"]["schema"];
        let parameters = described["parameters"].as_array().into_iter().flatten();
        let name = |parameter: &Value| text(&parameter["name"]).unwrap();
        Operation {
            id: text(&described["operationId"]).unwrap(),
            method: method.to_uppercase(),
            path,
            least_role: text(&described["security"][0]["bearer"][0]),
            parameter: parameters.clone().find(|it| it["in"] == "path").map(name),
            query: parameters
                .filter(|it| it["in"] == "query" && it["required"] == true)
                .map(name)
                .collect(),
            request: (!body.is_null()).then(|| self.resolve(body).clone()),
            requires_body: described["requestBody"]["required"] == true,
            responses: described["responses"].as_object().unwrap().clone(),
        }
    }

    /// The target if the value is a `$ref`, or else the value itself.
    fn resolve<'d>(&'d self, value: &'d Value) -> &'d Value {
        let reference = value["$ref"].as_str().map(|it| it.trim_start_matches('#'));
        reference.map_or(value, |pointer| self.document.pointer(pointer).unwrap())
    }

    /// Checks that the description allows this reply to the operation.
    pub fn check(&self, operation: &Operation, reply: &Reply) -> Result<(), String> {
        let response = operation.responses.get(&reply.status.to_string());
        let response = self.resolve(response.ok_or("this status is not described")?);
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let value = match reply.headers.get(name) {
                None if header["required"] == true => return Err(format!("{name} is missing")),
                None => continue,
                Some(value) => value,
            };
            let text = value.to_str().map_err(|error| format!("{name}: {error}"))?;
            // Headers are text, so a number has to be parsed before the check.
            let number = text.parse().map(|number: u64| json!(number));
            fits(&self.document, &header["schema"], &number.unwrap_or_else(|_| json!(text)))?;
        }
        let media_type = reply.headers.get("content-type").and_then(|it| it.to_str().ok());
        let content = response["content"].get(media_type.unwrap_or_default());
        let content = content.ok_or(format!("{media_type:?} is not described"))?;
        fits(&self.closed, &content["schema"], &reply.json())
    }

    /// Whether a value is valid against a schema of the description.
    pub fn accepts(&self, schema: &Value, value: &Value) -> bool {
        fits(&self.document, schema, value).is_ok()
    }

    /// Checks that the body of a reply matches `Error`, the only schema for errors.
    pub fn check_error(&self, reply: &Reply) -> Result<(), String> {
        fits(&self.closed, &json!({"$ref": "#/components/schemas/Error"}), &reply.json())
    }
}

/// Validates `value` against `schema`, whose references point into `document`.
fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    // In this draft of JSON Schema, keywords next to `$ref` apply, too.
    let root = json!({"components": document["components"], "allOf": [schema]});
    let options = jsonschema::draft202012::options().should_validate_formats(true);
    let validator = options.build(&root).map_err(|error| format!("no schema: {error}"))?;
    validator.validate(value).map_err(|error| format!("{error} at {}", error.instance_path()))
}

/// Makes every object schema in `value` that lists properties reject all other properties.
fn close(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(close);
            let is_schema = members.get("properties").is_some_and(Value::is_object);
            if is_schema && members.get("type").is_some_and(|it| it == "object" || it.is_array()) {
                members.insert("additionalProperties".to_owned(), json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}
