//! Which refusals an operation may reply with. There is no catch-all among them: a status that is
//! not described is a bug, and the contract test finds it.

use serde_json::{Map, Value, json};

use crate::domain::permission::Operation;
use crate::domain::role::Role;

/// A refusal: its status, its name among the components, when it comes.
type Refusal = (u16, &'static str, &'static str);

const REFUSALS: [Refusal; 8] = [
    (400, "BadRequest", "the request is not what this operation reads"),
    (401, "Unauthorized", "there is no credential, or it does not count"),
    (403, "Forbidden", "the caller may not"),
    (404, "NotFound", "there is nothing with this id in the caller's organization"),
    (413, "TooLarge", "the body is too large"),
    (422, "Unprocessable", "understood, and not possible"),
    (429, "TooManyRequests", "too often; try again later"),
    (503, "Unavailable", "no answer can be given now; try again"),
];

/// The refusals of an operation that has a body or none, as members of its `responses`.
pub fn of(operation: Operation, has_body: bool) -> impl Iterator<Item = (String, Value)> {
    let comes = move |refusal: &&Refusal| may_reply(operation, has_body, refusal.0);
    REFUSALS.iter().filter(comes).map(|(status, name, _)| {
        (status.to_string(), json!({ "$ref": format!("#/components/responses/{name}") }))
    })
}

fn may_reply(operation: Operation, has_body: bool, status: u16) -> bool {
    match status {
        403 => {
            let least = operation.needs();
            // Sign-up may be switched off.
            least.is_some_and(|least| least > Role::ReadOnly)
                || operation == Operation::CreateOrganization
        }
        404 => {
            let named = [Operation::MintAppUserIdToken, Operation::GetLinkUrl];
            operation.path().contains('{') || named.contains(&operation)
        }
        413 => has_body,
        // Two members of the organization may claim the same Kubernetes identity.
        422 => writes_resources(operation) || operation == Operation::Login,
        429 => matches!(operation, Operation::Login | Operation::CreateOrganization),
        _ => true,
    }
}

/// Whether it writes custom resources, whose rules may be against it.
fn writes_resources(operation: Operation) -> bool {
    let others =
        [Operation::Login, Operation::Logout, Operation::LogoutAll, Operation::MintAppUserIdToken];
    operation.method() != "GET" && !others.contains(&operation)
}

/// Every refusal, as `components.responses`.
pub fn components() -> Value {
    let describe = |(status, name, description): &Refusal| {
        let response = json!({
            "description": description,
            "headers": headers(*status),
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
        });
        ((*name).to_owned(), response)
    };
    Value::Object(REFUSALS.iter().map(describe).collect::<Map<_, _>>())
}

/// The headers that a status always comes with.
fn headers(status: u16) -> Value {
    match status {
        401 => json!({ "WWW-Authenticate": {
            "description": "RFC 6750", "required": true, "schema": { "const": "Bearer" },
        } }),
        429 | 503 => json!({ "Retry-After": {
            "description": "when to try again, in seconds", "required": true,
            "schema": { "type": "integer", "minimum": 1 },
        } }),
        _ => json!({}),
    }
}
