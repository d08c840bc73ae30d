//! The client of an appUserIdToken at endpoints whose callers authenticate: always one of the caller's
//! own organization.

use std::sync::Arc;

use crate::domain::client::SdkClient;
use crate::domain::ids::{ObjectName, OrganizationId, SdkClientId};
use crate::domain::reason::Reason;
use crate::domain::token::UnverifiedToken;
use crate::server::ValidatorState;

/// The client that a token, if there is one, is validated for: the one that the caller specifies, otherwise the one
/// that the token was issued for, otherwise the organization's default client.
///
/// # Errors
/// There is none, or it does not belong to the organization, or the token is malformed.
pub fn find(
    state: &ValidatorState,
    organization: OrganizationId,
    named: Option<&str>,
    token: Option<&str>,
) -> Result<Arc<SdkClient>, Reason> {
    let reader = &state.reader;
    let client = if let Some(id) = named {
        SdkClientId::parse(id).and_then(|id| reader.client(id))
    } else if let Some(id) = made_for(token)? {
        // Unverified: the verification of the token, for this client, follows.
        reader.client(id)
    } else {
        let organization = reader.organization(organization).ok_or(Reason::ClientMissing)?;
        let name = organization.default_sdk_client.clone().ok_or(Reason::ClientMissing)?;
        reader.client_named(&ObjectName { namespace: organization.namespace.clone(), name })
    };
    client.filter(|client| client.organization == organization).ok_or(Reason::ClientUnknown)
}

fn made_for(token: Option<&str>) -> Result<Option<SdkClientId>, Reason> {
    let token = token.map(UnverifiedToken::parse).transpose()?;
    Ok(token.and_then(|token| token.made_for()))
}
