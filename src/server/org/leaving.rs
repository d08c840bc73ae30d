//! The last Admin stays, also when two Admins leave at the same time, on two replicas.
//!
//! Whoever demotes, suspends or deletes an Admin marks the Member as leaving first, and only then
//! looks for another Admin, one who is not leaving. Of two who do that at once, the one who looks
//! later sees the other's mark. There is no lock that a crash could leave behind: a mark is void
//! after a while. It is then taken away, which changes the resourceVersion that the abandoned write,
//! should it come after all, has as its precondition.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::api::Patch;
use serde_json::json;

use super::caller::Caller;
use super::resources::{self, Objects, own};
use crate::crd;
use crate::domain::role::Role;
use crate::kube_ext::api::readable;
use crate::names;
use crate::server::{ApiError, AppState};

/// How long a mark counts: several times as long as a request may take.
const ABANDONED: SignedDuration = SignedDuration::from_mins(1);

/// Lets the member leave the Admins, if there is another one. Returns it as it then is: with a
/// mark that the write which follows has to take away, or [`stay`]. Whether another tool would undo
/// that write has been asked before.
///
/// # Errors
/// It is the last one, or the only other one is leaving at this very moment.
pub async fn leave(
    state: &AppState,
    caller: &Caller,
    member: crd::Member,
) -> Result<crd::Member, ApiError> {
    if !is_admin(&member) {
        return Ok(member);
    }
    let api: Objects<crd::Member> = own(state, caller);
    let now = state.clock.now();
    let text = format!("{now} {}", uuid::Uuid::new_v4());
    let marked = mark_leaving(&api, member, &text).await?;
    let refusal = match another(state, caller, &marked, now).await {
        Ok(Another::Stays) => return Ok(marked),
        Ok(Another::Leaves) => {
            ApiError::unavailable("another Admin is being changed at this moment; try again")
        }
        Ok(Another::Nobody) => ApiError::unprocessable(
            "this is the last Admin of the organization; make another one first",
        ),
        Err(error) => error,
    };
    stay(&api, &marked).await;
    Err(refusal)
}

/// Marks the member; another status, which is written all the time, does not come in the way.
async fn mark_leaving(
    api: &Objects<crd::Member>,
    member: crd::Member,
    text: &str,
) -> Result<crd::Member, ApiError> {
    let mut now = member.clone();
    for _ in 0..resources::TRIES {
        let error = match mark(api, &now, Some(text)).await {
            Ok(marked) => return Ok(marked),
            Err(error) => error,
        };
        let conflict = matches!(&error, kube::Error::Api(status) if status.code == 409);
        now = resources::read(api, &member.name_any()).await?;
        if !conflict || now.uid() != member.uid() || now.spec != member.spec {
            return Err(resources::refused(&error));
        }
    }
    Err(ApiError::unavailable("the object changed in between; try again"))
}

/// Takes the mark away of a member who does not leave after all. At best; else it is void soon.
pub async fn stay(api: &Objects<crd::Member>, marked: &crd::Member) {
    if marked.annotations().contains_key(names::LEAVING) {
        let _ = mark(api, marked, None).await;
    }
}

/// The other Admins.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Another {
    Nobody,
    Leaves,
    Stays,
}

/// The best that is to be said of the others, from what the API server has, not the index.
async fn another(
    state: &AppState,
    caller: &Caller,
    marked: &crd::Member,
    now: Timestamp,
) -> Result<Another, ApiError> {
    let api = own(state, caller);
    let members: Vec<crd::Member> = resources::list(state, caller).await?;
    let mut best = Another::Nobody;
    for other in members.iter().filter(|it| is_admin(it) && it.uid() != marked.uid()) {
        let stays = match other.annotations().get(names::LEAVING) {
            None => true,
            Some(text) => is_abandoned(text, now) && mark(&api, other, None).await.is_ok(),
        };
        best = best.max(if stays { Another::Stays } else { Another::Leaves });
    }
    Ok(best)
}

fn is_admin(member: &crd::Member) -> bool {
    member.spec.role == Role::Admin && member.spec.suspended != Some(true)
}

/// Clocks may differ: a mark from far in the future is as void as one from the past.
fn is_abandoned(text: &str, now: Timestamp) -> bool {
    let made = text.split(' ').next().and_then(|time| time.parse::<Timestamp>().ok());
    made.is_none_or(|made| now.duration_since(made).abs() > ABANDONED)
}

/// Writes the mark, or takes it away, if the member still is as it was read.
async fn mark(
    api: &Objects<crd::Member>,
    member: &crd::Member,
    text: Option<&str>,
) -> kube::Result<crd::Member> {
    let patch = json!({ "metadata": {
        "resourceVersion": member.resource_version(),
        "annotations": { names::LEAVING: text },
    }});
    let patched =
        api.patch(&member.name_any(), &resources::patching(), &Patch::Merge(&patch)).await;
    readable(patched)
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
