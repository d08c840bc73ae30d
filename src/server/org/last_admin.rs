//! Protects the last Admin of an organization, even if two Admins leave at the same time through
//! two replicas.
//!
//! A request that demotes, suspends or deletes an Admin first marks the Member as leaving, and only
//! then searches for another Admin who is not leaving. Of two concurrent requests, the one that
//! searches later sees the mark of the other. There is no lock that a crash could leave behind: a
//! mark expires. The next request removes an expired mark, which changes the resourceVersion that
//! the abandoned write, should it still arrive, has as its precondition.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::api::{ObjectMeta, Patch};
use serde_json::json;

use super::caller::Caller;
use super::resources::{self, Basis, Objects, namespaced_api};
use crate::crd;
use crate::domain::role::Role;
use crate::kube_ext::api::readable;
use crate::names;
use crate::server::{ApiError, ApiState};

/// How long a mark is valid: several times as long as a request may take.
const MARK_TIMEOUT: SignedDuration = SignedDuration::from_mins(1);

/// Allows a member to stop being an Admin, if there is another one. Returns the member with a mark,
/// which the following write or [`release`] has to remove. The caller has already checked that no
/// other tool would undo that write.
///
/// # Errors
/// It is the last Admin, or all others are leaving at this very moment.
pub async fn reserve(
    state: &ApiState,
    caller: &Caller,
    member: crd::Member,
) -> Result<crd::Member, ApiError> {
    if !is_admin(&member) {
        return Ok(member);
    }
    let api: Objects<crd::Member> = namespaced_api(state, caller);
    let now = state.clock.now();
    let text = format!("{now} {}", uuid::Uuid::new_v4());
    // Conflicts with writes of status are frequent.
    let basis = Basis::new(&api, &member, |now: &crd::Member| now.spec == member.spec);
    let marked = basis.write(|now| mark(&api, now, Some(&text))).await?;
    let refusal = match another(state, caller, &marked, now).await {
        Ok(Another::Stays) => return Ok(marked),
        Ok(Another::Leaves) => {
            ApiError::unavailable("another Admin is being changed concurrently; try again")
        }
        Ok(Another::Nobody) => ApiError::unprocessable(
            "this is the last Admin of the organization; add another Admin first",
        ),
        Err(error) => error,
    };
    release(&api, &marked).await;
    Err(refusal)
}

/// Removes the mark of a member who does not leave after all. Best effort: the mark expires soon.
pub async fn release(api: &Objects<crd::Member>, marked: &crd::Member) {
    if marked.annotations().contains_key(names::LEAVING) {
        let _ = mark(api, marked.metadata.clone(), None).await;
    }
}

/// Whether there is another Admin.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Another {
    Nobody,
    Leaves,
    Stays,
}

/// Searches the other members for an Admin, in the API server and not in the index, which may be
/// behind.
async fn another(
    state: &ApiState,
    caller: &Caller,
    marked: &crd::Member,
    now: Timestamp,
) -> Result<Another, ApiError> {
    let api = namespaced_api(state, caller);
    let members: Vec<crd::Member> = resources::list(state, caller).await?;
    let mut best = Another::Nobody;
    for other in members.iter().filter(|it| is_admin(it) && it.uid() != marked.uid()) {
        let stays = match other.annotations().get(names::LEAVING) {
            None => true,
            Some(text) => {
                is_abandoned(text, now) && mark(&api, other.metadata.clone(), None).await.is_ok()
            }
        };
        best = best.max(if stays { Another::Stays } else { Another::Leaves });
    }
    Ok(best)
}

fn is_admin(member: &crd::Member) -> bool {
    member.spec.role == Role::Admin && member.spec.suspended != Some(true)
}

/// Clocks may differ: a mark from far in the future is as invalid as one from the past.
fn is_abandoned(text: &str, now: Timestamp) -> bool {
    let made = text.split(' ').next().and_then(|time| time.parse::<Timestamp>().ok());
    made.is_none_or(|made| now.duration_since(made).abs() > MARK_TIMEOUT)
}

/// Writes or removes the mark, if the member is still as it was read.
async fn mark(
    api: &Objects<crd::Member>,
    read: ObjectMeta,
    text: Option<&str>,
) -> kube::Result<crd::Member> {
    let patch = json!({ "metadata": {
        "resourceVersion": read.resource_version,
        "annotations": { names::LEAVING: text },
    }});
    let name = read.name.as_deref().unwrap_or_default();
    readable(api.patch(name, &resources::patching(), &Patch::Merge(&patch)).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_void_after_a_while() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        for (text, abandoned) in [
            ("2026-01-01T00:09:30.123Z x", false),
            ("2026-01-01T00:10:30Z x", false),
            ("2026-01-01T00:08:59Z x", true),
            ("2026-01-01T00:12:00Z x", true),
            ("", true),
            ("soon", true),
        ] {
            assert_eq!(is_abandoned(text, now), abandoned, "{text}");
        }
    }
}
