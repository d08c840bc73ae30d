//! `GET /org/me`: the authenticated caller. `GET /org/sdkClient/auth` is its form in the hosted
//! platform.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::caller::{Caller, Who};
use super::route::{Reply, reply};
use crate::domain::ids::OrganizationId;
use crate::domain::role::Role;
use crate::server::ApiError;

/// The authenticated caller.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    /// The type of the caller: `member` or `apiKey`.
    kind: &'static str,
    /// The id of the member, or of the client that the API key belongs to.
    id: String,
    role: Role,
    organization_id: OrganizationId,
    /// When the session or the API key expires; absent if never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    expires_at: Option<Timestamp>,
}

/// Returns the caller.
pub async fn me(caller: Caller) -> Result<Reply<Me>, ApiError> {
    let kind = match &caller.who {
        Who::Member { .. } => "member",
        Who::Service(_) => "apiKey",
    };
    Ok(reply(Me {
        kind,
        id: caller.who.id(),
        role: caller.role,
        organization_id: caller.organization,
        expires_at: caller.expires_at,
    }))
}
