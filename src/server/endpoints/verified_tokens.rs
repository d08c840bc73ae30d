//! The cache of valid tokens: what a token proved, so that its signature is verified once and not
//! with every request.
//!
//! An entry holds the [`Generation`] of the [`TokenContext`] that the token was verified against. It
//! was read together with that context, before the verification, so a change that comes during the
//! verification ends the entry before it is inserted. An entry answers only while its generation is
//! current, from the time of its verification until the time at which the token would no longer be
//! valid. After each hit, the endpoint decides what the request may do with the result.
//!
//! Only valid tokens are held, by their SHA-256 and the client, and not as text. When the memory
//! is full, the organization that takes the most gives way: with n organizations, none of them loses
//! an entry while its own take less than an n-th. No cache crate has such a quota.

mod quotas;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest;
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};

use crate::domain::generation::Generation;
use crate::domain::ids::SdkClientId;
use crate::domain::principal::{Principal, Verified};
use crate::domain::token::TokenContext;
use quotas::Quotas;

/// The number of maps. Threads that look up different tokens rarely meet at the same lock.
const SHARDS: usize = 64;
/// What an entry takes beside its texts, in bytes: itself, the principal, its places in a map and in
/// a queue, what a response says beside the texts, and what the allocator adds.
const ENTRY_BYTES: usize = 896;
/// The SHA-256 of a token, and the client that it is validated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenKey {
    token: [u8; 32],
    client: SdkClientId,
}

impl TokenKey {
    fn of(token: &str, client: SdkClientId) -> Self {
        let mut key = Self { token: [0; 32], client };
        // In one call: a hash that is fed in parts allocates.
        let hash = digest::digest(&digest::SHA256, token.as_bytes());
        key.token.copy_from_slice(hash.as_ref());
        key
    }
}

/// A token that was valid when it was verified.
struct Entry {
    verified: Verified,
    generation: Generation,
    verified_at: Timestamp,
    valid_until: Timestamp,
    /// Whether it was used since the eviction last passed it.
    used: AtomicBool,
}

impl Entry {
    /// Not before its verification either: if the clock is set back, `nbf` may lie in the future
    /// again, and a Revocation that had expired may be in force.
    fn is_valid(&self, now: Timestamp) -> bool {
        self.generation.is_current() && self.verified_at <= now && now < self.valid_until
    }

    fn bytes(&self) -> usize {
        let texts = match self.verified.principal() {
            Principal::AppUser(user) => user.app_user_id.len() + user.claims.text().len(),
            Principal::ApiKey(_) | Principal::Member(_) => 0,
        };
        ENTRY_BYTES + texts
    }
}

type Shard = RwLock<HashMap<TokenKey, Arc<Entry>>>;

/// The cache. Its size is limited in bytes.
pub struct VerifiedTokens {
    shards: Vec<Shard>,
    /// For insertions only. Locked before a shard.
    quotas: Mutex<Quotas>,
    capacity: usize,
}

impl VerifiedTokens {
    /// An empty cache of `capacity` bytes; 0 turns it off.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Self { shards, quotas: Mutex::default(), capacity }
    }

    /// The key of a token for a client; `None` if the cache is off.
    #[must_use]
    pub fn key(&self, token: &str, client: SdkClientId) -> Option<TokenKey> {
        (self.capacity > 0).then(|| TokenKey::of(token, client))
    }

    /// What the token proves at `now`, if it is known.
    #[must_use]
    pub fn get(&self, key: &TokenKey, now: Timestamp) -> Option<Verified> {
        let shard = self.shard(key)?.read();
        let entry = shard.get(key).filter(|entry| entry.is_valid(now))?;
        // Most often it is set, and a write would take the cache line from the other processors.
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(entry.verified.clone())
    }

    /// Keeps what a token proved when it was verified against `context` at `now`.
    pub fn insert(
        &self,
        key: TokenKey,
        context: &TokenContext,
        verified: &Verified,
        now: Timestamp,
    ) {
        let Principal::AppUser(user) = verified.principal() else { return };
        let entry = Arc::new(Entry {
            verified: verified.clone(),
            generation: context.generation.clone(),
            verified_at: now,
            valid_until: context.valid_until(user.expires_at),
            used: AtomicBool::new(false),
        });
        if entry.bytes() > self.capacity {
            return;
        }
        // A token that is not kept costs another verification; a wait would cost every thread.
        let (Some(mut quotas), Some(shard)) = (self.quotas.try_lock(), self.shard(&key)) else {
            return;
        };
        shard.write().insert(key, Arc::clone(&entry));
        for (key, evicted) in quotas.add(user.organization, key, entry, self.capacity, now) {
            let Some(shard) = self.shard(&key) else { continue };
            let mut shard = shard.write();
            // A token that was verified again has a newer entry.
            if shard.get(&key).is_some_and(|entry| Arc::ptr_eq(entry, &evicted)) {
                shard.remove(&key);
            }
        }
    }

    fn shard(&self, key: &TokenKey) -> Option<&Shard> {
        let [first, ..] = key.token;
        self.shards.get(usize::from(first) % SHARDS)
    }
}

#[cfg(test)]
mod tests;
