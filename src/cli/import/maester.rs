//! OAuth2Client objects of hydra-maester, as docs/migrate.md maps them. Pure.

use serde_json::{Value, json};

use super::document::text;
use super::imported::{Imported, Placement, service};
use crate::crd::Kind;

/// Group, version and kind of the source.
pub const GVK: (&str, &str, &str) = ("hydra.ory.sh", "v1alpha1", "OAuth2Client");

/// The grant that an API key replaces (RFC 6749 section 4.4).
const CLIENT_CREDENTIALS: &str = "client_credentials";

/// Fields of the source that have no counterpart, and why.
const NOT_CARRIED_OVER: [(&str, &str); 17] = [
    ("scope", SCOPES),
    ("scopeArray", SCOPES),
    ("audience", "an API key has no audience"),
    ("responseTypes", LOGIN),
    ("redirectUris", LOGIN),
    ("postLogoutRedirectUris", LOGIN),
    ("allowedCorsOrigins", LOGIN),
    ("skipConsent", LOGIN),
    ("frontChannelLogoutURI", LOGIN),
    ("frontChannelLogoutSessionRequired", LOGIN),
    ("backChannelLogoutURI", LOGIN),
    ("backChannelLogoutSessionRequired", LOGIN),
    ("tokenEndpointAuthMethod", "the API key itself is sent as the bearer token"),
    ("jwksUri", "a client authenticates with an API key, not with a key of its own"),
    (
        "tokenLifespans",
        "there are no access tokens; delivery.rotation limits the age of the API key",
    ),
    ("hydraAdmin", "there is no other server"),
    ("metadata", "a client has no free data; use labels"),
];
const SCOPES: &str = "the resource server decides by sdkClientId and role";
const LOGIN: &str = "it belongs to login flows; keep Hydra for those";

/// Service clients for the OAuth2Clients that use client credentials.
pub fn import(objects: &[Value], role: &str, placement: &Placement) -> Imported {
    let mut imported = Imported::default();
    for object in objects {
        if text(object, "/kind") == Some(GVK.2) {
            add(object, role, placement, &mut imported);
        }
    }
    imported
}

fn add(object: &Value, role: &str, placement: &Placement, imported: &mut Imported) {
    let name = text(object, "/metadata/name").unwrap_or("unnamed");
    let own = text(object, "/metadata/namespace");
    let source = format!("oauth2client/{name}");
    let grants = object.pointer("/spec/grantTypes").and_then(Value::as_array);
    let grants: Vec<_> = grants.into_iter().flatten().filter_map(Value::as_str).collect();
    if !grants.contains(&CLIENT_CREDENTIALS) {
        imported.note(&source, "spec.grantTypes", "not imported, because it has no client_credentials: keep Hydra, and validate its tokens with an oidc pool (`kubectl anon import oidc`)");
        return;
    }
    let client = imported.name(Kind::SdkClient, own, placement, name);
    let old_secret = text(object, "/spec/secretName").unwrap_or_default();
    let mut secret = format!("{client}-anon");
    if secret == old_secret {
        secret.push_str("-key");
    }
    let policy = text(object, "/spec/deletionPolicy");
    let delivery = json!({
        "secretName": secret,
        "keyNames": {"clientId": "CLIENT_ID", "apiKey": "CLIENT_SECRET"},
        "deletionPolicy": policy.filter(|policy| *policy == "orphan").map(|_| "Retain"),
    });
    let spec = service(text(object, "/spec/clientName"), role, &delivery);
    imported.add(Kind::SdkClient, &client, own, placement, &spec);
    imported.note(&source, "spec.secretName", format!("the API key is delivered into Secret `{secret}` instead of `{old_secret}`: change the name in the Deployment"));
    let others: Vec<_> = grants.into_iter().filter(|grant| *grant != CLIENT_CREDENTIALS).collect();
    if !others.is_empty() {
        let others = others.join(", ");
        imported.note(
            &source,
            "spec.grantTypes",
            format!("not carried over: {others}; keep Hydra for login flows"),
        );
    }
    for (field, why) in NOT_CARRIED_OVER {
        let value = object.pointer(&format!("/spec/{field}"));
        if value.is_some_and(|value| !is_default(value)) {
            imported.note(&source, &format!("spec.{field}"), format!("not carried over: {why}"));
        }
    }
}

/// Whether a field has the value that it would have if it were absent.
fn is_default(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::super::imported::tests::printed;
    use super::*;

    #[test]
    fn clients_become_service_clients() {
        let objects = document::yaml(
            "
apiVersion: hydra.ory.sh/v1alpha1
kind: OAuth2Client
metadata: {name: reports, namespace: acme}
spec:
  clientName: Reports
  grantTypes: [client_credentials, refresh_token]
  scope: read write
  skipConsent: false
  secretName: reports-anon
  deletionPolicy: orphan
  tokenLifespans: {client_credentials_grant_access_token_lifespan: 1h}
---
apiVersion: hydra.ory.sh/v1alpha1
kind: OAuth2Client
metadata: {name: website, namespace: acme}
spec: {grantTypes: [authorization_code], secretName: website}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
",
        )
        .unwrap();
        insta::assert_snapshot!(printed(&import(&objects, "ReadOnly", &Placement::default())), @r"
        ---
        apiVersion: anon.dev/v1beta1
        kind: SdkClient
        metadata:
          name: reports
          namespace: acme
        spec:
          displayName: Reports
          service:
            apiKey:
              delivery:
                deletionPolicy: Retain
                keyNames:
                  apiKey: CLIENT_SECRET
                  clientId: CLIENT_ID
                secretName: reports-anon-key
            role: ReadOnly
        # oauth2client/reports spec.secretName: the API key is delivered into Secret `reports-anon-key` instead of `reports-anon`: change the name in the Deployment
        # oauth2client/reports spec.grantTypes: not carried over: refresh_token; keep Hydra for login flows
        # oauth2client/reports spec.scope: not carried over: the resource server decides by sdkClientId and role
        # oauth2client/reports spec.tokenLifespans: not carried over: there are no access tokens; delivery.rotation limits the age of the API key
        # oauth2client/website spec.grantTypes: not imported, because it has no client_credentials: keep Hydra, and validate its tokens with an oidc pool (`kubectl anon import oidc`)
        ");
    }
}
