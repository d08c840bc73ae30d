//! Tokens that the benchmark issues itself, with keys that it lists in inline pools.

use anon_operator::testing::domain::algorithm::Algorithm;
use anon_operator::testing::domain::signing::SigningKey;
use anon_operator::testing::domain::token::sign;
use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::{Value, json};

/// `iss` of the tokens.
pub const ISSUER: &str = "https://id.bench.example";
/// `aud` of the tokens.
pub const AUDIENCE: &str = "https://api.bench.example";

/// A key and the number of tokens that it has signed.
pub struct Issuer {
    key: SigningKey,
    kid: String,
    issued: usize,
}

impl Issuer {
    pub fn new(algorithm: Algorithm) -> anyhow::Result<Self> {
        let key = SigningKey::generate(algorithm)?;
        let kid = key.public_jwk().kid.context("the key has no id")?;
        Ok(Self { key, kid, issued: 0 })
    }

    /// The public key, as a JWK.
    pub fn jwk(&self) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(self.key.public_jwk())?)
    }

    /// Issues tokens for users that no earlier token was issued for, on all CPUs.
    pub fn issue(&mut self, count: usize) -> anyhow::Result<Vec<String>> {
        let first = self.issued;
        self.issued += count;
        let half = first + count / 2;
        let this = &*self;
        std::thread::scope(|scope| {
            let other = scope.spawn(move || this.sign(half..first + count));
            let mut tokens = this.sign(first..half)?;
            tokens.extend(other.join().ok().context("a thread panicked")??);
            Ok(tokens)
        })
    }

    fn sign(&self, users: std::ops::Range<usize>) -> anyhow::Result<Vec<String>> {
        let now = Timestamp::now().as_second();
        let token = |user| {
            let claims = json!({
                "iss": ISSUER, "sub": subject(user), "aud": [AUDIENCE],
                "iat": now, "nbf": now, "exp": now + 24 * 3600,
                "jti": format!("5b6fd2a8-2f8e-4a53-9d3e-{user:012}"),
                "email": format!("user-{user:08}@bench.example"), "scope": "openid profile email",
            });
            Ok(sign(&self.key, &self.kid, &claims)?)
        };
        users.map(token).collect()
    }
}

/// `sub` of a token.
pub fn subject(user: usize) -> String {
    format!("user-{user:08}")
}

/// The token with a signature of the right length that is not valid.
pub fn forged(token: &str) -> String {
    let at = token.len().saturating_sub(20);
    let (start, end) = token.split_at_checked(at).unwrap_or((token, ""));
    let swapped = end.chars().map(|char| if char == 'A' { 'B' } else { 'A' });
    start.chars().chain(swapped).collect()
}
