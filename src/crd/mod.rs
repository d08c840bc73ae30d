//! The custom resources of group `anon.dev`: one file per kind, types only.
//!
//! What a spec *means* is decided in [`crate::validate`]; what the API server refuses by itself is
//! declared here as CEL rules. Two conventions hold for every type:
//!
//! * a union is a struct of `Option`s with an "exactly one of" rule, because a Rust enum would be
//!   rendered as a `oneOf` whose error text misleads, and would make an older replica fail to read
//!   an arm that is new;
//! * every string, list and map is bounded, or the cost estimate of the CEL rules exceeds the
//!   API server's budget.

pub mod condition;
pub mod generate;
mod member;
mod organization;
mod revocation;
mod sdk_client;
mod user_pool;

use kube::KubeSchema;
use kube::core::Rule;
use serde::{Deserialize, Serialize};

pub use member::{
    KubernetesIdentity, Member, MemberSpec, MemberStatus, ServiceAccountRef, SessionStatus,
};
pub use organization::{Organization, OrganizationSpec, OrganizationStatus, SessionSpec};
pub use revocation::{
    Revocation, RevocationSpec, RevocationStatus, RevokedApiKeys, RevokedOfPool, RevokedSessions,
};
pub use sdk_client::{
    ApiKeyHash, ApiKeySource, ApiKeyStatus, ClientType, Delivery, KeyNames, MAX_HASHES, Rotation,
    SdkClient, SdkClientSpec, SdkClientStatus, Service, Webapp,
};
pub use user_pool::{
    FetchAnswer, Hosted, Inline, InlineKey, KeyRotation, Oidc, Provided, RemoteJwks, RequiredClaim,
    SigningKeyStatus, TokenLifetime, UserPool, UserPoolSpec, UserPoolStatus,
};

pub use crate::domain::algorithm::{Algorithm, VerifyingAlgorithm};
pub use crate::domain::api_key_life::ApiKeyState;
pub use crate::domain::fetch_error::FetchError;
pub use crate::domain::jwk::Jwk;
pub use crate::domain::keyset::SigningKeyState;
pub use crate::domain::role::Role;

/// The API group of every kind.
pub const GROUP: &str = "anon.dev";
/// The one served and stored version. Changes to it are additive only.
pub const VERSION: &str = "v1beta1";

/// For times that people write. `format: date-time` alone lets through what no RFC 3339 time is, and
/// what lies after the last time that we can read, such as the `9999-12-31T23:59:59Z` by which some
/// mean "never". An object with such a time could not be read at all.
fn readable_time() -> Rule {
    Rule::new("self < timestamp('9999-12-30T00:00:00Z')")
        .message("a time such as 2030-01-31T12:00:00Z, before 9999-12-30; leave it out for never")
}

/// The pattern of such a time: of a second, no less than a nanosecond can be read. A rule could not
/// tell: the API server cuts off the rest before it looks.
const READABLE_FRACTION: &str = "^[^.]+([.][0-9]{1,9}([^0-9].*)?)?$";

/// The pattern of a name for people: no control characters (Unicode category Cc), which could forge
/// a line of a log or of a table, or steer a terminal.
const NO_CONTROLS: &str = r"^[^\x00-\x1f\x7f-\x9f]+$";

/// A duration as people write it.
const DURATION: &str =
    "^([0-9]{1,6}h([0-9]{1,6}m)?([0-9]{1,6}s)?|[0-9]{1,6}m([0-9]{1,6}s)?|[0-9]{1,6}s)$";

/// For a duration that people write. Not a pattern: what the API server says of one is the pattern,
/// and whoever wrote `30d` would have to read it.
fn duration(example: &str) -> Rule {
    Rule::new(format!("self.matches('{DURATION}')")).message(
        format!("hours, minutes and seconds, such as `{example}`; there are no days").as_str(),
    )
}

/// A rule that computes with durations. Where one of them is none it holds, for that is said of the
/// field already; without this it would fail, too, and talk of type conversions.
fn of_durations(fields: &[&str], rule: &str) -> Rule {
    let is_none = |field: &&str| {
        let parts: Vec<_> = field.split('.').collect();
        let there = (2..=parts.len()).filter_map(|end| parts.get(..end));
        let there: Vec<_> = there.map(|path| format!("has({})", path.join("."))).collect();
        format!("({} && !{field}.matches('{DURATION}'))", there.join(" && "))
    };
    let none: Vec<_> = fields.iter().map(is_none).collect();
    Rule::new(format!("{} || ({rule})", none.join(" || ")))
}

/// A reference to an object of the same namespace. There is deliberately no `namespace` field:
/// a reference across namespaces would need the consent of its target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalRef {
    /// Name of the object, in the namespace of the object that refers to it.
    #[schemars(
        length(min = 1, max = 52),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
}

/// An entry of a Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret, in the namespace of the object that refers to it.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
    /// Name of the entry in its data.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$"))]
    pub key: String,
}

/// What happens to the Secret that belongs to an object when the object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum DeletionPolicy {
    /// The Secret stays; an object of the same name takes it up again.
    Retain,
    /// The Secret is removed once the orphan grace of the operator (1h by default) is over.
    Delete,
}
