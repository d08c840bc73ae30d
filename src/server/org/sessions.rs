//! Sessions in `Member.status`. Every replica of the API writes them, with the resourceVersion that
//! it has read, so that two concurrent logins do not overwrite each other.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tracing::warn;

use super::propagation;
use crate::crd;
use crate::domain::credential::SessionToken;
use crate::domain::ids::{ObjectName, PasswordId};
use crate::domain::member::Member;
use crate::domain::session::StoredSession;
use crate::kube_ext::api::ReadExt as _;
use crate::kube_ext::error::{is_conflict, short};
use crate::kube_ext::retry::on_conflict;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;
use crate::server::{ApiError, ApiState};
use crate::validate;

/// The maximum number of attempts to write when other writes cause conflicts.
const ATTEMPTS: usize = 10;

/// What a caller has proven at login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Knowledge of this password of the member.
    Password(PasswordId),
    /// Authentication by the API server, under this username.
    Username(String),
}

impl Proof {
    /// Whether it still proves that the caller is this member.
    fn holds(&self, member: &Member) -> bool {
        match self {
            Self::Password(id) => member.password_id == Some(*id),
            Self::Username(name) => member.username().as_ref() == Some(name),
        }
    }
}

/// Begins a session of a member. `None` if the member has been deleted or suspended in the
/// meantime, or the proof no longer holds. The same write removes expired sessions, and the oldest
/// ones if there would be too many.
///
/// A login that races with a password change leaves no valid session. The write has the
/// resourceVersion of the Member as it is read here, whose password is the one that was checked,
/// and a password change is a write of the same Member. If the change comes first, this write is
/// rejected, and the next attempt finds that the proof no longer holds. If the change comes second,
/// the stored session refers to a password that is no longer the member's, and is invalid from that
/// very write on.
///
/// # Errors
/// The API server did not accept the write.
pub async fn begin(
    state: &ApiState,
    name: &ObjectName,
    proof: &Proof,
) -> Result<Option<SessionToken>, ApiError> {
    let token = SessionToken::generate().map_err(|_| ApiError::internal())?;
    let hash = token.hash();
    let done = change(state, name, |member| {
        let organization = state.reader.organization(member.organization);
        let policy = organization.map(|organization| organization.session).unwrap_or_default();
        let now = state.clock.now();
        let new = policy.begin(hash, member.password_id, now);
        let proven = !member.suspended && proof.holds(member);
        proven.then(|| policy.admit(&member.live_sessions(now), new))
    });
    Ok(done.await?.then_some(token))
}

/// Ends the sessions of a member that `ends` selects.
///
/// # Errors
/// The API server did not accept the write.
pub async fn end(
    state: &ApiState,
    name: &ObjectName,
    ends: impl Fn(&StoredSession) -> bool,
) -> Result<(), ApiError> {
    let rest = |member: &Member| {
        let mut sessions = member.live_sessions(state.clock.now());
        sessions.retain(|session| !ends(session));
        Some(sessions)
    };
    change(state, name, rest).await.map(drop)
}

/// Writes the sessions that `wanted` returns for the member, and waits until they are visible.
/// Returns whether it has written.
async fn change(
    state: &ApiState,
    name: &ObjectName,
    wanted: impl Fn(&Member) -> Option<Vec<StoredSession>>,
) -> Result<bool, ApiError> {
    let api: Api<Tolerant<crd::Member>> =
        Api::namespaced(state.platform.client.clone(), &name.namespace);
    let attempt = || async {
        let found = api.find(&name.name).await?;
        let living = found.filter(|found| found.metadata.deletion_timestamp.is_none());
        let Some(object) = living else { return Ok(None) };
        let Ok(member) = validate::member(&object) else { return Ok(None) };
        let Some(sessions) = wanted(&member) else { return Ok(None) };
        write(&api, &object, &sessions).await.map(Some)
    };
    match on_conflict(ATTEMPTS, attempt).await {
        Ok(None) => Ok(false),
        Ok(Some(written)) => {
            propagation::written::<crd::Member>(state, &written).await;
            Ok(true)
        }
        Err(error) if is_conflict(&error) => {
            Err(ApiError::unavailable("too many concurrent logins of this member; try again"))
        }
        Err(error) => Err(refused(&error)),
    }
}

#[expect(clippy::disallowed_methods, reason = "sessions are written by the REST API")]
async fn write(
    api: &Api<Tolerant<crd::Member>>,
    object: &crd::Member,
    sessions: &[StoredSession],
) -> kube::Result<Tolerant<crd::Member>> {
    let status = |session: &StoredSession| crd::SessionStatus {
        id: session.hash.id(),
        sha256: session.hash.to_string(),
        created_at: Time(session.created_at),
        expires_at: Time(session.expires_at),
        password_id: session.password.map(|id| id.to_string()),
    };
    let sessions: Vec<_> = sessions.iter().map(status).collect();
    let patch = json!({
        "metadata": { "resourceVersion": object.resource_version() },
        "status": { "sessions": sessions },
    });
    let parameters =
        PatchParams { field_manager: Some(names::SESSIONS.to_owned()), ..PatchParams::default() };
    api.patch_status(&object.name_any(), &parameters, &Patch::Merge(&patch)).await
}

fn refused(error: &kube::Error) -> ApiError {
    warn!(error = %short(error), "failed to write sessions");
    ApiError::unavailable("the session could not be stored; try again")
}
