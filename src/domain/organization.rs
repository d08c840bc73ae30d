//! An organization.

use super::ids::OrganizationId;
use super::session::SessionPolicy;

/// The settings of an organization, from the Organization object of its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// The id, derived from the namespace.
    pub id: OrganizationId,
    /// The namespace, which is the organization.
    pub namespace: String,
    /// The display name.
    pub display_name: String,
    /// URL of the logo.
    pub logo_url: Option<String>,
    /// The lifetime of member sessions, and the maximum number of sessions per member.
    pub session: SessionPolicy,
    /// Name of the pool for which tokens are issued by default.
    pub default_user_pool: Option<String>,
    /// Name of the client for which tokens are issued by default.
    pub default_sdk_client: Option<String>,
}
