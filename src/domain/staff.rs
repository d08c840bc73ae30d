//! An organization and its members.

use super::ids::{MemberId, ObjectName, OrganizationId};
use super::role::Role;

/// What an Organization object adds to the organization that its namespace is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// The namespace that it is.
    pub namespace: String,
    /// The name that people see.
    pub display_name: String,
    /// URL of its logo.
    pub logo_url: Option<String>,
    /// Name of the pool that tokens are minted for by default.
    pub default_user_pool: Option<String>,
    /// Name of the client that tokens are minted for by default.
    pub default_sdk_client: Option<String>,
}

/// Someone of the company.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// The organization that its namespace is.
    pub organization: OrganizationId,
    /// The object that declares it.
    pub name: ObjectName,
    /// What this person may do.
    pub role: Role,
    /// Kept, and without rights.
    pub suspended: bool,
    /// The Kubernetes identity that gets the rights of the role.
    pub kubernetes: Option<KubernetesSubject>,
}

/// Who a Member is to Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubernetesSubject {
    /// A user name, never of the system.
    User(String),
    /// A ServiceAccount of the member's namespace.
    ServiceAccount(String),
}
