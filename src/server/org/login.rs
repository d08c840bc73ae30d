//! `POST /org/login`, by e-mail and password or by a Kubernetes identity; `POST /org/logout` and
//! `POST /org/logout/all`.
//!
//! All failed logins look the same: the same error, the same number of hashes, and a response time
//! that is a multiple of a fixed interval, so that the duration of a lookup reveals nothing either.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{Extensions, HeaderMap, StatusCode};
use futures::future::join_all;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::{Api, PostParams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::warn;
use zeroize::Zeroizing;

use super::caller::{Caller, Who};
use super::fields::{filled, required};
use super::passwords::CANDIDATES;
use super::route::{Reply, reply};
use super::sessions::Proof;
use super::{audit, rate_limit, sessions};
use crate::domain::ids::OrganizationId;
use crate::domain::member::Member;
use crate::domain::password::Password;
use crate::domain::reason::Reason;
use crate::kube_ext::error::short;
use crate::server::body::JsonBody;
use crate::server::{ApiError, ApiState};

/// A failed login is answered after a multiple of this time.
const FAILURE_INTERVAL: Duration = Duration::from_millis(500);

/// An e-mail address with a password, or a Kubernetes token.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Login {
    email: Option<String>,
    #[schemars(with = "Option<String>", extend("format" = "password"))]
    password: Option<Zeroizing<String>>,
    /// A token of a Kubernetes identity, issued for this operator: its audience is the operator's
    /// public URL, or `anon-operator`.
    kubernetes_token: Option<String>,
    /// Required for a member of several organizations.
    organization_id: Option<String>,
}

/// A new session.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoginSession {
    /// The session token: the bearer token of the following requests.
    token: String,
    /// The organization of the member.
    organization_id: OrganizationId,
}

/// Identifies the member, begins a session and returns its token.
pub async fn login(
    State(state): State<ApiState>,
    extensions: Extensions,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Login>,
) -> Result<Reply<LoginSession>, ApiError> {
    let result = log_in(&state, &extensions, &headers, body).await;
    let status = result.as_ref().map_or_else(ApiError::status, |_| StatusCode::OK);
    state.metrics.login(status.as_u16());
    result
}

async fn log_in(
    state: &ApiState,
    extensions: &Extensions,
    headers: &HeaderMap,
    body: Login,
) -> Result<Reply<LoginSession>, ApiError> {
    state.reader.answers()?;
    let peer = rate_limit::peer(extensions, headers, state.platform.settings.proxy_hops);
    let began = Instant::now();
    let organization = body.organization_id.as_deref();
    let mut hint = "wrong e-mail address or password, or the member may not log in";
    let found = if let Some(token) = filled(body.kubernetes_token) {
        if body.password.is_some_and(|password| !password.is_empty()) {
            return Err(ApiError::invalid_field(
                "kubernetesToken",
                "two credentials: send either `email` and `password` or `kubernetesToken`",
            ));
        }
        hint = "the token is invalid or not issued for audience `anon-operator`, or belongs to no member who may log in";
        by_kubernetes(state, organization, peer, &token).await?
    } else {
        let email = required("email", body.email)?;
        let password = required("password", body.password)?;
        // Checked before the rate limits: a malformed request must not use up anyone's budget.
        by_password(state, email, password, organization, peer).await?
    };
    let found = the_one(found)?;
    let token = match &found {
        Some((member, proof)) => sessions::begin(state, &member.name, proof).await?,
        None => None,
    };
    let (Some((member, _)), Some(token)) = (found, token) else {
        let beats = began.elapsed().as_millis() / FAILURE_INTERVAL.as_millis() + 1;
        let until = FAILURE_INTERVAL.saturating_mul(u32::try_from(beats).unwrap_or(u32::MAX));
        tokio::time::sleep(until.saturating_sub(began.elapsed())).await;
        return Err(ApiError::unauthorized(format!("login failed: {hint}")));
    };
    audit::organization(member.organization);
    audit::who(&Who::Member { id: member.id, session: token.hash().id() });
    let token = token.expose().to_owned();
    Ok(reply(LoginSession { token, organization_id: member.organization }))
}

/// The members that were found, each with its proof.
type Found = Vec<(Arc<Member>, Proof)>;

/// The only member that was found. If there are several, the caller has proven to be each of them,
/// including suspended ones. Those must not be filtered out earlier: after a suspension, the login
/// would end up in another organization, and anyone who creates an organization can add a member
/// with the identity of another person.
fn the_one(mut found: Found) -> Result<Option<(Arc<Member>, Proof)>, ApiError> {
    let Some((last, proof)) = found.pop() else { return Ok(None) };
    let organization = last.organization;
    if found.iter().any(|(member, _)| member.organization != organization) {
        return Err(ApiError::missing_field(
            "organizationId",
            "`organizationId` is required: you are a member of several organizations",
        ));
    }
    if !found.is_empty() {
        return Err(ApiError::unprocessable(
            "several members of the organization have this Kubernetes identity: ask an Admin to remove it from all but one of them",
        ));
    }
    Ok(Some((last, proof)))
}

/// The members with this e-mail address and password.
async fn by_password(
    state: &ApiState,
    email: String,
    password: Zeroizing<String>,
    organization: Option<&str>,
    peer: Option<IpAddr>,
) -> Result<Found, ApiError> {
    let login_name = Member::login_name(&email);
    // Not held while the request waits.
    drop(email);
    let password = Password::typed(&password);
    let limits = &state.platform.limits;
    limits.peer(peer)?;
    limits.email(&login_name, peer)?;
    let mut candidates = state.reader.members_by_email(&login_name);
    narrow(&mut candidates, organization);
    candidates.truncate(CANDIDATES);
    if password.is_oversized() {
        candidates.clear();
    }
    let passwords = &state.platform.passwords;
    let reads = join_all(candidates.iter().map(|member| passwords.read(&member.name))).await;
    let (mut known, mut hashes) = (Vec::new(), Vec::new());
    for read in reads {
        let read = read.map_err(|error| {
            warn!(%error, "failed to read a password hash");
            ApiError::unavailable("login is currently unavailable; try again")
        })?;
        let read = read.filter(|stored| Member::login_name(&stored.member.email) == login_name);
        if let Some(stored) = read {
            known.push((Arc::new(stored.member), Proof::Password(stored.id)));
            hashes.push(stored.hash);
        }
    }
    let mut hashes = hashes.into_iter();
    let slots = std::array::from_fn(|_| hashes.next());
    let password = if password.is_oversized() { Password::typed("") } else { password };
    let matches = passwords.check(password, slots).await?;
    let found = known.into_iter().zip(matches).filter(|(_, matches)| *matches);
    Ok(found.map(|(found, _)| found).collect())
}

/// The members with the Kubernetes identity of this token. It must have been issued for our
/// audience: a service that received a token for itself must not be able to begin a session with
/// it.
async fn by_kubernetes(
    state: &ApiState,
    organization: Option<&str>,
    peer: Option<IpAddr>,
    token: &str,
) -> Result<Found, ApiError> {
    state.platform.limits.peer(peer)?;
    let ours = &state.platform.audiences;
    let spec = TokenReviewSpec { audiences: Some(ours.clone()), token: Some(token.to_owned()) };
    let review = TokenReview { spec, ..TokenReview::default() };
    let api: Api<TokenReview> = Api::all(state.platform.client.clone());
    let review = api.create(&PostParams::default(), &review).await.map_err(|error| {
        warn!(error = %short(&error), "failed to review a Kubernetes token");
        ApiError::unavailable("login by Kubernetes token is currently unavailable; try again")
    })?;
    let Some(status) = review.status.filter(|it| it.authenticated == Some(true)) else {
        return Ok(Vec::new());
    };
    // An authenticator that does not support audiences returns none, and has not checked ours.
    let for_us = status.audiences.iter().flatten().any(|audience| ours.contains(audience));
    let username = status.user.and_then(|user| user.username).filter(|_| for_us);
    let Some(username) = username else { return Ok(Vec::new()) };
    let mut found = state.reader.members_by_username(&username);
    narrow(&mut found, organization);
    let proof = |member| (member, Proof::Username(username.clone()));
    Ok(found.into_iter().map(proof).collect())
}

fn narrow(members: &mut Vec<Arc<Member>>, organization: Option<&str>) {
    if let Some(id) = organization {
        let id = OrganizationId::parse(id);
        members.retain(|member| Some(member.organization) == id);
    }
}

/// Ends the caller's session.
pub async fn logout(
    State(state): State<ApiState>,
    caller: Caller,
) -> Result<Reply<bool>, ApiError> {
    log_out(&state, &caller, false).await
}

/// Ends all of the caller's sessions.
pub async fn logout_all(
    State(state): State<ApiState>,
    caller: Caller,
) -> Result<Reply<bool>, ApiError> {
    log_out(&state, &caller, true).await
}

async fn log_out(state: &ApiState, caller: &Caller, all: bool) -> Result<Reply<bool>, ApiError> {
    let Who::Member { id, session } = &caller.who else {
        // An API key has no session; a rotation or a Revocation invalidates it.
        return Err(Reason::CredentialKindRefused.into());
    };
    let member = state.reader.member(*id).ok_or(Reason::SessionUnknown)?;
    sessions::end(state, &member.name, |it| all || it.hash.id() == *session).await?;
    audit::object(id);
    Ok(reply(true))
}
