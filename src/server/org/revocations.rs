//! `/org/revocations`: revokes credentials of the organization, and lists what was revoked.
//!
//! The roles are those of the admission policy for Revocations: a caller who may change a client or
//! a pool may revoke its credentials; the sessions of members and signing keys require role Admin.

use axum::extract::State;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::audit;
use super::caller::Caller;
use super::client_id::id_named;
use super::fields::filled;
use super::list::{List, Range};
use super::resources;
use super::route::{Reply, reply};
use crate::crd;
use crate::crd::condition::{find, is_ready};
use crate::domain::client::SdkClient;
use crate::domain::ids::{MemberId, RevocationId, SdkClientId, UserPoolId};
use crate::domain::member::Member;
use crate::domain::pool::UserPool;
use crate::domain::role::Role;
use crate::server::body::JsonBody;
use crate::server::{ApiError, ApiState};

/// Revoked credentials.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    id: RevocationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    sdk_client_id: Option<SdkClientId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_pool_id: Option<UserPoolId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member_id: Option<MemberId>,
    #[serde(flatten)]
    selection: Selection,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When the revocation ends; absent if never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    expires_at: Option<Time>,
    #[schemars(with = "String", extend("format" = "date-time"))]
    created_at: Option<Time>,
    /// The signing keys, API keys and sessions that were revoked, also after they were destroyed.
    matched: Vec<crd::MatchedCredential>,
    /// Whether something has matched and every replica is known to reject the credentials.
    enforced: bool,
    /// The state of the revocation, for people.
    message: String,
}

/// A new revocation: of one client, pool or member.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevocationCreate {
    /// Revokes API keys of this service client: `keyIds`, `keysCreatedBefore`.
    sdk_client_id: Option<String>,
    /// Revokes signing keys, tokens or users of this pool: `keyIds`, `keysCreatedBefore`,
    /// `appUserIds`, `tokenIds`, `tokensIssuedBefore`. Signing keys require role Admin.
    user_pool_id: Option<String>,
    /// Ends sessions of this member: `sessionsCreatedBefore`. Requires role Admin.
    member_id: Option<String>,
    /// Ids of API keys (16 hexadecimal digits), or `kid` of signing keys: 1 to 100.
    #[schemars(length(min = 1, max = 100))]
    key_ids: Option<Vec<String>>,
    /// Every key that was created before this time.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    keys_created_before: Option<Time>,
    /// Users, all of whose tokens are rejected, including those issued later: 1 to 256.
    #[schemars(length(min = 1, max = 256))]
    app_user_ids: Option<Vec<String>>,
    /// Tokens, by `jti`: 1 to 256.
    #[schemars(length(min = 1, max = 256))]
    token_ids: Option<Vec<String>>,
    /// Every token that was issued before this time.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    tokens_issued_before: Option<Time>,
    /// Every session that began before this time.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    sessions_created_before: Option<Time>,
    /// Free text, for audits: at most 1024 characters.
    #[schemars(length(max = 1024))]
    reason: Option<String>,
    /// When the revocation ends. Choose a time at which the credentials have expired anyway. Never,
    /// if unset.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    expires_at: Option<Time>,
    /// The caller's own organization.
    #[serde(rename = "organizationId")]
    _organization_id: Option<String>,
}

/// Which credentials are revoked.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Selection {
    #[serde(skip_serializing_if = "Option::is_none")]
    key_ids: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    keys_created_before: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_user_ids: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    tokens_issued_before: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    sessions_created_before: Option<Time>,
}

impl RevocationCreate {
    /// Checks that the request selects credentials, and only by fields of its target.
    fn ensure_selects(&self, target: &str, fields: &[&'static str]) -> Result<(), ApiError> {
        let sent = [
            ("keyIds", self.key_ids.is_some()),
            ("keysCreatedBefore", self.keys_created_before.is_some()),
            ("appUserIds", self.app_user_ids.is_some()),
            ("tokenIds", self.token_ids.is_some()),
            ("tokensIssuedBefore", self.tokens_issued_before.is_some()),
            ("sessionsCreatedBefore", self.sessions_created_before.is_some()),
        ];
        let mut selects = false;
        for (field, is_sent) in sent {
            if is_sent && !fields.contains(&field) {
                let message = format!("`{field}` does not apply to `{target}`");
                return Err(ApiError::invalid_field(field, message));
            }
            selects |= is_sent;
        }
        if selects {
            return Ok(());
        }
        let names: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
        let message = format!("with `{target}`, one of {} is required", names.join(", "));
        Err(ApiError::missing_field(fields.first().copied().unwrap_or_default(), message))
    }
}

/// Revokes credentials. They are rejected once the response is sent, by every replica that has
/// acknowledged the write.
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<RevocationCreate>,
) -> Result<Reply<Revocation>, ApiError> {
    let (target, spec) = spec(&state, &caller, body)?;
    let content = serde_json::to_value(&spec).unwrap_or_default();
    let make = |name: &str| crd::Revocation::new(name, spec.clone());
    let made = resources::create(&state, &caller, &target, &content, make).await?;
    let shown = show(&state, &caller, made);
    audit::object(&shown.id);
    Ok(reply(shown))
}

/// Returns the revocations.
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    range: Range,
) -> Result<Reply<List<Revocation>>, ApiError> {
    let revocations: Vec<crd::Revocation> = resources::list(&state, &caller).await?;
    let list = range.cut("Revocation", revocations, ResourceExt::name_any);
    Ok(reply(list.map(|revocation| show(&state, &caller, revocation))))
}

/// The name of the object whose credentials are revoked, and the spec.
fn spec(
    state: &ApiState,
    caller: &Caller,
    body: RevocationCreate,
) -> Result<(String, crd::RevocationSpec), ApiError> {
    let mut spec = crd::RevocationSpec {
        reason: filled(body.reason.clone()),
        expires_at: body.expires_at.clone(),
        // No manifest describes it, so nothing would delete it.
        deletion_policy: Some(crd::DeletionPolicy::Delete),
        ..crd::RevocationSpec::default()
    };
    let name = match (&body.sdk_client_id, &body.user_pool_id, &body.member_id) {
        (Some(id), None, None) => {
            body.ensure_selects("sdkClientId", &["keyIds", "keysCreatedBefore"])?;
            let client = state.reader.own::<SdkClient>(caller.organization, id);
            let client = client.ok_or_else(|| unknown("sdkClientId"))?;
            if client.live_pool().is_ok() {
                let message = "`sdkClientId` is a webapp client, which has no API key";
                return Err(ApiError::invalid_field("sdkClientId", message));
            }
            let name = client.name.name.clone();
            spec.sdk_client = Some(crd::RevokedApiKeys {
                name: name.clone(),
                key_ids: body.key_ids,
                keys_created_before: body.keys_created_before,
            });
            name
        }
        (None, Some(id), None) => {
            let fields =
                ["keyIds", "keysCreatedBefore", "appUserIds", "tokenIds", "tokensIssuedBefore"];
            body.ensure_selects("userPoolId", &fields)?;
            let pool = state.reader.own::<UserPool>(caller.organization, id);
            let name = pool.ok_or_else(|| unknown("userPoolId"))?.name.name.clone();
            if body.key_ids.is_some() || body.keys_created_before.is_some() {
                ensure_admin(caller, "revoke signing keys")?;
            }
            spec.user_pool = Some(crd::RevokedOfPool {
                name: name.clone(),
                key_ids: body.key_ids,
                keys_created_before: body.keys_created_before,
                subjects: body.app_user_ids,
                token_ids: body.token_ids,
                tokens_issued_before: body.tokens_issued_before,
            });
            name
        }
        (None, None, Some(id)) => {
            body.ensure_selects("memberId", &["sessionsCreatedBefore"])?;
            ensure_admin(caller, "end the sessions of a member")?;
            let member = state.reader.own::<Member>(caller.organization, id);
            let name = member.ok_or_else(|| unknown("memberId"))?.name.name.clone();
            spec.member = body.sessions_created_before.map(|sessions_created_before| {
                crd::RevokedSessions { name: name.clone(), sessions_created_before }
            });
            name
        }
        (None, None, None) => {
            let message = "one of `sdkClientId`, `userPoolId` and `memberId` is required";
            return Err(ApiError::missing_field("sdkClientId", message));
        }
        _ => {
            return Err(ApiError::malformed(
                "send only one of `sdkClientId`, `userPoolId` and `memberId`",
            ));
        }
    };
    Ok((name, spec))
}

fn unknown(field: &'static str) -> ApiError {
    ApiError::invalid_field(field, format!("`{field}` does not exist in the organization"))
}

fn ensure_admin(caller: &Caller, action: &str) -> Result<(), ApiError> {
    if caller.role == Role::Admin {
        return Ok(());
    }
    Err(ApiError::forbidden(format!(
        "role Admin is required to {action}; the caller has {}",
        caller.role.as_str()
    )))
}

fn show(state: &ApiState, caller: &Caller, revocation: crd::Revocation) -> Revocation {
    let namespace = &caller.namespace;
    let id = RevocationId::derive(namespace, &revocation.name_any());
    let crd::RevocationStatus { matched, conditions, .. } = revocation.status.unwrap_or_default();
    let message = find(&conditions, "Ready").map(|ready| ready.message.clone());
    let crd::RevocationSpec { user_pool, sdk_client, member, reason, expires_at, .. } =
        revocation.spec;
    let sdk_client_id =
        sdk_client.as_ref().map(|it| id_named(&state.reader, namespace, it.name.clone()));
    let user_pool_id = user_pool.as_ref().map(|pool| UserPoolId::derive(namespace, &pool.name));
    let member_id = member.as_ref().map(|member| MemberId::derive(namespace, &member.name));
    let mut selection = Selection::default();
    if let Some(keys) = sdk_client {
        selection.key_ids = keys.key_ids;
        selection.keys_created_before = keys.keys_created_before;
    }
    if let Some(pool) = user_pool {
        selection.key_ids = pool.key_ids;
        selection.keys_created_before = pool.keys_created_before;
        selection.app_user_ids = pool.subjects;
        selection.token_ids = pool.token_ids;
        selection.tokens_issued_before = pool.tokens_issued_before;
    }
    selection.sessions_created_before = member.map(|member| member.sessions_created_before);
    Revocation {
        id,
        sdk_client_id,
        user_pool_id,
        member_id,
        selection,
        reason,
        expires_at,
        created_at: revocation.metadata.creation_timestamp,
        matched,
        enforced: is_ready(&conditions),
        message: message.unwrap_or_else(|| "waiting for the replicas".to_owned()),
    }
}
