//! Kind `SdkClient`: a frontend (webapp) or a backend (service) of the company.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ApiKeyState, DeletionPolicy, LocalRef, READABLE_FRACTION, Role, duration, of_durations,
    readable_time,
};

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
    doc = "An application of the company. A `webapp` is a frontend: its clientId tells the validator which UserPool a token belongs to. A `service` is a backend: it gets an ApiKey.",
    validation = Rule::new("self.metadata.name.size() <= 52")
        .message("metadata.name must have at most 52 characters, because names of other objects are made from it"),
    selectable = ".spec.webapp.userPoolRef.name",
    selectable = ".spec.service.role",
    printcolumn(name = "Type", type_ = "string", json_path = ".status.type"),
    printcolumn(name = "Client-ID", type_ = "string", json_path = ".status.clientId"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.webapp.userPoolRef.name"),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.service.role"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secretName"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, priority = "1"),
    printcolumn(name = "Message", type_ = "string", description = "where the ApiKey is and which others count, or what is the matter", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = "1"),
    printcolumn(name = "Key-Age", type_ = "date", description = "age of the Current ApiKey", json_path = r#".status.keys[?(@.state=="Current")].createdAt"#, priority = "1"),
    printcolumn(name = "Next-Rotation", type_ = "string", description = "when the schedule asks for the next ApiKey", json_path = ".status.nextRotation", priority = "1"),
    printcolumn(name = "Old-Key-Until", type_ = "string", description = "until when the oldest Previous ApiKey counts", json_path = r#".status.keys[?(@.state=="Previous")].expiresAt"#, priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(cel)]
#[x_kube(
    validation = Rule::new("(has(self.webapp) ? 1 : 0) + (has(self.service) ? 1 : 0) == 1")
        .message("set exactly one of `webapp` (a frontend, with userPoolRef) and `service` (a backend, with role and apiKey)"),
    validation = Rule::new("has(self.clientId) == has(oldSelf.clientId) && (!has(self.clientId) || self.clientId == oldSelf.clientId)")
        .message("clientId cannot be set, changed or removed later; delete the client and create another one")
        .reason(Reason::FieldValueForbidden)
        .field_path(".clientId"),
    validation = Rule::new("has(self.webapp) == has(oldSelf.webapp)")
        .message("a client cannot change between `webapp` and `service`; delete it and create another one")
        .reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct SdkClientSpec {
    /// The name that people see. The object's name if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub display_name: Option<String>,
    /// What this client is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// A clientId to keep, such as the one that the client had on another platform: a UUID in lower
    /// case, not of version 5 (those are derived). It needs the consent of a cluster admin: the
    /// annotation `anon.dev/client-ids` on the Namespace lists it. Derived if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 36),
        regex(pattern = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
    )]
    #[x_kube(validation = Rule::new("self.size() < 15 || self.substring(14, 15) != '5'")
        .message("a UUID of version 5 is derived from a namespace and a name and cannot be chosen; leave clientId out, or use a UUID of version 4"))]
    pub client_id: Option<String>,
    /// A suspended client is kept and refused: neither its tokens nor its ApiKeys count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<bool>,
    /// A frontend, with `userPoolRef`. Exactly one of `webapp` and `service` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webapp: Option<Webapp>,
    /// A backend, with `role` and `apiKey`. Exactly one of `webapp` and `service` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
}

/// A frontend: distinguishes clients that share a UserPool.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webapp {
    /// The UserPool whose users sign in here. It may be created later.
    pub user_pool_ref: LocalRef,
    /// The browser origins (scheme, host, port; RFC 6454) that may read this client's public data.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(
        length(max = 32),
        inner(
            length(max = 255),
            regex(pattern = r"^(https?|chrome-extension)://[A-Za-z0-9.\-\[\]:]+$")
        )
    )]
    pub allowed_origins: Option<Vec<String>>,
    /// The URLs that Link may redirect back to: of websites, or of apps with a scheme of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("!self.exists(url, ['javascript:', 'data:', 'vbscript:', 'blob:', 'file:'].exists(scheme, url.startsWith(scheme)))")
            .message("a redirect URL must lead to a website or an app; javascript:, data:, vbscript:, blob: and file: do not")
    )]
    #[schemars(
        length(max = 32),
        inner(length(max = 2048), regex(pattern = r"^[a-z][a-z0-9+.\-]*://[^\s#]+$"))
    )]
    pub redirect_urls: Option<Vec<String>>,
    /// URL of the logo that Link shows; the organization's if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s]+$"))]
    pub logo_url: Option<String>,
    /// Id of the Chrome extension that belongs to this client.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[a-p]{32}$"))]
    pub chrome_extension_id: Option<String>,
    /// Accept only tokens whose `sdkClientId` is this client. Tokens of an identity provider that
    /// does not know clients carry none, and are then refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_client: Option<bool>,
}

/// A backend: authenticates with an ApiKey.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.role != 'Admin' || !has(self.apiKey.delivery)")
        .message("an Admin key is never delivered into a Secret, where whoever reads Secrets would become Admin; use `hashes`, or role `Member` or `ReadOnly`")
        .reason(Reason::FieldValueForbidden)
        .field_path(".role")
)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// What the ApiKey may do: ReadOnly, Member or Admin. Whoever writes this needs the right that
    /// the role gives: to create userpools for Member, to create members for Admin.
    pub role: Role,
    /// Where the ApiKey comes from: exactly one of `delivery` and `hashes`.
    pub api_key: ApiKeySource,
}

/// The most hashes that a client can list.
pub const MAX_HASHES: usize = 16;

/// Where the ApiKeys of a service come from: exactly one of the arms.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("(has(self.delivery) ? 1 : 0) + (has(self.hashes) ? 1 : 0) == 1")
        .message("set exactly one of `delivery` (the operator makes a key: `delivery: {secretName: …}`) and `hashes` (keys made by `kubectl anon key generate`)"),
    validation = Rule::new("has(self.delivery) == has(oldSelf.delivery)")
        .message("a client cannot change between `delivery` and `hashes`; create another client")
        .reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeySource {
    /// The operator makes a key, delivers it into a Secret of this namespace, and rotates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// SHA-256 hashes of keys that were made elsewhere, by `kubectl anon key generate` or the REST
    /// API. The keys themselves are stored nowhere. A key is valid once `status.keys` lists it, and
    /// as long as it is listed here. To rotate, add a hash, and remove the old one when nobody uses
    /// it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    #[schemars(length(max = 16))]
    pub hashes: Option<Vec<ApiKeyHash>>,
}

/// The hash of one ApiKey that was made elsewhere.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.id == self.sha256.substring(0, 16)")
        .message("id must be the first 16 digits of sha256; `kubectl anon key generate` prints both")
)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyHash {
    /// The first 16 hex digits of `sha256`.
    #[schemars(length(max = 16), regex(pattern = r"^[0-9a-f]{16}$"))]
    pub id: String,
    /// SHA-256 of the whole key string, in lower-case hex.
    #[schemars(length(max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
    /// When the key was created. Missing, or in the future, counts as oldest. Once the key has been
    /// accepted, an edit makes it older, never younger: to correct the time, remove the entry, and
    /// add it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = READABLE_FRACTION))]
    #[x_kube(validation = readable_time())]
    pub created_at: Option<Time>,
    /// When the key stops to count. Never if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = READABLE_FRACTION))]
    #[x_kube(validation = readable_time())]
    pub expires_at: Option<Time>,
}

/// The Secret that an ApiKey is delivered into.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = of_durations(&["self.lifetime"], "!has(self.lifetime) || duration(self.lifetime) >= duration('60s')")
        .message("lifetime must be at least 60s").field_path(".lifetime"),
    validation = of_durations(&["self.rotation.interval", "self.rotation.overlap", "self.lifetime"], "!has(self.lifetime) || !has(self.rotation) || duration(self.rotation.interval) + (has(self.rotation.overlap) ? duration(self.rotation.overlap) : duration(self.rotation.interval) < duration('1h') ? duration(self.rotation.interval) : duration('1h')) <= duration(self.lifetime)")
        .message("lifetime must be at least rotation.interval plus rotation.overlap (if unset, one hour or the interval, whichever is shorter), or keys would expire while they are still in use").field_path(".lifetime")
)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Name of the Secret, in this namespace. The operator creates it; a Secret of somebody else is
    /// never touched.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    #[x_kube(validation = Rule::new("!self.endsWith('.signing-keys') && !self.endsWith('.password-hash') && !self.endsWith('.record-keys')")
        .message("names that end in `.signing-keys`, `.password-hash` or `.record-keys` are reserved for the operator"))]
    pub secret_name: String,
    /// Names of the entries of the Secret.
    #[serde(default)]
    pub key_names: KeyNames,
    /// Labels for the Secret, beside those of the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    #[x_kube(
        validation = Rule::new(FREE_METADATA).message(RESERVED_METADATA),
        validation = Rule::new(METADATA_NAMES).message(METADATA_NAME),
        validation = Rule::new(LABEL_VALUES).message("the value of a label has letters, digits, `-`, `_` and `.`, and a letter or digit at either end")
    )]
    pub labels: BTreeMap<String, String>,
    /// Annotations for the Secret, beside those of the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 1024}))]
    #[x_kube(
        validation = Rule::new(FREE_METADATA).message(RESERVED_METADATA),
        validation = Rule::new(METADATA_NAMES).message(METADATA_NAME)
    )]
    pub annotations: BTreeMap<String, String>,
    /// How long a key counts at most, such as `2160h`. Without it keys do not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("2160h"))]
    pub lifetime: Option<String>,
    /// Replaces the key regularly. Any time: annotate the SdkClient with `anon.dev/rotate: <any new
    /// value>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// What happens to the Secret when the SdkClient is deleted. The key in it is refused at once
    /// either way.
    #[serde(default = "delete")]
    pub deletion_policy: DeletionPolicy,
}

/// Metadata that others own: Kubernetes, this operator, the tools that would take a Secret with
/// their tracking marks for one of their own and prune it, and the tools that copy a Secret into
/// other namespaces or overwrite it when an annotation asks them to (config-syncer, formerly kubed;
/// mittwald's replicator; emberstack's reflector; ClusterSecret; Sealed Secrets). A user who may
/// create clients and not read Secrets must not get the key that way.
const FREE_METADATA: &str = r"self.all(name, !name.matches('^([^/]*[.])?(kubernetes[.]io|k8s[.]io|anon[.]dev|argoproj[.]io|fluxcd[.]io|helm[.]sh|k14s[.]io|cattle[.]io|appscode[.]com|mittwald[.]de|emberstack[.]com|clustersecret[.]io|bitnami[.]com)/'))";
const RESERVED_METADATA: &str = "names under kubernetes.io, k8s.io, anon.dev, argoproj.io, fluxcd.io, helm.sh, k14s.io, cattle.io, appscode.com, mittwald.de, emberstack.com, clustersecret.io and bitnami.com are reserved";
/// What the API server would refuse of the Secret itself, when the client is long accepted.
const METADATA_NAMES: &str = r"self.all(name, name.size() <= 253 && name.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))";
const METADATA_NAME: &str =
    "a name is one of Kubernetes, such as `team` or `example.com/team`, of at most 253 characters";
const LABEL_VALUES: &str =
    r"self.all(name, self[name].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'))";

/// Names of the entries of a delivery Secret.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("[self.apiKey, self.clientId, self.baseUrl, self.organizationId].all(one, [self.apiKey, self.clientId, self.baseUrl, self.organizationId].exists_one(other, other == one))")
        .message("the four names must differ")
)]
#[serde(rename_all = "camelCase")]
pub struct KeyNames {
    /// The ApiKey.
    #[serde(default = "api_key_name")]
    #[schemars(length(max = 64), regex(pattern = r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$"))]
    pub api_key: String,
    /// The clientId.
    #[serde(default = "client_id_name")]
    #[schemars(length(max = 64), regex(pattern = r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$"))]
    pub client_id: String,
    /// The URL of the API.
    #[serde(default = "base_url_name")]
    #[schemars(length(max = 64), regex(pattern = r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$"))]
    pub base_url: String,
    /// The id of the organization.
    #[serde(default = "organization_id_name")]
    #[schemars(length(max = 64), regex(pattern = r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$"))]
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

/// When a key is replaced, and how long the old one still counts.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = of_durations(&["self.interval"], "duration(self.interval) >= duration('60s')")
        .message("rotation.interval must be at least 60s").field_path(".interval"),
    validation = of_durations(&["self.overlap", "self.interval"], "!has(self.overlap) || (duration(self.overlap) <= duration('168h') && duration(self.overlap) <= duration(self.interval))")
        .message("rotation.overlap must be at most 168h and not longer than rotation.interval").field_path(".overlap")
)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// How often, such as `720h`. Each client turns up to a tenth earlier than that, so that those
    /// that were made together do not rotate together.
    #[schemars(length(max = 16))]
    #[x_kube(validation = duration("720h"))]
    pub interval: String,
    /// How long the replaced key still counts, from the delivery of the new one; `0s` for not at
    /// all. If unset, one hour or the interval, whichever is shorter.
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
    /// The client's id, by which tokens and callers name it: `spec.clientId` if set and allowed, else
    /// a UUID derived from namespace, kind and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub client_id: Option<String>,
    /// Webapp or Service.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ClientType>,
    /// The Secret that ApiKeys are delivered into. They are served only while this matches the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret_name: Option<String>,
    /// The ApiKeys that belong to this client: their hashes, never the keys. No other client has
    /// one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16))]
    pub keys: Vec<ApiKeyStatus>,
    /// When the schedule asks for the next key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Time>,
    /// The `metadata.generation` that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, and while it is not: Reconciling or Stalled (kstatus).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// Which arm of the union a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientType {
    /// A frontend.
    Webapp,
    /// A backend.
    Service,
}

/// One live ApiKey of a service.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyStatus {
    /// The first 16 hex digits of `sha256`.
    #[schemars(length(min = 16, max = 16))]
    pub id: String,
    /// SHA-256 of the whole key string, in lower-case hex.
    #[schemars(length(min = 64, max = 64))]
    pub sha256: String,
    /// Where the key is in its life.
    pub state: ApiKeyState,
    /// When the key was delivered; of a Next key, when it was made; of one that the spec lists, what
    /// the spec says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    /// When the key stops to count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}
