//! Gauges about the objects that the leader reconciles, computed from the stores of the controllers
//! when they are exposed.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector::Store;

use super::kind::HasStatus;
use super::{Context, Guarded};
use crate::crd::condition::is_ready;
use crate::crd::{ApiKeyStatus, Kind, SdkClient, UserPool};
use crate::domain::duration::later;
use crate::domain::signing_key_set::SigningKeyState;
use crate::metrics::sampled::value;
use crate::metrics::{Metrics, catalog};

/// How long before its end an API key without a successor is reported.
const EXPIRY_NOTICE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The only source of a gauge.
const SOURCE: &str = "leader";

/// Exposes how many objects of a kind are ready.
pub fn expose_objects<K: HasStatus>(context: &Context, store: Store<Guarded<K>>) {
    let kind = K::KIND.as_str();
    context.metrics.sample(&catalog::OBJECTS, kind, move || {
        let objects = store.state();
        let ready = objects.iter().filter(|object| {
            let status = object.0.as_ref().ok().and_then(K::status);
            status.is_some_and(|status| is_ready(K::conditions(status)))
        });
        let ready = ready.count();
        vec![
            (vec![kind, "true"], value(ready)),
            (vec![kind, "false"], value(objects.len().saturating_sub(ready))),
        ]
    });
}

/// Exposes how many API keys are about to expire.
pub fn expose_expiring_keys(context: &Context, clients: Store<Guarded<SdkClient>>) {
    let clock = Arc::clone(&context.clock);
    context.metrics.sample(&catalog::API_KEYS_EXPIRING, SOURCE, move || {
        let now = clock.now();
        let clients = clients.state();
        let statuses = clients.iter().filter_map(|client| client.0.as_ref().ok()?.status.as_ref());
        let expiring = statuses.filter(|status| is_expiring(&status.keys, now)).count();
        vec![(vec![], value(expiring))]
    });
}

/// Exposes since when the oldest signing key signs.
pub fn expose_oldest_signing_key(context: &Context, pools: Store<Guarded<UserPool>>) {
    context.metrics.sample(&catalog::OLDEST_SIGNING_KEY, SOURCE, move || {
        let pools = pools.state();
        let hosted = pools.iter().filter_map(|pool| {
            let pool = pool.0.as_ref().ok()?;
            pool.spec.hosted.as_ref().and(pool.status.as_ref())
        });
        let keys = hosted.flat_map(|status| &status.keys);
        let active = keys.filter(|key| key.state == SigningKeyState::Active);
        let since = active.map(|key| key.active_at.as_ref().unwrap_or(&key.published_at).0);
        vec![(vec![], since.min().map_or(0, Timestamp::as_second))]
    });
}

/// Whether the last of a client's keys is about to expire. A key that has expired is no longer
/// "about to": its client is reported by its condition.
fn is_expiring(keys: &[ApiKeyStatus], now: Timestamp) -> bool {
    let ends = keys.iter().map(|key| key.expires_at.as_ref().map(|time| time.0));
    // A key without an end outlasts all others.
    let last = ends.max_by_key(|end| end.unwrap_or(Timestamp::MAX)).flatten();
    last.is_some_and(|last| last > now && last <= later(now, EXPIRY_NOTICE))
}

/// Removes the gauges when the leader stops, and with them the last references to its stores.
pub struct Exposed(pub Arc<Metrics>);

impl Drop for Exposed {
    fn drop(&mut self) {
        for kind in Kind::ALL {
            self.0.remove_sample(&catalog::OBJECTS, kind.as_str());
        }
        self.0.remove_sample(&catalog::API_KEYS_EXPIRING, SOURCE);
        self.0.remove_sample(&catalog::OLDEST_SIGNING_KEY, SOURCE);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::domain::rotation::api_keys::ApiKeyState;

    fn key(expires_at: Option<i64>) -> ApiKeyStatus {
        ApiKeyStatus {
            id: String::new(),
            sha256: String::new(),
            state: ApiKeyState::Current,
            created_at: None,
            expires_at: expires_at.map(|at| Time(Timestamp::from_second(at).unwrap())),
        }
    }

    #[test]
    fn client_whose_last_key_ends_within_a_week_is_expiring() {
        const DAY: i64 = 24 * 3600;
        let now = Timestamp::from_second(0).unwrap();
        for (ends, expiring) in [
            (&[][..], false),
            (&[None], false),
            (&[Some(6 * DAY)], true),
            (&[Some(8 * DAY)], false),
            (&[Some(-DAY)], false),
            (&[Some(DAY), None], false),
            (&[Some(DAY), Some(60 * DAY)], false),
            (&[Some(-DAY), Some(DAY)], true),
        ] {
            let keys: Vec<_> = ends.iter().copied().map(key).collect();
            assert_eq!(is_expiring(&keys, now), expiring, "{ends:?}");
        }
    }
}
