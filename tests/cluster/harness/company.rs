//! An organization with people of every role, a pool and clients, made over the API.

use anon_operator::testing::crd;
use http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::http::{self as wire, Reply};
use super::{Operator, Space, eventually};

/// Everybody's password.
pub const PASSWORD: &str = "correct horse";

/// Where Link may send users back to.
pub const REDIRECT_URL: &str = "https://shop.example/back";

/// An organization and its people.
pub struct Company {
    pub space: Space,
    pub organization: String,
    /// Session tokens of members of each role.
    pub admin: String,
    pub member: String,
    pub reader: String,
    /// The ids of the members of role Member and ReadOnly.
    pub member_id: String,
    pub reader_id: String,
    pub pool: String,
    /// A webapp client of the pool.
    pub web: String,
    /// A service client.
    pub backend: String,
    /// Its ApiKey, of role Member.
    pub key: String,
}

impl Company {
    /// Makes one. `label` is in the name of everything that it has.
    pub async fn found(operator: &Operator, label: &str) -> Self {
        let space = Space::new(label).await;
        let email = |who: &str| format!("{who}@{}.example", space.name);
        space
            .apply_all(&[
                json!({
                    "apiVersion": "v1", "kind": "Secret",
                    "metadata": {"name": "admin", "labels": {"anon.dev/use": "password"}},
                    "stringData": {"password": PASSWORD},
                }),
                json!({
                    "apiVersion": "anon.dev/v1beta1", "kind": "Member",
                    "metadata": {"name": "admin"},
                    "spec": {
                        "displayName": format!("{label} Admin"), "email": email("admin"),
                        "role": "Admin", "passwordSecretRef": {"name": "admin", "key": "password"},
                    },
                }),
            ])
            .await;
        space.stands::<crd::Member>("admin", "Accepted").await;
        let admin = log_in(operator, &email("admin")).await;
        let create = async |path: &str, body: Value| {
            let reply = call(operator, "POST", path, Some(&admin), Some(&body)).await;
            assert_eq!(reply.status, 200, "{path}: {reply:?}");
            reply.json()
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let person = async |role: &str| {
            let email = email(&role.to_lowercase());
            let name = format!("{label} {role}");
            let body = json!({"name": name, "email": email, "password": PASSWORD, "role": role});
            let made = create("/org/member", body).await;
            (text(&made["id"]), log_in(operator, &email).await, text(&made["organizationId"]))
        };
        let (member_id, member, organization) = person("Member").await;
        let (reader_id, reader, _) = person("ReadOnly").await;
        let named = |what: &str| json!({"name": format!("{label} {what}"), "description": label});
        let pool = text(&create("/org/userPool", named("users")).await["id"]);
        let mut web = named("web");
        let oauth = json!({"redirectUrls": [REDIRECT_URL]});
        web["kind"] = json!({"application": {"userPoolId": pool, "oauthConfig": oauth}});
        let web = text(&create("/org/sdkClient", web).await["id"]);
        let mut backend = named("backend");
        backend["kind"] = json!("service");
        let made = create("/org/sdkClient", backend).await;
        let (backend, key) = (text(&made["id"]), text(&made["auth"]["secret"]));
        Self {
            space,
            organization,
            admin,
            member,
            reader,
            member_id,
            reader_id,
            pool,
            web,
            backend,
            key,
        }
    }

    /// The session token of somebody of this role.
    pub fn bearer(&self, role: &str) -> &str {
        match role {
            "Admin" => &self.admin,
            "Member" => &self.member,
            "ReadOnly" => &self.reader,
            other => panic!("there is no role {other}"),
        }
    }

    /// The e-mail address of the member of role ReadOnly.
    pub fn email(&self, role: &str) -> String {
        format!("{}@{}.example", role.to_lowercase(), self.space.name)
    }
}

/// A session token; waits its turn where too many log in.
pub async fn log_in(operator: &Operator, email: &str) -> String {
    let body = json!({"email": email, "password": PASSWORD});
    eventually("the login", async || {
        let reply = call(operator, "POST", "/org/login", None, Some(&body)).await;
        if reply.status == 200 {
            Ok(reply.json()["token"].as_str().unwrap().to_owned())
        } else {
            Err(format!("{reply:?}"))
        }
    })
    .await
}

/// A request with a JSON body or none.
pub async fn call(
    operator: &Operator,
    method: &str,
    path: &str,
    bearer: Option<&str>,
    body: Option<&Value>,
) -> Reply {
    let mut request = Request::builder().method(method).uri(operator.url(path));
    if let Some(bearer) = bearer {
        request = request.header("authorization", format!("Bearer {bearer}"));
    }
    let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
    wire::send(request.body(Full::new(body)).unwrap()).await.unwrap()
}
