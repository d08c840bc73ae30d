//! Authenticates the caller and checks its role against the operation table.

use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use jiff::Timestamp;

use super::audit;
use crate::domain::ids::{MemberId, OrganizationId, SdkClientId};
use crate::domain::operation::Operation;
use crate::domain::principal::Principal;
use crate::domain::reason::Reason;
use crate::domain::role::Role;
use crate::server::body::OwnOrganization;
use crate::server::endpoints::{ORG, Presented};
use crate::server::request::bearer;
use crate::server::{ApiError, ApiState};

/// An authenticated caller whose role is sufficient.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its organization; no other exists for it.
    pub organization: OrganizationId,
    /// The namespace of that organization.
    pub namespace: String,
    /// Its role.
    pub role: Role,
    /// Its identity.
    pub who: Who,
    /// When its credential expires; never if `None`.
    pub expires_at: Option<Timestamp>,
}

/// The types of caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A staff user of the organization, logged in.
    Member {
        /// The member.
        id: MemberId,
        /// The id of the session.
        session: String,
    },
    /// A backend, by its API key.
    Service(SdkClientId),
}

impl Who {
    /// The id of the member, or of the client that the API key belongs to.
    pub fn id(&self) -> String {
        match self {
            Self::Member { id, .. } => id.to_string(),
            Self::Service(id) => id.to_string(),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member { id, session } => write!(f, "member {id} session {session}"),
            Self::Service(id) => write!(f, "client {id}"),
        }
    }
}

/// Authenticates and authorizes the caller of `operation`.
async fn authorize(
    state: &ApiState,
    headers: &HeaderMap,
    operation: Operation,
) -> Result<Caller, ApiError> {
    let presented = bearer(headers);
    let presented =
        presented.map(|credential| Presented { credential, client: None, organization: None });
    let verified = ORG.authenticate(state, presented).await?;
    let organization = verified.organization();
    let (role, who, object, expires_at) = match verified.principal() {
        Principal::ApiKey(key) => {
            let client = state.reader.client(key.client).ok_or(Reason::ApiKeyUnknown)?;
            (key.role, Who::Service(key.client), client.name.clone(), key.expires_at)
        }
        Principal::Member(session) => {
            state.platform.limits.member(session.member, organization)?;
            let who = Who::Member { id: session.member, session: session.session_id.clone() };
            let member = state.reader.member(session.member).ok_or(Reason::SessionUnknown)?;
            (session.role, who, member.name.clone(), Some(session.expires_at))
        }
        Principal::AppUser(_) => return Err(Reason::CredentialKindRefused.into()),
    };
    let caller = Caller { organization, namespace: object.namespace, role, who, expires_at };
    audit::caller(organization, &caller.who, role);
    if !operation.allows(role) {
        let needs = operation.needs().map_or("another role", Role::as_str);
        return Err(ApiError::forbidden(format!(
            "role {needs} is required to {}; the caller has {}",
            operation.summary(),
            role.as_str()
        )));
    }
    Ok(caller)
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    /// The caller of the operation that the route belongs to. Authorized once, however many
    /// extractors need it.
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(caller.clone());
        }
        let operation = parts.extensions.get::<Operation>().ok_or_else(ApiError::internal)?;
        let caller = authorize(state, &parts.headers, *operation).await?;
        parts.extensions.insert(OwnOrganization(caller.organization));
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}
