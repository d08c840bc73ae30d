//! The Secret that an API key is delivered into, and the rotation of the key.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::crd::DeletionPolicy;
use crate::crd::rules::{comparing_durations, duration, object_name, secret_key};

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
