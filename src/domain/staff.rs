//! An organization and its members.

use std::sync::Arc;

use jiff::Timestamp;

use super::decision::{Principal, Reason, SessionHolder, Verified};
use super::ids::{MemberId, ObjectName, OrganizationId, PasswordId};
use super::opaque::KeyHash;
use super::revocation::Revocation;
use super::role::Role;
use super::session::{SessionPolicy, StoredSession, living};

/// What an Organization object adds to the organization that its namespace is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// The namespace that it is.
    pub namespace: String,
    /// The name that people see.
    pub display_name: String,
    /// URL of its logo.
    pub logo_url: Option<String>,
    /// How long the sessions of its members live, and how many they may have.
    pub session: SessionPolicy,
    /// Name of the pool that tokens are minted for by default.
    pub default_user_pool: Option<String>,
    /// Name of the client that tokens are minted for by default.
    pub default_sdk_client: Option<String>,
}

/// Someone of the company.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// The organization that its namespace is.
    pub organization: OrganizationId,
    /// The object that declares it.
    pub name: ObjectName,
    /// When that object was created: of two members with one e-mail address, the older has it.
    pub created_at: Option<Timestamp>,
    /// E-mail address as it was written; compared by [`Member::login_name`].
    pub email: String,
    /// What this person may do.
    pub role: Role,
    /// Kept, and without rights.
    pub suspended: bool,
    /// The Secret of the member's namespace that the password is in, if it is in one.
    pub password: Option<SecretEntry>,
    /// Which password this member has. The object itself says so, and its sessions say which one
    /// they began with: so one write changes the password and ends every session.
    pub password_id: Option<PasswordId>,
    /// The Kubernetes identity that gets the rights of the role.
    pub kubernetes: Option<KubernetesSubject>,
    /// The sessions that status lists.
    pub sessions: Vec<StoredSession>,
}

/// An entry of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretEntry {
    /// Name of the Secret.
    pub secret: String,
    /// Name of the entry.
    pub entry: String,
}

/// Who a Member is to Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubernetesSubject {
    /// A user name, never of the system.
    User(String),
    /// A ServiceAccount of the member's namespace.
    ServiceAccount(String),
}

impl KubernetesSubject {
    /// The user name by which the API server knows the subject, for a member of `namespace`.
    #[must_use]
    pub fn username(&self, namespace: &str) -> String {
        match self {
            Self::User(user) => user.clone(),
            Self::ServiceAccount(account) => format!("system:serviceaccount:{namespace}:{account}"),
        }
    }
}

impl Member {
    /// The form in which e-mail addresses are compared at a login: nobody remembers which letters
    /// were capitals.
    #[must_use]
    pub fn login_name(email: &str) -> String {
        email.trim().to_lowercase()
    }

    /// The user name by which the API server knows this member, if it may log in with that.
    #[must_use]
    pub fn username(&self) -> Option<String> {
        self.kubernetes.as_ref().map(|subject| subject.username(&self.name.namespace))
    }

    /// The sessions that go on at `now`: they have not expired, and the password is still the one
    /// that they began with.
    #[must_use]
    pub fn live_sessions(&self, now: Timestamp) -> Vec<StoredSession> {
        let mut sessions = living(&self.sessions, now);
        sessions.retain(|session| session.password == self.password_id);
        sessions
    }

    /// Proves that the holder of the session token with this hash is this member.
    ///
    /// # Errors
    /// The session is not one of this member, has expired at `now`, one of the `revocations` in
    /// force covers it, or the member is suspended.
    pub fn prove(
        &self,
        hash: &KeyHash,
        revocations: &[Arc<Revocation>],
        now: Timestamp,
    ) -> Result<Verified, Reason> {
        let session = self.sessions.iter().find(|session| session.hash == *hash);
        let session = session.filter(|session| session.password == self.password_id);
        let session = session.ok_or(Reason::SessionUnknown)?;
        if self.suspended {
            return Err(Reason::MemberSuspended);
        }
        if session.expires_at <= now {
            return Err(Reason::SessionExpired);
        }
        if revocations.iter().any(|it| it.covers_age(Some(session.created_at), now)) {
            return Err(Reason::SessionRevoked);
        }
        Ok(Verified::proven(Principal::Member(SessionHolder {
            organization: self.organization,
            member: self.id,
            role: self.role,
            session_id: hash.id(),
            created_at: session.created_at,
            expires_at: session.expires_at,
        })))
    }
}
