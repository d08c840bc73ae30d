//! The data of the index, and how one object changes it. Synchronous and without I/O. A change
//! takes O(1), or O(log n) where several objects claim the same id or e-mail address.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::Resource;

use super::creation_times::CreationTimes;
use super::delivery_secrets::DeliverySecrets;
use super::generations::Generations;
use super::key_holders::{Holder, KeyHolders, derived_id};
use super::ownership::{Candidate, release};
use crate::crd::{self, CustomKind};
use crate::domain::client::SdkClient;
use crate::domain::credential::KeyHash;
use crate::domain::ids::{MemberId, ObjectName, OrganizationId, SdkClientId, UserPoolId};
use crate::domain::member::Member;
use crate::domain::organization::Organization;
use crate::domain::pool::UserPool;
use crate::domain::reason::Reason;
use crate::domain::revocation::{Revocation, RevocationTarget};
use crate::kube_ext::name::object_name;
use crate::names;
use crate::validate;

/// A kind that can be indexed.
pub trait Indexed: CustomKind {
    /// Replaces the object in the index, or removes it if it must not be served.
    fn apply(state: &mut State, object: &Self);

    /// Removes the object from the index.
    fn delete(state: &mut State, name: &ObjectName);

    /// Handles the deletion of the object. A Revocation may have to stay in force.
    fn deleted(state: &mut State, name: &ObjectName) {
        Self::delete(state, name);
    }

    /// Whether someone waits until every replica has applied this object, so that it must be
    /// reported without delay.
    fn is_awaited(&self) -> bool {
        false
    }

    /// Stops serving an object that exists but cannot be parsed.
    fn withdraw(state: &mut State, name: &ObjectName) {
        Self::delete(state, name);
    }
}

/// The indexed objects.
#[derive(Debug, Default)]
pub struct State {
    pub(super) organizations: HashMap<OrganizationId, Arc<Organization>>,
    pub(super) members: HashMap<MemberId, Arc<Member>>,
    /// The members with an e-mail address, in the form of [`Member::login_name`]. In each
    /// organization, the first one can log in with it.
    pub(super) emails: HashMap<String, BTreeSet<Candidate>>,
    /// The members with a user name at the API server.
    pub(super) usernames: HashMap<String, BTreeSet<MemberId>>,
    /// The member of each session token, by its hash.
    pub(super) sessions: HashMap<KeyHash, MemberId>,
    pub(super) pools: HashMap<UserPoolId, Arc<UserPool>>,
    pub(super) pools_of: HashMap<OrganizationId, BTreeSet<UserPoolId>>,
    /// The generation of each pool that is served.
    pub(super) generations: Generations,
    /// The pools that exist but are not served: their spec is invalid, or cannot be parsed. What
    /// their keys are is unknown, whereas a pool that does not exist has none.
    pub(super) unusable_pools: HashSet<UserPoolId>,
    /// The clients by the id that is derived from their name, whatever their clientId is.
    pub(super) clients: HashMap<SdkClientId, Arc<SdkClient>>,
    /// The clients that have chosen a clientId. The first one gets it.
    pub(super) chosen_ids: HashMap<SdkClientId, BTreeSet<Candidate>>,
    /// The clients that list the hash of an API key.
    pub(super) key_holders: KeyHolders,
    /// The clients that specify a delivery Secret; `None` if nobody asks.
    pub(super) delivery_secrets: Option<DeliverySecrets>,
    /// The revocations by the object whose credentials they revoke.
    pub(super) revocations: HashMap<RevocationTarget, HashMap<ObjectName, Vec<Arc<Revocation>>>>,
    /// The object whose credentials each revocation revokes.
    pub(super) revoked: HashMap<ObjectName, (RevocationTarget, ObjectName)>,
    /// Deleted Revocations that remain in force until it is known why they were deleted, each with
    /// a number that distinguishes this deletion from an earlier one.
    pub(super) withdrawn: HashMap<ObjectName, u64>,
    /// The last of these numbers.
    pub(super) withdrawals: u64,
    /// Namespaces that are being deleted. Nothing in them is served.
    pub(super) terminating: HashSet<String>,
    /// Of the pools, clients and members.
    pub(super) created: CreationTimes,
}

impl State {
    /// The revocations of an object's credentials that are in force at `now`.
    pub(super) fn revocations(
        &self,
        of: RevocationTarget,
        owner: &ObjectName,
        now: Timestamp,
    ) -> Vec<Arc<Revocation>> {
        // Often there are none at all, and this is on the path of every request.
        if self.revoked.is_empty() {
            return Vec::new();
        }
        let revocations = self.revocations.get(&of).and_then(|of| of.get(owner));
        revocations.into_iter().flatten().filter(|it| it.is_in_force(now)).cloned().collect()
    }

    /// The pool with this id, or why it is not served. Only a complete and fresh index proves that
    /// it does not exist: see [`super::Reader::answers`].
    pub(super) fn find_pool(&self, id: UserPoolId) -> Result<&Arc<UserPool>, Reason> {
        let missing = if self.unusable_pools.contains(&id) {
            Reason::PoolNotReady
        } else {
            Reason::PoolNotFound
        };
        self.pools.get(&id).filter(|pool| self.serves(&pool.name)).ok_or(missing)
    }

    fn drop_pool(&mut self, id: UserPoolId) {
        self.generations.end(id);
        let Some(old) = self.pools.remove(&id) else { return };
        self.created.remove(&old.name, old.created_at);
        if let Some(ids) = self.pools_of.get_mut(&old.organization) {
            ids.remove(&id);
            if ids.is_empty() {
                self.pools_of.remove(&old.organization);
            }
        }
    }

    fn drop_member(&mut self, id: MemberId) {
        let Some(old) = self.members.remove(&id) else { return };
        self.created.remove(&old.name, old.created_at);
        release(&mut self.emails, &Member::login_name(&old.email), &Candidate::of_member(&old));
        if let Some(username) = old.username() {
            release(&mut self.usernames, &username, &id);
        }
        for session in &old.sessions {
            // Another member may have the same hash, for example if status was copied.
            if self.sessions.get(&session.hash) == Some(&id) {
                self.sessions.remove(&session.hash);
            }
        }
    }

    /// The members with this e-mail address: one of each organization, oldest first, so that later
    /// members cannot displace earlier ones. Members of organizations that were created by sign-up
    /// come last, because anyone can create those, with any e-mail address.
    pub(super) fn members_by_email(&self, login_name: &str) -> Vec<Arc<Member>> {
        let claims = self.emails.get(login_name).into_iter().flatten();
        let member = |claim: &Candidate| {
            let ObjectName { namespace, name } = &claim.name;
            self.members.get(&MemberId::derive(namespace, name)).cloned()
        };
        let mut organizations = HashSet::new();
        let members = claims.filter_map(member).filter(|it| organizations.insert(it.organization));
        let mut members: Vec<_> = members.collect();
        members.sort_by_key(|member| member.name.namespace.starts_with(names::SIGN_UP_PREFIX));
        members
    }

    /// The members with these ids.
    pub(super) fn members_of(&self, ids: Option<&BTreeSet<MemberId>>) -> Vec<Arc<Member>> {
        ids.into_iter().flatten().filter_map(|id| self.members.get(id).cloned()).collect()
    }

    /// The member whose session token has this hash, if it is served.
    pub(super) fn member_by_session(&self, hash: &KeyHash) -> Option<&Arc<Member>> {
        self.members.get(self.sessions.get(hash)?).filter(|member| self.serves(&member.name))
    }

    fn drop_client(&mut self, name: &ObjectName) {
        let Some(old) = self.clients.remove(&derived_id(name)) else { return };
        self.created.remove(&old.name, old.created_at);
        if old.id.is_chosen() {
            release(&mut self.chosen_ids, &old.id, &Candidate::of(&old));
        }
    }

    fn stop_serving_client(&mut self, name: &ObjectName) {
        let holders = self.holders(name, None);
        self.drop_client(name);
        self.renew_changed(&holders);
    }

    /// The client that has this id. A derived id belongs to the client that it is derived from,
    /// unless that has chosen another one.
    pub(super) fn client(&self, id: SdkClientId) -> Option<&Arc<SdkClient>> {
        if id.is_chosen() {
            let holder = self.chosen_ids.get(&id)?.first()?;
            return self.clients.get(&derived_id(&holder.name));
        }
        self.clients.get(&id).filter(|client| client.id == id)
    }

    /// The client with this name. It is not served if another client has its id.
    pub(super) fn client_named(&self, name: &ObjectName) -> Option<&Arc<SdkClient>> {
        self.client_derived(derived_id(name))
    }

    /// The client from whose name this id is derived. It is not served if another client has its
    /// clientId.
    fn client_derived(&self, id: SdkClientId) -> Option<&Arc<SdkClient>> {
        self.clients.get(&id).filter(|client| self.has_its_id(client))
    }

    /// Whether no older client has chosen the same clientId.
    fn has_its_id(&self, client: &Arc<SdkClient>) -> bool {
        client.id.is_derived()
            || self.client(client.id).is_some_and(|holder| Arc::ptr_eq(holder, client))
    }

    /// The client of this key, if it is served and the key is usable: a delivered key only while the spec specifies
    /// the Secret into which it was delivered, and any other key only while the spec lists its
    /// hash.
    pub(super) fn client_by_key(&self, hash: &KeyHash) -> Option<&Arc<SdkClient>> {
        let client = match self.key_holders.holder(hash)? {
            Holder::User(client) => Some(client).filter(|client| self.has_its_id(client)),
            Holder::Recorded(id) => self.client_derived(id).filter(|client| client.has_key(hash)),
        };
        client.filter(|client| self.serves(&client.name))
    }
}

/// The domain value of an object; `None` while it is being deleted or is invalid.
fn served<K: Resource, D>(
    object: &K,
    parse: impl FnOnce(&K) -> Result<D, validate::Violations>,
) -> Option<Arc<D>> {
    let living = object.meta().deletion_timestamp.is_none();
    living.then(|| parse(object).ok()).flatten().map(Arc::new)
}

impl Indexed for crd::Organization {
    fn apply(state: &mut State, object: &Self) {
        match served(object, validate::organization) {
            Some(organization) => {
                state.organizations.insert(organization.id, organization);
            }
            None => Self::delete(state, &object_name(object)),
        }
    }

    fn delete(state: &mut State, name: &ObjectName) {
        // An Organization with another name is never served, so there is nothing to remove.
        if name.name == validate::ORGANIZATION_NAME {
            state.organizations.remove(&OrganizationId::derive(&name.namespace));
        }
    }
}

impl Indexed for crd::Member {
    fn apply(state: &mut State, object: &Self) {
        Self::delete(state, &object_name(object));
        if let Some(member) = served(object, validate::member) {
            let id = member.id;
            let claims = state.emails.entry(Member::login_name(&member.email)).or_default();
            claims.insert(Candidate::of_member(&member));
            if let Some(username) = member.username() {
                state.usernames.entry(username).or_default().insert(id);
            }
            state.sessions.extend(member.sessions.iter().map(|it| (it.hash, member.id)));
            state.created.add(&member.name, member.created_at);
            state.members.insert(member.id, member);
        }
    }

    fn delete(state: &mut State, name: &ObjectName) {
        state.drop_member(MemberId::derive(&name.namespace, &name.name));
    }
}

impl Indexed for crd::UserPool {
    fn apply(state: &mut State, object: &Self) {
        let name = object_name(object);
        Self::delete(state, &name);
        if let Some(pool) = served(object, validate::user_pool) {
            state.pools_of.entry(pool.organization).or_default().insert(pool.id);
            state.generations.begin(pool.id);
            state.created.add(&pool.name, pool.created_at);
            state.pools.insert(pool.id, pool);
        } else if object.meta().deletion_timestamp.is_none() {
            state.unusable_pools.insert(UserPoolId::derive(&name.namespace, &name.name));
        }
    }

    fn delete(state: &mut State, name: &ObjectName) {
        let id = UserPoolId::derive(&name.namespace, &name.name);
        state.unusable_pools.remove(&id);
        state.drop_pool(id);
    }

    fn withdraw(state: &mut State, name: &ObjectName) {
        Self::delete(state, name);
        state.unusable_pools.insert(UserPoolId::derive(&name.namespace, &name.name));
    }
}

impl Indexed for crd::SdkClient {
    fn apply(state: &mut State, object: &Self) {
        let name = object_name(object);
        // A chosen clientId is valid once the leader has found it allowed and unused.
        let recorded = object.status.as_ref().and_then(|status| status.client_id.as_ref());
        let unconfirmed =
            object.spec.client_id.is_some() && recorded != object.spec.client_id.as_ref();
        let client = served(object, validate::sdk_client).filter(|_| !unconfirmed);
        state.key_holders.note(&name, object, client.as_ref());
        if let Some(secrets) = &mut state.delivery_secrets {
            secrets.note(&name, object);
        }
        let holders = state.holders(&name, client.as_ref().map(|client| client.id));
        state.drop_client(&name);
        if let Some(client) = client {
            if client.id.is_chosen() {
                state.chosen_ids.entry(client.id).or_default().insert(Candidate::of(&client));
            }
            state.created.add(&client.name, client.created_at);
            state.clients.insert(derived_id(&client.name), client);
        }
        state.renew_changed(&holders);
    }

    fn delete(state: &mut State, name: &ObjectName) {
        state.stop_serving_client(name);
        state.key_holders.forget(name);
        if let Some(secrets) = &mut state.delivery_secrets {
            secrets.forget(name);
        }
    }

    fn withdraw(state: &mut State, name: &ObjectName) {
        state.stop_serving_client(name);
        state.key_holders.withdraw(name);
    }
}

impl Indexed for crd::Revocation {
    fn apply(state: &mut State, object: &Self) {
        Self::delete(state, &object_name(object));
        // Also while it is being deleted: a revocation is in force until it no longer exists.
        if let Ok(revocation) = validate::revocation(object).map(Arc::new) {
            let (of, owner) = (revocation.of, revocation.owner.clone());
            state.renew_revoked(of, &owner);
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

    /// A new one, or an edited one: status does not describe this generation yet.
    fn is_awaited(&self) -> bool {
        let observed = self.status.as_ref().and_then(|status| status.observed_generation);
        observed.is_none() || observed != self.metadata.generation
    }

    /// Keeps the revocation in force until [`super::terminating`] has determined whether an
    /// administrator withdrew it, or whether its namespace is being deleted while the revoked
    /// credentials may still exist.
    fn deleted(state: &mut State, name: &ObjectName) {
        if state.revoked.contains_key(name) {
            state.withdrawals = state.withdrawals.wrapping_add(1);
            state.withdrawn.insert(name.clone(), state.withdrawals);
        }
    }
}

#[cfg(test)]
mod tests;
