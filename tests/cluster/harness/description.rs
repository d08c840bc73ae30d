//! The OpenAPI description as the operator serves it, and whether a reply keeps to it.

use serde_json::{Map, Value, json};

use super::Operator;
use super::http::{self, Reply};

/// The description.
pub struct Description {
    document: Value,
    /// The same with no room in objects for members that are not described.
    closed: Value,
}

/// One operation of it.
#[derive(Clone, Debug)]
pub struct Operation {
    pub id: String,
    pub method: String,
    pub path: String,
    /// The least role that may do it; none where the caller proves itself otherwise.
    pub least_role: Option<String>,
    /// The name of the parameter in its path.
    pub parameter: Option<String>,
    /// The parameters of its query that it cannot do without.
    pub query: Vec<String>,
    /// The schema of its body.
    pub request: Option<Value>,
    /// Whether it cannot do without a body.
    pub requires_body: bool,
    responses: Map<String, Value>,
}

impl Description {
    /// As this operator serves it.
    pub async fn served_by(operator: &Operator) -> Self {
        let reply = http::get(&operator.url("/openapi.json")).await.unwrap();
        let document = reply.json();
        let mut closed = document.clone();
        close(&mut closed);
        Self { document, closed }
    }

    /// Whether it is this document.
    pub fn is(&self, document: &Value) -> bool {
        self.document == *document
    }

    /// Every operation.
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

    /// What a `$ref` refers to, or the value itself.
    fn resolve<'d>(&'d self, value: &'d Value) -> &'d Value {
        let reference = value["$ref"].as_str().map(|it| it.trim_start_matches('#'));
        reference.map_or(value, |pointer| self.document.pointer(pointer).unwrap())
    }

    /// Whether this is what the operation may reply.
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
            // A number on the wire is text.
            let number = text.parse().map(|number: u64| json!(number));
            fits(&self.document, &header["schema"], &number.unwrap_or_else(|_| json!(text)))?;
        }
        let media_type = reply.headers.get("content-type").and_then(|it| it.to_str().ok());
        let content = response["content"].get(media_type.unwrap_or_default());
        let content = content.ok_or(format!("{media_type:?} is not described"))?;
        fits(&self.closed, &content["schema"], &reply.json())
    }

    /// Whether a value fits into a schema of the description.
    pub fn accepts(&self, schema: &Value, value: &Value) -> bool {
        fits(&self.document, schema, value).is_ok()
    }

    /// Whether this is the one error body.
    pub fn check_error(&self, reply: &Reply) -> Result<(), String> {
        fits(&self.closed, &json!({"$ref": "#/components/schemas/Error"}), &reply.json())
    }
}

/// Whether `value` fits into `schema`, whose references point into `document`.
fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    // Beside `$ref` other members count, too.
    let root = json!({"components": document["components"], "allOf": [schema]});
    let options = jsonschema::draft202012::options().should_validate_formats(true);
    let validator = options.build(&root).map_err(|error| format!("no schema: {error}"))?;
    validator.validate(value).map_err(|error| format!("{error} at {}", error.instance_path()))
}

/// Closes every object below whose members are described.
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
