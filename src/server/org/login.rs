//! `POST /org/login`, by e-mail and password or by a Kubernetes identity; `POST /org/logout` and
//! `POST /org/logout/all`.
//!
//! Every failed login looks the same: one answer, the same number of hashes, and a reply on a
//! fixed beat, so that the time of a lookup tells nothing either.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap};
use axum::response::Response;
use futures::future::join_all;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::{Api, PostParams};
use serde::Serialize;
use tracing::warn;

use super::caller::{Who, authorize};
use super::passwords::CANDIDATES;
use super::sessions::Proof;
use super::{audit, limits, reply, sessions};
use crate::domain::decision::Reason;
use crate::domain::ids::OrganizationId;
use crate::domain::password::Password;
use crate::domain::permission::Operation;
use crate::domain::staff::Member;
use crate::said::Said;
use crate::server::request::Fields;
use crate::server::{ApiError, AppState};

/// Failed logins are answered this long after they began, or at a multiple of it.
const BEAT: Duration = Duration::from_millis(500);

/// The reply.
#[derive(Serialize)]
struct LoggedIn<'t> {
    token: &'t str,
}

/// Finds out who it is, begins a session, replies with its token.
pub async fn login(
    State(state): State<AppState>,
    extensions: Extensions,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    state.reader.answers()?;
    let fields = Fields::required_body(body)?;
    let peer = limits::peer(&extensions, &headers, state.platform.proxy_hops);
    let began = Instant::now();
    // Read before anything is counted: what is no login uses up nobody's budget.
    let organization = fields.string("organizationId")?.map(str::to_owned);
    let organization = organization.as_deref();
    let mut hint = "wrong e-mail address or password, or not a member who may log in";
    let found = match fields.text("kubernetesToken")? {
        Some(token) => {
            if fields.text("password")?.is_some() {
                return Err(ApiError::invalid_field(
                    "kubernetesToken",
                    "two credentials: send `email` and `password`, or `kubernetesToken`, not both",
                ));
            }
            hint = "the token was not made for audience `anon-operator`, or is of no member who may log in";
            drop(fields);
            by_kubernetes(&state, organization, peer, &token).await?
        }
        None => by_password(&state, fields, organization, peer).await?,
    };
    let found = the_one(found)?;
    let token = match &found {
        Some((member, proof)) => sessions::begin(&state, &member.name, proof).await?,
        None => None,
    };
    let (Some((member, _)), Some(token)) = (found, token) else {
        let beats = began.elapsed().as_millis() / BEAT.as_millis() + 1;
        let until = BEAT.saturating_mul(u32::try_from(beats).unwrap_or(u32::MAX));
        tokio::time::sleep(until.saturating_sub(began.elapsed())).await;
        return Err(ApiError::unauthorized(format!("the login failed: {hint}")));
    };
    audit::organization(member.organization);
    audit::who(&Who::Member { id: member.id, session: token.hash().id() });
    Ok(reply(&LoggedIn { token: token.expose() }))
}

/// Those that were found, and how.
type Found = Vec<(Arc<Member>, Proof)>;

/// The one member that was found. Anyone who comes here with several has proven to be each of them,
/// the suspended ones too: these must not be left out before, or a login would end up in another
/// organization than before the suspension, and anyone can make an organization that claims someone.
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
            "several members of the organization have this Kubernetes identity: ask an Admin to leave it to one of them",
        ));
    }
    Ok(Some((last, proof)))
}

/// The members whose e-mail address and password these are.
async fn by_password(
    state: &AppState,
    fields: Fields,
    organization: Option<&str>,
    peer: Option<IpAddr>,
) -> Result<Found, ApiError> {
    let login_name = Member::login_name(fields.required("email")?);
    let password = Password::typed(fields.required("password")?);
    // Not held while it waits.
    drop(fields);
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
            warn!(%error, "could not read a password hash");
            ApiError::unavailable("logins are not possible now; try again")
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

/// The members whose Kubernetes identity this token is of. It must have been made for us: a token
/// that some other service was given must not open a session here.
async fn by_kubernetes(
    state: &AppState,
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
        warn!(error = %Said(&error), "could not have a token reviewed");
        ApiError::unavailable("logins by a Kubernetes identity are not possible now; try again")
    })?;
    let Some(status) = review.status.filter(|it| it.authenticated == Some(true)) else {
        return Ok(Vec::new());
    };
    // An authenticator that knows no audiences returns none: it has not checked ours.
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

/// Ends the session that asks for it.
pub async fn logout(
    State(state): State<AppState>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    log_out(&state, &headers, Operation::Logout).await
}

/// Ends every session of the member who asks for it.
pub async fn logout_all(
    State(state): State<AppState>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    log_out(&state, &headers, Operation::LogoutAll).await
}

async fn log_out(
    state: &AppState,
    headers: &HeaderMap,
    operation: Operation,
) -> Result<Response, ApiError> {
    let caller = authorize(state, headers, operation)?;
    let Who::Member { id, session } = &caller.who else {
        // An ApiKey has no session; what ends it is a rotation or a Revocation.
        return Err(Reason::CredentialKindRefused.into());
    };
    let member = state.reader.member(*id).ok_or(Reason::SessionUnknown)?;
    let all = operation == Operation::LogoutAll;
    sessions::end(state, &member.name, |it| all || it.hash.id() == *session).await?;
    audit::object(id);
    Ok(reply(&true))
}
