//! Who holds what several objects claim: a clientId, an e-mail address.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use jiff::Timestamp;

use crate::domain::client::SdkClient;
use crate::domain::ids::ObjectName;
use crate::domain::staff::Member;

/// A client's claim to a clientId, or a member's to an e-mail address. The order decides who holds
/// it: the older object, and among equally old ones the lesser name, so that every replica decides
/// alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    created_at: Option<Timestamp>,
    /// The object.
    pub name: ObjectName,
}

/// Gives a claim up.
pub fn release<K: Eq + Hash, C: Ord>(claims: &mut HashMap<K, BTreeSet<C>>, key: &K, claim: &C) {
    if let Some(of_key) = claims.get_mut(key) {
        of_key.remove(claim);
        if of_key.is_empty() {
            claims.remove(key);
        }
    }
}

impl Claim {
    /// The claim of a client to its clientId.
    pub fn of(client: &SdkClient) -> Self {
        Self { created_at: client.created_at, name: client.name.clone() }
    }

    /// The claim of a member.
    pub fn of_member(member: &Member) -> Self {
        Self { created_at: member.created_at, name: member.name.clone() }
    }
}
