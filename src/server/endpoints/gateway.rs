//! What the endpoints for gateways share: the client that a deployment is bound to, and which
//! response a rejection gets.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};

use super::Presented;
use crate::domain::client::SdkClient;
use crate::domain::ids::SdkClientId;
use crate::domain::reason::{Class, Reason};
use crate::domain::token::MAX_TOKEN_BYTES;
use crate::server::ValidatorState;
use crate::server::error::class_of;
use crate::server::request::bearer;

/// The client that the configuration of a deployment specifies, if it can be used. Of any
/// credential, only those of its organization are accepted.
///
/// # Errors
/// There is no such client, it is suspended or is no webapp, or that cannot be determined.
pub fn bound_client(
    state: &ValidatorState,
    client: Option<SdkClientId>,
) -> Result<Arc<SdkClient>, Reason> {
    state.reader.answers()?;
    let client = client.and_then(|id| state.reader.client(id)).ok_or(Reason::ClientUnknown)?;
    client.live_pool()?;
    Ok(client)
}

/// What the original request presents. Of its headers, only `Authorization` has a meaning.
///
/// # Errors
/// The client cannot be used, or there is not exactly one bearer credential.
pub fn presented<'r>(
    state: &ValidatorState,
    client: &str,
    headers: &'r HeaderMap,
) -> Result<Presented<'r>, Reason> {
    let client = bound_client(state, SdkClientId::parse(client))?;
    let credential = bearer(headers)?;
    if credential.len() > MAX_TOKEN_BYTES {
        return Err(Reason::CredentialTooLarge);
    }
    Ok(bound_to(&client, credential))
}

/// A credential that must be one of this client's users, or at least of its organization.
pub fn bound_to<'r>(client: &SdkClient, credential: &'r str) -> Presented<'r> {
    Presented {
        credential,
        client: Some(Ok(client.id)),
        organization: Some(Ok(client.organization)),
    }
}

/// The status and name of a rejection: 401, 403 or 503, because proxies such as nginx turn any other
/// status into an error of their own.
pub const fn rejection(reason: Reason) -> (StatusCode, &'static str) {
    match reason {
        // No credential would be accepted: the deployment has to be changed.
        Reason::ClientUnknown
        | Reason::ClientSuspended
        | Reason::ClientNotWebapp
        | Reason::PoolNotFound => (StatusCode::FORBIDDEN, "ForbiddenError"),
        reason => match reason.class() {
            // Two credentials are as good as none.
            Class::BadRequest | Class::Unauthorized => class_of(Class::Unauthorized),
            Class::Unavailable => class_of(Class::Unavailable),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_is_401_or_403_or_503() {
        for &reason in Reason::ALL {
            let (status, name) = rejection(reason);
            let unavailable = reason.class() == Class::Unavailable;
            assert_eq!(unavailable, status == StatusCode::SERVICE_UNAVAILABLE, "{reason:?}");
            let expected = match status.as_u16() {
                401 => "UnauthorizedError",
                403 => "ForbiddenError",
                503 => "UnavailableError",
                status => panic!("{reason:?}: {status}"),
            };
            assert_eq!(name, expected, "{reason:?}");
        }
    }
}
