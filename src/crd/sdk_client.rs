//! Kind `SdkClient`: an application of the organization, a frontend (webapp) or a backend (service).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules::{
    READABLE_FRACTION, comparing_durations, duration, expiry_time, items, key_id, logo_url,
    matches, no_control_characters, object_name, readable_time, secret_key,
};
use super::{ApiKeyState, DeletionPolicy, LocalRef, Role};
use crate::domain::constraint::{
    CHROME_EXTENSION_ID, MAX_DESCRIPTION, MAX_NAME, MAX_ORIGIN, MAX_ORIGINS, MAX_REDIRECT_URLS,
    MAX_URL, ORIGIN, REDIRECT_URL,
};
use crate::domain::credential::KeyHash;
use crate::domain::stored_key::StoredApiKey;

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
    printcolumn(name = "Status", type_ = "string", description = "what is the matter, if anything", json_path = ".status.summary"),
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

/// The hash of an API key that was generated elsewhere.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.id == self.sha256.substring(0, 16)")
        .message("id must be the first 16 digits of sha256, such as `6cfb9ed0778cd7e8`; `kubectl anon key generate` prints both")
)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyHash {
    /// The first 16 hexadecimal digits of `sha256`.
    #[schemars(length(max = 16))]
    #[x_kube(validation = key_id())]
    pub id: String,
    /// SHA-256 of the whole API key: 64 lower-case hexadecimal digits.
    #[schemars(length(max = 64))]
    #[x_kube(validation = matches(
        "^[0-9a-f]{64}$",
        "must be a SHA-256 hash: 64 lower-case hexadecimal digits, such as `6cfb9ed0778cd7e8c35a7321dd84df7f6e8b21e5b87ce2e631df784026c8f607`",
    ))]
    pub sha256: String,
    /// When the key was generated: a time before 9999-12-30 with at most nine fractional digits. A key
    /// without it, or with a time in the future, is treated as the oldest. Once the key has been
    /// accepted, an edit makes it older, never younger: to correct the time, remove the entry and add
    /// it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = READABLE_FRACTION))]
    #[x_kube(validation = readable_time())]
    pub created_at: Option<Time>,
    /// When the key expires: a time before 9999-12-30 with at most nine fractional digits. Never, if
    /// unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = READABLE_FRACTION))]
    #[x_kube(validation = expiry_time())]
    pub expires_at: Option<Time>,
}

impl ApiKeyHash {
    /// The key; `None` if the hash is malformed, which the schema rejects.
    #[must_use]
    pub fn key(&self) -> Option<StoredApiKey> {
        let hash = KeyHash::parse(&self.sha256).filter(|hash| hash.id() == self.id)?;
        let time = |time: &Option<Time>| time.as_ref().map(|Time(time)| *time);
        Some(StoredApiKey::listed(hash, time(&self.created_at), time(&self.expires_at)))
    }
}

impl From<StoredApiKey> for ApiKeyHash {
    fn from(key: StoredApiKey) -> Self {
        Self {
            id: key.hash.id(),
            sha256: key.hash.to_string(),
            created_at: key.created_at.map(Time),
            expires_at: key.expires_at.map(Time),
        }
    }
}

/// The Secret that an API key is delivered into.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = comparing_durations(&["self.lifetime"], "!has(self.lifetime) || duration(self.lifetime) >= duration('60s')")
        .message("lifetime must be at least `60s`").field_path(".lifetime"),
    validation = comparing_durations(&["self.rotation.interval", "self.rotation.overlap", "self.lifetime"], "!has(self.lifetime) || !has(self.rotation) || duration(self.rotation.interval) + (has(self.rotation.overlap) ? duration(self.rotation.overlap) : duration(self.rotation.interval) < duration('1h') ? duration(self.rotation.interval) : duration('1h')) <= duration(self.lifetime)")
        .message("lifetime must be at least rotation.interval plus rotation.overlap (if unset: one hour or the interval, whichever is shorter); otherwise keys would expire while they are still in use").field_path(".lifetime")
)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Name of the Secret, in this namespace: 1 to 253 characters. The operator creates it; a Secret
    /// that was not created by the operator is never modified.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = object_name("backend-anon"),
        validation = Rule::new("!self.endsWith('.signing-keys') && !self.endsWith('.password-hash') && !self.endsWith('.record-keys')")
            .message("names that end in `.signing-keys`, `.password-hash` or `.record-keys` are reserved for the operator; choose another name, such as `backend-anon`")
    )]
    pub secret_name: String,
    /// Names of the keys in the Secret's data. They must differ.
    #[serde(default)]
    pub key_names: KeyNames,
    /// Labels of the Secret, besides those of the operator: at most 16, with values of at most 63
    /// characters. Labels of Kubernetes, of the operator, of GitOps tools and of tools that copy Secrets are reserved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    #[x_kube(
        validation = Rule::new(FREE_METADATA).message(RESERVED_METADATA),
        validation = Rule::new(METADATA_NAMES).message(METADATA_NAME),
        validation = Rule::new(LABEL_VALUES).message("a label value, such as `team-a`, consists of letters, digits, `-`, `_` and `.`, and starts and ends with a letter or digit")
    )]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Secret, besides those of the operator: at most 16, with values of at most
    /// 1024 characters. Annotations of Kubernetes, of the operator, of GitOps tools and of tools that copy Secrets are reserved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 1024}))]
    #[x_kube(
        validation = Rule::new(FREE_METADATA).message(RESERVED_METADATA),
        validation = Rule::new(METADATA_NAMES).message(METADATA_NAME)
    )]
    pub annotations: BTreeMap<String, String>,
    /// How long a key is valid: a duration of at least `60s` and at least `rotation.interval` plus
    /// `rotation.overlap`, such as `2160h`. If unset, keys do not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("2160h"))]
    pub lifetime: Option<String>,
    /// Scheduled rotation of the key. If unset, the key is rotated only on request, by the annotation
    /// `anon.dev/rotate: <any new value>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// What happens to the Secret when the SdkClient is deleted. Defaults to `Delete`, which deletes it
    /// after the operator's orphan grace period (1h by default); `Retain` keeps it. The key is rejected
    /// immediately in either case.
    #[serde(default = "delete")]
    pub deletion_policy: DeletionPolicy,
}

/// Metadata that belongs to others: to Kubernetes, to this operator, to GitOps tools, which would
/// take a Secret with their tracking labels for one of their own and prune it, and to tools that copy
/// a Secret into other namespaces or overwrite it when an annotation asks them to (config-syncer, formerly kubed;
/// mittwald's replicator; emberstack's reflector; ClusterSecret; Sealed Secrets). A user who may
/// create clients and not read Secrets must not get the key that way.
const FREE_METADATA: &str = r"self.all(name, !name.matches('^([^/]*[.])?(kubernetes[.]io|k8s[.]io|anon[.]dev|argoproj[.]io|fluxcd[.]io|helm[.]sh|k14s[.]io|cattle[.]io|appscode[.]com|mittwald[.]de|emberstack[.]com|clustersecret[.]io|bitnami[.]com)/'))";
const RESERVED_METADATA: &str = "names under kubernetes.io, k8s.io, anon.dev, argoproj.io, fluxcd.io, helm.sh, k14s.io, cattle.io, appscode.com, mittwald.de, emberstack.com, clustersecret.io and bitnami.com are reserved; use another prefix, such as `example.com/team`";
/// What the API server would otherwise reject later, when the operator writes the Secret.
const METADATA_NAMES: &str = r"self.all(name, name.size() <= 253 && name.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))";
const METADATA_NAME: &str = "a name must be valid in Kubernetes, such as `team` or `example.com/team`, with at most 253 characters";
const LABEL_VALUES: &str =
    r"self.all(name, self[name].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'))";

/// Names of the keys in the data of a delivery Secret. They must differ.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("[self.apiKey, self.clientId, self.baseUrl, self.organizationId].all(one, [self.apiKey, self.clientId, self.baseUrl, self.organizationId].exists_one(other, other == one))")
        .message("apiKey, clientId, baseUrl and organizationId must be four different keys")
)]
#[serde(rename_all = "camelCase")]
pub struct KeyNames {
    /// Name of the key that holds the API key: 1 to 64 characters. Defaults to `apiKey`.
    #[serde(default = "api_key_name")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = secret_key("ANON_API_KEY"))]
    pub api_key: String,
    /// Name of the key that holds the clientId: 1 to 64 characters. Defaults to `clientId`.
    #[serde(default = "client_id_name")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = secret_key("ANON_CLIENT_ID"))]
    pub client_id: String,
    /// Name of the key that holds the API's base URL: 1 to 64 characters. Defaults to `baseUrl`.
    #[serde(default = "base_url_name")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = secret_key("ANON_BASE_URL"))]
    pub base_url: String,
    /// Name of the key that holds the organization's id: 1 to 64 characters. Defaults to
    /// `organizationId`.
    #[serde(default = "organization_id_name")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = secret_key("ANON_ORGANIZATION_ID"))]
    pub organization_id: String,
}

impl Default for KeyNames {
    fn default() -> Self {
        Self {
            api_key: api_key_name(),
            client_id: client_id_name(),
            base_url: base_url_name(),
            organization_id: organization_id_name(),
        }
    }
}

fn api_key_name() -> String {
    "apiKey".to_owned()
}

fn client_id_name() -> String {
    "clientId".to_owned()
}

fn base_url_name() -> String {
    "baseUrl".to_owned()
}

fn organization_id_name() -> String {
    "organizationId".to_owned()
}

/// Scheduled rotation of an API key.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = comparing_durations(&["self.interval"], "duration(self.interval) >= duration('60s')")
        .message("rotation.interval must be at least `60s`").field_path(".interval"),
    validation = comparing_durations(&["self.overlap", "self.interval"], "!has(self.overlap) || (duration(self.overlap) <= duration('168h') && duration(self.overlap) <= duration(self.interval))")
        .message("rotation.overlap must be at most `168h` and not longer than rotation.interval").field_path(".overlap")
)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// How often the key is replaced: a duration of at least `60s`, such as `720h`. Rotation is
    /// jittered: it happens up to 10% earlier, so that clients created together do not rotate
    /// together.
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("720h"))]
    pub interval: String,
    /// How long the previous key stays valid after the new one is delivered: a duration from `0s` (not
    /// at all) to `168h`, not longer than `interval`. Defaults to `1h` or the interval, whichever is
    /// shorter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("24h"))]
    pub overlap: Option<String>,
}

fn delete() -> DeletionPolicy {
    DeletionPolicy::Delete
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
    /// In a word each, what a reader of a list has to know: `Ready`, or the reason why the object is
    /// not; `Suspended`; and the types of the other conditions. At most 256 characters.
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

/// A valid API key of a service.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyStatus {
    /// The first 16 hexadecimal digits of `sha256`.
    #[schemars(length(min = 16, max = 16))]
    pub id: String,
    /// SHA-256 of the whole API key: 64 lower-case hexadecimal digits.
    #[schemars(length(min = 64, max = 64))]
    pub sha256: String,
    /// Next (known to validators, not delivered yet), Current (in the Secret) or Previous (replaced,
    /// valid until it expires).
    pub state: ApiKeyState,
    /// When the key was delivered; for a Next key, when it was generated; for a key whose hash the spec
    /// lists, the time in the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    /// When the key expires. Never, if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}
