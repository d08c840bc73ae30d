//! The outcome of a verification: [`Verified`], which only a finished proof can create, and the
//! principal that it identifies.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use serde::{Serialize, Serializer, ser};
use serde_json::value::RawValue;

use super::ids::{MemberId, OrganizationId, SdkClientId, UserPoolId};
use super::role::Role;

/// The principal that a credential identifies. A value of this type is a finished proof: only the
/// verification functions of this module tree can create one.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    principal: Principal,
}

impl Verified {
    /// For the verification functions only, as their last step.
    pub(super) const fn proven(principal: Principal) -> Self {
        Self { principal }
    }

    /// The principal.
    #[must_use]
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The organization of the principal.
    #[must_use]
    pub fn organization(&self) -> OrganizationId {
        match &self.principal {
            Principal::AppUser(user) => user.organization,
            Principal::ApiKey(key) => key.organization,
            Principal::Member(session) => session.organization,
        }
    }
}

/// The types of principal.
#[derive(Clone, Debug, PartialEq)]
pub enum Principal {
    /// An end user, identified by an `appUserIdToken`.
    AppUser(Arc<AppUser>),
    /// A backend, identified by its API key.
    ApiKey(ApiKeyHolder),
    /// A staff user of the organization, identified by a session token.
    Member(SessionHolder),
}

/// An end user.
#[derive(Clone, Debug, PartialEq)]
pub struct AppUser {
    /// The organization of the pool.
    pub organization: OrganizationId,
    /// The pool of the user. The same appUserId in two pools means two users.
    pub pool: UserPoolId,
    /// The client that the caller specified.
    pub client: SdkClientId,
    /// The id of the user in the organization's own system.
    pub app_user_id: String,
    /// `iat`, if the token has one.
    pub issued_at: Option<Timestamp>,
    /// `exp`.
    pub expires_at: Timestamp,
    /// Every claim of the token.
    pub claims: Claims,
    /// What a response contains beside the claims.
    pub description: Memo,
}

/// A text about a value that does not change, which is made once and then kept with the value. It
/// takes no part in comparisons.
#[derive(Clone, Debug, Default)]
pub struct Memo(OnceLock<Box<[u8]>>);

impl Memo {
    /// The text, if it has been made.
    #[must_use]
    pub fn get(&self) -> Option<&[u8]> {
        self.0.get().map(Box::as_ref)
    }

    /// Keeps the text, which must be the same every time.
    pub fn keep(&self, text: &[u8]) {
        self.0.get_or_init(|| text.into());
    }
}

impl PartialEq for Memo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// The claims of a token, as the text of the JSON object that was signed: it has no duplicate
/// members. A tree of them would take several times the memory, and responses contain the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims(Box<str>);

impl Claims {
    pub(super) fn new(text: String) -> Self {
        Self(text.into())
    }

    /// The JSON object.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl Serialize for Claims {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object: &RawValue = serde_json::from_str(self.text()).map_err(ser::Error::custom)?;
        object.serialize(serializer)
    }
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyHolder {
    /// The organization of the client.
    pub organization: OrganizationId,
    /// The service client that the key belongs to.
    pub client: SdkClientId,
    /// The role of the key.
    pub role: Role,
    /// The id of the key: public, for logs and audits.
    pub key_id: String,
    /// When the key was created, if known.
    pub created_at: Option<Timestamp>,
    /// When the key expires.
    pub expires_at: Option<Timestamp>,
}

/// A member who has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionHolder {
    /// The organization of the member.
    pub organization: OrganizationId,
    /// The member.
    pub member: MemberId,
    /// The role of the member.
    pub role: Role,
    /// The id of the session: public, for logs and audits.
    pub session_id: String,
    /// When the member logged in.
    pub created_at: Timestamp,
    /// When the session expires.
    pub expires_at: Timestamp,
}
