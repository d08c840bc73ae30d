//! Tests of the token path with real signatures: the checks before a key is looked up (`header`),
//! the validation of claims (`claims`), what the context adds (`context`), the requirements of pools
//! (`policy`), all rules together (`rules`), examples of the RFCs (`rfcs`), test vectors of Project
//! Wycheproof (`wycheproof`) and of other libraries (`vectors`), and random input (`fuzz`).

#![expect(clippy::string_slice, reason = "tokens are ASCII")]

mod claims;
mod context;
mod fuzz;
mod header;
mod policy;
mod rfcs;
mod rules;
mod vectors;
mod wycheproof;

use std::sync::{Arc, LazyLock};

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::signature::Signer as _;
use serde_json::{Value, json};

use super::*;
use crate::domain::algorithm::Algorithm;
use crate::domain::client::{ClientKind, SdkClient, Service, Webapp};
use crate::domain::ids::{ObjectName, OrganizationId, UserPoolId};
use crate::domain::policy::{Audience, ClaimsPolicy, LEEWAY};
use crate::domain::pool::{FetchState, Hosted, Source};
use crate::domain::principal::{AppUser, Claims, Principal, Verified};
use crate::domain::revocation::RevocationTarget;
use crate::domain::role::Role;
use crate::domain::signing::SigningKey;
use crate::domain::signing_key_set::{PublishedKey, SigningKeyState};
use crate::domain::stored_key::StoredApiKeys;

/// The time of every test, unless specified otherwise.
const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://anon.example.com/userPools/x";

/// A pool with one key, and its private key.
struct Issuer {
    key: SigningKey,
    pool: UserPool,
}

static ISSUERS: LazyLock<Vec<Arc<Issuer>>> =
    LazyLock::new(|| Algorithm::ALL.into_iter().map(|alg| Arc::new(Issuer::new(alg))).collect());

/// The issuer for this algorithm; created once, because generating RSA keys is slow.
fn issuer(algorithm: Algorithm) -> &'static Issuer {
    ISSUERS.iter().find(|issuer| issuer.key.algorithm() == algorithm).unwrap()
}

impl Issuer {
    fn new(algorithm: Algorithm) -> Self {
        let key = SigningKey::generate(algorithm).unwrap();
        let pool = pool(vec![published(&key)]);
        Self { key, pool }
    }

    fn kid(&self) -> &str {
        &self.pool.keys[0].kid
    }

    fn header(&self) -> Value {
        json!({"alg": self.key.algorithm().as_str(), "kid": self.kid(), "typ": "JWT"})
    }

    /// A token with exactly this payload and a valid signature.
    fn sign(&self, header: &str, payload: &str) -> String {
        let input = format!("{}.{}", encode(header), encode(payload));
        let signature = self.key.try_sign(input.as_bytes()).unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A valid token, modified by `change` before it is signed.
    fn token(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let (mut header, mut claims) = (self.header(), claims());
        change(&mut header, &mut claims);
        self.sign(&header.to_string(), &claims.to_string())
    }

    fn verify(&self, token: &str) -> Result<Verified, Reason> {
        verify_at(&self.pool, token, NOW)
    }
}

fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn published(key: &SigningKey) -> PublishedKey {
    let jwk = key.public_jwk();
    PublishedKey {
        published_at: None,
        kid: jwk.kid.clone().unwrap(),
        state: SigningKeyState::Active,
        issuer: Some(ISSUER.to_owned()),
        verifying: jwk.verifying_key(key.algorithm()).unwrap(),
        jwk,
    }
}

fn pool(keys: Vec<PublishedKey>) -> UserPool {
    UserPool {
        id: UserPoolId::derive("acme", "users"),
        organization: OrganizationId::derive("acme"),
        name: ObjectName { namespace: "acme".into(), name: "users".into() },
        created_at: None,
        source: Source::Hosted(Hosted {
            algorithm: Algorithm::RS256,
            default_lifetime: SignedDuration::from_hours(1),
            max_lifetime: SignedDuration::from_hours(2),
            rotation_interval: None,
            retain_keys: true,
        }),
        claims: ClaimsPolicy::default(),
        keys,
        fetch: FetchState::default(),
        document: std::sync::OnceLock::new(),
    }
}

/// The client that the caller specifies.
fn client() -> SdkClientId {
    SdkClientId::derive("acme", "web")
}

/// Another valid client of the same pool.
fn sibling() -> SdkClientId {
    SdkClientId::derive("acme", "mobile")
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "user-123", "aud": client(),
        "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 600,
    })
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The webapp [`client`] of the pool.
fn webapp() -> SdkClient {
    SdkClient {
        id: client(),
        organization: OrganizationId::derive("acme"),
        name: ObjectName { namespace: "acme".into(), name: "web".into() },
        created_at: None,
        suspended: false,
        kind: ClientKind::Webapp(Box::new(Webapp {
            display_name: None,
            pool: ObjectName { namespace: "acme".into(), name: "users".into() },
            pool_id: UserPoolId::derive("acme", "users"),
            allowed_origins: vec![],
            redirect_urls: vec![],
            logo_url: None,
            chrome_extension_id: None,
            strict: false,
        })),
    }
}

fn context(pool: &UserPool) -> TokenContext {
    TokenContext {
        client: webapp().for_tokens(),
        pool: Arc::new(pool.clone()),
        revocations: vec![],
        max_jwks_age: SignedDuration::MAX,
        generation: Generation::default(),
    }
}

/// A Revocation for the pool that covers nothing yet.
fn revocation() -> Revocation {
    let name = ObjectName { namespace: "acme".into(), name: "leak".into() };
    Revocation::new(name.clone(), RevocationTarget::UserPool, name)
}

fn verify_in(context: &TokenContext, token: &str, second: i64) -> Result<Verified, Reason> {
    let live = |id, of| id == sibling() && of == context.pool.id;
    let token = UnverifiedToken::parse(token)?;
    token.locate_key(context, at(second))?.check_signature()?.check(live)
}

fn verify_at(pool: &UserPool, token: &str, second: i64) -> Result<Verified, Reason> {
    verify_in(&context(pool), token, second)
}

fn user(verified: &Verified) -> &AppUser {
    match verified.principal() {
        Principal::AppUser(user) => user,
        Principal::ApiKey(_) | Principal::Member(_) => panic!("a token proves a user"),
    }
}

/// The claims, parsed.
fn read(claims: &Claims) -> Value {
    serde_json::from_str(claims.text()).unwrap()
}

#[test]
fn a_good_token_of_every_algorithm() {
    for issuer in ISSUERS.iter() {
        let verified = issuer.verify(&issuer.token(|_, _| {})).unwrap();
        let user = user(&verified);
        assert_eq!(user.app_user_id, "user-123");
        assert_eq!(user.pool, issuer.pool.id);
        assert_eq!(user.organization, issuer.pool.organization);
        assert_eq!(user.client, client());
        assert_eq!(user.issued_at.unwrap().as_second(), NOW - 10);
        assert_eq!(user.expires_at.as_second(), NOW + 600);
        assert_eq!(read(&user.claims), claims());
    }
}

#[test]
fn what_we_mint_we_accept() {
    for issuer in ISSUERS.iter() {
        let claims = HostedClaims {
            iss: ISSUER,
            sub: "üser",
            aud: vec![client().to_string()],
            iat: NOW,
            nbf: NOW,
            exp: NOW + 60,
            jti: "1".into(),
            sdk_client_id: Some(client()),
            user_pool_id: issuer.pool.id,
        };
        let token = sign(&issuer.key, issuer.kid(), &claims).unwrap();
        assert!(looks_like_jwt(&token));
        let verified = issuer.verify(&token).unwrap();
        assert_eq!(user(&verified).app_user_id, "üser");
        assert_eq!(read(&user(&verified).claims)["userPoolId"], issuer.pool.id.to_string());
    }
}
