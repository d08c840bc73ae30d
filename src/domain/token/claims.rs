//! The claims of a token whose signature is valid.

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::duration::later;
use crate::domain::ids::{SdkClientId, UserPoolId};
use crate::domain::json::{Json, Object, parse_object};
use crate::domain::policy::{Audience, IdClaimType};
use crate::domain::principal::{AppUser, Claims, Memo, Principal, Verified};
use crate::domain::reason::Reason;
use crate::domain::revocation::{MAX_SUBJECT, MAX_TOKEN_ID, Revocation};
use crate::domain::signing_key_set::PublishedKey;
use crate::domain::token::TokenContext;

/// Claims of which only the signature is verified.
#[derive(Debug)]
pub struct SignedClaims<'c> {
    text: String,
    context: &'c TokenContext,
    key: &'c PublishedKey,
    now: Timestamp,
}

/// The same, parsed.
struct Parsed<'s> {
    claims: Object<'s>,
    signed: &'s SignedClaims<'s>,
}

/// What valid claims say of the user and of their own times.
struct Valid {
    app_user_id: String,
    issued_at: Option<Timestamp>,
    expires_at: Timestamp,
}

impl<'c> SignedClaims<'c> {
    /// For signature verification only, as its last step.
    pub(super) fn new(
        payload: Vec<u8>,
        context: &'c TokenContext,
        key: &'c PublishedKey,
        now: Timestamp,
    ) -> Result<Self, Reason> {
        let text = String::from_utf8(payload).map_err(|_| Reason::TokenMalformed)?;
        Ok(Self { text, context, key, now })
    }

    /// Validates every claim, at the time at which the signature was verified, for the client of
    /// the context. `is_live` tells of any other client whether it exists, is not suspended and
    /// belongs to the pool.
    ///
    /// # Errors
    /// They are not a JSON object, or the first claim that is invalid.
    pub fn check(
        self,
        is_live: impl Fn(SdkClientId, UserPoolId) -> bool,
    ) -> Result<Verified, Reason> {
        let claims = parse_object(self.text.as_bytes()).map_err(|_| Reason::TokenMalformed)?;
        let valid = Parsed { claims, signed: &self }.check(is_live)?;
        let Self { text, context, .. } = self;
        Ok(Verified::proven(Principal::AppUser(Arc::new(AppUser {
            organization: context.pool.organization,
            pool: context.pool.id,
            client: context.client.id,
            app_user_id: valid.app_user_id,
            issued_at: valid.issued_at,
            expires_at: valid.expires_at,
            claims: Claims::new(text),
            description: Memo::default(),
        }))))
    }
}

impl Parsed<'_> {
    fn check(&self, is_live: impl Fn(SdkClientId, UserPoolId) -> bool) -> Result<Valid, Reason> {
        let TokenContext { client, pool, revocations, .. } = self.signed.context;
        if client.strict {
            self.check_made_for(client.id)?;
        }
        let is_live = |id: &str| {
            SdkClientId::parse(id).is_some_and(|id| id == client.id || is_live(id, pool.id))
        };
        let expires_at = self.date("exp").ok().flatten().ok_or(Reason::ExpiryMissing)?;
        let issued_at = self.check_dates(expires_at)?;
        let issuer = self.claims.get("iss").and_then(Json::as_str);
        if !pool.accepts_issuer(self.signed.key, issuer) {
            return Err(Reason::IssuerMismatch);
        }
        if !self.accepts_audience(is_live) {
            return Err(Reason::AudienceMismatch);
        }
        if self.claims.contains("cnf") {
            return Err(Reason::TokenSenderConstrained);
        }
        match self.claims.get("sdkClientId") {
            None => {}
            Some(Json::Text(id)) if is_live(id) => {}
            Some(_) => return Err(Reason::TokenClientGone),
        }
        let app_user_id = self.app_user_id()?;
        if !pool.claims.required.iter().all(|required| required.holds(&self.claims)) {
            return Err(Reason::RequiredClaimMismatch);
        }
        let token_id = self.token_id()?;
        let revoked = |it: &Arc<Revocation>| it.covers_token(&app_user_id, token_id, issued_at);
        if let Some(reason) = revocations.iter().find_map(revoked) {
            return Err(reason);
        }
        Ok(Valid { app_user_id, issued_at, expires_at })
    }

    /// For a strict client: the token must state that it was issued for this client.
    fn check_made_for(&self, client: SdkClientId) -> Result<(), Reason> {
        let made_for = self.claims.get("sdkClientId").and_then(Json::as_str);
        if made_for.and_then(SdkClientId::parse) == Some(client) {
            Ok(())
        } else {
            Err(Reason::ClientMismatch)
        }
    }

    /// Validates `exp`, `nbf` and `iat`, of which only `exp` is required. Returns `iat`.
    fn check_dates(&self, expires_at: Timestamp) -> Result<Option<Timestamp>, Reason> {
        let leeway = self.signed.context.pool.claims.leeway;
        let not_before = self.date("nbf")?;
        let issued_at = self.date("iat")?;
        if self.signed.now >= self.signed.context.expiry(expires_at) {
            return Err(Reason::TokenExpired);
        }
        let latest_start = later(self.signed.now, leeway);
        if not_before.is_some_and(|date| date > latest_start) {
            return Err(Reason::TokenNotYetValid);
        }
        if issued_at.is_some_and(|date| date > latest_start) {
            return Err(Reason::TokenFromFuture);
        }
        Ok(issued_at)
    }

    /// The value of the pool's idClaim. An unverified e-mail address identifies nobody.
    fn app_user_id(&self) -> Result<String, Reason> {
        let policy = &self.signed.context.pool.claims;
        let path = &policy.id_claim;
        let id = match (policy.id_claim_type, path.find(&self.claims)) {
            (IdClaimType::String, Some(Json::Text(id))) if !id.is_empty() => id.to_string(),
            // `as_i64` is `None` for a number with fraction or exponent.
            (IdClaimType::Integer, Some(Json::Number(id))) => {
                id.as_i64().ok_or(Reason::SubjectMissing)?.to_string()
            }
            _ => return Err(Reason::SubjectMissing),
        };
        if id.chars().count() > MAX_SUBJECT {
            return Err(Reason::SubjectTooLong);
        }
        // Some providers send the boolean as a string.
        let verified = match self.claims.get("email_verified") {
            Some(Json::Bool(verified)) => *verified,
            Some(Json::Text(text)) => text == "true",
            _ => false,
        };
        if path.is("email") && !verified {
            return Err(Reason::EmailUnverified);
        }
        Ok(id)
    }

    /// `jti`, if there is one. A Revocation has to be able to name it.
    fn token_id(&self) -> Result<Option<&str>, Reason> {
        match self.claims.get("jti") {
            None => Ok(None),
            Some(Json::Text(id)) if (1..=MAX_TOKEN_ID).contains(&id.chars().count()) => {
                Ok(Some(id))
            }
            Some(_) => Err(Reason::TokenIdInvalid),
        }
    }

    /// A NumericDate (RFC 7519 section 2), which may have a fraction.
    fn date(&self, name: &str) -> Result<Option<Timestamp>, Reason> {
        let seconds = match self.claims.get(name) {
            None => return Ok(None),
            Some(Json::Number(number)) => number.as_f64().ok_or(Reason::TokenMalformed)?,
            Some(_) => return Err(Reason::TokenMalformed),
        };
        // A value beyond the range of Timestamp (the year 9999) means "never", which is fine for
        // `exp` and rejected for `nbf` and `iat`.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "clamped to the range of Timestamp, whose seconds fit an f64"
        )]
        let seconds = seconds.floor().clamp(0.0, Timestamp::MAX.as_second() as f64) as i64;
        Timestamp::from_second(seconds).map(Some).map_err(|_| Reason::TokenMalformed)
    }

    /// `aud`: one string or several (RFC 7519 section 4.1.3).
    fn has_audience(&self, accepts: impl Fn(&str) -> bool) -> bool {
        match self.claims.get("aud") {
            Some(Json::Text(one)) => accepts(one),
            Some(Json::List(many)) => many.iter().filter_map(Json::as_str).any(accepts),
            _ => false,
        }
    }

    fn accepts_audience(&self, is_live: impl Fn(&str) -> bool) -> bool {
        let pool = &self.signed.context.pool;
        match &pool.claims.audience {
            Audience::Own => {
                let own = pool.id.to_string();
                self.has_audience(|audience| audience == own || is_live(audience))
            }
            Audience::Any => true,
            Audience::OneOf(accepted) => {
                self.has_audience(|audience| accepted.iter().any(|it| it == audience))
            }
        }
    }
}
