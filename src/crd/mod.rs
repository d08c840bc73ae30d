//! The custom resources of group `anon.dev`: types only, one file per kind.
//!
//! [`crate::validate`] decides what a spec means; what the API server rejects by itself is declared
//! here as CEL rules. The doc comments are what `kubectl explain` shows. Conventions for all types:
//!
//! * A union is a struct of `Option`s with an "exactly one of" rule. A Rust enum would become a
//!   `oneOf`, whose error message misleads, and an older replica could not read a new variant.
//! * Every string, list and map has a maximum size; otherwise the estimated cost of the CEL rules
//!   exceeds the API server's budget. The description of a field states its bounds and default.
//! * A rule and not a `pattern` checks the form of a string; see [`rules`].

pub mod condition;
pub mod generate;
mod has_status;
mod kind;
mod member;
mod organization;
pub mod reasons;
mod revocation;
mod rules;
mod sdk_client;
mod user_pool;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

pub use has_status::HasStatus;
pub(crate) use kind::for_each_kind;
pub use kind::{CustomKind, Kind};
pub use member::{Member, MemberSpec, MemberStatus, SessionStatus};
pub use organization::{Organization, OrganizationSpec, OrganizationStatus, SessionSpec};
pub use revocation::{
    MatchedCredential, Revocation, RevocationSpec, RevocationStatus, RevokedApiKeys, RevokedOfPool,
    RevokedSessions,
};
pub use sdk_client::{
    ApiKeyHash, ApiKeySource, ApiKeyStatus, ClientType, Delivery, SdkClient, SdkClientSpec,
    SdkClientStatus, Service, Webapp,
};
pub use user_pool::{
    FetchAnswer, Hosted, RemoteJwks, SigningKeyStatus, UserPool, UserPoolSpec, UserPoolStatus,
};

pub use crate::domain::algorithm::{Algorithm, VerifyingAlgorithm};
pub use crate::domain::fetch_error::FetchError;
pub use crate::domain::jwk::Jwk;
pub use crate::domain::policy::{ClaimFormat, IdClaimType};
pub use crate::domain::role::Role;
pub use crate::domain::signing_key_set::SigningKeyState;
pub use crate::domain::stored_key::ApiKeyState;

use rules::{object_name, secret_key};

/// A reference to an object of the same namespace. There is deliberately no `namespace` field:
/// a reference to another namespace would require the consent of its target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalRef {
    /// Name of the object, in the namespace of the object that refers to it: 1 to 52 characters.
    #[schemars(length(min = 1, max = 52))]
    #[x_kube(validation = object_name("users"))]
    pub name: String,
}

/// A key of a Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret, in the namespace of the object that refers to it: 1 to 253 characters.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = object_name("acme-idp"))]
    pub name: String,
    /// Key of the Secret's data: 1 to 253 characters.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = secret_key("jwks.json"))]
    pub key: String,
}

/// What happens to the Secret that belongs to an object when the object is deleted, or to a
/// Revocation when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum DeletionPolicy {
    /// The Secret is retained; a new object of the same name uses it again.
    Retain,
    /// The Secret is deleted once the operator's orphan grace period (1h by default) is over.
    Delete,
}
