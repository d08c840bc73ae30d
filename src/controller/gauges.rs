//! Gauges about the objects that the leader reconciles, computed from the queues of the controllers
//! when they are exposed.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::queue::Objects;
use super::{Context, Guarded};
use crate::crd::HasStatus;
use crate::crd::{Kind, SdkClient, UserPool};
use crate::domain::duration::later;
use crate::domain::signing_key_set::SigningKeyState;
use crate::metrics::sampled::value;
use crate::metrics::{Metrics, catalog};

/// How long before its end an API key without a successor is reported.
const EXPIRY_NOTICE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The only source of a gauge.
const SOURCE: &str = "leader";

/// Exposes how many objects of a kind are ready.
pub fn expose_objects<K: HasStatus>(context: &Context, objects: Objects<Guarded<K>>) {
    let kind = K::KIND.as_str();
    context.metrics.sample(&catalog::OBJECTS, kind, move || {
        let (ready, others) = objects.readiness();
        vec![(vec![kind, "true"], value(ready)), (vec![kind, "false"], value(others))]
    });
}

/// Exposes how many clients have no API key for much longer, of those whose [`last_key_end`] is
/// retained.
pub fn expose_expiring_keys(context: &Context, clients: Objects<Guarded<SdkClient>>) {
    let clock = Arc::clone(&context.clock);
    context.metrics.sample(&catalog::API_KEYS_EXPIRING, SOURCE, move || {
        let now = clock.now();
        let expiring = clients.times().into_iter().filter(|end| is_near(*end, now)).count();
        vec![(vec![], value(expiring))]
    });
}

/// Exposes since when the oldest signing key signs, of the pools whose [`signing_since`] is retained.
pub fn expose_oldest_signing_key(context: &Context, pools: Objects<Guarded<UserPool>>) {
    context.metrics.sample(&catalog::OLDEST_SIGNING_KEY, SOURCE, move || {
        let since = pools.times().into_iter().min();
        vec![(vec![], since.map_or(0, Timestamp::as_second))]
    });
}

/// When the last of a client's API keys expires; `None` if one does not.
pub fn last_key_end(client: &SdkClient) -> Option<Timestamp> {
    let keys = client.status.iter().flat_map(|status| &status.keys);
    let ends = keys.map(|key| key.expires_at.as_ref().map(|time| time.0));
    // A key without an end outlasts all others.
    ends.max_by_key(|end| end.unwrap_or(Timestamp::MAX)).flatten()
}

/// Since when a hosted pool signs with the oldest of its Active keys.
pub fn signing_since(pool: &UserPool) -> Option<Timestamp> {
    let status = pool.spec.hosted.as_ref().and(pool.status.as_ref());
    let keys = status.into_iter().flat_map(|status| &status.keys);
    let active = keys.filter(|key| key.state == SigningKeyState::Active);
    active.map(|key| key.active_at.as_ref().unwrap_or(&key.published_at).0).min()
}

/// Whether a key that ends at `end` is about to expire. One that has expired no longer is: its client
/// is reported by its condition.
fn is_near(end: Timestamp, now: Timestamp) -> bool {
    end > now && end <= later(now, EXPIRY_NOTICE)
}

/// Removes the gauges when the leader stops, and with them the last references to its queues.
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
    use crate::crd::{ApiKeyState, ApiKeyStatus, SdkClientSpec, SdkClientStatus};

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
            let keys = ends.iter().copied().map(key).collect();
            let mut client = SdkClient::new("backend", SdkClientSpec::default());
            client.status = Some(SdkClientStatus { keys, ..SdkClientStatus::default() });
            let end = last_key_end(&client);
            assert_eq!(end.is_some_and(|end| is_near(end, now)), expiring, "{ends:?}");
        }
    }
}
