//! The sessions of a suspended member end, and those that a Revocation covers. They are refused as
//! soon as that is known; this keeps them from coming back with the member, or when the Revocation
//! is gone.
//!
//! The one thing that the leader does to `status.sessions`, and in the name of those who write
//! them.

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::controller::{Context, Error};
use crate::crd::{Member, SessionStatus};
use crate::domain::revocation::Of;
use crate::domain::staff;
use crate::names;

/// The sessions that go on, if some have to end.
pub fn remaining(
    context: &Context,
    object: &Member,
    member: &staff::Member,
) -> Option<Vec<SessionStatus>> {
    let now = context.clock.now();
    let revocations = context.reader.revocations(Of::Member, &member.name, now);
    let goes_on = |session: &&SessionStatus| {
        let created_at = Some(session.created_at.0);
        !member.suspended && !revocations.iter().any(|it| it.covers_age(created_at, now))
    };
    let sessions = object.status.iter().flat_map(|status| &status.sessions);
    let remaining: Vec<_> = sessions.clone().filter(goes_on).cloned().collect();
    (remaining.len() < sessions.count()).then_some(remaining)
}

/// Leaves the member with these sessions. Returns the member as it then is.
///
/// # Errors
/// It changed in between, or the API server refused.
pub async fn keep(
    client: &Client,
    member: &Member,
    sessions: &[SessionStatus],
) -> Result<Member, Error> {
    let api: Api<Member> = Api::namespaced(client.clone(), &member.namespace().unwrap_or_default());
    let patch = json!({
        "metadata": { "resourceVersion": member.resource_version() },
        "status": { "sessions": (!sessions.is_empty()).then_some(sessions) },
    });
    let parameters =
        PatchParams { field_manager: Some(names::SESSIONS.to_owned()), ..PatchParams::default() };
    api.patch_status(&member.name_any(), &parameters, &Patch::Merge(&patch))
        .await
        .map_err(Error::api("end sessions"))
}
