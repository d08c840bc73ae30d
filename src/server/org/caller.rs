//! Who calls, and whether the role table lets them.

use std::fmt;

use axum::body::Bytes;
use axum::http::HeaderMap;

use super::audit;
use crate::domain::decision::{Principal, Reason};
use crate::domain::ids::{MemberId, OrganizationId, SdkClientId};
use crate::domain::permission::Operation;
use crate::domain::role::Role;
use crate::server::authenticate::{Accepts, Question, authenticate};
use crate::server::request::{Fields, bearer};
use crate::server::{ApiError, AppState};

const ACCEPTS: Accepts =
    Accepts { app_user_id_tokens: false, api_keys: true, session_tokens: true };

/// A caller whose credential counts and whose role is enough.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The organization that it belongs to; nothing else exists for it.
    pub organization: OrganizationId,
    /// The namespace that this is.
    pub namespace: String,
    /// What it may do.
    pub role: Role,
    /// Who it is.
    pub who: Who,
}

/// The two sorts of caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Someone of the company, who has logged in.
    Member {
        /// The member.
        id: MemberId,
        /// The id of the session.
        session: String,
    },
    /// A backend, by its ApiKey.
    Service(SdkClientId),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member { id, session } => write!(f, "member {id} session {session}"),
            Self::Service(id) => write!(f, "client {id}"),
        }
    }
}

/// The caller of `operation`.
///
/// # Errors
/// There is no credential, it does not count, its role is not enough, or there were too many calls.
pub fn authorize(
    state: &AppState,
    headers: &HeaderMap,
    operation: Operation,
) -> Result<Caller, ApiError> {
    let credential = bearer(headers)?.ok_or(Reason::CredentialMissing)?;
    let question = Question { credential, client: None, organization: None, accepts: ACCEPTS };
    let verified = authenticate(&state.reader, state.clock.now(), question)?;
    let organization = verified.organization();
    let (role, who, object) = match verified.principal() {
        Principal::ApiKey(key) => {
            let client = state.reader.client(key.client).ok_or(Reason::ApiKeyUnknown)?;
            (key.role, Who::Service(key.client), client.name.clone())
        }
        Principal::Member(session) => {
            state.platform.limits.member(session.member, organization)?;
            let who = Who::Member { id: session.member, session: session.session_id.clone() };
            let member = state.reader.member(session.member).ok_or(Reason::SessionUnknown)?;
            (session.role, who, member.name.clone())
        }
        Principal::AppUser(_) => return Err(Reason::CredentialKindRefused.into()),
    };
    let caller = Caller { organization, namespace: object.namespace, role, who };
    audit::caller(&caller);
    if !operation.allows(role) {
        let needs = operation.needs().map_or("another role", Role::as_str);
        return Err(ApiError::forbidden(format!(
            "to {} takes role {needs}; the caller has {}",
            operation.summary(),
            role.as_str()
        )));
    }
    Ok(caller)
}

impl Caller {
    /// What a body says. Older clients send their organization along; it must be the caller's own.
    ///
    /// # Errors
    /// There is no body, it cannot be read, or it names another organization.
    pub fn fields(&self, body: Bytes) -> Result<Fields, ApiError> {
        let fields = Fields::required_body(body)?;
        match fields.string("organizationId")? {
            Some(id) if OrganizationId::parse(id) != Some(self.organization) => {
                Err(ApiError::forbidden("`organizationId` is not the organization of the caller"))
            }
            _ => Ok(fields),
        }
    }
}
