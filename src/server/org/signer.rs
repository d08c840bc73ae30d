//! The private keys of hosted pools, read from the operator's namespace when a token is minted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ListParams};
use parking_lot::Mutex;

use crate::domain::ids::UserPoolId;
use crate::domain::keyset::{SigningKeyState, StoredKeySet};
use crate::domain::signing::SigningKey;
use crate::names;

/// How long a key is kept in memory. Short, because a key that stops being Active must stop
/// signing everywhere soon.
const KEEP: Duration = Duration::from_secs(5);

/// Finds signing keys.
pub struct Signer {
    secrets: Api<Secret>,
    keys: Mutex<HashMap<KeyName, (Instant, Arc<SigningKey>)>>,
}

/// A `kid` counts within its pool only.
type KeyName = (UserPoolId, String);

impl Signer {
    /// Reads Secrets of the operator's own namespace only.
    #[must_use]
    pub fn new(client: Client, operator_namespace: &str) -> Self {
        Self { secrets: Api::namespaced(client, operator_namespace), keys: Mutex::default() }
    }

    /// The private half of the pool's published Active key, named by its `kid`. Only that one:
    /// a key that validators have not been told of must not sign. `None` if no Secret has it.
    ///
    /// # Errors
    /// The API server did not answer.
    pub async fn key(&self, pool: UserPoolId, kid: &str) -> kube::Result<Option<Arc<SigningKey>>> {
        let name = (pool, kid.to_owned());
        let fresh = |(read, _): &&(Instant, Arc<SigningKey>)| read.elapsed() < KEEP;
        if let Some((_, key)) = self.keys.lock().get(&name).filter(fresh) {
            return Ok(Some(Arc::clone(key)));
        }
        let selector = names::selector_of(names::SIGNING_KEYS, &pool);
        let secrets = self.secrets.list(&ListParams::default().labels(&selector)).await?;
        let key = secrets.iter().find_map(|secret| active(secret, kid)).map(Arc::new);
        if let Some(key) = &key {
            let mut keys = self.keys.lock();
            keys.retain(|_, (read, _)| read.elapsed() < KEEP);
            keys.insert(name, (Instant::now(), Arc::clone(key)));
        }
        Ok(key)
    }
}

fn active(secret: &Secret, kid: &str) -> Option<SigningKey> {
    let ByteString(json) = secret.data.as_ref()?.get(names::KEY_SET)?;
    let keys = StoredKeySet::from_json(json)?.keys;
    let mut active = keys
        .iter()
        .filter(|key| key.state == SigningKeyState::Active && key.jwk.kid.as_deref() == Some(kid));
    let key = active.next()?.signing_key().ok()?;
    // What it signs must verify under the published half.
    (key.public_jwk().kid.as_deref() == Some(kid)).then_some(key)
}
