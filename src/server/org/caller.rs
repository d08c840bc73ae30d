//! Authenticates the caller and checks its role against the operation table.

use std::fmt;

use axum::body::Bytes;
use axum::http::HeaderMap;

use super::audit;
use crate::domain::ids::{MemberId, OrganizationId, SdkClientId};
use crate::domain::operation::Operation;
use crate::domain::principal::Principal;
use crate::domain::reason::Reason;
use crate::domain::role::Role;
use crate::server::endpoints::{ORG, Presented};
use crate::server::request::{Fields, bearer};
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

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member { id, session } => write!(f, "member {id} session {session}"),
            Self::Service(id) => write!(f, "client {id}"),
        }
    }
}

/// Authenticates and authorizes the caller of `operation`.
///
/// # Errors
/// There is no credential, it is invalid, its role is not sufficient, or it has made too many
/// calls.
pub async fn authorize(
    state: &ApiState,
    headers: &HeaderMap,
    operation: Operation,
) -> Result<Caller, ApiError> {
    let presented = bearer(headers).map(|credential| Presented {
        credential: credential.to_owned().into(),
        client: None,
        organization: None,
    });
    let verified = ORG.authenticate(state, presented).await?;
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

impl Caller {
    /// Reads a body. Older clients send their organization along; it must be the caller's own.
    ///
    /// # Errors
    /// There is no body, it cannot be parsed, or it specifies another organization.
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
