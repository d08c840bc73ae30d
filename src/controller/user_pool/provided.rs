//! A `provided` pool: its JWKS, with private keys, is in a Secret of the organization. Only the
//! public keys are read from it and published, in status and in a ConfigMap beside the pool.
//!
//! The Secret is authoritative: a key that is removed from it is withdrawn, and so is the whole set
//! when the Secret or its label is removed. Only content that is not a JWKS at all, which looks
//! like an accident, leaves the last good set in use.

use kube::{Resource as _, ResourceExt as _};

use super::{desired, status_keys};
use crate::controller::apply::{self, Obstacle};
use crate::controller::{Context, Error, Outcome, labelled_secret, status};
use crate::crd;
use crate::crd::condition::{Readiness, ReadyState};
use crate::crd::reasons::ReadyReason;
use crate::domain::jwks_parser::{Expected, JwkSet, NotAJwkSet};
use crate::domain::pool::UserPool;
use crate::domain::secret_ref::SecretEntry;
use crate::names;

/// The content of the Secret.
enum Found {
    /// No Secret, no label, or no such entry: deliberately indistinguishable.
    Nothing,
    /// Content that is not a JWKS.
    Junk(NotAJwkSet),
    /// A JWKS.
    Set(JwkSet),
}

/// Publishes the public keys of the Secret.
pub async fn reconcile(
    context: &Context,
    object: &crd::UserPool,
    pool: &UserPool,
    entry: &SecretEntry,
) -> Result<Outcome, Error> {
    let uid = object.uid().ok_or(Error::Incomplete { what: "metadata.uid" })?;
    let owner =
        object.controller_owner_ref(&()).ok_or(Error::Incomplete { what: "metadata.uid" })?;

    // resolve
    let secret =
        labelled_secret::read_opted_in(context, &pool.name.namespace, entry, names::USE_JWKS)
            .await?;

    // validate
    let expected = Expected { private_keys: true, algorithms: &pool.claims.algorithms };
    let found = match secret.map(|secret| JwkSet::parse(&secret.bytes, expected)) {
        None => Found::Nothing,
        Some(Err(error)) => Found::Junk(error),
        Some(Ok(set)) => Found::Set(set),
    };

    // desired
    let before = status_keys::of_same_source(pool, object.status.as_ref());
    let keys = match &found {
        Found::Nothing => Vec::new(),
        Found::Set(set) => status_keys::keys(set, &before, None, context.clock.now()),
        Found::Junk(_) => before,
    };
    let desired = crd::UserPoolStatus {
        id: Some(pool.id.to_string()),
        source: Some(pool.source.describe()),
        jwks_uri: Some(desired::jwks_uri(pool, &context.settings.public_url)),
        keys,
        ..crd::UserPoolStatus::default()
    };
    let config_map = desired::config_map(pool, &desired, owner)?;

    // apply
    let applied = apply::apply_child(&context.client, &uid, &config_map).await?;

    // status
    let readiness = readiness(pool, entry, &found, &applied);
    let outcome = if applied.is_err() { Outcome::BLOCKED } else { Outcome::SETTLED };
    status::write(context, object, desired, &readiness).await?;
    Ok(outcome)
}

fn readiness(
    pool: &UserPool,
    entry: &SecretEntry,
    found: &Found,
    applied: &Result<(), Obstacle>,
) -> Readiness {
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
    if let (ReadyState::Ready, Err(obstacle)) = (readiness.state(), applied) {
        readiness = desired::without_config_map(pool, obstacle);
    }
    readiness.notes = status_keys::notes(pool, set);
    readiness
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::condition::find;
    use jiff::Timestamp;
    use serde_json::{Value, json};

    const D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";

    fn pool() -> UserPool {
        let spec = json!({"provided": {"secretRef": {"name": "keys", "key": "jwks.json"}}});
        let object = json!({"metadata": {"namespace": "acme", "name": "users"}, "spec": spec});
        crate::validate::user_pool(&serde_json::from_value(object).unwrap()).unwrap()
    }

    fn stands(found: &Found) -> Readiness {
        let entry = SecretEntry { secret: "keys".into(), entry: "jwks.json".into() };
        readiness(&pool(), &entry, found, &Ok(()))
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
