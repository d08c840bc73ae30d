//! A `provided` pool: its JWKS, with private keys, is in a Secret of the organization. Only the
//! public keys are read from it and published, in status and in a ConfigMap beside the pool.
//!
//! The Secret is authoritative: a key that is removed from it is withdrawn, and so is the whole set
//! when the Secret or its label is removed. Only content that is not a JWKS at all, which looks
//! like an accident, leaves the last good set in use.

use kube::{Resource as _, ResourceExt as _};

use super::{desired, published};
use crate::controller::apply::{self, Obstacle};
use crate::controller::{Context, Error, Outcome, consent, status};
use crate::crd;
use crate::crd::condition::{Standing, State};
use crate::domain::jwk_set::{Expected, JwkSet, NotAJwkSet};
use crate::domain::pool::UserPool;
use crate::domain::staff::SecretEntry;
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
    let secret = consent::read(context, &pool.name.namespace, entry, names::USE_JWKS).await?;

    // validate
    let expected = Expected { private_keys: true, algorithms: &pool.claims.algorithms };
    let found = match secret.map(|secret| JwkSet::parse(&secret.bytes, expected)) {
        None => Found::Nothing,
        Some(Err(error)) => Found::Junk(error),
        Some(Ok(set)) => Found::Set(set),
    };

    // desired
    let before = published::of_same_source(pool, object.status.as_ref());
    let keys = match &found {
        Found::Nothing => Vec::new(),
        Found::Set(set) => published::keys(set, &before, None, context.clock.now()),
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
    let standing = standing(pool, entry, &found, &applied);
    let outcome = if applied.is_err() { Outcome::BLOCKED } else { Outcome::SETTLED };
    status::write(context, object, desired, &standing).await?;
    Ok(outcome)
}

fn standing(
    pool: &UserPool,
    entry: &SecretEntry,
    found: &Found,
    applied: &Result<(), Obstacle>,
) -> Standing {
    let (mut standing, set) = match found {
        Found::Nothing => {
            let needed = consent::needed(entry, names::USE_JWKS, "a JWKS");
            (Standing::reconciling("JwksSecretUnusable", needed), None)
        }
        Found::Junk(error) => {
            let message = format!(
                "entry `{}` of Secret `{}` is not a JWKS: {error}. The previously published keys remain in use.",
                entry.entry, entry.secret
            );
            (Standing::stalled("NotAKeySet", message), None)
        }
        Found::Set(set) if set.keys.is_empty() => {
            let message = "the JWKS has no key that can verify tokens";
            (Standing::stalled("NoUsableKey", message), Some(set))
        }
        Found::Set(set) => (desired::published(set.keys.len()), Some(set)),
    };
    if let (State::Ready, Err(obstacle)) = (standing.state, applied) {
        standing = desired::without_config_map(pool, obstacle);
    }
    standing.notes = published::notes(pool, set);
    standing
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

    fn stands(found: &Found) -> Standing {
        let entry = SecretEntry { secret: "keys".into(), entry: "jwks.json".into() };
        standing(&pool(), &entry, found, &Ok(()))
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
            (Found::Nothing, State::Reconciling, "JwksSecretUnusable"),
            (Found::Junk(NotAJwkSet::Json), State::Stalled, "NotAKeySet"),
            (set(&json!([])), State::Stalled, "NoUsableKey"),
            (set(&json!([bad])), State::Stalled, "NoUsableKey"),
            (set(&json!([key])), State::Ready, "KeysPublished"),
            (set(&json!([key, bad])), State::Ready, "KeysPublished"),
        ] {
            let standing = stands(&found);
            assert_eq!((standing.state, standing.reason), (state, reason));
            let conditions = standing.conditions(&[], None, Timestamp::UNIX_EPOCH);
            assert!(!format!("{conditions:?}").contains(D));
            let dropped = find(&conditions, "KeysDropped").map(|it| it.message.as_str());
            let expects_drop = matches!(&found, Found::Set(set) if !set.dropped.is_empty());
            assert_eq!(dropped.is_some(), expects_drop);
            assert!(dropped.is_none_or(|it| it.contains("`bad`") && !it.contains("fine")));
        }
    }
}
