//! The sessions of a suspended member end. They are refused as soon as the suspension is known; this
//! keeps them from coming back with the member.
//!
//! The one thing that the leader does to `status.sessions`, and in the name of those who write
//! them: a leader that owned the list would empty it with its next apply.

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::controller::Error;
use crate::crd::Member;
use crate::names;

/// Removes every session of the member. Returns the member as it then is.
///
/// # Errors
/// It changed in between, or the API server refused.
pub async fn end(client: &Client, member: &Member) -> Result<Member, Error> {
    let api: Api<Member> = Api::namespaced(client.clone(), &member.namespace().unwrap_or_default());
    let patch = json!({
        "metadata": { "resourceVersion": member.resource_version() },
        "status": { "sessions": null },
    });
    let parameters =
        PatchParams { field_manager: Some(names::SESSIONS.to_owned()), ..PatchParams::default() };
    api.patch_status(&member.name_any(), &parameters, &Patch::Merge(&patch))
        .await
        .map_err(Error::api("end sessions"))
}
