//! Schemas of single fields. The API rejects what they exclude; the contract test verifies that.

use serde_json::{Value, json};

pub fn text() -> Value {
    json!({ "type": "string" })
}

pub fn optional() -> Value {
    json!({ "type": ["string", "null"] })
}

pub fn id() -> Value {
    json!({ "type": "string", "format": "uuid" })
}

pub fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

pub fn name() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^[^\x00-\x1f\x7f-\x9f]+$" })
}

pub fn description() -> Value {
    json!({ "type": ["string", "null"], "maxLength": 1024 })
}

pub fn role() -> Value {
    json!({ "enum": ["Admin", "Member", "ReadOnly"] })
}

pub fn email() -> Value {
    json!({ "type": "string", "maxLength": 254, "pattern": r"^\s*[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+\s*$" })
}

pub fn password() -> Value {
    json!({ "type": "string", "minLength": 8, "maxLength": 1024 })
}

/// Empty removes the URL.
pub fn url() -> Value {
    json!({ "type": ["string", "null"], "maxLength": 2048, "pattern": r"^(https?://\S+)?$" })
}

/// Settings of Link for this client.
pub fn oauth() -> Value {
    json!({ "type": ["object", "null"], "properties": {
        "logoUrl": url(),
        "chromeExtensionId": { "type": ["string", "null"], "pattern": "^([a-p]{32})?$" },
        "redirectUrls": { "type": ["array", "null"], "maxItems": 32, "uniqueItems": true, "items": {
            "type": "string", "maxLength": 2048, "pattern": r"^[a-z][a-z0-9+.\-]*://[^\s#]+$",
        } },
    } })
}

/// The same field in a change, where null means unchanged.
pub fn changed(mut schema: Value) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
            values.push(Value::Null);
        } else {
            schema.insert("type".to_owned(), json!(["string", "null"]));
        }
    }
    schema
}
