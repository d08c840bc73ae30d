//! The paths that are not operations of the REST API: endpoints that authenticate by themselves, and
//! public documents.

use serde_json::{Map, Value, json};

use super::{Components, add, content, endpoints, error_responses};
use crate::server::endpoints::validate;
use crate::server::public::{clients, keys};

impl Components {
    /// All of them. They require no role.
    pub fn public(&mut self, paths: &mut Map<String, Value>) {
        let error = error_responses::reference;
        let request = self.requests.subschema_for::<validate::ValidateRequest>();
        let active = self.replies.subschema_for::<validate::Active<'_>>();
        let inactive = self.replies.subschema_for::<validate::Inactive>();
        let inactive = |description: &str, status: u16| {
            let any = json!({ "anyOf": [inactive, error_responses::error_reference()] });
            json!({
                "description": description, "headers": error_responses::headers(status),
                "content": content("application/json", any),
            })
        };
        let validate = json!({
            "operationId": "Validate",
            "summary": "Validate a credential and identify its holder",
            "description": "The credential is the bearer token, or `token` in the body. The caller needs no credential of its own.",
            "security": [{}, { "bearer": [] }],
            "parameters": [{
                "name": "X-Anon-Sdk-Client-Id", "in": "header", "required": false,
                "description": "The client that a token of an end user is validated for",
                "schema": { "type": "string" },
            }],
            "requestBody": { "required": false, "content": content("application/json", request) },
            "responses": {
                "200": {
                    "description": "The credential is valid",
                    "content": content("application/json", active),
                },
                "400": inactive("The request is malformed", 400),
                "401": inactive("The credential is invalid", 401),
                "413": error(413),
                "503": inactive("The result is currently unknown; deny access and try again", 503),
            },
        });
        add(paths, "/v1/validate", "POST", validate);
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            add(
                paths,
                "/v1/auth/client/{clientId}",
                method,
                endpoints::forward_auth(method, &inactive),
            );
        }
        let introspect = self.introspection();
        add(paths, "/v1/introspect", "POST", introspect);
        let review = self.token_review();
        add(paths, "/v1/tokenreview/{clientId}", "POST", review);
        let json = "application/json";
        let data = content(json, self.replies.subschema_for::<clients::PublicData<'_>>());
        let data = cacheable("GetPublicClient", "Get the public data of a webapp client", &data);
        add(paths, "/v1/clients/{clientId}", "GET", data);
        let keys = json!({
            "type": "object", "required": ["keys"],
            "properties": { "keys": { "type": "array", "items": { "type": "object" } } },
        });
        let keys = content("application/jwk-set+json", keys);
        let keys = cacheable("GetKeySet", "Get the public key set of a user pool", &keys);
        add(paths, "/userPools/{id}/.well-known/jwks.json", "GET", keys);
        let discovery = content(json, self.replies.subschema_for::<keys::Discovery<'_>>());
        let summary = "Get the discovery document of a user pool (OpenID Connect Discovery 1.0)";
        let discovery = cacheable("GetDiscoveryDocument", summary, &discovery);
        add(paths, "/userPools/{id}/.well-known/openid-configuration", "GET", discovery);
        let document = json!({
            "operationId": "GetOpenApiDocument", "summary": "Get this document", "security": [],
            "responses": { "200": {
                "description": "Success",
                "content": content("application/json", json!({ "type": "object" })),
            } },
        });
        add(paths, "/openapi.json", "GET", document);
    }
}

/// A public document that caches may keep.
fn cacheable(id: &str, summary: &str, content: &Value) -> Value {
    json!({
        "operationId": id, "summary": summary, "security": [],
        "description": "May be cached; `If-None-Match` is supported (RFC 9110).",
        "responses": {
            "200": {
                "description": "Success", "content": content,
                "headers": { "ETag": {
                    "description": "The version of the document",
                    "schema": { "type": "string" },
                } },
            },
            "304": { "description": "The client has this version" },
            "404": error_responses::reference(404),
            "503": error_responses::reference(503),
        },
    })
}
