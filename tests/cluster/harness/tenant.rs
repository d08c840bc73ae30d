//! An organization with a pool `users`, its frontend `web`, a backend `backend`, and a token.

use anon_operator::testing::crd::{SdkClient, UserPool};
use serde_json::json;

use super::{Operator, Space, quick_pool, service, webapp};

/// An organization whose backend has obtained a token.
pub struct Tenant {
    pub space: Space,
    /// The clientId of the frontend.
    pub web: String,
    /// The API key of the backend.
    pub key: String,
    /// A token of the user `ada`.
    pub token: String,
}

impl Tenant {
    /// Creates a tenant whose namespace begins with `label`.
    pub async fn new(operator: &Operator, label: &str) -> Self {
        let space = Space::new(label).await;
        space.apply(&quick_pool("users")).await;
        let (web, key) = space.web_and_backend().await;
        let mut tenant = Self { space, web, key, token: String::new() };
        tenant.token = tenant.mint(operator, "ada").await;
        tenant
    }

    /// Issues a new token for a user.
    pub async fn mint(&self, operator: &Operator, user: &str) -> String {
        operator.minted(&self.key, &json!({"appUserId": user, "sdkClientId": self.web})).await
    }

    /// Revokes a user with a Revocation of the same name.
    pub async fn revoke(&self, user: &str) {
        self.space
            .apply(&json!({
                "apiVersion": "anon.dev/v1beta1", "kind": "Revocation", "metadata": {"name": user},
                "spec": {"userPool": {"name": "users", "subjects": [user]}},
            }))
            .await;
    }
}

impl Space {
    /// Creates the frontend `web` of the pool `users` and the backend `backend`, and waits until
    /// all three are ready. Returns the clientId of the frontend and the API key of the backend.
    pub async fn web_and_backend(&self) -> (String, String) {
        self.apply_all(&[webapp("web", "users"), service("backend", "Member", "key")]).await;
        self.ready::<UserPool>("users").await;
        self.ready::<SdkClient>("backend").await;
        let web = self.ready::<SdkClient>("web").await.status.unwrap().client_id.unwrap();
        (web, self.api_key("key").await)
    }

    /// Creates the service client `backend`, and returns its API key.
    pub async fn backend(&self) -> String {
        self.apply(&service("backend", "Member", "key")).await;
        self.ready::<SdkClient>("backend").await;
        self.api_key("key").await
    }
}
