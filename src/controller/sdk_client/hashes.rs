//! A service client whose keys were generated elsewhere. The hashes in its spec are copied to
//! status, on which validators rely, unless they belong to another client.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{ClientOutcome, ownership};
use crate::controller::{Context, Error};
use crate::crd::ApiKeyStatus;
use crate::crd::condition::Readiness;
use crate::crd::reasons::ReadyReason;
use crate::domain::client::{SdkClient, Service, StoredApiKey};
use crate::domain::key_ownership::{Evidence, Ruling};
use crate::domain::revocation::plausible;

/// Accepts the hashes in the spec. `None` if it is not known yet to which client they belong.
pub async fn accept(
    context: &Context,
    client: &SdkClient,
    version: &str,
    service: &Service,
    listed: &[StoredApiKey],
) -> Result<Option<ClientOutcome>, Error> {
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
    let (mut keys, mut conflict) = (Vec::new(), None);
    for key in listed {
        let created_at = match recorded(key) {
            Some(known) => {
                // Two leaders have written the hash to status of two clients. If a signed record says
                // that the key was delivered to the other one, that client had it first: a record is
                // signed only for a client that has the hash alone. The key itself, in the Secret of
                // the other one, would prove nothing: it may be a copy.
                if context.reader.is_key_recorded_besides(&key.hash, &client.name) {
                    conflict = conflict.or(Some(key.hash));
                }
                if context.reader.is_key_delivered_besides(&key.hash, &client.name)
                    && ownership::is_recorded_elsewhere(context, client, &key.hash).await?
                {
                    continue;
                }
                // An edit must not make a key younger: that would lift a revocation by age.
                known.created_at
            }
            None if rulings.get(&key.hash) == Some(&Ruling::Granted) => {
                plausible(key.created_at, now).map(|created_at| created_at.min(now))
            }
            None => {
                conflict = conflict.or(Some(key.hash));
                continue;
            }
        };
        keys.push(ApiKeyStatus {
            id: key.hash.id(),
            sha256: key.hash.to_string(),
            state: key.state,
            created_at: created_at.map(Time),
            expires_at: key.expires_at.map(Time),
        });
    }
    let readiness = if listed.is_empty() {
        Readiness::new(
            ReadyReason::NoKeys,
            "spec.service.apiKey.hashes is empty; add the hash of a key, which `kubectl anon key generate` creates",
        )
    } else {
        Readiness::new(ReadyReason::KeysAccepted, format!("keys accepted: {}", keys.len()))
    };
    Ok(Some(ClientOutcome { keys, conflict, ..ClientOutcome::of(readiness) }))
}
