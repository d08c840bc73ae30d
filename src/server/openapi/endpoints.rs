//! The endpoints whose requests and responses other programs define: gateways, resource servers, and
//! kube-apiserver.

use serde_json::{Map, Value, json};

use super::{Components, content, error_responses, sentence};
use crate::server::endpoints::{identity, introspect, token_review};

impl Components {
    /// The endpoint for resource servers.
    pub fn introspection(&mut self) -> Value {
        let error = error_responses::reference;
        let active = self.replies.subschema_for::<introspect::ActiveToken>();
        let inactive = self.replies.subschema_for::<introspect::InactiveToken>();
        let challenges = json!({ "WWW-Authenticate": {
            "description": "One challenge for Bearer (RFC 6750), and one for Basic (RFC 7617)",
            "required": true, "schema": { "type": "string" },
        } });
        json!({
            "operationId": "Introspect",
            "summary": "Introspect a credential (RFC 7662)",
            "description": "The caller authenticates with an API key, as bearer token or as the password of its clientId. Every credential that is invalid, or belongs to another organization, gets exactly `{\"active\": false}`.",
            "security": [{ "bearer": [] }, { "basic": [] }],
            "requestBody": {
                "required": true, "content": content("application/x-www-form-urlencoded", form()),
            },
            "responses": {
                "200": {
                    "description": "Whether the credential is valid, and whose it is",
                    "content": content("application/json", json!({ "anyOf": [active, inactive] })),
                },
                "400": error(400),
                "401": {
                    "description": "The API key of the caller is missing or invalid",
                    "headers": challenges,
                    "content": content("application/json", error_responses::error_reference()),
                },
                "413": error(413),
                "503": error(503),
            },
        })
    }

    /// The endpoint for kube-apiserver.
    pub fn token_review(&mut self) -> Value {
        let error = error_responses::reference;
        let request = self.requests.subschema_for::<token_review::TokenReviewRequest>();
        let response = self.replies.subschema_for::<token_review::TokenReviewResponse>();
        json!({
            "operationId": "ReviewToken",
            "summary": "Authenticate an end user as a Kubernetes user",
            "description": "A webhook token authenticator of kube-apiserver, served for the clients of `--token-review-client` only; every other one gets 404. The caller needs no credential of its own.",
            "security": [],
            "requestBody": { "required": true, "content": content("application/json", request) },
            "responses": {
                "200": {
                    "description": "Reviewed; with `error`, the result is unknown",
                    "content": content("application/json", response),
                },
                "400": error(400),
                "404": error(404),
                "413": error(413),
                "503": error(503),
            },
        })
    }
}

/// The endpoint for gateways, which is the same for every method. `inactive` describes a rejection.
pub fn forward_auth(method: &str, inactive: &impl Fn(&str, u16) -> Value) -> Value {
    let mut headers = Map::new();
    for (name, description) in identity::DOCUMENTATION {
        let header = json!({
            "description": description, "required": true, "schema": { "type": "string" },
        });
        headers.insert(name.to_owned(), header);
    }
    json!({
        "operationId": format!("Authorize{}", sentence(&method.to_lowercase())),
        "summary": "Allow or reject the original request of a gateway",
        "description": "For nginx `auth_request`, Caddy `forward_auth`, Traefik ForwardAuth, HAProxy and Envoy `ext_authz` over HTTP. The gateway's configuration sets the path; `/-/` and anything else may follow the clientId, and is ignored. Every method is accepted, including those that this document cannot describe; the query, the body, and all headers but `Authorization` are ignored. Responses to HEAD have no body.",
        "security": [{ "bearer": [] }],
        "responses": {
            "200": { "description": "Allowed; the headers identify the caller", "headers": headers },
            "401": inactive("The credential is missing or invalid", 401),
            "403": inactive("The client is unknown, suspended or no webapp", 403),
            "503": inactive("The result is currently unknown; deny access and try again", 503),
        },
    })
}

/// What a resource server sends. A form is read member by member, so no type describes it.
fn form() -> Value {
    json!({
        "type": "object", "required": ["token"],
        "properties": {
            "token": {
                "type": "string", "minLength": 1,
                "description": "An appUserIdToken, an API key or a session token",
            },
            "token_type_hint": {
                "type": "string",
                "description": "Ignored: the credential determines its type",
            },
            "client_id": {
                "type": "string",
                "description": "The client that an appUserIdToken is validated for. By default, the one that the token was issued for, or the organization's default client",
            },
        },
    })
}
