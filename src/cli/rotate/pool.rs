//! `rotate userpool/…`: the signing key of a hosted pool.

use anyhow::{bail, ensure};

use super::{Rotate, request};
use crate::cli::Streams;
use crate::cli::wait::{self, Poll};
use crate::crd::condition;
use crate::crd::reasons::ConditionType;
use crate::crd::{HasStatus as _, SigningKeyState, UserPool, UserPoolSpec};

/// Requests a new signing key.
pub(super) async fn rotate(args: &Rotate, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let target = &args.target;
    ensure!(
        !args.new_key.is_set(),
        "--expires-in and --key-file are only for an SdkClient with `hashes`"
    );
    let cluster = args.cluster.connect().await?;
    let before: UserPool = cluster.get(&target.name).await?;
    if let Some(remedy) = elsewhere(&before.spec) {
        bail!(
            "{target} is not a hosted pool, so the operator has no key of it to rotate: {remedy}"
        );
    }
    let Some(signing) = kid(&before, SigningKeyState::Active) else {
        bail!("{target} has no signing key yet: {}", state(&before));
    };
    request::<UserPool>(args, &cluster).await?;
    let suffix = args.write.suffix();
    writeln!(streams.stdout, "{target}: requested a new signing key to replace {signing}{suffix}")?;
    if !args.wait.wait || args.write.dry_run {
        return Ok(());
    }
    let look = async || {
        let pool: UserPool = cluster.get(&target.name).await?;
        Ok(match progress(&pool, &signing) {
            Progress::Active(kid) => Poll::Reached(format!(
                "signing key {kid} signs; tokens of {signing} stay valid until they expire"
            )),
            Progress::Published(kid) if !args.until_active => Poll::Reached(format!(
                "signing key {kid} is published; it signs once every validator has acknowledged it and 15 more minutes have passed"
            )),
            Progress::Published(kid) => Poll::Pending(format!(
                "signing key {kid} is published and not signing yet: {}",
                state(&pool)
            )),
            Progress::Requested => Poll::Pending(state(&pool)),
        })
    };
    let reached = wait::until(streams, args.wait.timeout, look).await?;
    writeln!(streams.stdout, "{target}: {reached}")?;
    Ok(())
}

/// How far a rotation is.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Requested,
    Published(String),
    Active(String),
}

/// How far the replacement of the key `signing` is. A Next key that existed before the request is the
/// replacement, too.
fn progress(pool: &UserPool, signing: &str) -> Progress {
    match (kid(pool, SigningKeyState::Active), kid(pool, SigningKeyState::Next)) {
        (Some(active), _) if active != signing => Progress::Active(active),
        (_, Some(next)) => Progress::Published(next),
        _ => Progress::Requested,
    }
}

fn kid(pool: &UserPool, state: SigningKeyState) -> Option<String> {
    let keys = &pool.status.as_ref()?.keys;
    keys.iter().find(|key| key.state == state).map(|key| key.kid.clone())
}

/// For people: why a rotation is deferred, otherwise the condition Ready.
fn state(pool: &UserPool) -> String {
    let find = |type_: ConditionType| condition::find(pool.current_conditions(), type_.as_str());
    find(ConditionType::RotationDeferred).or_else(|| find(ConditionType::Ready)).map_or_else(
        || "the operator has not reconciled it yet".to_owned(),
        |condition| format!("{} ({})", condition.message, condition.reason),
    )
}

/// Where the keys of a pool that is not hosted are rotated.
fn elsewhere(spec: &UserPoolSpec) -> Option<&'static str> {
    if spec.hosted.is_some() {
        None
    } else if spec.provided.is_some() {
        Some(
            "add a key to the JWK Set in its Secret (`kubectl anon jwks generate`), and remove the old one once its tokens have expired",
        )
    } else if spec.inline.is_some() {
        Some(
            "add the new public key to spec.inline, and remove the old one once its tokens have expired",
        )
    } else {
        Some(
            "rotate the key at your identity provider; the operator fetches the new key set by itself",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pool(keys: &[(&str, &str)]) -> UserPool {
        let key = |(kid, state): &(&str, &str)| {
            json!({
                "kid": kid, "state": state, "algorithm": "ES256", "jwk": {"kty": "EC"},
                "publishedAt": "2026-01-01T00:00:00Z",
            })
        };
        let keys: Vec<Value> = keys.iter().map(key).collect();
        serde_json::from_value(json!({
            "metadata": {"name": "users"}, "spec": {"hosted": {}}, "status": {"keys": keys},
        }))
        .unwrap()
    }

    #[test]
    fn the_progress_of_a_rotation() {
        for (keys, expected) in [
            (&[("a", "Active")][..], Progress::Requested),
            (&[("a", "Active"), ("b", "Next")], Progress::Published("b".into())),
            (&[("a", "Retiring"), ("b", "Active")], Progress::Active("b".into())),
            (&[("a", "Retiring"), ("b", "Active"), ("c", "Next")], Progress::Active("b".into())),
            (&[], Progress::Requested),
        ] {
            assert_eq!(progress(&pool(keys), "a"), expected, "{keys:?}");
        }
    }

    #[test]
    fn only_keys_of_hosted_pools_are_rotated_here() {
        assert_eq!(elsewhere(&pool(&[]).spec), None);
        for (spec, text) in [
            (json!({"oidc": {"issuer": "https://id.example"}}), "identity provider"),
            (json!({"provided": {"secretRef": {"name": "s", "key": "k"}}}), "jwks generate"),
            (json!({"inline": {"keys": []}}), "spec.inline"),
        ] {
            let spec: UserPoolSpec = serde_json::from_value(spec).unwrap();
            assert!(elsewhere(&spec).unwrap().contains(text), "{text}");
        }
    }
}
