//! What the index holds, and how one object changes it. Synchronous and without I/O; a change
//! costs O(1), or O(log n) where ties have to be broken.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use serde::de::DeserializeOwned;

use super::claim::{Claim, release};
use super::key_holders::KeyHolders;
use crate::crd;
use crate::domain::client::SdkClient;
use crate::domain::ids::{MemberId, ObjectName, OrganizationId, SdkClientId, UserPoolId};
use crate::domain::opaque::KeyHash;
use crate::domain::pool::UserPool;
use crate::domain::revocation::{Of, Revocation};
use crate::domain::staff::{Member, Organization};
use crate::names;
use crate::validate;

/// The kinds that are indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `Organization`.
    Organization,
    /// `Member`.
    Member,
    /// `UserPool`.
    UserPool,
    /// `SdkClient`.
    SdkClient,
    /// `Revocation`.
    Revocation,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Organization, Self::Member, Self::UserPool, Self::SdkClient, Self::Revocation];

    /// The name of the kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Organization => "Organization",
            Self::Member => "Member",
            Self::UserPool => "UserPool",
            Self::SdkClient => "SdkClient",
            Self::Revocation => "Revocation",
        }
    }
}

/// A kind that the index takes up.
pub trait Indexed:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Which kind it is.
    const KIND: Kind;

    /// Serves the object as it now is, or no longer.
    fn apply(state: &mut State, object: &Self);

    /// Serves the object no longer.
    fn delete(state: &mut State, name: &ObjectName);

    /// The object was deleted. What it served ends, what it denied may have to last.
    fn deleted(state: &mut State, name: &ObjectName) {
        Self::delete(state, name);
    }

    /// Serves an object no longer that is still there and cannot be read.
    fn withdraw(state: &mut State, name: &ObjectName) {
        Self::delete(state, name);
    }
}

/// Everything that is served.
#[derive(Debug, Default)]
pub struct State {
    pub(super) organizations: HashMap<OrganizationId, Arc<Organization>>,
    pub(super) members: HashMap<MemberId, Arc<Member>>,
    /// Who claims an e-mail address, in the form in which logins compare them; in each organization
    /// the first holds it.
    pub(super) emails: HashMap<String, BTreeSet<Claim>>,
    /// By the user name that the API server knows a member by.
    pub(super) usernames: HashMap<String, BTreeSet<MemberId>>,
    /// Whose session token has this hash.
    pub(super) sessions: HashMap<KeyHash, MemberId>,
    pub(super) pools: HashMap<UserPoolId, Arc<UserPool>>,
    pub(super) pools_of: HashMap<OrganizationId, BTreeSet<UserPoolId>>,
    pub(super) clients: HashMap<ObjectName, Arc<SdkClient>>,
    /// Who claims a clientId; the first holds it.
    pub(super) client_ids: HashMap<SdkClientId, BTreeSet<Claim>>,
    /// Which clients list the hash of an ApiKey.
    pub(super) key_holders: KeyHolders,
    /// By the object whose credentials they revoke.
    pub(super) revocations: HashMap<Of, HashMap<ObjectName, Vec<Arc<Revocation>>>>,
    /// Which object each of them is about.
    pub(super) revoked: HashMap<ObjectName, (Of, ObjectName)>,
    /// Revocations that were deleted and are enforced until it is known why, each with a number that
    /// tells one deletion from the next.
    pub(super) withdrawn: HashMap<ObjectName, u64>,
    /// The last of these numbers.
    pub(super) withdrawals: u64,
    /// Namespaces that are being deleted. Nothing in them is served.
    pub(super) terminating: HashSet<String>,
}

impl State {
    fn drop_pool(&mut self, id: UserPoolId) {
        let Some(old) = self.pools.remove(&id) else { return };
        if let Some(ids) = self.pools_of.get_mut(&old.organization) {
            ids.remove(&id);
            if ids.is_empty() {
                self.pools_of.remove(&old.organization);
            }
        }
    }

    fn drop_member(&mut self, id: MemberId) {
        let Some(old) = self.members.remove(&id) else { return };
        release(&mut self.emails, &Member::login_name(&old.email), &Claim::of_member(&old));
        if let Some(username) = old.username() {
            release(&mut self.usernames, &username, &id);
        }
        for session in &old.sessions {
            // Another member's claim to the same hash, however it came about, is not ours to drop.
            if self.sessions.get(&session.hash) == Some(&id) {
                self.sessions.remove(&session.hash);
            }
        }
    }

    /// The members that hold this e-mail address: one of an organization, the oldest first, so that
    /// nobody is crowded out by those who come later. Those of organizations by sign-up come last:
    /// anyone can make these, with anyone's address.
    pub(super) fn members_by_email(&self, login_name: &str) -> Vec<Arc<Member>> {
        let claims = self.emails.get(login_name).into_iter().flatten();
        let member = |claim: &Claim| {
            let ObjectName { namespace, name } = &claim.name;
            self.members.get(&MemberId::derive(namespace, name)).cloned()
        };
        let mut organizations = HashSet::new();
        let members = claims.filter_map(member).filter(|it| organizations.insert(it.organization));
        let mut members: Vec<_> = members.collect();
        members.sort_by_key(|member| member.name.namespace.starts_with(names::SIGN_UP_PREFIX));
        members
    }

    /// These members.
    pub(super) fn members_of(&self, ids: Option<&BTreeSet<MemberId>>) -> Vec<Arc<Member>> {
        ids.into_iter().flatten().filter_map(|id| self.members.get(id).cloned()).collect()
    }

    fn drop_client(&mut self, name: &ObjectName) {
        let Some(old) = self.clients.remove(name) else { return };
        release(&mut self.client_ids, &old.id, &Claim::of(&old));
    }

    /// The client that holds this id.
    pub(super) fn client(&self, id: SdkClientId) -> Option<&Arc<SdkClient>> {
        let holder = self.client_ids.get(&id)?.first()?;
        self.clients.get(&holder.name)
    }

    /// The client of this name. One that does not hold its own id is not served.
    pub(super) fn client_named(&self, name: &ObjectName) -> Option<&Arc<SdkClient>> {
        let client = self.clients.get(name)?;
        self.client(client.id).filter(|holder| Arc::ptr_eq(holder, client))
    }

    /// The client that this key belongs to, if the key may be used: a delivered one only as long as
    /// it is that of the Secret that the spec names, another one only while the spec lists it.
    pub(super) fn client_by_key(&self, hash: &KeyHash) -> Option<&Arc<SdkClient>> {
        let client = self.client_named(self.key_holders.holder(hash)?)?;
        client.key_hashes().any(|usable| usable == *hash).then_some(client)
    }
}

/// What an object is served as: nothing while it is being deleted or is not valid.
fn served<K: Resource, D>(
    object: &K,
    parse: impl FnOnce(&K) -> Result<D, validate::Violations>,
) -> Option<Arc<D>> {
    let living = object.meta().deletion_timestamp.is_none();
    living.then(|| parse(object).ok()).flatten().map(Arc::new)
}

fn name_of<K: Resource>(object: &K) -> ObjectName {
    ObjectName {
        namespace: object.meta().namespace.clone().unwrap_or_default(),
        name: object.meta().name.clone().unwrap_or_default(),
    }
}

impl Indexed for crd::Organization {
    const KIND: Kind = Kind::Organization;

    fn apply(state: &mut State, object: &Self) {
        match served(object, validate::organization) {
            Some(organization) => {
                state.organizations.insert(organization.id, organization);
            }
            None => Self::delete(state, &name_of(object)),
        }
    }

    fn delete(state: &mut State, name: &ObjectName) {
        // One of another name is never served, so its end changes nothing.
        if name.name == validate::ORGANIZATION_NAME {
            state.organizations.remove(&OrganizationId::derive(&name.namespace));
        }
    }
}

impl Indexed for crd::Member {
    const KIND: Kind = Kind::Member;

    fn apply(state: &mut State, object: &Self) {
        Self::delete(state, &name_of(object));
        if let Some(member) = served(object, validate::member) {
            let id = member.id;
            let claims = state.emails.entry(Member::login_name(&member.email)).or_default();
            claims.insert(Claim::of_member(&member));
            if let Some(username) = member.username() {
                state.usernames.entry(username).or_default().insert(id);
            }
            state.sessions.extend(member.sessions.iter().map(|it| (it.hash, member.id)));
            state.members.insert(member.id, member);
        }
    }

    fn delete(state: &mut State, name: &ObjectName) {
        state.drop_member(MemberId::derive(&name.namespace, &name.name));
    }
}

impl Indexed for crd::UserPool {
    const KIND: Kind = Kind::UserPool;

    fn apply(state: &mut State, object: &Self) {
        Self::delete(state, &name_of(object));
        if let Some(pool) = served(object, validate::user_pool) {
            state.pools_of.entry(pool.organization).or_default().insert(pool.id);
            state.pools.insert(pool.id, pool);
        }
    }

    fn delete(state: &mut State, name: &ObjectName) {
        state.drop_pool(UserPoolId::derive(&name.namespace, &name.name));
    }
}

impl Indexed for crd::SdkClient {
    const KIND: Kind = Kind::SdkClient;

    fn apply(state: &mut State, object: &Self) {
        let name = name_of(object);
        state.drop_client(&name);
        state.key_holders.note(&name, object);
        let Some(client) = served(object, validate::sdk_client) else { return };
        // A chosen clientId counts once the leader has found it to be allowed and free.
        let recorded = object.status.as_ref().and_then(|status| status.client_id.as_ref());
        if object.spec.client_id.is_some() && recorded != object.spec.client_id.as_ref() {
            return;
        }
        state.client_ids.entry(client.id).or_default().insert(Claim::of(&client));
        state.clients.insert(client.name.clone(), client);
    }

    fn delete(state: &mut State, name: &ObjectName) {
        state.drop_client(name);
        state.key_holders.forget(name);
    }

    fn withdraw(state: &mut State, name: &ObjectName) {
        // What it has stays its own.
        state.drop_client(name);
    }
}

impl Indexed for crd::Revocation {
    const KIND: Kind = Kind::Revocation;

    fn apply(state: &mut State, object: &Self) {
        Self::delete(state, &name_of(object));
        // One that is being deleted, too: it takes credentials away, so it counts until it is gone.
        if let Ok(revocation) = validate::revocation(object).map(Arc::new) {
            let (of, owner) = (revocation.of, revocation.owner.clone());
            state.revoked.insert(revocation.name.clone(), (of, owner.clone()));
            let revocations = state.revocations.entry(of).or_default();
            revocations.entry(owner).or_default().push(revocation);
        }
    }

    fn delete(state: &mut State, name: &ObjectName) {
        state.withdrawn.remove(name);
        let Some((of, owner)) = state.revoked.remove(name) else { return };
        let owners = state.revocations.entry(of).or_default();
        if let Some(revocations) = owners.get_mut(&owner) {
            revocations.retain(|revocation| revocation.name != *name);
            if revocations.is_empty() {
                owners.remove(&owner);
            }
        }
    }

    /// Stays in force: whether somebody took it back or its namespace is being deleted, with what it
    /// revokes still there, [`super::terminating`] finds out.
    fn deleted(state: &mut State, name: &ObjectName) {
        if state.revoked.contains_key(name) {
            state.withdrawals = state.withdrawals.wrapping_add(1);
            state.withdrawn.insert(name.clone(), state.withdrawals);
        }
    }
}

#[cfg(test)]
mod tests;
