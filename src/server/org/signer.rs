//! The private keys of hosted pools, read from the operator's namespace when a token is minted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ListParams};
use parking_lot::Mutex;

use crate::domain::ids::UserPoolId;
use crate::domain::keyset::StoredKeySet;
use crate::domain::signing::SigningKey;
use crate::names;

/// How long a key is kept in memory. Short, because a key that stops being Active must stop
/// signing everywhere soon; a retired key stays published for much longer than this.
const KEEP: Duration = Duration::from_secs(5);

/// Finds signing keys.
pub struct Signer {
    secrets: Api<Secret>,
    keys: Mutex<HashMap<UserPoolId, (Instant, Arc<ActiveKey>)>>,
}

/// The key that signs for a pool, as the signing Secret has it.
pub struct ActiveKey {
    /// Its id.
    pub kid: String,
    /// The `iss` of what it signs.
    pub issuer: String,
    /// The longest lifetime that its tokens may have: it stays published that long after it has
    /// ceased to sign.
    pub longest_lifetime: SignedDuration,
    /// The private half.
    pub key: SigningKey,
}

impl Signer {
    /// Reads Secrets of the operator's own namespace only.
    #[must_use]
    pub fn new(client: Client, operator_namespace: &str) -> Self {
        Self { secrets: Api::namespaced(client, operator_namespace), keys: Mutex::default() }
    }

    /// The pool's Active key, if it is one that `may_sign`. The Secret and not status says which
    /// one is Active, so no replica signs with a key that has retired for longer than it takes to
    /// look. `None` if no Secret has such a key.
    ///
    /// # Errors
    /// The API server did not answer.
    pub async fn key(
        &self,
        pool: UserPoolId,
        may_sign: impl Fn(&ActiveKey) -> bool,
    ) -> kube::Result<Option<Arc<ActiveKey>>> {
        let kept = self.keys.lock().get(&pool).cloned();
        let fresh =
            |(read, key): &(Instant, Arc<ActiveKey>)| read.elapsed() < KEEP && may_sign(key);
        if let Some((_, key)) = kept.filter(fresh) {
            return Ok(Some(key));
        }
        let read = Instant::now();
        let selector = names::selector_of(names::SIGNING_KEYS, &pool);
        let secrets = self.secrets.list(&ListParams::default().labels(&selector)).await?;
        // There may be another one, of a namespace that was deleted and created again.
        let key = secrets.iter().filter_map(active).find(|key| may_sign(key)).map(Arc::new);
        if let Some(key) = &key {
            let mut keys = self.keys.lock();
            keys.retain(|_, (read, _)| read.elapsed() < KEEP);
            keys.insert(pool, (read, Arc::clone(key)));
        }
        Ok(key)
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
    // What it signs must verify under the published half.
    (active.key.public_jwk() == stored.jwk).then_some(active)
}
