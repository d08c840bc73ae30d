//! The error responses that each operation may return. There is no catch-all: a status that is not
//! described is a bug, and the contract test finds it.

use serde_json::{Map, Value, json};

use crate::domain::operation::Operation;
use crate::domain::role::Role;
use crate::server::response::CHALLENGE;

/// An error response: status, component name, description.
type Refusal = (u16, &'static str, &'static str);

const REFUSALS: [Refusal; 8] = [
    (400, "BadRequest", "The request is malformed"),
    (401, "Unauthorized", "There is no credential, or it is invalid"),
    (403, "Forbidden", "The caller's role is not sufficient"),
    (404, "NotFound", "Not found in the caller's organization"),
    (413, "TooLarge", "The body is too large"),
    (422, "Unprocessable", "The request is well-formed but cannot be fulfilled"),
    (429, "TooManyRequests", "Too many requests; try again later"),
    (503, "Unavailable", "The result is currently unknown; try again"),
];

/// The error responses of an operation, with or without a body, as its `responses`.
pub fn of(operation: Operation, has_body: bool) -> Value {
    let mut responses = Map::new();
    for (status, ..) in REFUSALS {
        if may_reply(operation, has_body, status) {
            responses.insert(status.to_string(), reference(status));
        }
    }
    Value::Object(responses)
}

/// A reference to an error response.
pub fn reference(status: u16) -> Value {
    let name = REFUSALS.iter().find(|refusal| refusal.0 == status).map(|refusal| refusal.1);
    json!({ "$ref": format!("#/components/responses/{}", name.unwrap_or_default()) })
}

/// The schema of the one error body.
pub fn error() -> Value {
    json!({
        "type": "object", "required": ["name", "message"],
        "description": "Why a request was rejected.",
        "properties": {
            "name": { "type": "string", "description": "The type of the error." },
            "message": { "type": "string", "description": "What is wrong, and what to do." },
            "field": { "type": "string", "description": "The field that is wrong." },
            "reason": { "type": "string", "description": "Why the credential was rejected." },
        },
    })
}

/// A reference to that schema.
pub fn error_reference() -> Value {
    json!({ "$ref": "#/components/schemas/Error" })
}

fn may_reply(operation: Operation, has_body: bool, status: u16) -> bool {
    match status {
        403 => {
            let least = operation.needs();
            // Sign-up may be disabled.
            least.is_some_and(|least| least > Role::ReadOnly)
                || operation == Operation::CreateOrganization
        }
        404 => {
            let named = [Operation::MintAppUserIdToken, Operation::GetLinkUrl];
            operation.path().contains('{') || named.contains(&operation)
        }
        413 => has_body,
        // Two members of the organization may have the same Kubernetes identity.
        422 => {
            let others = [Operation::Login, Operation::MintAppUserIdToken];
            writes_resources(operation) || others.contains(&operation)
        }
        _ => true,
    }
}

/// Whether it writes custom resources, whose rules may reject the write.
fn writes_resources(operation: Operation) -> bool {
    let others =
        [Operation::Login, Operation::Logout, Operation::LogoutAll, Operation::MintAppUserIdToken];
    operation.writes() && !others.contains(&operation)
}

/// All error responses, as `components.responses`.
pub fn components() -> Value {
    let describe = |(status, name, description): &Refusal| {
        let response = json!({
            "description": description,
            "headers": headers(*status),
            "content": { "application/json": { "schema": error_reference() } },
        });
        ((*name).to_owned(), response)
    };
    Value::Object(REFUSALS.iter().map(describe).collect::<Map<_, _>>())
}

/// The headers that always accompany a status.
pub fn headers(status: u16) -> Value {
    match status {
        401 => json!({ "WWW-Authenticate": {
            "description": "RFC 6750", "required": true, "schema": { "const": CHALLENGE },
        } }),
        429 | 503 => json!({ "Retry-After": {
            "description": "when to retry, in seconds", "required": true,
            "schema": { "type": "integer", "minimum": 1 },
        } }),
        _ => json!({}),
    }
}
