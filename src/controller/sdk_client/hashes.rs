//! A service client whose keys were generated elsewhere. The hashes in its spec are copied to
//! status, on which validators rely, unless they belong to another client.

use jiff::Timestamp;

use super::{ClientPlan, ownership};
use crate::controller::{Context, Error};
use crate::crd::condition::Readiness;
use crate::crd::reasons::ReadyReason;
use crate::domain::client::{SdkClient, Service};
use crate::domain::key_ownership::{Evidence, Ruling};
use crate::domain::revocation::plausible;
use crate::domain::rotation::api_keys::StoredApiKey;

/// What was determined about a listed hash.
#[derive(Clone, Copy)]
pub struct Listed {
    /// Whether this client gets it.
    pub accepted: bool,
    /// Whether another client has it, or status of another client lists it, too.
    pub conflict: bool,
    /// When the key was created, as far as that is known.
    pub created_at: Option<Timestamp>,
}

/// Determines to which client each hash in the spec belongs. `None` if that is not known yet.
pub async fn observe(
    context: &Context,
    client: &SdkClient,
    version: &str,
    service: &Service,
    listed: &[StoredApiKey],
) -> Result<Option<Vec<Listed>>, Error> {
    let now = context.clock.now();
    let recorded = |key: &StoredApiKey| service.keys.iter().find(|it| it.hash == key.hash);
    let asked: Vec<_> = listed
        .iter()
        .filter(|key| recorded(key).is_none())
        .map(|key| (key.hash, Evidence::Asserted))
        .collect();
    let rulings = ownership::rule(context, client, version, &asked).await?;
    if rulings.values().any(|ruling| *ruling == Ruling::Wait) {
        return Ok(None);
    }
    let mut determined = Vec::new();
    for key in listed {
        determined.push(if let Some(known) = recorded(key) {
            // Two leaders have written the hash to status of two clients. If a signed record says
            // that the key was delivered to the other one, that client had it first: a record is
            // signed only for a client that has the hash alone. The key itself, in the Secret of
            // the other one, would prove nothing: it may be a copy.
            let is_others = context.reader.is_key_delivered_besides(&key.hash, &client.name)
                && ownership::is_recorded_elsewhere(context, client, &key.hash).await?;
            let conflict = context.reader.is_key_recorded_besides(&key.hash, &client.name);
            // An edit must not make a key younger: that would lift a revocation by age.
            Listed { accepted: !is_others, conflict, created_at: known.created_at }
        } else {
            let accepted = rulings.get(&key.hash) == Some(&Ruling::Granted);
            let created_at = plausible(key.created_at, now).map(|it| it.min(now));
            Listed { accepted, conflict: !accepted, created_at }
        });
    }
    Ok(Some(determined))
}

/// Accepts the hashes in the spec. Pure.
pub fn plan(listed: &[StoredApiKey], determined: &[Listed]) -> ClientPlan {
    let (mut keys, mut conflict) = (Vec::new(), None);
    for (key, it) in listed.iter().zip(determined) {
        conflict = conflict.or(it.conflict.then_some(key.hash));
        if it.accepted {
            keys.push((&StoredApiKey { created_at: it.created_at, ..key.clone() }).into());
        }
    }
    let readiness = if listed.is_empty() {
        Readiness::new(
            ReadyReason::NoKeys,
            "spec.service.apiKey.hashes is empty; add the hash of a key, which `kubectl anon key generate` creates",
        )
    } else {
        Readiness::new(ReadyReason::KeysAccepted, format!("keys accepted: {}", keys.len()))
    };
    ClientPlan { keys, conflict, ..ClientPlan::of(readiness) }
}
