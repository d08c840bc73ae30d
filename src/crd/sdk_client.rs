//! Kind `SdkClient`: an application of the organization, a frontend (webapp) or a backend (service).

mod api_keys;
mod delivery;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules::{items, logo_url, matches, no_control_characters};
use super::{LocalRef, Role};
use crate::domain::constraint::{
    CHROME_EXTENSION_ID, MAX_DESCRIPTION, MAX_NAME, MAX_ORIGIN, MAX_ORIGINS, MAX_REDIRECT_URLS,
    MAX_URL, ORIGIN, REDIRECT_URL,
};
pub use api_keys::{ApiKeyHash, ApiKeyStatus};
pub use delivery::Delivery;

/// Desired state of an SdkClient.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "anon.dev",
    version = "v1beta1",
    kind = "SdkClient",
    namespaced,
    status = "SdkClientStatus",
    derive = "PartialEq",
    shortname = "anonclient",
    category = "anon",
    doc = "An application of your organization. A `webapp` is a frontend: its clientId tells validators which UserPool a token belongs to. A `service` is a backend: it authenticates with an API key.",
    validation = Rule::new("self.metadata.name.size() <= 52")
        .message("metadata.name must have at most 52 characters, because the names of other objects are derived from it"),
    selectable = ".spec.webapp.userPoolRef.name",
    selectable = ".spec.service.role",
    printcolumn(name = "Type", type_ = "string", json_path = ".status.type"),
    printcolumn(name = "Client-ID", type_ = "string", json_path = ".status.clientId"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.webapp.userPoolRef.name"),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.service.role"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secretName"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Status", type_ = "string", description = "Ready, or why the object is not ready, and its other conditions", json_path = ".status.summary"),
    printcolumn(name = "Message", type_ = "string", description = "where the API key is and how many previous keys are valid, or what is wrong", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = "1"),
    printcolumn(name = "Key-Age", type_ = "date", description = "age of the Current API key", json_path = r#".status.keys[?(@.state=="Current")].createdAt"#, priority = "1"),
    printcolumn(name = "Next-Rotation", type_ = "string", description = "when the API key is rotated next, according to the schedule", json_path = ".status.nextRotation", priority = "1"),
    printcolumn(name = "Old-Key-Until", type_ = "string", description = "when the oldest Previous API key expires", json_path = r#".status.keys[?(@.state=="Previous")].expiresAt"#, priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(cel)]
#[x_kube(
    validation = Rule::new("(has(self.webapp) ? 1 : 0) + (has(self.service) ? 1 : 0) == 1")
        .message("set exactly one of `webapp` (a frontend, with userPoolRef) and `service` (a backend, with role and apiKey)"),
    validation = Rule::new("has(self.clientId) == has(oldSelf.clientId) && (!has(self.clientId) || self.clientId == oldSelf.clientId)")
        .message("clientId is immutable: it cannot be set, changed or removed later; delete the client and create another one")
        .reason(Reason::FieldValueForbidden)
        .field_path(".clientId"),
    validation = Rule::new("has(self.webapp) == has(oldSelf.webapp)")
        .message("a client cannot change between `webapp` and `service`; delete it and create another one")
        .reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct SdkClientSpec {
    /// Display name, 1 to 128 characters. Defaults to the name of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME))]
    #[x_kube(validation = no_control_characters())]
    pub display_name: Option<String>,
    /// What this client is for: at most 1024 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_DESCRIPTION))]
    pub description: Option<String>,
    /// A clientId to keep, such as the one that the client had on another platform: a lower-case UUID
    /// (36 characters) of any version but 5, which is reserved for derived ids. The annotation
    /// `anon.dev/client-ids` of the Namespace, written by a cluster administrator, must list it or be
    /// `*`. Immutable. Defaults to a UUID derived from namespace, kind and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    #[x_kube(
        validation = matches(
            "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
            "must be a lower-case UUID, such as `6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111`",
        ),
        validation = Rule::new("self.size() < 15 || self.substring(14, 15) != '5'")
            .message("must not be a UUID of version 5, which is reserved for derived ids; leave clientId out, or use a UUID of version 4")
    )]
    pub client_id: Option<String>,
    /// While true, the tokens and API keys of this client are rejected. Defaults to false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<bool>,
    /// A frontend, with `userPoolRef`. Exactly one of `webapp` and `service` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webapp: Option<Webapp>,
    /// A backend, with `role` and `apiKey`. Exactly one of `webapp` and `service` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
}

impl SdkClient {
    /// The name of the Secret that the spec specifies for API keys.
    #[must_use]
    pub fn delivery_secret(&self) -> Option<&str> {
        let delivery = self.spec.service.as_ref()?.api_key.delivery.as_ref()?;
        Some(&delivery.secret_name)
    }
}

/// A frontend: identifies one of the clients that share a UserPool.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webapp {
    /// The UserPool whose users sign in to this client. It may be created later.
    pub user_pool_ref: LocalRef,
    /// The browser origins (scheme, host and port; RFC 6454) that may read this client's public data
    /// at `GET /v1/clients/{clientId}`: at most 32, of at most 255 characters each. They are compared
    /// exactly; there are no wildcards.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = MAX_ORIGINS), extend("items" = items(MAX_ORIGIN, &matches(
        ORIGIN,
        "must be a browser origin (scheme, host and optional port, no path), such as `https://shop.acme.example` or `chrome-extension://abcdefghijklmnopabcdefghijklmnop`",
    ))))]
    pub allowed_origins: Option<Vec<String>>,
    /// The URLs that Link may redirect to when it is done: at most 32, of at most 2048 characters
    /// each. They lead to a website, or to an app with a URL scheme of its own. Link is the web page
    /// on which end users connect their accounts at other services; the Link SDK opens it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("!self.exists(url, ['javascript:', 'data:', 'vbscript:', 'blob:', 'file:'].exists(scheme, url.startsWith(scheme)))")
            .message("a redirect URL must lead to a website or an app, such as `https://shop.acme.example/linked`; javascript:, data:, vbscript:, blob: and file: are not allowed"),
        validation = Rule::new("!self.exists(url, url.contains('*'))")
            .message("a redirect URL must not contain `*`: redirect URLs are compared exactly, so list each one")
    )]
    #[schemars(length(max = MAX_REDIRECT_URLS), extend("items" = items(MAX_URL, &matches(
        REDIRECT_URL,
        "must be an absolute URL with a lower-case scheme and without fragment and spaces, such as `https://shop.acme.example/linked` or `example.acme.shop://linked`",
    ))))]
    pub redirect_urls: Option<Vec<String>>,
    /// URL of the logo that Link shows: http or https, at most 2048 characters. Defaults to the logo
    /// of the Organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_URL))]
    #[x_kube(validation = logo_url())]
    pub logo_url: Option<String>,
    /// Id of the Chrome extension that belongs to this client: 32 letters from `a` to `p`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = matches(
        CHROME_EXTENSION_ID,
        "must be the id of a Chrome extension: 32 letters from `a` to `p`, such as `abcdefghijklmnopabcdefghijklmnop`",
    ))]
    pub chrome_extension_id: Option<String>,
    /// Accept only tokens whose claim `sdkClientId` is this client's id. This rejects tokens of
    /// identity providers that do not set that claim. Defaults to false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_client: Option<bool>,
}

/// A backend: authenticates with an API key.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.role != 'Admin' || !has(self.apiKey.delivery)")
        .message("an Admin key is never delivered into a Secret, because anyone who can read the Secret would have the role Admin; use `hashes`, or role `Member` or `ReadOnly`")
        .reason(Reason::FieldValueForbidden)
        .field_path(".role")
)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Permissions of the API key: ReadOnly, Member or Admin. Setting it requires the corresponding
    /// Kubernetes permission: to create userpools for Member, to create members for Admin.
    pub role: Role,
    /// Source of the API key: exactly one of `delivery` and `hashes`.
    pub api_key: ApiKeySource,
}

/// Source of a service's API keys: exactly one of the fields.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("(has(self.delivery) ? 1 : 0) + (has(self.hashes) ? 1 : 0) == 1")
        .message("set exactly one of `delivery` (the operator generates the key: `delivery: {secretName: …}`) and `hashes` (keys generated by `kubectl anon key generate`)"),
    validation = Rule::new("has(self.delivery) == has(oldSelf.delivery)")
        .message("a client cannot change between `delivery` and `hashes`; create another client")
        .reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeySource {
    /// The operator generates an API key, delivers it into a Secret of this namespace, and rotates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// SHA-256 hashes of API keys that were generated elsewhere, by `kubectl anon key generate` or by
    /// the REST API; at most 16. The keys themselves are not stored. A key is valid once `status.keys`
    /// lists its hash, and while it is listed here. To rotate a key, add a hash, and remove the old
    /// one once its key is no longer in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    #[schemars(length(max = 16))]
    pub hashes: Option<Vec<ApiKeyHash>>,
}

/// Observed state of an SdkClient.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SdkClientStatus {
    /// Id of the client, for tokens and callers: `spec.clientId` if it is set and allowed, otherwise a
    /// UUID derived from namespace, kind and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub client_id: Option<String>,
    /// Type of the client: Webapp or Service.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ClientType>,
    /// Name of the Secret that `keys` were delivered into. If the spec names another one, they stay
    /// valid until that one exists, and then for `rotation.overlap`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret_name: Option<String>,
    /// The uid of the Secret while it is replaced, because it was made immutable. Its deletion does not
    /// end the validity of `keys`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub replacing: Option<String>,
    /// Hashes of the API keys that belong to this client, oldest first; at most 16. The keys themselves
    /// are never listed. A hash belongs to one client only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16))]
    pub keys: Vec<ApiKeyStatus>,
    /// When the key is rotated next, according to the schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Time>,
    /// Summary for lists, separated by commas: `Ready`, or the reason why the object is not ready;
    /// `Suspended`; and the types of the other conditions. At most 256 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub summary: Option<String>,
    /// The `metadata.generation` that this status reflects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready and, while that is not True, Reconciling or Stalled (kstatus); at most 16 conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// Type of the client: Webapp or Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientType {
    /// A frontend.
    Webapp,
    /// A backend.
    Service,
}
