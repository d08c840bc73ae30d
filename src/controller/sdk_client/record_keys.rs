//! The MAC keys that authenticate the records of delivery Secrets. They are in a Secret of the
//! operator's namespace, which organizations cannot read. The leader creates it. To rotate the
//! keys, the platform administrator moves `current` to `previous`, and the leader generates a new
//! `current`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;

use crate::controller::{Context, Error, apply};
use crate::domain::record_mac::RecordKeys;
use crate::names;

/// How often the Secret is read again, to notice a rotation.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// Data key of the key that new MACs are computed with.
const CURRENT: &str = "current";
/// Data key of the previous key, whose MACs are still valid.
const PREVIOUS: &str = "previous";

/// Caches the keys.
#[derive(Default)]
pub struct RecordKeyStore(tokio::sync::Mutex<Option<Read>>);

struct Read {
    keys: Arc<RecordKeys>,
    at: Instant,
}

impl RecordKeyStore {
    /// Returns the keys, and generates them if there are none.
    pub async fn get(&self, context: &Context) -> Result<Arc<RecordKeys>, Error> {
        // Held during the request, so that concurrent callers share a single one.
        let mut read = self.0.lock().await;
        if let Some(fresh) = read.as_ref().filter(|read| read.at.elapsed() < REFRESH_INTERVAL) {
            return Ok(Arc::clone(&fresh.keys));
        }
        let keys = Arc::new(load(context).await?);
        *read = Some(Read { keys: Arc::clone(&keys), at: Instant::now() });
        Ok(keys)
    }
}

async fn load(context: &Context) -> Result<RecordKeys, Error> {
    let (client, namespace) = (&context.client, &context.settings.operator_namespace);
    let stored = match apply::read_secret(client, namespace, names::RECORD_KEYS_SECRET).await? {
        Some(stored) => stored,
        None => apply::create_secret(client, namespace, &new_secret()?).await?.into_secret(),
    };
    if stored.data.as_ref().is_some_and(|data| data.contains_key(CURRENT)) {
        return parse(&stored);
    }
    let mut completed = stored;
    completed.data.get_or_insert_default().insert(CURRENT.to_owned(), new_key()?);
    parse(&apply::replace_secret(client, namespace, &completed).await?)
}

fn new_key() -> Result<ByteString, Error> {
    Ok(ByteString(RecordKeys::generate()?.to_vec()))
}

fn new_secret() -> Result<Secret, Error> {
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(names::RECORD_KEYS_SECRET.to_owned()),
            labels: Some(names::labels(names::RECORD_KEYS, &names::MANAGER)),
            annotations: Some(BTreeMap::from([(
                names::DELETION_POLICY.to_owned(),
                names::deletion_policy(true).to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([(CURRENT.to_owned(), new_key()?)])),
        ..Secret::default()
    })
}

/// Reads the keys. An unreadable Secret is never overwritten: it may come from a failed restore.
fn parse(secret: &Secret) -> Result<RecordKeys, Error> {
    let entry = |name: &str| {
        let ByteString(bytes) = secret.data.as_ref()?.get(name)?;
        Some(bytes.as_slice())
    };
    let keys = entry(CURRENT).and_then(|current| RecordKeys::new(current, entry(PREVIOUS)));
    keys.ok_or(Error::RecordKeys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(entries: &[(&str, usize)]) -> Secret {
        let entry =
            |(name, length): &(&str, usize)| ((*name).to_owned(), ByteString(vec![7; *length]));
        Secret { data: Some(entries.iter().map(entry).collect()), ..Secret::default() }
    }

    #[test]
    fn a_new_secret_has_a_key_and_our_labels() {
        let secret = new_secret().unwrap();
        assert!(parse(&secret).is_ok());
        let labels = secret.metadata.labels.unwrap();
        assert_eq!(labels[names::MANAGED_BY], names::MANAGER);
        assert_eq!(labels[names::COMPONENT], names::RECORD_KEYS);
        assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    }

    #[test]
    fn keys_of_another_length_are_refused() {
        assert!(parse(&secret(&[(CURRENT, 32)])).is_ok());
        assert!(parse(&secret(&[(CURRENT, 32), (PREVIOUS, 32)])).is_ok());
        for bad in [&[][..], &[(PREVIOUS, 32)], &[(CURRENT, 31)], &[(CURRENT, 32), (PREVIOUS, 0)]] {
            assert!(matches!(parse(&secret(bad)), Err(Error::RecordKeys)), "{bad:?}");
        }
    }
}
