//! The index: what every replica knows of the custom resources, and answers requests from.
//!
//! [`watch`] drives list and watch of each kind and writes into the [`Index`]; requests read it
//! through a [`Reader`], without I/O. Each replica has its own, leader or not.

mod claim;
mod key_holders;
pub mod progress;
pub mod propagation;
pub mod publish;
pub mod questions;
pub mod ready;
mod store;
pub mod terminating;
pub mod watch;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::domain::client::{ClientKind, KeySource, SdkClient};
use crate::domain::decision::Reason;
use crate::domain::ids::{MemberId, ObjectName, OrganizationId, SdkClientId, UserPoolId};
use crate::domain::opaque::KeyHash;
use crate::domain::pool::UserPool;
use crate::domain::revocation::{Of, Revocation};
use crate::domain::staff::{Member, Organization};
use progress::Progress;
use questions::Questions;
use ready::Ready;
use store::State;
pub use store::{Indexed, Kind};

/// The writable side, held by the watches.
#[derive(Debug, Default)]
pub struct Index {
    state: RwLock<State>,
    ready: Ready,
    progress: Progress,
    questions: Questions,
    max_jwks_age: OnceLock<SignedDuration>,
    withdrawals: Notify,
}

impl Index {
    /// Takes up an added or changed object. One that is being deleted, or whose spec is not
    /// valid, is not served.
    pub fn apply<K: Indexed>(&self, object: &K) {
        K::apply(&mut self.state.write(), object);
    }

    /// Forgets an object that was deleted. A Revocation is in force for a moment longer: see
    /// [`terminating`].
    pub fn delete<K: Indexed>(&self, name: &ObjectName) {
        K::deleted(&mut self.state.write(), name);
        if K::KIND == Kind::Revocation {
            self.withdrawals.notify_one();
        }
    }

    /// Takes up that an object is there and cannot be read. It is not served.
    pub fn withdraw<K: Indexed>(&self, name: &ObjectName) {
        K::withdraw(&mut self.state.write(), name);
    }

    /// Notes that everything of a kind up to this resourceVersion has been taken up.
    pub fn advanced(&self, kind: Kind, resource_version: &str) {
        self.progress.advanced(kind, resource_version);
    }

    /// Notes that a kind was listed completely for the first time.
    pub fn listed(&self, kind: Kind) {
        self.ready.listed(kind);
    }

    /// Notes that the namespaces were listed, and that these are being deleted.
    pub fn namespaces_listed(&self, terminating: impl IntoIterator<Item = String>) {
        let mut state = self.state.write();
        for namespace in terminating {
            if state.has_older(&namespace, None) {
                state.terminating.insert(namespace);
            }
        }
        drop(state);
        self.ready.namespaces_listed();
    }
}

/// A cheap handle for those who ask.
#[derive(Clone, Debug)]
pub struct Reader(Arc<Index>);

impl Reader {
    /// A reader of `index`.
    #[must_use]
    pub const fn new(index: Arc<Index>) -> Self {
        Self(index)
    }

    /// Whether answers may be given: every kind has been listed, so that absence means something,
    /// and the leader can know of this replica.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.ready.is_ready() && self.0.progress.is_counted()
    }

    /// Whether anything may be answered: only from an index that is complete, and recent enough
    /// that the leader still counts this replica.
    ///
    /// # Errors
    /// Why not.
    pub fn answers(&self) -> Result<(), Reason> {
        if !self.is_ready() {
            return Err(Reason::IndexNotReady);
        }
        if self.0.progress.is_fresh() { Ok(()) } else { Err(Reason::IndexStale) }
    }

    /// Whether this index has taken up everything of a kind up to this resourceVersion. Where
    /// versions cannot be compared: yes, for lack of a better answer.
    #[must_use]
    pub fn has(&self, kind: Kind, resource_version: &str) -> bool {
        let applied = self.0.progress.applied().get(kind.as_str()).copied();
        let wanted = resource_version.parse().ok();
        applied.zip(wanted).is_none_or(|(applied, wanted): (u64, u64)| applied >= wanted)
    }

    /// Waits until [`Reader::has`] says yes, for at most `patience`. Whether it did.
    pub async fn wait_for(&self, kind: Kind, resource_version: &str, patience: Duration) -> bool {
        let mut versions = self.0.progress.subscribe();
        let waiting = async {
            loop {
                versions.mark_unchanged();
                if self.has(kind, resource_version) || versions.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(patience, waiting).await;
        self.has(kind, resource_version)
    }

    /// What is known of how far this index has come.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.0.progress
    }

    /// From now on, a key set that was fetched longer ago than this is not answered from.
    pub fn limit_jwks_age(&self, max: SignedDuration) {
        // The first limit counts; there is one for the process.
        let _ = self.0.max_jwks_age.set(max);
    }

    /// Whether the key set of a pool was fetched recently enough to answer from it. One that is not
    /// fetched always is.
    #[must_use]
    pub fn is_recent(&self, pool: &UserPool, now: Timestamp) -> bool {
        let limit = self.0.max_jwks_age.get();
        limit.zip(pool.fetch.at).is_none_or(|(max, at)| now.duration_since(at) <= *max)
    }

    /// What this replica asks of the leader.
    #[must_use]
    pub fn questions(&self) -> &Questions {
        &self.0.questions
    }

    /// Waits until every kind has been listed.
    pub async fn listed(&self) {
        self.0.ready.wait().await;
    }

    /// The pool of this id.
    #[must_use]
    pub fn pool(&self, id: UserPoolId) -> Option<Arc<UserPool>> {
        let state = self.0.state.read();
        state.pools.get(&id).filter(|pool| state.serves(&pool.name)).cloned()
    }

    /// The pools of an organization, by name.
    #[must_use]
    pub fn pools_of(&self, organization: OrganizationId) -> Vec<Arc<UserPool>> {
        let state = self.0.state.read();
        let ids = state.pools_of.get(&organization);
        let pools = ids.into_iter().flatten().filter_map(|id| state.pools.get(id));
        pools.filter(|pool| state.serves(&pool.name)).cloned().collect()
    }

    /// The client of this id.
    #[must_use]
    pub fn client(&self, id: SdkClientId) -> Option<Arc<SdkClient>> {
        let state = self.0.state.read();
        state.client(id).filter(|client| state.serves(&client.name)).cloned()
    }

    /// The client of this name. One that does not hold its clientId is not served.
    #[must_use]
    pub fn client_named(&self, name: &ObjectName) -> Option<Arc<SdkClient>> {
        let state = self.0.state.read();
        state.client_named(name).filter(|client| state.serves(&client.name)).cloned()
    }

    /// The client that the ApiKey with this hash belongs to, if it may be used.
    #[must_use]
    pub fn client_by_key(&self, hash: &KeyHash) -> Option<Arc<SdkClient>> {
        let state = self.0.state.read();
        state.client_by_key(hash).filter(|client| state.serves(&client.name)).cloned()
    }

    /// Waits until the ApiKey with this hash may be used, for at most `patience`. Does not wait where
    /// this index follows nothing.
    pub async fn wait_for_key(&self, hash: &KeyHash, patience: Duration) {
        let mut versions = self.0.progress.subscribe();
        let waiting = async {
            loop {
                versions.mark_unchanged();
                let follows = self.0.progress.applied().contains_key(Kind::SdkClient.as_str());
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

    /// Whether the status of another client lists the hash, of a key that was delivered to it.
    #[must_use]
    pub fn is_key_delivered_besides(&self, hash: &KeyHash, client: &ObjectName) -> bool {
        self.0.state.read().key_holders.is_delivered_besides(hash, client)
    }

    /// Whether there is a client with a delivery Secret that the leader has not reconciled yet, that
    /// `matches`, and that was there when [`Self::last_unobserved_client`] was this.
    #[must_use]
    pub fn has_unobserved_client(&self, last: u64, matches: impl Fn(&ObjectName) -> bool) -> bool {
        self.0.state.read().key_holders.unobserved(last).any(matches)
    }

    /// The number of the latest client with a delivery Secret that had not been reconciled.
    #[must_use]
    pub fn last_unobserved_client(&self) -> u64 {
        self.0.state.read().key_holders.last_number()
    }

    /// The names of the clients with a delivery Secret.
    #[must_use]
    pub fn delivered_clients(&self) -> HashSet<ObjectName> {
        let state = self.0.state.read();
        let delivered = state.clients.values().filter(|client| {
            matches!(&client.kind, ClientKind::Service(it) if matches!(it.source, KeySource::Delivery(_)))
        });
        delivered.map(|client| client.name.clone()).collect()
    }

    /// The member whose session token has this hash.
    #[must_use]
    pub fn member_by_session(&self, hash: &KeyHash) -> Option<Arc<Member>> {
        let state = self.0.state.read();
        let member = state.members.get(state.sessions.get(hash)?);
        member.filter(|member| state.serves(&member.name)).cloned()
    }

    /// The member of this id.
    #[must_use]
    pub fn member(&self, id: MemberId) -> Option<Arc<Member>> {
        let state = self.0.state.read();
        state.members.get(&id).filter(|member| state.serves(&member.name)).cloned()
    }

    /// The members, of whatever organization, with this e-mail address in the form of
    /// [`Member::login_name`]: one of each organization, the oldest first.
    #[must_use]
    pub fn members_by_email(&self, login_name: &str) -> Vec<Arc<Member>> {
        let state = self.0.state.read();
        let mut members = state.members_by_email(login_name);
        members.retain(|member| state.serves(&member.name));
        members
    }

    /// The members that the API server knows by this user name, in the order of their ids.
    #[must_use]
    pub fn members_by_username(&self, username: &str) -> Vec<Arc<Member>> {
        let state = self.0.state.read();
        let mut members = state.members_of(state.usernames.get(username));
        members.retain(|member| state.serves(&member.name));
        members
    }

    /// The revocations of credentials of an object that are in force at `now`.
    #[must_use]
    pub fn revocations(&self, of: Of, owner: &ObjectName, now: Timestamp) -> Vec<Arc<Revocation>> {
        let state = self.0.state.read();
        let revocations = state.revocations.get(&of).and_then(|of| of.get(owner));
        revocations.into_iter().flatten().filter(|it| it.is_in_force(now)).cloned().collect()
    }

    /// What an Organization object says about this organization, if there is one.
    #[must_use]
    pub fn organization(&self, id: OrganizationId) -> Option<Arc<Organization>> {
        self.0.state.read().organizations.get(&id).cloned()
    }

    /// How many objects of each kind are served.
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
    use crate::domain::opaque::ApiKey;

    #[tokio::test(start_paused = true)]
    async fn a_key_is_waited_for_until_status_lists_it() {
        let index = Arc::new(Index::default());
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
            index.advanced(Kind::SdkClient, version);
        };
        let took = async || {
            let begun = tokio::time::Instant::now();
            reader.wait_for_key(&hash, Duration::from_secs(9)).await;
            begun.elapsed().as_secs()
        };
        assert_eq!(took().await, 0, "an index that follows nothing");
        apply("1", &[hash], &[]);
        assert_eq!(took().await, 9, "not for ever");
        let accept = async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            apply("2", &[hash], &[hash]);
        };
        let (took, ()) = tokio::join!(took(), accept);
        assert_eq!(took, 4);
    }
}
