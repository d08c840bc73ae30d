//! A service client whose API key is delivered into a Secret.
//!
//! The Secret is authoritative: it contains the current key, and an annotation with a MAC records
//! every valid key. Status is derived from it, so the next reconciliation completes a crash between
//! any two writes. The orders of writes:
//!
//! * **create**: Secret -> status. A hash in status without a Secret would belong to a key that no
//!   one has.
//! * **rotate**: hash of the new key in status (`Next`) -> acknowledgement by every validator ->
//!   Secret -> status. So consumers never get a key that a validator rejects. A `Next` key whose
//!   plain text was lost in a crash is replaced.
//! * **a key that someone else wrote to the Secret**: status, if no other client has it -> Secret.
//!   The MAC of the record is evidence of ownership, so the record contains only hashes that belong
//!   to the client already.
//! * **another `secretName`**: new Secret, whose record contains the keys of the former one as
//!   `Previous` -> status. Until then, status lists the former keys, which stay valid.
//! * **an immutable Secret**: its uid in status (`replacing`) -> deletion -> new Secret -> status.
//!   Without the first write, a crash after the deletion would leave a state like that of a Secret
//!   that a user has deleted, whose keys must be rejected.

pub mod decide;
mod former;
mod observe;
mod secret;
mod status;

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

use super::ClientPlan;
use super::delivery::DeliverySecret;
use super::pending::Pending;
use crate::controller::{Error, Requeue};
use crate::domain::client::{Delivery, SdkClient, Service};
use crate::domain::credential::{ApiKey, KeyHash};
use crate::domain::record_mac::RecordKeys;
use crate::domain::revocation::Revocation;
use crate::domain::rotation::Reach;
use crate::domain::rotation::api_keys::NextKey;
use decide::Decision;
pub use observe::observe;

/// What was observed, and what follows from it.
pub struct Observed {
    /// The facts.
    pub facts: Facts,
    /// What to do.
    pub decision: Decision,
    /// A new key for the Secret, if one is needed.
    pub new_key: Option<ApiKey>,
    /// The hash of a new Next key, if one is to be published.
    pub new_next: Option<KeyHash>,
}

/// The facts that the plan depends on.
pub struct Facts {
    /// The current time, but not before the limit of any Revocation: a key that is created now must
    /// not be covered by one, even if this clock is behind the clock of the API server. Otherwise it
    /// would be revoked and replaced endlessly.
    pub now: Timestamp,
    /// Base URL of the public endpoints.
    pub public_url: String,
    /// The keys of the MACs.
    pub record_keys: Arc<RecordKeys>,
    /// The Revocations of the client's keys.
    pub revocations: Vec<Arc<Revocation>>,
    /// The Secret; `None` if it does not exist.
    pub stored: Option<Secret>,
    /// The name of the Secret that the keys in status were delivered into.
    pub delivered_into: Option<String>,
    /// That Secret, if the spec names another one by now; `None` if it does not exist.
    pub former: Option<Secret>,
    /// The uid of the immutable Secret that status says is being replaced.
    pub replacing: Option<String>,
    /// The keys in status that the status of another client lists, too.
    pub contested: HashSet<KeyHash>,
    /// The Next key in status.
    pub next: Option<Next>,
}

/// A Next key.
pub struct Next {
    /// Its hash.
    pub hash: KeyHash,
    /// Its creation time, as published in status.
    pub created_at: Option<Timestamp>,
    /// How far it has propagated. A key whose plain text is lost has to be replaced: nowhere.
    pub reach: Reach,
    /// Its plain text, unless another leader has published it.
    pub pending: Option<Arc<Pending>>,
    /// The validators that have acknowledged it, for messages.
    pub acknowledged_by: String,
    /// The validators that have not acknowledged it, for a message, if that takes long.
    pub waiting: String,
}

/// Creates, repairs or rotates the key in the client's Secret. Pure. `None` if it is not known yet
/// to which client a key belongs.
pub fn plan(
    client: &SdkClient,
    service: &Service,
    delivery: &Delivery,
    observed: &Observed,
) -> Result<Option<ClientPlan>, Error> {
    let planner = observed.facts.planner(client, service, delivery);
    let new_key = || observed.new_key.as_ref().ok_or(Error::Incomplete { what: "a new key" });
    let planned = match &observed.decision {
        Decision::Wait => return Ok(None),
        Decision::Foreign { former } => planner.foreign(former),
        Decision::Create { former } => planner.create(former, new_key()?)?,
        Decision::Replace { previous, why } => planner.replace(previous, why, new_key()?)?,
        Decision::Conflict { previous, hash } => {
            let step = planner.step(previous, false);
            let requeue = step.wake_at.map_or(Requeue::OnChange, Requeue::At);
            let planned = planner.in_former(planner.deliver_status(&step.live, requeue));
            ClientPlan { conflict: Some(*hash), ..planned }
        }
        Decision::Adopt { delivered, conflict } => {
            let step = planner.step(delivered, false);
            ClientPlan {
                next_rotation: step.next_rotation,
                conflict: *conflict,
                ..planner.in_former(planner.deliver_status(&step.live, Requeue::Soon))
            }
        }
        Decision::Step(ready) => {
            let planned = match ready.step.next {
                NextKey::Publish => planner.publish(ready, observed.new_next)?,
                NextKey::Acknowledge => planner.acknowledge(ready)?,
                NextKey::Deliver => planner.deliver(ready)?,
                NextKey::NotDue | NextKey::Deferred(_) => planner.settle(ready)?,
            };
            ClientPlan { conflict: ready.conflict, ..planned }
        }
    };
    // What is revoked is recorded before the first write that removes it.
    let writes = planner.matched().into_iter().chain(planned.writes).collect();
    Ok(Some(ClientPlan { writes, ..planned }))
}

impl Facts {
    /// Decides on these facts about a client.
    pub fn planner<'f>(
        &'f self,
        client: &'f SdkClient,
        service: &'f Service,
        delivery: &'f Delivery,
    ) -> Planner<'f> {
        let secret = DeliverySecret::new(client, delivery, &self.public_url, &self.record_keys);
        Planner { facts: self, client, service, delivery, secret }
    }
}

/// The facts about a client, and its spec.
pub struct Planner<'f> {
    facts: &'f Facts,
    client: &'f SdkClient,
    service: &'f Service,
    delivery: &'f Delivery,
    secret: DeliverySecret<'f>,
}
