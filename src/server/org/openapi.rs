//! The OpenAPI 3.1 document of the REST API, derived from the operation table.

mod error_responses;
mod fields;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use super::link;
use crate::domain::document::Document;
use crate::domain::operation::Operation;
use crate::domain::role::Role;
use crate::server::ApiError;
use crate::server::public::cacheable::shared;
use fields::{
    changed, description, email, id, name, oauth, optional, password, role, text, time, url,
};

/// The schemas of an operation's request and reply.
struct Shapes {
    request: Option<&'static str>,
    reply: &'static str,
}

const fn shapes(operation: Operation) -> Shapes {
    let (request, reply) = match operation {
        Operation::Login => (Some("Login"), "LoginSession"),
        Operation::Logout
        | Operation::LogoutAll
        | Operation::DeleteOrganization
        | Operation::DeleteMember
        | Operation::DeleteUserPool
        | Operation::DeleteSdkClient => (None, "Done"),
        Operation::CreateOrganization => (Some("OrganizationCreate"), "Organization"),
        Operation::GetOrganization => (None, "Organization"),
        Operation::PatchOrganization => (Some("OrganizationPatch"), "Done"),
        Operation::CreateMember => (Some("MemberCreate"), "Member"),
        Operation::GetMember => (None, "Member"),
        Operation::PatchMember => (Some("MemberPatch"), "Done"),
        Operation::ListMembers => (None, "MemberList"),
        Operation::CreateUserPool => (Some("UserPoolCreate"), "UserPool"),
        Operation::GetUserPool => (None, "UserPool"),
        Operation::PatchUserPool => (Some("UserPoolPatch"), "Done"),
        Operation::ListUserPools => (None, "UserPoolList"),
        Operation::CreateSdkClient => (Some("SdkClientCreate"), "SdkClient"),
        Operation::GetSdkClientAuth => (None, "SdkClientAuth"),
        Operation::GetSdkClient | Operation::RotateSdkClient => (None, "SdkClient"),
        Operation::PatchSdkClient => (Some("SdkClientPatch"), "SdkClient"),
        Operation::ListSdkClients => (None, "SdkClientList"),
        Operation::GetLinkUrl => (None, "LinkUrl"),
        Operation::MintAppUserIdToken => (Some("AppUserIdTokenRequest"), "AppUserIdToken"),
    };
    Shapes { request, reply }
}

/// The whole document.
#[must_use]
pub fn document() -> Value {
    let mut paths = Map::new();
    for &operation in Operation::ALL {
        let path = paths.entry(operation.path()).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(operation.method().to_lowercase(), describe(operation));
        }
    }
    let mut all = Map::new();
    for schemas in [schemas(), more_schemas()] {
        all.extend(schemas.as_object().cloned().unwrap_or_default());
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "The Anon REST API of anon-operator",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The bearer token determines the organization: a session token (ory_st_…) or an API key (ory_apikey_…). Unknown fields are ignored.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
            "responses": error_responses::components(),
            "schemas": all,
        },
    })
}

fn describe(operation: Operation) -> Value {
    let Shapes { request, reply } = shapes(operation);
    let content = |schema: &str| json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } });
    let parameter = |name: &str| {
        json!({
            "name": name, "in": "path", "required": true,
            "schema": { "type": "string", "format": "uuid" },
        })
    };
    let names = operation.path().split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    let mut parameters: Vec<_> = names.map(|(name, _)| parameter(name)).collect();
    if operation == Operation::GetLinkUrl {
        let parameter = |(name, required): &(&str, bool)| json!({ "name": name, "in": "query", "required": required, "schema": { "type": "string" } });
        parameters.extend(link::PARAMETERS.iter().map(parameter));
    }
    if operation.method() == "DELETE" {
        parameters.push(json!({
            "name": "force", "in": "query", "required": false, "schema": { "type": "boolean" },
            "description": "Delete the object even if Helm, Argo CD or Flux appears to manage it and would re-create it. Requires role Admin",
        }));
    }
    let needs = operation.needs().map(Role::as_str);
    let mut responses = Map::new();
    responses
        .insert("200".to_owned(), json!({ "description": "success", "content": content(reply) }));
    responses.extend(error_responses::of(operation, request.is_some()));
    let mut described = json!({
        "operationId": operation.name(),
        "summary": operation.summary(),
        "description": format!("Minimum role: {}.", needs.unwrap_or("none")),
        "responses": responses,
    });
    // Since OpenAPI 3.1 this list may contain the roles that a bearer needs.
    let security = needs.map_or_else(|| json!([]), |role| json!([{ "bearer": [role] }]));
    if let Some(described) = described.as_object_mut() {
        described.insert("security".to_owned(), security);
        if !parameters.is_empty() {
            described.insert("parameters".to_owned(), json!(parameters));
        }
        if let Some(request) = request {
            let body = json!({ "required": true, "content": content(request) });
            described.insert("requestBody".to_owned(), body);
        }
    }
    described
}

/// An object schema with these properties; those in `required` are always present.
fn object(required: &[&str], properties: Value) -> Value {
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("object"));
    object.insert("required".to_owned(), json!(required));
    object.insert("properties".to_owned(), properties);
    Value::Object(object)
}

fn list(resource: &str, item: Value) -> Value {
    let mut items = Map::new();
    items.insert("type".to_owned(), json!("array"));
    items.insert("items".to_owned(), item);
    object(&["resource", "items"], json!({ "resource": { "const": resource }, "items": items }))
}

/// The field `authorization` of a request.
fn own_keys() -> Value {
    let id_claim = json!({ "type": ["string", "null"] });
    let jwks_uri = json!({ "type": "string", "pattern": "^https://" });
    let properties = json!({ "jwksUri": jwks_uri, "idClaim": id_claim });
    json!({ "type": ["object", "null"], "required": ["jwksUri"], "properties": properties })
}

fn schemas() -> Value {
    let authorization =
        || object(&["jwksUri", "idClaim"], json!({ "jwksUri": text(), "idClaim": text() }));
    let application = object(&[], json!({ "userPoolId": optional(), "oauthConfig": oauth() }));
    let pool = |required: &[&str]| {
        object(
            required,
            json!({
                "id": id(), "name": text(), "description": text(),
                "authorization": authorization(), "organizationId": id(), "hosted": { "type": "boolean" },
            }),
        )
    };
    json!({
        "Error": object(&["name", "message"], json!({
            "name": text(), "message": text(), "field": text(), "reason": text(),
        })),
        "Done": { "const": true },
        "Login": object(&[], json!({
            "email": text(), "password": text(), "kubernetesToken": optional(), "organizationId": optional(),
        })),
        "LoginSession": object(&["token"], json!({ "token": text() })),
        "Organization": object(&["id", "name", "members"], json!({
            "id": id(), "name": text(), "logoUrl": text(),
            "members": { "type": "array", "items": { "$ref": "#/components/schemas/Member" } },
        })),
        "OrganizationPatch": object(&[], json!({ "name": changed(name()), "logoUrl": url() })),
        "MemberCreate": object(&["name", "email", "password", "role"], json!({
            "name": name(), "email": email(), "password": password(), "role": role(), "organizationId": optional(),
        })),
        "MemberPatch": object(&[], json!({
            "name": changed(name()), "email": changed(email()), "password": changed(password()),
            "role": changed(role()), "suspended": { "type": ["boolean", "null"] },
        })),
        "Member": object(&["id", "name", "email", "organizationId", "role"], json!({
            "id": id(), "name": text(), "email": text(), "organizationId": id(), "role": role(),
        })),
        "MemberList": list("Member", object(&["id", "name", "email", "role", "createdAt"], json!({
            "id": id(), "name": text(), "email": text(), "role": role(), "createdAt": time(),
        }))),
        "UserPoolCreate": object(&["name"], json!({
            "name": name(), "description": description(), "organizationId": optional(),
            "authorization": own_keys(),
        })),
        "UserPoolPatch": object(&[], json!({
            "name": changed(name()), "description": description(), "authorization": own_keys(),
        })),
        "UserPool": pool(&["id", "name", "description", "authorization", "organizationId", "hosted"]),
        "UserPoolList": list("UserPool", pool(&["id", "name", "description", "authorization", "hosted"])),
        "SdkClientCreate": object(&["name"], json!({
            "name": name(), "description": description(), "organizationId": optional(),
            "kind": { "oneOf": [
                { "enum": ["service", "application", null] },
                object(&["application"], json!({ "application": application })),
            ] },
            "oauthDisabled": { "description": "accepted and ignored" }, "authorization": own_keys(),
        })),
        "SdkClientPatch": object(&[], json!({
            "name": changed(name()), "description": description(), "oauthConfig": oauth(),
        })),
        "SdkClient": object(&["id", "name", "description", "organizationId", "auth"], json!({
            "id": id(), "name": text(), "description": text(), "organizationId": id(),
            "auth": { "oneOf": [
                object(&["type", "userPoolId"], json!({
                    "type": { "const": "userPool" }, "userPoolId": id(), "oauthConfig": oauth(),
                })),
                object(&["type"], json!({
                    "type": { "const": "apiKey" },
                    "secret": { "type": "string", "description": "the API key; only in the response that creates it" },
                })),
            ] },
        })),
        "SdkClientList": list("SdkClient", object(&["id", "name", "description", "createdAt"], json!({
            "id": id(), "name": text(), "description": text(), "createdAt": time(), "appUserPoolId": id(),
            "logoUrl": text(), "chromeExtensionId": text(),
            "redirectUrls": { "type": "array", "items": text() },
        }))),
        "SdkClientAuth": object(&["authenticatorId"], json!({ "authenticatorId": id() })),
    })
}

/// Schemas of sign-up, tokens and links.
fn more_schemas() -> Value {
    let exp = json!({
        "type": ["integer", "null"], "minimum": 0, "maximum": u32::MAX,
        "description": "When the token expires: an absolute time in seconds since 1970, not a lifetime. Defaults to the UserPool's default lifetime, six months unless configured",
    });
    json!({
        "OrganizationCreate": object(&["name", "member"], json!({
            "name": name(),
            "member": object(&["name", "email", "password"], json!({
                "name": name(), "email": email(), "password": password(),
            })),
        })),
        "AppUserIdTokenRequest": object(&["appUserId"], json!({
            "appUserId": {
                "type": "string", "minLength": 1,
                "description": "The id of the user in your own system",
            },
            "userPoolId": optional(),
            "sdkClientId": optional(), "organizationId": optional(), "exp": exp,
        })),
        "LinkUrl": object(&["url"], json!({ "url": text() })),
        "AppUserIdToken": object(&["appUserIdToken"], json!({ "appUserIdToken": text() })),
    })
}

/// Serves the document, which is built and encoded once.
pub async fn serve() -> Result<Response, ApiError> {
    static DOCUMENT: LazyLock<Option<Document>> = LazyLock::new(|| Document::of(&document()).ok());
    let document = DOCUMENT.as_ref().ok_or_else(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], shared(document)).into_response())
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
        references(&document, &mut found);
        for reference in &found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(found.iter().any(|it| it.ends_with(&format!("/{name}"))), "{name} is unused");
        }
    }
}
