//! The cache over a real index and with real signatures. `changes` has what ends an entry,
//! `interleavings` every order of a change and the steps of two requests.

mod changes;
mod interleavings;

use std::sync::LazyLock;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::crd::{self, Kind};
use crate::domain::algorithm::Algorithm;
use crate::domain::ids::{ObjectName, OrganizationId};
use crate::domain::reason::Reason;
use crate::domain::signing::SigningKey;
use crate::domain::token::{UnverifiedToken, sign};
use crate::index::{Index, IndexSettings, Reader};

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://id.acme.example";
/// Of a cache that does not hold a hundred tokens.
const CAPACITY: usize = 100 * ENTRY_BYTES;

static KEYS: LazyLock<[SigningKey; 2]> =
    LazyLock::new(|| [(); 2].map(|()| SigningKey::generate(Algorithm::EdDSA).unwrap()));

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn name(namespace: &str, name: &str) -> ObjectName {
    ObjectName { namespace: namespace.into(), name: name.into() }
}

fn web() -> SdkClientId {
    SdkClientId::derive("acme", "web")
}

fn object<K: serde::de::DeserializeOwned>(namespace: &str, name: &str, rest: &Value) -> K {
    let metadata = json!({
        "namespace": namespace, "name": name, "creationTimestamp": "2026-01-01T00:00:00Z",
    });
    let mut object = json!({"metadata": metadata});
    object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

/// A pool whose keys were fetched an hour ago.
fn pool(keys: &[SigningKey]) -> crd::UserPool {
    let url = "https://id.acme.example/jwks";
    let key = |key: &SigningKey| {
        let jwk = key.public_jwk();
        json!({
            "kid": jwk.kid, "algorithm": "EdDSA", "state": "Active", "jwk": jwk,
            "publishedAt": at(NOW - 3600).to_string(),
        })
    };
    let keys: Vec<_> = keys.iter().map(key).collect();
    object(
        "acme",
        "users",
        &json!({
            "spec": {"jwks": {"url": url}, "audiences": ["api"], "issuers": [ISSUER]},
            "status": {
                "source": format!("jwks {url}"), "keys": keys,
                "lastFetchTime": at(NOW - 3600).to_string(),
            },
        }),
    )
}

fn webapp(namespace: &str, name: &str, change: &Value) -> crd::SdkClient {
    let mut webapp = json!({"userPoolRef": {"name": "users"}});
    webapp.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    object(namespace, name, &json!({"spec": {"webapp": webapp}}))
}

fn revocation(of: &Value) -> crd::Revocation {
    let mut user_pool = json!({"name": "users"});
    user_pool.as_object_mut().unwrap().extend(of.as_object().unwrap().clone());
    let spec = json!({"userPool": user_pool, "reason": "leaked"});
    let mut revocation: crd::Revocation = object("acme", "leak", &json!({"spec": spec}));
    let created_at = json!(at(NOW).to_string());
    revocation.metadata.creation_timestamp = Some(serde_json::from_value(created_at).unwrap());
    revocation
}

/// A replica with pool `users`, its webapps `web` and `mobile`, and a token for `web` that names
/// `mobile`.
struct World {
    index: Arc<Index>,
    reader: Reader,
    cache: VerifiedTokens,
    token: String,
}

impl World {
    fn new() -> Self {
        let max_jwks_age = SignedDuration::from_hours(24);
        let index =
            Arc::new(Index::new(IndexSettings { max_jwks_age, ..IndexSettings::UNLIMITED }));
        index.apply(&pool(&KEYS[..]));
        index.apply(&webapp("acme", "web", &json!({})));
        index.apply(&webapp("acme", "mobile", &json!({})));
        for kind in Kind::ALL {
            index.listed(kind, None);
        }
        index.namespaces_listed([]);
        let token = token(&json!({}));
        let reader = Reader::new(Arc::clone(&index));
        Self { index, reader, cache: VerifiedTokens::new(1 << 20), token }
    }

    fn key(&self) -> TokenKey {
        self.cache.key(&self.token, web()).unwrap()
    }

    fn context(&self, now: i64) -> Result<TokenContext, Reason> {
        self.reader.token_context(web(), at(now))
    }

    fn verify(&self, context: &TokenContext, now: i64) -> Result<Verified, Reason> {
        let live = |id, pool| self.reader.client(id).is_some_and(|it| it.live_pool() == Ok(pool));
        let token = UnverifiedToken::parse(&self.token)?;
        token.locate_key(context, at(now))?.check_signature()?.check(live)
    }

    /// The verdict without the cache.
    fn truth(&self, now: i64) -> bool {
        self.context(now).and_then(|context| self.verify(&context, now)).is_ok()
    }

    fn fill(&self, now: i64) {
        let context = self.context(now).unwrap();
        let verified = self.verify(&context, now).unwrap();
        self.cache.insert(self.key(), &context, &verified, at(now));
        assert_eq!(self.cache.get(&self.key(), at(now)), Some(verified));
    }

    fn hits(&self, now: i64) -> bool {
        self.cache.get(&self.key(), at(now)).is_some()
    }
}

fn token(change: &Value) -> String {
    let mut claims = json!({
        "iss": ISSUER, "sub": "ada", "aud": "api", "jti": "t1", "iat": NOW - 10, "exp": NOW + 600,
        "sdkClientId": SdkClientId::derive("acme", "mobile"),
    });
    claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    sign(&KEYS[0], &kid(0), &claims).unwrap()
}

fn kid(key: usize) -> String {
    KEYS[key].public_jwk().kid.unwrap()
}

#[test]
fn the_same_bytes_split_differently_are_other_keys() {
    let cache = VerifiedTokens::new(1);
    let other = SdkClientId::derive("acme", "mobile");
    let key = cache.key("a.b.c", web());
    assert_eq!(key, cache.key("a.b.c", web()));
    assert_ne!(key, cache.key("a.b.c", other));
    assert_ne!(key, cache.key("a.b.cc", web()));
    assert_eq!(VerifiedTokens::new(0).key("a.b.c", web()), None, "off");
}

#[test]
fn holds_no_more_than_its_capacity() {
    let mut world = World::new();
    world.cache = VerifiedTokens::new(CAPACITY);
    for number in 0..300 {
        world.token = token(&json!({"jti": format!("t{number}")}));
        world.fill(NOW);
        let held: usize = world.cache.shards.iter().map(|shard| shard.read().len()).sum();
        let bytes = world.cache.quotas.lock().bytes(OrganizationId::derive("acme")).0;
        assert!(bytes <= CAPACITY && held * ENTRY_BYTES <= bytes, "{held} entries, {bytes} bytes");
    }
    world.cache = VerifiedTokens::new(ENTRY_BYTES);
    let context = world.context(NOW).unwrap();
    let verified = world.verify(&context, NOW).unwrap();
    world.cache.insert(world.key(), &context, &verified, at(NOW));
    assert!(!world.hits(NOW), "an entry that is larger than the cache");
}

/// An entry of an organization that is as large as [`ENTRY_BYTES`].
fn entry(generation: &Generation) -> Arc<Entry> {
    let world = World::new();
    let context = world.context(NOW).unwrap();
    let verified = world.verify(&context, NOW).unwrap();
    Arc::new(Entry {
        verified,
        generation: generation.clone(),
        verified_at: at(NOW),
        valid_until: at(NOW + 600),
        used: AtomicBool::new(false),
    })
}

#[test]
fn an_organization_cannot_evict_the_entries_of_another() {
    let entry = entry(&Generation::default());
    let bytes = entry.bytes();
    let mut quotas = Quotas::default();
    let (quiet, flooded) = (OrganizationId::derive("quiet"), OrganizationId::derive("flooded"));
    let mut add = |organization, number: u8| {
        let key = TokenKey { token: [number; 32], client: web() };
        quotas.add(organization, key, Arc::clone(&entry), 10 * bytes, at(NOW))
    };
    for number in 0..5 {
        assert!(add(quiet, number).is_empty());
    }
    for number in 5..10 {
        assert!(add(flooded, number).is_empty());
    }
    for number in 10..100 {
        let evicted = add(flooded, number);
        assert_eq!(evicted.len(), 1);
        assert!(evicted[0].0.token[0] >= 5, "an entry of the organization that has most");
    }
    assert_eq!(quotas.bytes(quiet), (10 * bytes, 5 * bytes));
}

#[test]
fn evicts_invalid_entries_first_and_used_ones_last() {
    let generations = [Generation::default(), Generation::default()];
    let entries = [entry(&generations[0]), entry(&generations[1]), entry(&generations[1])];
    let bytes = entries[0].bytes();
    let acme = OrganizationId::derive("acme");
    let mut quotas = Quotas::default();
    for (number, entry) in (0..).zip(&entries) {
        quotas.add(
            acme,
            TokenKey { token: [number; 32], client: web() },
            Arc::clone(entry),
            3 * bytes,
            at(NOW),
        );
    }
    let mut evicted_by_one_more = |number| {
        let evicted = quotas.add(
            acme,
            TokenKey { token: [number; 32], client: web() },
            entry(&generations[1]),
            3 * bytes,
            at(NOW),
        );
        evicted.iter().map(|(key, _)| key.token[0]).collect::<Vec<_>>()
    };
    generations[0].end();
    entries[1].used.store(true, Ordering::Relaxed);
    assert_eq!(evicted_by_one_more(3), [0], "its generation has ended");
    assert_eq!(evicted_by_one_more(4), [2], "the first one was used");
    assert_eq!(evicted_by_one_more(5), [3]);
    assert_eq!(evicted_by_one_more(6), [4]);
    assert_eq!(evicted_by_one_more(7), [1], "it was not used again");
}
