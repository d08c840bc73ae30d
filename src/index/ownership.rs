//! Decides which object gets a clientId or an e-mail address that several objects specify.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use jiff::Timestamp;

use crate::domain::client::SdkClient;
use crate::domain::ids::ObjectName;
use crate::domain::member::Member;

/// A client that specifies a clientId, or a member that specifies an e-mail address. The first one
/// in this order gets it: the oldest object, and of equally old ones the one with the first name,
/// so that every replica decides alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    created_at: Option<Timestamp>,
    /// The name of the object.
    pub name: ObjectName,
}

/// Removes an entry.
pub fn release<K: Eq + Hash, C: Ord>(claims: &mut HashMap<K, BTreeSet<C>>, key: &K, claim: &C) {
    if let Some(of_key) = claims.get_mut(key) {
        of_key.remove(claim);
        if of_key.is_empty() {
            claims.remove(key);
        }
    }
}

impl Candidate {
    /// The entry of a client, for its clientId.
    pub fn of(client: &SdkClient) -> Self {
        Self { created_at: client.created_at, name: client.name.clone() }
    }

    /// The entry of a member, for its e-mail address.
    pub fn of_member(member: &Member) -> Self {
        Self { created_at: member.created_at, name: member.name.clone() }
    }
}
