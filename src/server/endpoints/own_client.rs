//! The client of an appUserIdToken at endpoints whose callers authenticate: always one of the caller's
//! own organization.

use crate::domain::ids::{ObjectName, OrganizationId, SdkClientId};
use crate::domain::reason::Reason;
use crate::domain::token::UnverifiedToken;
use crate::server::ValidatorState;

/// The client that a token is validated for: the one that the caller specifies, otherwise the one
/// that the token was issued for, otherwise the organization's default client.
///
/// # Errors
/// There is none, or it does not belong to the organization, or the token is malformed.
pub fn find(
    state: &ValidatorState,
    organization: OrganizationId,
    named: Option<&str>,
    token: &str,
) -> Result<SdkClientId, Reason> {
    let reader = &state.reader;
    let client = if let Some(id) = named {
        SdkClientId::parse(id).and_then(|id| reader.client(id))
    } else if let Some(id) = UnverifiedToken::parse(token)?.made_for() {
        // Unverified: the verification of the token, for this client, follows.
        reader.client(id)
    } else {
        let organization = reader.organization(organization).ok_or(Reason::ClientMissing)?;
        let name = organization.default_sdk_client.clone().ok_or(Reason::ClientMissing)?;
        reader.client_named(&ObjectName { namespace: organization.namespace.clone(), name })
    };
    let client = client.filter(|client| client.organization == organization);
    client.map(|client| client.id).ok_or(Reason::ClientUnknown)
}
