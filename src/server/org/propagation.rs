//! Waits, for a limited time, until every replica has applied a write, so that the next request of
//! the caller finds it, whichever replica handles that.

use std::time::{Duration, Instant};

use kube::ResourceExt;

use crate::crd::{CustomKind, Kind};
use crate::domain::credential::ApiKey;
use crate::replicas::tracker::Write;
use crate::server::ApiState;

/// How long a reply waits until this replica has applied a write.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(3);
/// How long it then waits for the others. Short, because a replica that was killed is waited for
/// until its Lease is removed.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(1);

/// Waits until an object of kind `K` is applied as it was written.
pub async fn written<K: CustomKind>(state: &ApiState, object: &impl ResourceExt) {
    let namespace = object.namespace().unwrap_or_default();
    let version = object.resource_version().unwrap_or_default();
    state.reader.wait_for(K::KIND, &namespace, &version, LOCAL_TIMEOUT).await;
    elsewhere(state, K::KIND, namespace, version).await;
}

/// Waits until a key whose hash was written into a spec can be used: the leader copies it to status,
/// and the replicas apply that.
pub async fn key_accepted(state: &ApiState, namespace: &str, key: &ApiKey) {
    state.reader.wait_for_key(&key.hash(), LOCAL_TIMEOUT).await;
    if let Some(version) = state.reader.applied().version(Kind::SdkClient, namespace) {
        elsewhere(state, Kind::SdkClient, namespace.to_owned(), version.to_string()).await;
    }
}

/// Waits for the other replicas.
async fn elsewhere(state: &ApiState, kind: Kind, namespace: String, resource_version: String) {
    let settings = &state.platform.settings;
    let Some(replicas) = &settings.replicas else { return };
    let write = Write { kind, namespace, resource_version, at: Instant::now() };
    replicas.wait_elsewhere(&settings.identity, &write, REMOTE_TIMEOUT).await;
}
