//! Private keys of hosted pools, read from the operator's namespace when a token is issued.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::domain::ids::UserPoolId;
use crate::domain::signing::SigningKey;
use crate::domain::signing_key_set::StoredKeySet;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;

/// How long a key is cached. Short, because a key that is no longer Active must soon stop signing
/// everywhere; a retired key stays published for much longer than this.
const CACHE_AGE: Duration = Duration::from_secs(5);

/// Finds signing keys.
pub struct Signer {
    secrets: Api<Tolerant<Secret>>,
    cache: Mutex<Cache>,
}

/// The cached keys, each with the time since when it is cached.
#[derive(Default)]
struct Cache {
    keys: HashMap<UserPoolId, (Instant, Arc<Kept>)>,
    /// When old keys were last removed.
    swept: Option<Instant>,
}

/// A cached key. Requests that need it while it is being read wait for that read.
type Kept = OnceCell<Arc<ActiveKey>>;

/// Why there is no key.
enum Missing {
    /// No Secret contains it.
    Key,
    /// The API server did not answer.
    Answer(kube::Error),
}

/// The Active key of a pool, as its signing Secret contains it.
pub struct ActiveKey {
    /// Its id.
    pub kid: String,
    /// The `iss` of tokens that it signs.
    pub issuer: String,
    /// The longest lifetime that its tokens may have: it stays published that long after it last
    /// signed.
    pub longest_lifetime: SignedDuration,
    /// The private key.
    pub key: SigningKey,
}

impl Signer {
    /// Reads Secrets of the operator's own namespace only.
    #[must_use]
    pub fn new(client: Client, operator_namespace: &str) -> Self {
        Self { secrets: Api::namespaced(client, operator_namespace), cache: Mutex::default() }
    }

    /// The pool's Active key, if `may_sign` accepts it. The Secret and not status determines which
    /// key is Active, so no replica signs with a key that has been retired for longer than the
    /// cache time. `None` if no Secret has such a key.
    ///
    /// # Errors
    /// The API server did not answer.
    pub async fn key(
        &self,
        pool: UserPoolId,
        may_sign: impl Fn(&ActiveKey) -> bool,
    ) -> kube::Result<Option<Arc<ActiveKey>>> {
        let kept = self.kept(pool);
        match self.read_once(pool, &kept, &may_sign).await? {
            Some(key) if !may_sign(&key) => {}
            key => return Ok(key),
        }
        // A cached key, or one that was already being read, may be older than a change.
        let renewed = self.renewed(pool, &kept);
        Ok(self.read_once(pool, &renewed, &may_sign).await?.filter(|key| may_sign(key)))
    }

    /// The cache slot of a pool's key.
    fn kept(&self, pool: UserPoolId) -> Arc<Kept> {
        let now = Instant::now();
        let is_recent = |since: Instant| now.saturating_duration_since(since) < CACHE_AGE;
        let mut cache = self.cache.lock();
        // Not with every token: that would take as long as there are pools.
        if !cache.swept.is_some_and(is_recent) {
            cache.keys.retain(|_, (since, _)| is_recent(*since));
            cache.swept = Some(now);
        }
        let kept = cache.keys.entry(pool).or_insert_with(|| (now, Arc::default()));
        if !is_recent(kept.0) {
            *kept = (now, Arc::default());
        }
        Arc::clone(&kept.1)
    }

    /// Another slot than `old`; a concurrent request may have created it already.
    fn renewed(&self, pool: UserPoolId, old: &Arc<Kept>) -> Arc<Kept> {
        let mut cache = self.cache.lock();
        if cache.keys.get(&pool).is_some_and(|(_, kept)| Arc::ptr_eq(kept, old)) {
            cache.keys.remove(&pool);
        }
        drop(cache);
        self.kept(pool)
    }

    async fn read_once(
        &self,
        pool: UserPoolId,
        kept: &Kept,
        may_sign: &impl Fn(&ActiveKey) -> bool,
    ) -> kube::Result<Option<Arc<ActiveKey>>> {
        match kept.get_or_try_init(|| self.read(pool, may_sign)).await {
            Ok(key) => Ok(Some(Arc::clone(key))),
            Err(Missing::Key) => Ok(None),
            Err(Missing::Answer(error)) => Err(error),
        }
    }

    async fn read(
        &self,
        pool: UserPoolId,
        may_sign: &impl Fn(&ActiveKey) -> bool,
    ) -> Result<Arc<ActiveKey>, Missing> {
        let selector = names::selector_of(names::SIGNING_KEYS, &pool);
        let secrets = self.secrets.list(&ListParams::default().labels(&selector)).await;
        let secrets = secrets.map_err(Missing::Answer)?;
        // There may be another one, left by a namespace that was deleted and re-created. If it is
        // being taken over, its Active key may soon be a Retiring key of the new one.
        let is_former =
            |secret: &Secret| names::heir(&secret.name_any(), secret.labels()).is_some();
        let secrets = secrets.iter().filter_map(|secret| secret.0.as_ref().ok());
        let secrets = secrets.filter(|secret| !is_former(secret));
        let key = secrets.filter_map(active).find(|key| may_sign(key));
        key.map(Arc::new).ok_or(Missing::Key)
    }
}

fn active(secret: &Secret) -> Option<ActiveKey> {
    let ByteString(json) = secret.data.as_ref()?.get(names::KEY_SET)?;
    let set = StoredKeySet::from_json(json)?;
    let stored = set.active()?;
    let key = stored.signing_key().ok()?;
    let active = ActiveKey {
        kid: stored.kid().to_owned(),
        issuer: stored.issuer.clone(),
        longest_lifetime: stored.longest_lifetime(),
        key,
    };
    // What it signs must verify with the published key.
    (active.key.public_jwk() == stored.jwk).then_some(active)
}
