//! The private keys of hosted pools, read from the operator's namespace when a token is minted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ListParams};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

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
    keys: Mutex<HashMap<KeyName, (Instant, Arc<Kept>)>>,
}

/// A key once it was read; who needs it while it is being read waits for that.
type Kept = OnceCell<Arc<SigningKey>>;

/// Why there is no key.
enum Missing {
    /// No Secret has it.
    Key,
    /// The API server did not answer.
    Answer(kube::Error),
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
        let kept = self.kept(pool, kid);
        match kept.get_or_try_init(|| self.read(pool, kid)).await {
            Ok(key) => Ok(Some(Arc::clone(key))),
            Err(Missing::Key) => Ok(None),
            Err(Missing::Answer(error)) => Err(error),
        }
    }

    /// The place of a key in memory.
    fn kept(&self, pool: UserPoolId, kid: &str) -> Arc<Kept> {
        let mut keys = self.keys.lock();
        keys.retain(|_, (since, _)| since.elapsed() < KEEP);
        let new = || (Instant::now(), Arc::default());
        Arc::clone(&keys.entry((pool, kid.to_owned())).or_insert_with(new).1)
    }

    async fn read(&self, pool: UserPoolId, kid: &str) -> Result<Arc<SigningKey>, Missing> {
        let selector = names::selector_of(names::SIGNING_KEYS, &pool);
        let secrets = self.secrets.list(&ListParams::default().labels(&selector)).await;
        let secrets = secrets.map_err(Missing::Answer)?;
        let key = secrets.iter().find_map(|secret| active(secret, kid));
        key.map(Arc::new).ok_or(Missing::Key)
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
