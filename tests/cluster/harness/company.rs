//! An organization with members of every role, a pool and clients, created through the REST API.

use anon_operator::testing::crd;
use http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::http::{self as wire, Reply};
use super::{Operator, Space, eventually};

/// The password of every member.
pub const PASSWORD: &str = "correct horse";

/// The URL to which Link may redirect users.
pub const REDIRECT_URL: &str = "https://shop.example/back";

/// An organization and its members.
pub struct Company {
    pub space: Space,
    pub organization: String,
    /// The session tokens of the members, one of each role.
    pub admin: String,
    pub member: String,
    pub reader: String,
    /// The ids of the members with the roles Member and ReadOnly.
    pub member_id: String,
    pub reader_id: String,
    pub pool: String,
    /// The id of a webapp client of the pool.
    pub web: String,
    /// The id of a service client.
    pub backend: String,
    /// The API key of the service client, with the role Member.
    pub key: String,
}

impl Company {
    /// Creates an organization. The names of everything in it contain `label`.
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

    /// The session token of the member with this role.
    pub fn bearer(&self, role: &str) -> &str {
        match role {
            "Admin" => &self.admin,
            "Member" => &self.member,
            "ReadOnly" => &self.reader,
            other => panic!("there is no role {other}"),
        }
    }

    /// The email address of the member with this role.
    pub fn email(&self, role: &str) -> String {
        format!("{}@{}.example", role.to_lowercase(), self.space.name)
    }
}

/// Logs in and returns the session token. Retries if too many callers log in at the same time.
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

/// Sends a request with an optional bearer token and an optional JSON body.
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
