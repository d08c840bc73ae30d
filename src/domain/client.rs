//! A client as it is served, and the proof that an ApiKey gives.

use jiff::Timestamp;

use super::decision::{ApiKeyHolder, Principal, Reason, Verified};
use super::ids::{ObjectName, OrganizationId, SdkClientId, UserPoolId};
use super::opaque::KeyHash;
use super::role::Role;

/// An application of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdkClient {
    /// Its clientId.
    pub id: SdkClientId,
    /// The organization that its namespace is.
    pub organization: OrganizationId,
    /// The object that declares it.
    pub name: ObjectName,
    /// When that object was created: of two claims to one key, the older holds.
    pub created_at: Option<Timestamp>,
    /// Kept, and refused.
    pub suspended: bool,
    /// Frontend or backend.
    pub kind: ClientKind,
}

/// The two types of client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// A frontend: its users are those of the pool.
    Webapp {
        /// The object that the client refers to; it may not exist.
        pool: ObjectName,
        /// The id of that pool, which follows from its name.
        pool_id: UserPoolId,
    },
    /// A backend.
    Service(Service),
}

/// A backend with its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What its keys may do.
    pub role: Role,
    /// The Secret that its key is delivered into.
    pub delivery: Delivery,
    /// The live keys.
    pub keys: Vec<StoredApiKey>,
}

/// Where the key of a service is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Name of the Secret, in the client's namespace.
    pub secret_name: String,
    /// Whether the Secret outlives the client.
    pub retain: bool,
}

/// What is known of an ApiKey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredApiKey {
    /// SHA-256 of the key.
    pub hash: KeyHash,
    /// When it was made. Unknown counts as oldest.
    pub created_at: Option<Timestamp>,
}

impl SdkClient {
    /// The pool of a webapp that may be used.
    ///
    /// # Errors
    /// The client is suspended, or is not a webapp.
    pub const fn live_pool(&self) -> Result<UserPoolId, Reason> {
        match &self.kind {
            _ if self.suspended => Err(Reason::ClientSuspended),
            ClientKind::Webapp { pool_id, .. } => Ok(*pool_id),
            ClientKind::Service(_) => Err(Reason::ClientNotWebapp),
        }
    }

    /// The hashes by which this client is found.
    pub fn key_hashes(&self) -> impl Iterator<Item = KeyHash> + '_ {
        let keys = match &self.kind {
            ClientKind::Service(service) => service.keys.as_slice(),
            ClientKind::Webapp { .. } => &[],
        };
        keys.iter().map(|key| key.hash)
    }

    /// Proves that the holder of the key with this hash is this client.
    ///
    /// # Errors
    /// The client is suspended, or the key is not one of its live keys.
    pub fn prove(&self, hash: &KeyHash) -> Result<Verified, Reason> {
        let ClientKind::Service(service) = &self.kind else {
            return Err(Reason::ApiKeyUnknown);
        };
        let key = service.keys.iter().find(|key| key.hash == *hash).ok_or(Reason::ApiKeyUnknown)?;
        if self.suspended {
            return Err(Reason::ClientSuspended);
        }
        Ok(Verified::proven(Principal::ApiKey(ApiKeyHolder {
            organization: self.organization,
            client: self.id,
            role: service.role,
            key_id: hash.id(),
            created_at: key.created_at,
        })))
    }
}
