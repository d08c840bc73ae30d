//! A staff user of an organization.

use std::sync::Arc;

use jiff::Timestamp;

use super::credential::KeyHash;
use super::ids::{MemberId, ObjectName, OrganizationId, PasswordId};
use super::principal::{Principal, SessionHolder, Verified};
use super::reason::Reason;
use super::revocation::Revocation;
use super::role::Role;
use super::secret_ref::SecretEntry;
use super::session::{StoredSession, living};

/// A staff user of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The id, derived from namespace and name.
    pub id: MemberId,
    /// The organization of its namespace.
    pub organization: OrganizationId,
    /// The object that declares it.
    pub name: ObjectName,
    /// When that object was created. If two members of an organization have the same e-mail
    /// address, the older one can log in with it.
    pub created_at: Option<Timestamp>,
    /// The e-mail address as written in the spec; compared in the form of [`Member::login_name`].
    pub email: String,
    /// The member's role.
    pub role: Role,
    /// Whether the member has no permissions, though the object is retained.
    pub suspended: bool,
    /// The entry of a Secret in the member's namespace that contains the password, if the spec
    /// specifies one.
    pub password: Option<SecretEntry>,
    /// The id of the current password. It is stored in the Member object, and each session stores
    /// the id of the password that it was started with. So the one write that changes the password
    /// also ends every session.
    pub password_id: Option<PasswordId>,
    /// The Kubernetes identity that is granted the role's permissions.
    pub kubernetes: Option<KubernetesSubject>,
    /// The sessions in the member's status.
    pub sessions: Vec<StoredSession>,
}

/// The Kubernetes identity of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubernetesSubject {
    /// A user name that does not start with `system:`.
    User(String),
    /// A ServiceAccount in the member's namespace.
    ServiceAccount(String),
}

impl KubernetesSubject {
    /// The user name of the subject at the API server, for a member in `namespace`.
    #[must_use]
    pub fn username(&self, namespace: &str) -> String {
        match self {
            Self::User(user) => user.clone(),
            Self::ServiceAccount(account) => format!("system:serviceaccount:{namespace}:{account}"),
        }
    }
}

impl Member {
    /// The form in which e-mail addresses are compared at login: in lower case, because users do
    /// not remember capitalization.
    #[must_use]
    pub fn login_name(email: &str) -> String {
        email.trim().to_lowercase()
    }

    /// The member's user name at the API server, if the member may log in with it.
    #[must_use]
    pub fn username(&self) -> Option<String> {
        self.kubernetes.as_ref().map(|subject| subject.username(&self.name.namespace))
    }

    /// The sessions that are valid at `now`: they have not expired, and the password has not
    /// changed since they started.
    #[must_use]
    pub fn live_sessions(&self, now: Timestamp) -> Vec<StoredSession> {
        let mut sessions = living(&self.sessions, now);
        sessions.retain(|session| session.password == self.password_id);
        sessions
    }

    /// Verifies the session token with this hash. `revocations` are those of the member that are in
    /// force at `now`.
    ///
    /// # Errors
    /// The session is not one of this member's, the member is suspended, or the session has expired
    /// or is revoked.
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
