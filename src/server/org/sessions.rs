//! Sessions in `Member.status`: written by every replica of the API, each time with the
//! resourceVersion that was read, so that of two logins at once neither is lost.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tracing::warn;

use crate::crd;
use crate::domain::ids::{ObjectName, PasswordId};
use crate::domain::opaque::SessionToken;
use crate::domain::session::StoredSession;
use crate::domain::staff::Member;
use crate::index::Kind;
use crate::kube_ext::api::ReadExt as _;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;
use crate::said::Said;
use crate::server::{ApiError, AppState};
use crate::validate;

/// How often a write is tried that others come in the way of.
const TRIES: u32 = 10;
/// The pause after the first of them; each is longer by as much again.
const PAUSE: Duration = Duration::from_millis(15);

/// What a caller has proven at a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// That it knows this password of the member.
    Password(PasswordId),
    /// That the API server knows it by this name.
    Username(String),
}

impl Proof {
    /// Whether it is still a proof of being this member.
    fn holds(&self, member: &Member) -> bool {
        match self {
            Self::Password(id) => member.password_id == Some(*id),
            Self::Username(name) => member.username().as_ref() == Some(name),
        }
    }
}

/// Begins a session of a member; `None` if the member is gone or suspended by now, or is no longer
/// proven by what was checked. Expired ones are swept in the same write, and the oldest goes where
/// there would be too many.
///
/// A login that races a change of the password leaves nothing behind. The write has the
/// resourceVersion of the Member as it was read here, whose password is the one that was checked. A
/// change of the password is a write of the same Member. If it comes first, this one is refused, and
/// the next try finds that the proof no longer holds. If it comes second, the session that is stored
/// names a password that is no longer the member's, and is refused from that very write on.
///
/// # Errors
/// The API server did not take it.
pub async fn begin(
    state: &AppState,
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

/// Ends the sessions of a member that `ends` says.
///
/// # Errors
/// The API server did not take it.
pub async fn end(
    state: &AppState,
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

/// Writes what `wanted` makes of the sessions that are there, and waits until that is known.
/// Whether it wrote.
async fn change(
    state: &AppState,
    name: &ObjectName,
    wanted: impl Fn(&Member) -> Option<Vec<StoredSession>>,
) -> Result<bool, ApiError> {
    let api: Api<Tolerant<crd::Member>> =
        Api::namespaced(state.platform.client.clone(), &name.namespace);
    for attempt in 1..=TRIES {
        let found = api.find(&name.name).await.map_err(|error| refused(&error))?;
        let living = found.filter(|found| found.metadata.deletion_timestamp.is_none());
        let Some(object) = living else { return Ok(false) };
        let Ok(member) = validate::member(&object) else { return Ok(false) };
        let Some(sessions) = wanted(&member) else { return Ok(false) };
        match write(&api, &object, &sessions).await {
            Ok(written) => {
                let version = written.resource_version().unwrap_or_default();
                super::known(state, Kind::Member, &version).await;
                return Ok(true);
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                tokio::time::sleep(PAUSE * attempt).await;
            }
            Err(error) => return Err(refused(&error)),
        }
    }
    Err(ApiError::unavailable("too many logins of this member at the same time; try again"))
}

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
    warn!(error = %Said(error), "could not write sessions");
    ApiError::unavailable("the session could not be stored; try again")
}
