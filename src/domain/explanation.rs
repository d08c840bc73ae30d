//! Explains a verdict: which step of the verification decided it. There is no second verification:
//! every [`Reason`] belongs to one [`Step`], and the steps before it have passed.

use super::credential_type::CredentialType;
use super::reason::Reason;

/// A step of the verification of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The replica can answer.
    Replica,
    /// The form of the credential, and of the header of a token.
    Format,
    /// The API key or session exists.
    Lookup,
    /// The client.
    Client,
    /// The member of a session.
    Member,
    /// The pool of the client, and its keys.
    UserPool,
    /// The key and the signature.
    Signature,
    /// Whether the token was issued for the client.
    StrictClient,
    /// The times.
    Dates,
    /// `iss`.
    Issuer,
    /// `aud`.
    Audience,
    /// `cnf`.
    SenderConstraint,
    /// `sdkClientId`.
    TokenClient,
    /// The user id.
    AppUserId,
    /// The claims that the pool requires.
    RequiredClaims,
    /// `jti`.
    TokenId,
    /// When an API key or session expires.
    Expiry,
    /// Revocations of what the steps before have identified.
    Revocation,
    /// The organization.
    Organization,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// It has passed.
    Pass,
    /// It has decided the verdict.
    Fail,
    /// An earlier one has.
    NotReached,
}

impl StepResult {
    /// Its name in a response.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NotReached => "notReached",
        }
    }
}

impl Step {
    /// Those of an appUserIdToken, in their order.
    const OF_TOKEN: &[Self] = &[
        Self::Replica,
        Self::Format,
        Self::Client,
        Self::UserPool,
        Self::Signature,
        Self::StrictClient,
        Self::Dates,
        Self::Issuer,
        Self::Audience,
        Self::SenderConstraint,
        Self::TokenClient,
        Self::AppUserId,
        Self::RequiredClaims,
        Self::TokenId,
        Self::Revocation,
        Self::Organization,
    ];
    /// Those of an API key.
    const OF_API_KEY: &[Self] = &[
        Self::Replica,
        Self::Format,
        Self::Lookup,
        Self::Client,
        Self::Expiry,
        Self::Revocation,
        Self::Organization,
    ];
    /// Those of a session token.
    const OF_SESSION: &[Self] = &[
        Self::Replica,
        Self::Format,
        Self::Lookup,
        Self::Member,
        Self::Expiry,
        Self::Revocation,
        Self::Organization,
    ];

    /// The steps of a credential of this type, in their order. What has no type is treated as a
    /// token.
    #[must_use]
    pub const fn of(credential_type: Option<CredentialType>) -> &'static [Self] {
        match credential_type {
            None | Some(CredentialType::AppUserIdToken) => Self::OF_TOKEN,
            Some(CredentialType::ApiKey) => Self::OF_API_KEY,
            Some(CredentialType::SessionToken) => Self::OF_SESSION,
        }
    }

    /// Its name in a response, and what it requires.
    const fn documentation(self) -> (&'static str, &'static str) {
        match self {
            Self::Replica => (
                "replica",
                "the replica has listed every object and has contact with the API server",
            ),
            Self::Format => {
                ("format", "a JWT with an accepted header, an API key, or a session token")
            }
            Self::Lookup => ("lookup", "the API key or session exists"),
            Self::Client => {
                ("client", "the client exists and is not suspended; for a token, it is a webapp")
            }
            Self::Member => ("member", "the member is not suspended"),
            Self::UserPool => (
                "userPool",
                "the client's UserPool exists and has keys, and they are recent enough",
            ),
            Self::Signature => {
                ("signature", "a key of the UserPool that is not revoked has signed the token")
            }
            Self::StrictClient => {
                ("strictClient", "for a client with `strictClient`, the token was issued for it")
            }
            Self::Dates => {
                ("dates", "`exp` has not passed, and `nbf` and `iat` are not in the future")
            }
            Self::Issuer => ("issuer", "`iss` is an issuer of the UserPool"),
            Self::Audience => ("audience", "`aud` contains an audience of the UserPool"),
            Self::SenderConstraint => ("senderConstraint", "the token has no `cnf`"),
            Self::TokenClient => {
                ("tokenClient", "the client in `sdkClientId`, if any, is a client of the UserPool")
            }
            Self::AppUserId => ("appUserId", "`sub`, or the UserPool's `idClaim`, is a user id"),
            Self::RequiredClaims => {
                ("requiredClaims", "the token has the claims that the UserPool requires")
            }
            Self::TokenId => {
                ("tokenId", "`jti`, if any, is a string that a Revocation can specify")
            }
            Self::Expiry => ("expiry", "the API key or session has not expired"),
            Self::Revocation => ("revocation", "no Revocation covers the credential or its user"),
            Self::Organization => ("organization", "the credential belongs to the organization"),
        }
    }

    /// Its name in a response.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.documentation().0
    }

    /// What it requires.
    #[must_use]
    pub const fn description(self) -> &'static str {
        self.documentation().1
    }
}

impl Reason {
    /// The step that fails with this reason.
    #[must_use]
    pub const fn step(self) -> Step {
        match self {
            Self::IndexStale | Self::IndexNotReady => Step::Replica,
            Self::CredentialMissing
            | Self::TwoCredentials
            | Self::AuthorizationMalformed
            | Self::CredentialTooLarge
            | Self::CredentialUnrecognized
            | Self::CredentialKindRefused
            | Self::TokenMalformed
            | Self::TokenTypeUnsupported
            | Self::AlgorithmUnsupported => Step::Format,
            Self::ApiKeyUnknown | Self::SessionUnknown => Step::Lookup,
            Self::ClientMissing
            | Self::ClientAmbiguous
            | Self::ClientUnknown
            | Self::ClientSuspended
            | Self::ClientNotWebapp => Step::Client,
            Self::MemberSuspended => Step::Member,
            Self::PoolNotFound | Self::PoolNotReady | Self::KeySetStale => Step::UserPool,
            // A revoked key may be found before or after its signature is verified.
            Self::KeyIdMissing
            | Self::KeyNotYetKnown
            | Self::Overloaded
            | Self::KeyUnknown
            | Self::KeyRevoked
            | Self::AlgorithmMismatch
            | Self::SignatureInvalid => Step::Signature,
            Self::ClientMismatch => Step::StrictClient,
            Self::ExpiryMissing
            | Self::TokenExpired
            | Self::TokenNotYetValid
            | Self::TokenFromFuture => Step::Dates,
            Self::IssuerMismatch => Step::Issuer,
            Self::AudienceMismatch => Step::Audience,
            Self::TokenSenderConstrained => Step::SenderConstraint,
            Self::TokenClientGone => Step::TokenClient,
            Self::SubjectMissing | Self::SubjectTooLong | Self::EmailUnverified => Step::AppUserId,
            Self::RequiredClaimMismatch => Step::RequiredClaims,
            Self::TokenIdInvalid => Step::TokenId,
            Self::ApiKeyExpired | Self::SessionExpired => Step::Expiry,
            Self::TokenRevoked | Self::UserRevoked | Self::ApiKeyRevoked | Self::SessionRevoked => {
                Step::Revocation
            }
            Self::OrganizationMismatch => Step::Organization,
        }
    }
}

/// The steps of a credential of this type, with their results. `failure` is the reason for which it
/// was not accepted.
#[must_use]
pub fn explain(
    credential_type: Option<CredentialType>,
    failure: Option<Reason>,
) -> Vec<(Step, StepResult)> {
    let mut result = StepResult::Pass;
    let mut explained = Vec::new();
    for &step in Step::of(credential_type) {
        let fails = failure.is_some_and(|reason| reason.step() == step);
        if fails {
            result = StepResult::Fail;
        }
        explained.push((step, result));
        if fails {
            result = StepResult::NotReached;
        }
    }
    explained
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failed_step_separates_what_passed_from_what_was_not_reached() {
        for credential_type in CredentialType::ALL {
            let steps = Step::of(Some(credential_type));
            let explained = explain(Some(credential_type), None);
            assert!(explained.iter().all(|(_, result)| *result == StepResult::Pass));
            for &reason in Reason::ALL {
                let Some(position) = steps.iter().position(|step| *step == reason.step()) else {
                    continue;
                };
                let explained = explain(Some(credential_type), Some(reason));
                for (index, (step, result)) in explained.into_iter().enumerate() {
                    let expected = match index.cmp(&position) {
                        std::cmp::Ordering::Less => StepResult::Pass,
                        std::cmp::Ordering::Equal => StepResult::Fail,
                        std::cmp::Ordering::Greater => StepResult::NotReached,
                    };
                    assert_eq!(result, expected, "{reason:?} {step:?}");
                }
            }
        }
    }

    #[test]
    fn every_reason_fails_a_step_of_some_credential() {
        for &reason in Reason::ALL {
            let fails = |type_| Step::of(Some(type_)).contains(&reason.step());
            assert!(CredentialType::ALL.into_iter().any(fails), "{reason:?}");
        }
    }
}
