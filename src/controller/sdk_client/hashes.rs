//! A service client whose keys were generated elsewhere. The hashes in its spec are copied to
//! status, on which validators rely, unless they belong to another client.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{ClientPlan, ownership};
use crate::controller::{Context, Error};
use crate::crd::ApiKeyStatus;
use crate::crd::condition::Readiness;
use crate::domain::client::{SdkClient, Service, StoredApiKey};
use crate::domain::key_ownership::{Evidence, Ruling};
use crate::domain::revocation::plausible;

/// To which client a listed hash belongs.
#[derive(Clone, Copy)]
pub enum Owner {
    /// It is in status of this client alone, with this creation time.
    Recorded(Option<Timestamp>),
    /// It is in status of another client, too. Validators reject it.
    Contested(Option<Timestamp>),
    /// It is in status of both, and the other client had it first.
    Withdrawn {
        /// Whether status of the other client still lists it.
        contested: bool,
    },
    /// This client gets it now.
    Granted,
    /// Another client has it.
    Conflict,
}

/// Determines the owner of each listed hash. `None` if that is not known yet.
pub async fn observe(
    context: &Context,
    client: &SdkClient,
    version: &str,
    service: &Service,
    listed: &[StoredApiKey],
) -> Result<Option<Vec<Owner>>, Error> {
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
    let mut owners = Vec::new();
    for key in listed {
        owners.push(match recorded(key) {
            Some(known) => {
                let contested = context.reader.is_key_recorded_besides(&key.hash, &client.name);
                // Two leaders have written the hash to status of two clients. If a signed record says
                // that the key was delivered to the other one, that client had it first: a record is
                // signed only for a client that has the hash alone. The key itself, in the Secret of
                // the other one, would prove nothing: it may be a copy.
                if context.reader.is_key_delivered_besides(&key.hash, &client.name)
                    && ownership::is_recorded_elsewhere(context, client, &key.hash).await?
                {
                    Owner::Withdrawn { contested }
                } else if contested {
                    Owner::Contested(known.created_at)
                } else {
                    Owner::Recorded(known.created_at)
                }
            }
            None if rulings.get(&key.hash) == Some(&Ruling::Granted) => Owner::Granted,
            None => Owner::Conflict,
        });
    }
    Ok(Some(owners))
}

/// Accepts the hashes in the spec. Pure.
pub fn plan(listed: &[StoredApiKey], owners: &[Owner], now: Timestamp) -> ClientPlan {
    let (mut keys, mut conflict) = (Vec::new(), None);
    for (key, owner) in listed.iter().zip(owners) {
        let is_conflict = matches!(
            owner,
            Owner::Contested(_) | Owner::Conflict | Owner::Withdrawn { contested: true }
        );
        if is_conflict {
            conflict = conflict.or(Some(key.hash));
        }
        let created_at = match owner {
            // An edit must not make a key younger: that would lift a revocation by age.
            Owner::Recorded(created_at) | Owner::Contested(created_at) => *created_at,
            Owner::Granted => plausible(key.created_at, now).map(|created_at| created_at.min(now)),
            Owner::Withdrawn { .. } | Owner::Conflict => continue,
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
        Readiness::reconciling(
            "NoKeys",
            "spec.service.apiKey.hashes is empty; add the hash of a key, which `kubectl anon key generate` creates",
        )
    } else {
        Readiness::ready("KeysAccepted", format!("keys accepted: {}", keys.len()))
    };
    ClientPlan { keys, conflict, ..ClientPlan::of(readiness) }
}
