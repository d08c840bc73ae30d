//! An organization of Anon's hosted platform, from responses of its REST API, as docs/migrate.md maps
//! them. Pure.
//!
//! The responses are recognized by their form: lists by `resource`, the organization by `members`, a
//! single client by `auth`, and a single pool by `hosted` or `authorization`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::document::text;
use super::imported::{Imported, Placement, service};
use crate::crd::Kind;
use crate::names;

/// The objects of the organization, by kind.
#[derive(Default)]
struct Source<'s> {
    organization: Option<&'s Value>,
    members: Vec<&'s Value>,
    pools: Vec<&'s Value>,
    clients: Vec<&'s Value>,
}

/// Everything in the responses.
pub fn import(responses: &[Value], audiences: &[String], placement: &Placement) -> Imported {
    let mut import = Import {
        imported: Imported::default(),
        audiences,
        placement,
        pools: BTreeMap::new(),
        client_ids: Vec::new(),
    };
    let source = Source::of(responses, &mut import.imported);
    if let Some(organization) = source.organization {
        import.organization(organization);
    }
    for member in source.members {
        import.member(member);
    }
    for pool in source.pools {
        import.pool(pool);
    }
    for client in source.clients {
        import.client(client);
    }
    import.finish()
}

impl<'s> Source<'s> {
    fn of(responses: &'s [Value], imported: &mut Imported) -> Self {
        let mut source = Self::default();
        for response in responses {
            let items = response.get("items").and_then(Value::as_array).into_iter().flatten();
            match text(response, "/resource") {
                Some("Member") => source.members.extend(items),
                Some("UserPool") => source.pools.extend(items),
                Some("SdkClient") => source.clients.extend(items),
                _ if response.get("auth").is_some() => source.clients.push(response),
                _ if response.get("hosted").is_some() || response.get("authorization").is_some() => {
                    source.pools.push(response);
                }
                _ if response.get("members").is_some() => source.organization = Some(response),
                _ => imported.note("response", "resource", "not imported: it is neither an organization nor its members, user pools or SDK clients"),
            }
        }
        // The organization lists its members, too.
        if source.members.is_empty()
            && let Some(organization) = source.organization
        {
            let members = organization.get("members").and_then(Value::as_array);
            source.members.extend(members.into_iter().flatten());
        }
        // The same object may be in a list and in a response of its own, which has more fields.
        for list in [&mut source.pools, &mut source.clients] {
            let mut by_id: BTreeMap<&str, &Value> = BTreeMap::new();
            for &object in list.iter() {
                let Some(id) = text(object, "/id") else { continue };
                let known = by_id.entry(id).or_insert(object);
                if object.get("auth").is_some() {
                    *known = object;
                }
            }
            list.retain(|object| {
                text(object, "/id")
                    .is_none_or(|id| by_id.get(id).is_some_and(|it| std::ptr::eq(*it, *object)))
            });
        }
        source
    }
}

/// An import in progress.
struct Import<'i> {
    imported: Imported,
    audiences: &'i [String],
    placement: &'i Placement,
    /// Names of the new pools, by the id that they had.
    pools: BTreeMap<String, String>,
    /// The ids that clients keep.
    client_ids: Vec<String>,
}

impl Import<'_> {
    fn name(&self, kind: Kind, text: &str) -> String {
        self.imported.name(kind, None, self.placement, text)
    }

    fn add(&mut self, kind: Kind, name: &str, spec: &Value) {
        self.imported.add(kind, name, None, self.placement, spec);
    }

    fn organization(&mut self, organization: &Value) {
        let spec = json!({
            "displayName": text(organization, "/name"),
            "logoUrl": text(organization, "/logoUrl"),
        });
        self.add(Kind::Organization, "default", &spec);
        self.imported.note(
            "organization",
            "id",
            "not carried over: the id is derived from the namespace",
        );
    }

    fn member(&mut self, member: &Value) {
        let email = text(member, "/email").unwrap_or_default();
        let local = email.split('@').next().unwrap_or_default();
        let name = self.name(Kind::Member, local);
        let role = text(member, "/role").unwrap_or("ReadOnly");
        let spec = json!({"displayName": text(member, "/name"), "email": email, "role": role});
        self.add(Kind::Member, &name, &spec);
        self.imported.note(
            &format!("member/{name}"),
            "password",
            "not carried over: set passwordSecretRef or kubernetes",
        );
    }

    fn pool(&mut self, pool: &Value) {
        let shown = text(pool, "/name").unwrap_or("users");
        let name = self.name(Kind::UserPool, shown);
        let source = format!("userPool/{name}");
        if let Some(id) = text(pool, "/id") {
            self.pools.insert(id.to_owned(), name.clone());
        }
        let url = text(pool, "/authorization/jwksUri");
        // A hosted pool has a key set, too.
        let hosted = pool.get("hosted").and_then(Value::as_bool).unwrap_or(url.is_none());
        let mut keys = json!({"hosted": {}});
        if hosted {
            self.imported.note(
                &source,
                "hosted",
                "the signing key is not carried over: backends have to request new tokens",
            );
        } else {
            let id_claim = text(pool, "/authorization/idClaim").filter(|claim| *claim != "sub");
            let audiences = (!self.audiences.is_empty()).then_some(self.audiences);
            keys = json!({"jwks": {"url": url}, "idClaim": id_claim, "audiences": audiences});
            if audiences.is_none() {
                self.imported.note(&source, "audiences", "list the `aud` values of the tokens (--audience): the API server rejects the UserPool without them");
            }
            self.imported.note(&source, "authorization.jwksUri", "prefer oidc with the issuer of your identity provider (`kubectl anon import oidc`); if the key set has private keys, use provided");
        }
        let spec = json!({"displayName": shown, "description": text(pool, "/description")});
        self.add(Kind::UserPool, &name, &joined(spec, keys));
    }

    fn client(&mut self, client: &Value) {
        let shown = text(client, "/name").unwrap_or("client");
        let name = self.name(Kind::SdkClient, shown);
        let source = format!("sdkClient/{name}");
        let pool = text(client, "/auth/userPoolId").or_else(|| text(client, "/appUserPoolId"));
        let kind = if let Some(id) = pool {
            self.webapp(client, id, &source)
        } else {
            let secret = format!("{name}-anon");
            self.imported.note(
                &source,
                "auth.secret",
                format!("the API key is not carried over: the new one is in Secret `{secret}`"),
            );
            service(None, "Member", &json!({"secretName": secret}))
        };
        let spec = json!({
            "displayName": shown,
            "description": text(client, "/description"),
            "clientId": self.client_id(client, &source),
        });
        self.add(Kind::SdkClient, &name, &joined(kind, spec));
    }

    fn webapp(&mut self, client: &Value, pool: &str, source: &str) -> Value {
        let name = self.pools.get(pool).cloned().unwrap_or_else(|| {
            self.imported.note(
                source,
                "auth.userPoolId",
                format!("the pool {pool} is not in the input: set userPoolRef"),
            );
            "users".to_owned()
        });
        let of = |field: &str| {
            let nested = client.pointer(&format!("/auth/oauthConfig/{field}"));
            nested.or_else(|| client.get(field)).cloned().unwrap_or_default()
        };
        let filled = |value: Value| {
            if value == json!("") || value == json!([]) { Value::Null } else { value }
        };
        json!({"webapp": {
            "userPoolRef": {"name": name},
            "redirectUrls": filled(of("redirectUrls")),
            "logoUrl": filled(of("logoUrl")),
            "chromeExtensionId": filled(of("chromeExtensionId")),
        }})
    }

    /// The id of the client if it can be kept.
    fn client_id(&mut self, client: &Value, source: &str) -> Option<String> {
        let id = text(client, "/id")?;
        let uuid = Uuid::parse_str(id).ok().filter(|uuid| uuid.get_version_num() != 5);
        let Some(uuid) = uuid else {
            self.imported.note(source, "id", format!("not carried over, because `{id}` is not a UUID, or is one of version 5, which is reserved for derived ids: change the clientId in the application"));
            return None;
        };
        let id = uuid.hyphenated().to_string();
        self.client_ids.push(id.clone());
        Some(id)
    }

    /// The manifest of the Namespace comes first: it allows the client ids.
    fn finish(mut self) -> Imported {
        if self.client_ids.is_empty() {
            return self.imported;
        }
        let ids = self.client_ids.join(",");
        match &self.placement.0 {
            Some(namespace) => self.imported.manifests.insert(
                0,
                json!({
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {"name": namespace, "annotations": {names::CLIENT_IDS: ids}},
                }),
            ),
            None => self.imported.note(
                "sdkClients",
                "id",
                format!("a cluster administrator has to allow the ids: kubectl annotate namespace NAMESPACE {}={ids}", names::CLIENT_IDS),
            ),
        }
        self.imported
    }
}

/// The members of both objects; those of the second win.
fn joined(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::super::imported::tests::printed;
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "the manifests of an organization")]
    fn an_organization_becomes_manifests() {
        let responses = [
            json!({"id": "o", "name": "Acme", "members": [{"id": "m", "email": "x@acme.example", "role": "Admin"}]}),
            json!({"resource": "Member", "items": [
                {"id": "m", "name": "Ada", "email": "ada@acme.example", "role": "Admin"},
            ]}),
            json!({"resource": "UserPool", "items": [
                {"id": "p1", "name": "Users", "description": "", "hosted": true, "authorization": {"jwksUri": "https://x/jwks"}},
                {"id": "p2", "name": "Customers", "description": "Of the shop", "hosted": false,
                 "authorization": {"jwksUri": "https://id.acme.example/jwks", "idClaim": "email"}},
            ]}),
            json!({"resource": "SdkClient", "items": [
                {"id": "6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111", "name": "Web", "description": "", "appUserPoolId": "p2",
                 "redirectUrls": ["https://shop.acme.example/linked"], "logoUrl": ""},
                {"id": "backend", "name": "Backend", "description": ""},
            ]}),
            json!({"id": "backend", "name": "Backend", "auth": {"type": "apiKey"}}),
            json!({"message": "forbidden"}),
        ];
        let placement = Placement(Some("acme".into()));
        let imported = import(&responses, &["shop".to_owned()], &placement);
        insta::assert_snapshot!(printed(&imported), @r"
        ---
        apiVersion: v1
        kind: Namespace
        metadata:
          annotations:
            anon.dev/client-ids: 6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111
          name: acme
        ---
        apiVersion: anon.dev/v1beta1
        kind: Organization
        metadata:
          name: default
          namespace: acme
        spec:
          displayName: Acme
        ---
        apiVersion: anon.dev/v1beta1
        kind: Member
        metadata:
          name: ada
          namespace: acme
        spec:
          displayName: Ada
          email: ada@acme.example
          role: Admin
        ---
        apiVersion: anon.dev/v1beta1
        kind: UserPool
        metadata:
          name: users
          namespace: acme
        spec:
          displayName: Users
          hosted: {}
        ---
        apiVersion: anon.dev/v1beta1
        kind: UserPool
        metadata:
          name: customers
          namespace: acme
        spec:
          audiences:
          - shop
          description: Of the shop
          displayName: Customers
          idClaim: email
          jwks:
            url: https://id.acme.example/jwks
        ---
        apiVersion: anon.dev/v1beta1
        kind: SdkClient
        metadata:
          name: web
          namespace: acme
        spec:
          clientId: 6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111
          displayName: Web
          webapp:
            redirectUrls:
            - https://shop.acme.example/linked
            userPoolRef:
              name: customers
        ---
        apiVersion: anon.dev/v1beta1
        kind: SdkClient
        metadata:
          name: backend
          namespace: acme
        spec:
          displayName: Backend
          service:
            apiKey:
              delivery:
                secretName: backend-anon
            role: Member
        # response resource: not imported: it is neither an organization nor its members, user pools or SDK clients
        # organization id: not carried over: the id is derived from the namespace
        # member/ada password: not carried over: set passwordSecretRef or kubernetes
        # userPool/users hosted: the signing key is not carried over: backends have to request new tokens
        # userPool/customers authorization.jwksUri: prefer oidc with the issuer of your identity provider (`kubectl anon import oidc`); if the key set has private keys, use provided
        # sdkClient/backend auth.secret: the API key is not carried over: the new one is in Secret `backend-anon`
        # sdkClient/backend id: not carried over, because `backend` is not a UUID, or is one of version 5, which is reserved for derived ids: change the clientId in the application
        ");
    }

    #[test]
    fn without_a_namespace_the_ids_are_a_note() {
        let id = "6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111";
        let client =
            json!({"id": id, "name": "Web", "auth": {"type": "userPool", "userPoolId": "p"}});
        let text = printed(&import(&[client], &[], &Placement::default()));
        assert!(text.contains(&format!("anon.dev/client-ids={id}")), "{text}");
        assert!(text.contains("the pool p is not in the input"), "{text}");
    }
}
