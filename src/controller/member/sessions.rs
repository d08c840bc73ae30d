//! Removes sessions of suspended members, sessions that a Revocation covers, and sessions that
//! began with a previous password. Validators reject these anyway; removing them keeps them from
//! becoming valid again when the member is no longer suspended or the Revocation is deleted.
//!
//! This is the only write of the leader to `status.sessions`. It uses the field manager of the REST
//! API, which writes them otherwise.

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::controller::{Context, Error};
use crate::crd::{Member, SessionStatus};
use crate::domain::ids::ObjectName;
use crate::domain::member;
use crate::domain::revocation::RevocationTarget;
use crate::kube_ext::name::object_name;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;

/// The remaining sessions, if some have to be removed.
pub fn remaining(
    context: &Context,
    object: &Member,
    member: &member::Member,
) -> Option<Vec<SessionStatus>> {
    let now = context.clock.now();
    let revocations = context.reader.revocations(RevocationTarget::Member, &member.name, now);
    let password = member.password_id.map(|id| id.to_string());
    let goes_on = |session: &&SessionStatus| {
        if session.password_id != password {
            return false;
        }
        let created_at = Some(session.created_at.0);
        !member.suspended && !revocations.iter().any(|it| it.covers_age(created_at, now))
    };
    let sessions = object.status.iter().flat_map(|status| &status.sessions);
    let remaining: Vec<_> = sessions.clone().filter(goes_on).cloned().collect();
    (remaining.len() < sessions.count()).then_some(remaining)
}

/// Replaces the sessions of the member by these. Returns the new resourceVersion.
///
/// # Errors
/// It changed in between, or the API server refused.
pub async fn keep(
    client: &Client,
    member: &Member,
    sessions: &[SessionStatus],
) -> Result<Option<String>, Error> {
    let ObjectName { namespace, name } = object_name(member);
    let api: Api<Tolerant<Member>> = Api::namespaced(client.clone(), &namespace);
    let patch = json!({
        "metadata": { "resourceVersion": member.resource_version() },
        "status": { "sessions": (!sessions.is_empty()).then_some(sessions) },
    });
    let parameters =
        PatchParams { field_manager: Some(names::SESSIONS.to_owned()), ..PatchParams::default() };
    let patched = api.patch_status(&name, &parameters, &Patch::Merge(&patch)).await;
    patched.map(|member| member.resource_version()).map_err(Error::api("end sessions"))
}
