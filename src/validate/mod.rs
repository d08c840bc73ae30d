//! Parses custom resources into domain types: `&crd::X -> Result<domain::X, Violations>`.
//!
//! The index and the reconcilers share this one parser, so that status and validation cannot
//! disagree. The API server's CEL rules reject most of what is rejected here; this is for objects
//! that were stored before a rule existed, and for what CEL cannot check.

mod client;
pub mod conflict;
mod member;
mod pool;
mod revocation;

use std::fmt;

use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt as _};

pub use client::{declared_client, sdk_client};
pub use member::{ORGANIZATION_NAME, member, organization, password_id};
pub use pool::{fetch_state, inline_set, user_pool};
pub use revocation::revocation;

use crate::domain::digest::short_hex;
use crate::domain::ids::ObjectName;
use crate::names;

/// One thing that is wrong with a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, as a path such as `spec.hosted.tokenLifetime.max`.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Everything that is wrong with a spec; never empty.
pub type Violations = Vec<Violation>;

fn violation(field: &str, message: impl Into<String>) -> Violations {
    vec![Violation { field: field.to_owned(), message: message.into() }]
}

/// Namespace and name, which every object from the API server has.
fn object_name<K: Resource>(object: &K) -> Result<ObjectName, Violations> {
    let ObjectMeta { name, namespace, .. } = object.meta();
    match (namespace, name) {
        (Some(namespace), Some(name)) => {
            Ok(ObjectName { namespace: namespace.clone(), name: name.clone() })
        }
        _ => Err(violation("metadata", "name and namespace are required")),
    }
}

/// A display name: control characters could forge a log line or control a terminal.
fn displayed(field: &str, text: Option<&String>) -> Result<(), Violations> {
    match text {
        Some(text) if text.chars().any(char::is_control) => {
            Err(violation(field, "must not contain control characters"))
        }
        _ => Ok(()),
    }
}

/// The rotation that is requested by annotation: a digest of the value, which may be long. Requests
/// differ by their value.
#[must_use]
pub fn requested_rotation<K: Resource>(object: &K) -> Option<String> {
    let value = object.annotations().get(names::ROTATE)?;
    Some(short_hex(value.as_bytes(), 8))
}
