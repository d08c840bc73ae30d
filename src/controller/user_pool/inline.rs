//! An `inline` pool: its public keys are in its spec. Validators read them from there; status
//! reports which of them are usable.

use super::status_keys;
use crate::controller::expectations::Children;
use crate::controller::plan::Plan;
use crate::crd::condition::Readiness;
use crate::crd::reasons::ReadyReason;
use crate::crd::{self, UserPoolStatus};
use crate::domain::pool::UserPool;
use crate::validate::inline_set;

/// Reports which keys of the spec are used for verification. Pure.
pub fn plan(object: &crd::UserPool, pool: &UserPool) -> Plan<UserPoolStatus> {
    // The pool has been validated, so there is no error.
    let set = inline_set(&object.spec, &pool.claims).ok().flatten();
    let status = UserPoolStatus {
        id: Some(pool.id.to_string()),
        source: Some(pool.source.describe()),
        ..UserPoolStatus::default()
    };
    let mut readiness = match pool.keys.len() {
        0 => Readiness::new(ReadyReason::NoUsableKey, "no key in the spec can verify tokens"),
        served => Readiness::new(
            ReadyReason::KeysAccepted,
            format!("{served} keys accepted from the spec"),
        ),
    };
    readiness.notes = status_keys::notes(pool, set.as_ref());
    let children = Some(Children::new());
    Plan { children, ..Plan::publish(vec![], status, readiness) }
}
