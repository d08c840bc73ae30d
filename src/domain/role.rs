//! The roles in an organization.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The role of a Member or of a service SdkClient in its organization. Ordered: each role includes
/// the permissions of the roles before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Role {
    /// Reads user pools and clients.
    ReadOnly,
    /// Creates user pools, clients and end-user tokens.
    Member,
    /// Does all of that, and manages the members of the organization.
    Admin,
}

impl Role {
    /// All roles, least privileged first.
    pub const ALL: [Self; 3] = [Self::ReadOnly, Self::Member, Self::Admin];

    /// The name in specs, replies and headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "ReadOnly",
            Self::Member => "Member",
            Self::Admin => "Admin",
        }
    }

    /// The ClusterRole of the chart that gives a Kubernetes identity this role in a namespace.
    #[must_use]
    pub const fn cluster_role(self) -> &'static str {
        match self {
            Self::ReadOnly => "anon-readonly",
            Self::Member => "anon-member",
            Self::Admin => "anon-admin",
        }
    }
}
