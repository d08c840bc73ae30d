//! The index: an in-memory copy of the custom resources, from which every replica answers requests.
//!
//! [`crate::watch`] lists and watches each kind and updates the [`Index`]; requests read it through a
//! [`Reader`], without I/O. Every replica has its own index, whether or not it is the leader.
//!
//! Nothing here has a client. Changes and lookups are synchronous; what is async only waits for a
//! change.

mod changes;
mod conflicts;
mod creation_times;
mod delivery_secrets;
mod generations;
mod key_holders;
pub mod own;
mod ownership;
pub mod ready;
mod store;
pub mod terminating;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::crd::Kind;
use crate::domain::client::SdkClient;
use crate::domain::credential::KeyHash;
use crate::domain::ids::{MemberId, ObjectName, OrganizationId, SdkClientId, UserPoolId};
use crate::domain::member::Member;
use crate::domain::organization::Organization;
use crate::domain::pool::UserPool;
use crate::domain::principal::Verified;
use crate::domain::reason::Reason;
use crate::domain::revocation::{Revocation, RevocationTarget};
use crate::domain::scope::Scope;
use crate::domain::token::TokenContext;
use crate::replicas::applied::AppliedVersions;
use crate::replicas::refetch_requests::RefetchRequests;
use delivery_secrets::DeliverySecrets;
use ready::Ready;
pub use store::Indexed;
use store::State;

/// The limits of an index.
#[derive(Clone, Debug)]
pub struct IndexSettings {
    /// The namespaces whose objects it contains.
    pub scope: Scope,
    /// Maximum age of a fetched key set. Older ones are not used for verification.
    pub max_jwks_age: SignedDuration,
    /// How long the replica may be without contact to the API server before it no longer answers.
    /// `None` only for a replica that authenticates no requests: it has no Lease, so nobody waits
    /// for its acknowledgements.
    pub max_staleness: Option<Duration>,
    /// Whether the replica serves the admission webhook.
    pub for_admission: bool,
}

#[cfg(test)]
impl IndexSettings {
    /// Nothing is ever too old.
    pub const UNLIMITED: Self = Self {
        scope: Scope::CLUSTER,
        max_jwks_age: SignedDuration::MAX,
        max_staleness: None,
        for_admission: false,
    };
}

/// The writable side, used by the watches.
#[derive(Debug)]
pub struct Index {
    state: RwLock<State>,
    ready: Ready,
    applied: Arc<AppliedVersions>,
    refetch_requests: Arc<RefetchRequests>,
    max_jwks_age: SignedDuration,
    withdrawals: Notify,
}

impl Index {
    /// An empty index, which is not ready.
    #[must_use]
    pub fn new(settings: IndexSettings) -> Self {
        Self {
            state: RwLock::new(State {
                delivery_secrets: settings.for_admission.then(DeliverySecrets::default),
                ..State::default()
            }),
            ready: Ready::new(settings.scope.clone()),
            applied: Arc::new(AppliedVersions::new(settings.scope, settings.max_staleness)),
            refetch_requests: Arc::default(),
            max_jwks_age: settings.max_jwks_age,
            withdrawals: Notify::new(),
        }
    }

    /// Applies an added or modified object. An object that is being deleted, or whose spec is
    /// invalid, is not served.
    pub fn apply<K: Indexed>(&self, object: &K) {
        K::apply(&mut self.state.write(), object);
    }

    /// Removes a deleted object. A Revocation remains in force until it is known why it was
    /// deleted: see [`terminating`].
    pub fn delete<K: Indexed>(&self, name: &ObjectName) {
        K::deleted(&mut self.state.write(), name);
        if K::KIND == Kind::Revocation {
            self.withdrawals.notify_one();
        }
    }

    /// Stops serving an object that exists but cannot be parsed.
    pub fn withdraw<K: Indexed>(&self, name: &ObjectName) {
        K::withdraw(&mut self.state.write(), name);
    }

    /// The namespaces whose objects it contains.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        self.applied.scope()
    }

    /// Records that every change of a kind in a part of the scope up to this resourceVersion has been
    /// applied.
    pub fn advanced(&self, kind: Kind, part: Option<&str>, resource_version: &str) {
        self.applied.advanced(kind, part, resource_version);
    }

    /// Reports what has been applied so far to the leader without delay.
    pub fn report_at_once(&self) {
        self.applied.report_at_once();
    }

    /// Records that a kind has been listed completely in a part of the scope.
    pub fn listed(&self, kind: Kind, part: Option<&str>) {
        self.ready.listed(kind, part);
    }

    /// Waits until every kind has been listed.
    pub async fn kinds_listed(&self) {
        self.ready.kinds().await;
    }
}

/// Whether an applied version has reached another one, as far as they can be compared.
fn reaches(applied: Option<u64>, wanted: &str) -> bool {
    let wanted: Option<u64> = wanted.parse().ok();
    applied.zip(wanted).is_none_or(|(applied, wanted)| applied >= wanted)
}

/// Read access to the index. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader(Arc<Index>);

impl Reader {
    /// A reader of `index`.
    #[must_use]
    pub const fn new(index: Arc<Index>) -> Self {
        Self(index)
    }

    /// Whether the replica is ready: every kind has been listed, so that a missing object does not
    /// exist, and the replica has its Lease, so that the leader waits for its acknowledgements.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.ready.is_ready() && self.0.applied.is_reported()
    }

    /// Whether requests may be answered: the index must be complete, and recent enough that the
    /// leader still waits for the acknowledgements of this replica.
    ///
    /// # Errors
    /// The index is incomplete or stale.
    pub fn answers(&self) -> Result<(), Reason> {
        if !self.is_ready() {
            return Err(Reason::IndexNotReady);
        }
        if self.0.applied.is_fresh() { Ok(()) } else { Err(Reason::IndexStale) }
    }

    /// Whether this index has applied every change of a kind in a namespace up to this
    /// resourceVersion. If versions cannot be compared, it is assumed to have.
    #[must_use]
    pub fn has(&self, kind: Kind, namespace: &str, resource_version: &str) -> bool {
        reaches(self.0.applied.version(kind, namespace), resource_version)
    }

    /// The same for all namespaces. If each of them has a watch of its own, that can take until the
    /// next bookmark, about a minute.
    #[must_use]
    pub fn has_everywhere(&self, kind: Kind, resource_version: &str) -> bool {
        reaches(self.0.applied.version_everywhere(kind), resource_version)
    }

    /// Waits until [`Reader::has`] is true, for a maximum of `patience`, and returns whether it is.
    pub async fn wait_for(
        &self,
        kind: Kind,
        namespace: &str,
        resource_version: &str,
        patience: Duration,
    ) -> bool {
        let mut versions = self.0.applied.subscribe();
        let waiting = async {
            loop {
                versions.mark_unchanged();
                if self.has(kind, namespace, resource_version) || versions.changed().await.is_err()
                {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(patience, waiting).await;
        self.has(kind, namespace, resource_version)
    }

    /// What this index has applied.
    #[must_use]
    pub fn applied(&self) -> &Arc<AppliedVersions> {
        &self.0.applied
    }

    /// [`UserPool::is_recent`], with the maximum age of this process.
    #[must_use]
    pub fn is_recent(&self, pool: &UserPool, now: Timestamp) -> bool {
        pool.is_recent(self.0.max_jwks_age, now)
    }

    /// The requests from this replica to the leader.
    #[must_use]
    pub fn refetch_requests(&self) -> &Arc<RefetchRequests> {
        &self.0.refetch_requests
    }

    /// Waits until every kind has been listed.
    pub async fn listed(&self) {
        self.0.ready.wait().await;
    }

    /// What a token for this client is verified against at `now`, read under one lock.
    ///
    /// # Errors
    /// There is no such client, it is suspended or has no pool, or its pool does not exist or
    /// has no keys.
    pub fn token_context(&self, id: SdkClientId, now: Timestamp) -> Result<TokenContext, Reason> {
        let state = self.0.state.read();
        let client = state.client(id).filter(|client| state.serves(&client.name));
        let client = client.ok_or(Reason::ClientUnknown)?;
        let pool = state.find_pool(client.live_pool()?)?;
        if pool.keys.is_empty() {
            return Err(Reason::PoolNotReady);
        }
        Ok(TokenContext {
            client: client.for_tokens(),
            pool: Arc::clone(pool),
            revocations: state.revocations(RevocationTarget::UserPool, &pool.name, now),
            max_jwks_age: self.0.max_jwks_age,
            generation: state.generations.current(pool.id),
        })
    }

    /// The pool with this id.
    #[must_use]
    pub fn pool(&self, id: UserPoolId) -> Option<Arc<UserPool>> {
        self.find_pool(id).ok()
    }

    /// The pool with this id.
    ///
    /// # Errors
    /// It does not exist, or is not served because its spec cannot be used.
    pub fn find_pool(&self, id: UserPoolId) -> Result<Arc<UserPool>, Reason> {
        self.0.state.read().find_pool(id).cloned()
    }

    /// The pools of an organization, ordered by id.
    #[must_use]
    pub fn pools_of(&self, organization: OrganizationId) -> Vec<Arc<UserPool>> {
        let state = self.0.state.read();
        let ids = state.pools_of.get(&organization);
        let pools = ids.into_iter().flatten().filter_map(|id| state.pools.get(id));
        pools.filter(|pool| state.serves(&pool.name)).cloned().collect()
    }

    /// The client with this id.
    #[must_use]
    pub fn client(&self, id: SdkClientId) -> Option<Arc<SdkClient>> {
        let state = self.0.state.read();
        state.client(id).filter(|client| state.serves(&client.name)).cloned()
    }

    /// The client with this name. It is not served if another client has its clientId.
    #[must_use]
    pub fn client_named(&self, name: &ObjectName) -> Option<Arc<SdkClient>> {
        let state = self.0.state.read();
        state.client_named(name).filter(|client| state.serves(&client.name)).cloned()
    }

    /// The client of the API key with this hash, if the key is usable.
    #[must_use]
    pub fn client_by_key(&self, hash: &KeyHash) -> Option<Arc<SdkClient>> {
        self.0.state.read().client_by_key(hash).cloned()
    }

    /// Verifies the API key with this hash at `now`, under one lock.
    ///
    /// # Errors
    /// Those of [`SdkClient::prove`].
    pub fn prove_api_key(&self, hash: &KeyHash, now: Timestamp) -> Result<Verified, Reason> {
        let state = self.0.state.read();
        let client = state.client_by_key(hash).ok_or(Reason::ApiKeyUnknown)?;
        let revocations = state.revocations(RevocationTarget::SdkClient, &client.name, now);
        client.prove(hash, &revocations, now)
    }

    /// Waits until the API key with this hash is usable, for a maximum of `patience`. Does not wait
    /// if the versions that this index has applied are unknown.
    pub async fn wait_for_key(&self, hash: &KeyHash, patience: Duration) {
        let mut versions = self.0.applied.subscribe();
        let waiting = async {
            loop {
                versions.mark_unchanged();
                let follows = self.0.applied.version_everywhere(Kind::SdkClient).is_some();
                let known = !follows || self.client_by_key(hash).is_some();
                if known || versions.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(patience, waiting).await;
    }

    /// Whether the status of this client lists the hash.
    #[must_use]
    pub fn is_key_recorded_by(&self, hash: &KeyHash, client: &ObjectName) -> bool {
        self.0.state.read().key_holders.is_recorded_by(hash, client)
    }

    /// Whether the status of another client lists the hash.
    #[must_use]
    pub fn is_key_recorded_besides(&self, hash: &KeyHash, client: &ObjectName) -> bool {
        self.0.state.read().key_holders.is_recorded_besides(hash, client)
    }

    /// Whether the spec of another client lists the hash.
    #[must_use]
    pub fn is_key_asserted_besides(&self, hash: &KeyHash, client: &ObjectName) -> bool {
        self.0.state.read().key_holders.is_asserted_besides(hash, client)
    }

    /// Whether the status of another client lists the hash because the key was delivered to it.
    #[must_use]
    pub fn is_key_delivered_besides(&self, hash: &KeyHash, client: &ObjectName) -> bool {
        self.0.state.read().key_holders.is_delivered_besides(hash, client)
    }

    /// Whether some client with a delivery Secret has not been reconciled yet. Only clients that
    /// `matches` accepts are considered, and only those that already existed when
    /// [`Self::last_unobserved_client`] returned `last`.
    #[must_use]
    pub fn has_unobserved_client(&self, last: u64, matches: impl Fn(&ObjectName) -> bool) -> bool {
        self.0.state.read().key_holders.unobserved(last).any(matches)
    }

    /// The number of the newest client with a delivery Secret that has not been reconciled.
    #[must_use]
    pub fn last_unobserved_client(&self) -> u64 {
        self.0.state.read().key_holders.last_number()
    }

    /// The names of the clients with a delivery Secret.
    #[must_use]
    pub fn delivered_clients(&self) -> HashSet<ObjectName> {
        let state = self.0.state.read();
        let is_delivered =
            |client: &&Arc<SdkClient>| client.service().is_some_and(|it| it.is_delivered);
        let delivered = state.clients.values().filter(is_delivered);
        delivered.map(|client| client.name.clone()).collect()
    }

    /// The member whose session token has this hash.
    #[must_use]
    pub fn member_by_session(&self, hash: &KeyHash) -> Option<Arc<Member>> {
        self.0.state.read().member_by_session(hash).cloned()
    }

    /// Verifies the session token with this hash at `now`, under one lock.
    ///
    /// # Errors
    /// Those of [`Member::prove`].
    pub fn prove_session(&self, hash: &KeyHash, now: Timestamp) -> Result<Verified, Reason> {
        let state = self.0.state.read();
        let member = state.member_by_session(hash).ok_or(Reason::SessionUnknown)?;
        let revocations = state.revocations(RevocationTarget::Member, &member.name, now);
        member.prove(hash, &revocations, now)
    }

    /// The member with this id.
    #[must_use]
    pub fn member(&self, id: MemberId) -> Option<Arc<Member>> {
        let state = self.0.state.read();
        state.members.get(&id).filter(|member| state.serves(&member.name)).cloned()
    }

    /// The members of all organizations with this e-mail address in the form of
    /// [`Member::login_name`]: one of each organization, oldest first.
    #[must_use]
    pub fn members_by_email(&self, login_name: &str) -> Vec<Arc<Member>> {
        let state = self.0.state.read();
        let mut members = state.members_by_email(login_name);
        members.retain(|member| state.serves(&member.name));
        members
    }

    /// The members with this user name at the API server, ordered by id.
    #[must_use]
    pub fn members_by_username(&self, username: &str) -> Vec<Arc<Member>> {
        let state = self.0.state.read();
        let mut members = state.members_of(state.usernames.get(username));
        members.retain(|member| state.serves(&member.name));
        members
    }

    /// The revocations of an object's credentials that are in force at `now`.
    #[must_use]
    pub fn revocations(
        &self,
        of: RevocationTarget,
        owner: &ObjectName,
        now: Timestamp,
    ) -> Vec<Arc<Revocation>> {
        self.0.state.read().revocations(of, owner, now)
    }

    /// The settings of this organization, if it has an Organization object.
    #[must_use]
    pub fn organization(&self, id: OrganizationId) -> Option<Arc<Organization>> {
        self.0.state.read().organizations.get(&id).cloned()
    }

    /// The number of objects of each kind in the index.
    #[must_use]
    pub fn sizes(&self) -> BTreeMap<&'static str, usize> {
        let state = self.0.state.read();
        BTreeMap::from([
            (Kind::Organization.as_str(), state.organizations.len()),
            (Kind::Member.as_str(), state.members.len()),
            (Kind::UserPool.as_str(), state.pools.len()),
            (Kind::SdkClient.as_str(), state.clients.len()),
            (Kind::Revocation.as_str(), state.revoked.len()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd;
    use crate::domain::credential::ApiKey;

    #[tokio::test(start_paused = true)]
    async fn a_key_is_waited_for_until_status_lists_it() {
        let index = Arc::new(Index::new(IndexSettings::UNLIMITED));
        let reader = Reader::new(Arc::clone(&index));
        let hash = ApiKey::generate().unwrap().hash();
        let apply = |version: &str, listed: &[KeyHash], recorded: &[KeyHash]| {
            let entries = |hashes: &[KeyHash]| -> Vec<_> {
                let entry = |it: &KeyHash| json!({"id": it.id(), "sha256": it.to_string(), "state": "Current"});
                hashes.iter().map(entry).collect()
            };
            let client: crd::SdkClient = serde_json::from_value(json!({
                "metadata": {"namespace": "acme", "name": "ci"},
                "spec": {"service": {"role": "Member", "apiKey": {"hashes": entries(listed)}}},
                "status": {"keys": entries(recorded)},
            }))
            .unwrap();
            index.apply(&client);
            index.advanced(Kind::SdkClient, None, version);
        };
        let took = async || {
            let begun = tokio::time::Instant::now();
            reader.wait_for_key(&hash, Duration::from_secs(9)).await;
            begun.elapsed().as_secs()
        };
        assert_eq!(took().await, 0, "the applied versions are unknown");
        apply("1", &[hash], &[]);
        assert_eq!(took().await, 9, "until the timeout");
        let accept = async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            apply("2", &[hash], &[hash]);
        };
        let (took, ()) = tokio::join!(took(), accept);
        assert_eq!(took, 4);
    }
}
