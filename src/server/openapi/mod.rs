//! The OpenAPI 3.1 document of every public path, derived from the operation table, the routes and
//! the types of requests and responses.

mod endpoints;
mod error_responses;
mod operations;
mod public;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::ApiError;
use super::public::cacheable::shared;
use crate::domain::document::Document;
use crate::domain::operation::Operation;

static DOCUMENT: LazyLock<Value> = LazyLock::new(build);

/// The whole document.
#[must_use]
pub fn document() -> &'static Value {
    &DOCUMENT
}

/// Serves the document, which is encoded once.
pub async fn serve() -> Result<Response, ApiError> {
    static ENCODED: LazyLock<Option<Document>> = LazyLock::new(|| Document::of(&*DOCUMENT).ok());
    let document = ENCODED.as_ref().ok_or_else(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], shared(document)).into_response())
}

/// A member of an object; null if there is none.
fn member<'v>(value: &'v Value, name: &str) -> &'v Value {
    value.get(name).unwrap_or(&Value::Null)
}

/// Collects the schemas of the types that the paths refer to.
struct Components {
    requests: SchemaGenerator,
    replies: SchemaGenerator,
    /// Parameters are described one by one.
    queries: SchemaGenerator,
}

fn build() -> Value {
    let settings = || {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
    };
    let inline = settings().with(|settings| settings.inline_subschemas = true);
    let mut components = Components {
        requests: settings().into_generator(),
        // A response leaves out what it does not have.
        replies: settings()
            .for_serialize()
            .with_transform(RecursiveTransform(without_null))
            .into_generator(),
        queries: inline.into_generator(),
    };
    let mut paths = Map::new();
    for &operation in Operation::ALL {
        let described = components.operation(operation);
        add(&mut paths, operation.path(), operation.method(), described);
    }
    components.public(&mut paths);
    let mut schemas = components.requests.take_definitions(true);
    schemas.extend(components.replies.take_definitions(true));
    schemas.insert("Error".to_owned(), error_responses::error());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "The HTTP API of anon-operator",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The bearer token determines the organization: a session token (ory_st_…) or an API key (ory_apikey_…). Unknown members of a body are rejected. Members that have no effect are named in the response header X-Anon-Ignored: those that are null, and those that clients of the platform send and this API does not use.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The address that serves this document. If the roles api and validator run separately, each serves its own paths" }],
        "tags": TAGS.iter().map(|(_, name, text)| json!({ "name": name, "description": text })).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "securitySchemes": { "basic": {
                "type": "http", "scheme": "basic",
                "description": "The clientId of a service client, and its API key",
            }, "bearer": {
                "type": "http", "scheme": "bearer",
                "description": "A session token of a member, or an API key of a service client",
            } },
            "responses": error_responses::components(),
            "schemas": schemas,
        },
    })
}

/// Groups of operations: the beginning of their paths, the name and the description.
const TAGS: [(&str, &str, &str); 11] = [
    ("/org/log", "Sessions", "Sessions of members"),
    ("/org/organization", "Organizations", "Organizations; each is a namespace"),
    ("/org/member", "Members", "Staff users of the organization"),
    ("/org/me", "Caller", "The authenticated caller"),
    ("/org/userPool", "User pools", "Groups of end users and their key sets"),
    ("/org/sdkClient", "Clients", "Frontends and backends of the organization"),
    ("/org/revocations", "Revocations", "Credentials that are no longer valid"),
    ("/org/events", "Events", "What the operator reports"),
    ("/org/appUserIdToken", "Tokens", "Tokens of end users of hosted pools"),
    ("/link", "Link", "The web page on which end users connect accounts"),
    ("", "Validation", "Validation of credentials, and public data for it"),
];

fn add(paths: &mut Map<String, Value>, path: &str, method: &str, mut described: Value) {
    let tag = TAGS.iter().find(|(begin, ..)| path.starts_with(begin)).map(|(_, name, _)| name);
    set(&mut described, "tags", json!([tag]));
    let names = path.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    let mut parameters: Vec<_> = names
        .map(|(name, _)| {
            let schema = json!({ "type": "string", "format": "uuid" });
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    parameters.extend(member(&described, "parameters").as_array().cloned().unwrap_or_default());
    if !parameters.is_empty() {
        set(&mut described, "parameters", json!(parameters));
    }
    let path = paths.entry(path).or_insert_with(|| json!({}));
    set(path, &method.to_lowercase(), described);
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

fn content(media_type: &str, schema: impl Into<Value>) -> Value {
    json!({ media_type: { "schema": schema.into() } })
}

/// Removes null from the types of a schema.
fn without_null(schema: &mut Schema) {
    if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    let alternatives = schema.get("anyOf").and_then(Value::as_array);
    if let Some([only, null]) = alternatives.map(Vec::as_slice)
        && *null == json!({ "type": "null" })
        && let Some(reference) = only.get("$ref").cloned()
    {
        schema.remove("anyOf");
        schema.insert("$ref".to_owned(), reference);
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` in the document.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_schema_is_there_and_used() {
        let document = document();
        let mut found = Vec::new();
        references(document, &mut found);
        for reference in &found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(found.iter().any(|it| it.ends_with(&format!("/{name}"))), "{name} is unused");
        }
    }

    #[test]
    fn every_field_is_described_or_named_after_itself() {
        let schemas = document()["components"]["schemas"].as_object().unwrap();
        for (name, schema) in schemas.iter().filter(|(name, _)| *name != "Error") {
            assert!(schema["description"].is_string(), "{name} has no description");
        }
    }
}
