//! The operations of the REST API, which describe themselves: see `server/org/route.rs`.

use schemars::Schema;
use serde_json::{Value, json};

use super::{Components, content, error_responses, member, sentence, set, without_null};
use crate::domain::operation::Operation;
use crate::domain::role::Role;
use crate::server::org::{Route, route};

impl Components {
    /// An operation.
    pub fn operation(&mut self, operation: Operation) -> Value {
        let Route { body, query, reply, .. } = route(operation);
        let needs = operation.needs().map(Role::as_str);
        let mut headers = json!({});
        let mut described = json!({
            "operationId": operation.name(),
            "summary": sentence(operation.summary()),
            "description": match needs {
                Some(role) => format!("Minimum role: {role}."),
                None => "Requires no bearer token.".to_owned(),
            },
            // Since OpenAPI 3.1 this list may contain the roles that a bearer needs.
            "security": needs.map_or_else(|| json!([]), |role| json!([{ "bearer": [role] }])),
        });
        if let Some(body) = body {
            let schema = body(&mut self.requests);
            let body = json!({ "required": true, "content": content("application/json", schema) });
            set(&mut described, "requestBody", body);
            let ignored = json!({
                "description": "The members of the body that had no effect, separated by commas",
                "schema": { "type": "string" },
            });
            set(&mut headers, "X-Anon-Ignored", ignored);
        }
        if operation.method() == "PATCH" {
            let changed = json!({
                "description": "Whether the request has changed anything", "required": true,
                "schema": { "enum": ["true", "false"] },
            });
            set(&mut headers, "X-Anon-Changed", changed);
        }
        if let Some(query) = query {
            set(&mut described, "parameters", parameters(&query(&mut self.queries)));
        }
        let schema = reply(&mut self.replies);
        let mut responses = error_responses::of(operation, body.is_some());
        let success = json!({
            "description": "Success", "headers": headers,
            "content": content("application/json", schema),
        });
        set(&mut responses, "200", success);
        set(&mut described, "responses", responses);
        described
    }
}

/// The parameters of a query, from the schema of its type.
fn parameters(query: &Schema) -> Value {
    let query = query.as_value();
    let required = |name: &String| {
        member(query, "required").as_array().is_some_and(|names| names.contains(&json!(name)))
    };
    let mut parameters = Vec::new();
    for (name, schema) in member(query, "properties").as_object().into_iter().flatten() {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        // What is null is left out of a query.
        if let Ok(schema) = <&mut Schema>::try_from(&mut schema) {
            without_null(schema);
        }
        parameters.push(json!({
            "name": name, "in": "query", "required": required(name),
            "description": description, "schema": schema,
        }));
    }
    Value::Array(parameters)
}
