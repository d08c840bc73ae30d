//! The credential that `revoke token` reads. Nothing of it but its ids is used.

use anyhow::{anyhow, bail, ensure};
use jiff::Timestamp;
use serde_json::Value;

use crate::cli::inspect;
use crate::crd::UserPool;
use crate::domain::credential::{ApiKey, ApiKeys, KeyHash, Scheme as _, SessionTokens};
use crate::domain::revocation::MAX_TOKEN_ID;

/// A credential that can be revoked by its id.
pub enum Credential {
    /// An API key.
    ApiKey(KeyHash),
    /// An appUserIdToken.
    Token(Token),
}

/// What identifies a token. Nothing of it was verified.
#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    /// `jti`.
    pub id: String,
    /// `sub`, for people.
    pub subject: Option<String>,
    /// `exp`.
    pub expires_at: Option<Timestamp>,
    /// Claim `userPoolId`, which the operator writes into the tokens that it issues.
    pub pool_id: Option<String>,
    /// Claim `iss`.
    pub issuer: Option<String>,
}

impl Credential {
    /// Reads a credential. The errors contain nothing of it.
    pub fn read(text: &str) -> anyhow::Result<Self> {
        if text.starts_with(ApiKeys::PREFIX) {
            let key = ApiKey::parse(text).ok_or_else(|| {
                anyhow!("not a valid API key; `kubectl anon token inspect` shows what is wrong")
            })?;
            return Ok(Self::ApiKey(key.hash()));
        }
        if text.starts_with(SessionTokens::PREFIX) {
            bail!(
                "this is the session token of a Member: use `kubectl anon revoke sessions member/NAME`"
            );
        }
        let claims = inspect::claims(text)?;
        let string = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        let id = string("jti").ok_or_else(|| {
            anyhow!("the token has no `jti`, so it cannot be revoked by itself: revoke the user (`revoke user`), or all tokens before a time (`revoke all`)")
        })?;
        ensure!(
            (1..=MAX_TOKEN_ID).contains(&id.chars().count()),
            "the `jti` of the token does not have 1 to {MAX_TOKEN_ID} characters, so validators reject the token anyway"
        );
        let expires_at = claims.get("exp").and_then(Value::as_i64);
        Ok(Self::Token(Token {
            id,
            subject: string("sub"),
            expires_at: expires_at.and_then(|exp| Timestamp::from_second(exp).ok()),
            pool_id: string("userPoolId"),
            issuer: string("iss"),
        }))
    }
}

impl Token {
    /// Whether the token says that it is of this pool: by the claim of hosted pools, or by the issuer
    /// of an `oidc` pool.
    pub fn is_of(&self, pool: &UserPool) -> bool {
        let id = pool.status.as_ref().and_then(|status| status.id.as_ref());
        if let Some(claimed) = &self.pool_id {
            return id == Some(claimed);
        }
        let issuer = pool.spec.oidc.as_ref().map(|oidc| &oidc.issuer);
        issuer.is_some() && issuer == self.issuer.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    fn jwt(claims: &Value) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        format!("{}.{}.AAAA", part(&json!({"alg": "ES256"})), part(claims))
    }

    fn read(text: &str) -> Result<Credential, String> {
        Credential::read(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_is_revoked_by_its_jti() {
        let claims = json!({"jti": "t1", "sub": "u", "exp": 1_800_000_000, "userPoolId": "p"});
        let Ok(Credential::Token(token)) = read(&jwt(&claims)) else { panic!() };
        assert_eq!((token.id.as_str(), token.subject.as_deref()), ("t1", Some("u")));
        assert_eq!(token.expires_at, Some(Timestamp::from_second(1_800_000_000).unwrap()));
        let pool = |id: &str| {
            let pool = json!({
                "metadata": {"name": "users"}, "spec": {"hosted": {}}, "status": {"id": id},
            });
            serde_json::from_value::<UserPool>(pool).unwrap()
        };
        assert!(token.is_of(&pool("p")) && !token.is_of(&pool("q")));
    }

    #[test]
    fn says_what_to_do_with_other_credentials() {
        let key = ApiKey::generate().unwrap();
        assert!(matches!(read(key.expose()), Ok(Credential::ApiKey(hash)) if hash == key.hash()));
        let long = "x".repeat(MAX_TOKEN_ID + 1);
        for (text, expected) in [
            (jwt(&json!({"sub": "u"})), "revoke user"),
            (jwt(&json!({"jti": long})), "anyway"),
            ("ory_st_x".to_owned(), "revoke sessions"),
            ("ory_apikey_x".to_owned(), "token inspect"),
            ("junk".to_owned(), "neither"),
        ] {
            let Err(error) = read(&text) else { panic!("{text}") };
            assert!(error.contains(expected), "{error}");
        }
    }
}
