//! A `provided` pool: its JWKS, with private keys, is in a Secret of the organization. Only the
//! public keys are read from it and published, in status and in a ConfigMap beside the pool.
//!
//! The Secret is authoritative: a key that is removed from it is withdrawn, and so is the whole set
//! when the Secret or its label is removed. Only content that is not a JWKS at all, which looks
//! like an accident, leaves the last good set in use.

use jiff::Timestamp;

use super::{desired, status_keys};
use crate::controller::plan::Plan;
use crate::controller::{Context, Error, labelled_secret};
use crate::crd::condition::Readiness;
use crate::crd::reasons::ReadyReason;
use crate::crd::{self, UserPoolStatus};
use crate::domain::jwks_parser::{Expected, JwkSet, NotAJwkSet};
use crate::domain::pool::UserPool;
use crate::domain::secret_ref::SecretEntry;
use crate::names;

/// The content of the Secret.
pub enum Found {
    /// No Secret, no label, or no such entry: deliberately indistinguishable.
    Nothing,
    /// Content that is not a JWKS.
    Junk(NotAJwkSet),
    /// A JWKS.
    Set(JwkSet),
}

/// The facts that the plan depends on.
pub struct Observed {
    /// The current time.
    pub now: Timestamp,
    /// Base URL of the public endpoints.
    pub public_url: String,
    /// The content of the Secret.
    pub found: Found,
}

/// Reads the Secret.
pub async fn observe(
    context: &Context,
    pool: &UserPool,
    entry: &SecretEntry,
) -> Result<Observed, Error> {
    let namespace = &pool.name.namespace;
    let secret = labelled_secret::read_opted_in(context, namespace, entry, names::USE_JWKS).await?;
    let expected = Expected { private_keys: true, algorithms: &pool.claims.algorithms };
    let found = match secret.map(|secret| JwkSet::parse(&secret.bytes, expected)) {
        None => Found::Nothing,
        Some(Err(error)) => Found::Junk(error),
        Some(Ok(set)) => Found::Set(set),
    };
    let public_url = context.settings.public_url.clone();
    Ok(Observed { now: context.clock.now(), public_url, found })
}

/// Publishes the public keys of the Secret. Pure.
pub fn plan(
    object: &crd::UserPool,
    pool: &UserPool,
    entry: &SecretEntry,
    observed: &Observed,
) -> Result<Plan<UserPoolStatus>, Error> {
    let before = status_keys::of_same_source(pool, object.status.as_ref());
    let keys = match &observed.found {
        Found::Nothing => Vec::new(),
        Found::Set(set) => status_keys::keys(set, &before, None, observed.now),
        Found::Junk(_) => before,
    };
    let status = UserPoolStatus {
        id: Some(pool.id.to_string()),
        source: Some(pool.source.describe()),
        jwks_uri: Some(desired::jwks_uri(pool, &observed.public_url)),
        keys,
        ..UserPoolStatus::default()
    };
    let writes = vec![desired::config_map(object, pool, &status)?];
    Ok(Plan::publish(writes, status, readiness(pool, entry, &observed.found)))
}

fn readiness(pool: &UserPool, entry: &SecretEntry, found: &Found) -> Readiness {
    let (mut readiness, set) = match found {
        Found::Nothing => {
            let needed = labelled_secret::needed(entry, names::USE_JWKS, "a JWKS");
            (Readiness::new(ReadyReason::JwksSecretUnusable, needed), None)
        }
        Found::Junk(error) => {
            let message = format!(
                "entry `{}` of Secret `{}` is not a JWKS: {error}. The previously published keys remain in use.",
                entry.entry, entry.secret
            );
            (Readiness::new(ReadyReason::NotAKeySet, message), None)
        }
        Found::Set(set) if set.keys.is_empty() => {
            let message = "the JWKS has no key that can verify tokens";
            (Readiness::new(ReadyReason::NoUsableKey, message), Some(set))
        }
        Found::Set(set) => (desired::published(set.keys.len()), Some(set)),
    };
    readiness.notes = status_keys::notes(pool, set);
    readiness
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::condition::{ReadyState, find};
    use serde_json::{Value, json};

    const D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";

    fn pool() -> UserPool {
        let spec = json!({"provided": {"secretRef": {"name": "keys", "key": "jwks.json"}}});
        let object = json!({"metadata": {"namespace": "acme", "name": "users"}, "spec": spec});
        crate::validate::user_pool(&serde_json::from_value(object).unwrap()).unwrap()
    }

    fn stands(found: &Found) -> Readiness {
        let entry = SecretEntry { secret: "keys".into(), entry: "jwks.json".into() };
        readiness(&pool(), &entry, found)
    }

    fn set(keys: &Value) -> Found {
        let expected = Expected { private_keys: true, algorithms: &[] };
        let json = json!({"keys": keys}).to_string();
        Found::Set(JwkSet::parse(json.as_bytes(), expected).unwrap())
    }

    #[test]
    fn what_was_found_is_said_and_nothing_of_a_key() {
        let key = json!({"kty": "OKP", "crv": "Ed25519", "d": D, "kid": "fine",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        let bad =
            json!({"kty": "OKP", "crv": "Ed25519", "d": D, "x": D, "kid": "bad", "use": "enc"});
        for (found, state, reason) in [
            (Found::Nothing, ReadyState::Reconciling, ReadyReason::JwksSecretUnusable),
            (Found::Junk(NotAJwkSet::Json), ReadyState::Stalled, ReadyReason::NotAKeySet),
            (set(&json!([])), ReadyState::Stalled, ReadyReason::NoUsableKey),
            (set(&json!([bad])), ReadyState::Stalled, ReadyReason::NoUsableKey),
            (set(&json!([key])), ReadyState::Ready, ReadyReason::KeysPublished),
            (set(&json!([key, bad])), ReadyState::Ready, ReadyReason::KeysPublished),
        ] {
            let readiness = stands(&found);
            assert_eq!((readiness.state(), readiness.reason), (state, reason));
            let conditions = readiness.conditions(&[], None, Timestamp::UNIX_EPOCH);
            assert!(!format!("{conditions:?}").contains(D));
            let dropped = find(&conditions, "KeysDropped").map(|it| it.message.as_str());
            let expects_drop = matches!(&found, Found::Set(set) if !set.dropped.is_empty());
            assert_eq!(dropped.is_some(), expects_drop);
            assert!(dropped.is_none_or(|it| it.contains("`bad`") && !it.contains("fine")));
        }
    }
}
