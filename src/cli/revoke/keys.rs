//! Which keys a Revocation will match, and what that means for their users. Pure.

use anyhow::{bail, ensure};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::plan::{Plan, Preview, counted, created_before, of_pool};
use crate::cli::keys::{self, Key};
use crate::cli::output::Table;
use crate::cli::target::name_of;
use crate::cli::when;
use crate::crd::{Kind, RevocationSpec, RevokedApiKeys, RevokedOfPool, SdkClient, UserPool};
use crate::domain::credential::KeyHash;
use crate::domain::revocation::RevocationTarget;

/// Which keys are revoked.
pub enum Keys<'k> {
    /// Those whose ids begin like this.
    Ids(&'k [String]),
    /// Those created before this time.
    CreatedBefore(Timestamp),
}

/// Signing keys of a pool.
pub fn pool_keys(pool: &UserPool, keys: &Keys<'_>, now: Timestamp) -> anyhow::Result<Plan> {
    let name = pool.name_any();
    let target = name_of(Kind::UserPool, &name);
    let all = keys::of_pool(pool);
    let matched = matched(&target, &all, keys, RevocationTarget::UserPool, now)?;
    let (key_ids, keys_created_before) = fields(keys, &matched);
    let mut effects = vec![format!(
        "Every token that {} signed is rejected at once, so its users have to sign in again.",
        if matched.len() == 1 { "this key" } else { "these keys" }
    )];
    if pool.spec.hosted.is_some() {
        effects.push("The operator destroys the keys, and a new key signs immediately. Anyone who verifies tokens with a cached key set rejects its tokens until the set is fetched again.".to_owned());
    } else {
        effects
            .push("The issuer of the tokens has to sign with another key from now on.".to_owned());
    }
    Ok(Plan {
        stem: format!("key-{name}"),
        spec: RevocationSpec {
            user_pool: Some(RevokedOfPool { key_ids, keys_created_before, ..of_pool(name) }),
            ..RevocationSpec::default()
        },
        obsolete_at: None,
        preview: Preview {
            title: counted("revoke", matched.len(), all.len(), "signing keys", &target),
            table: Some(table(&matched, now)),
            effects,
        },
    })
}

/// API keys of a client.
pub fn client_keys(client: &SdkClient, keys: &Keys<'_>, now: Timestamp) -> anyhow::Result<Plan> {
    let name = client.name_any();
    let target = name_of(Kind::SdkClient, &name);
    let Some(service) = &client.spec.service else {
        bail!("{target} is a webapp, which has no API keys; revoke tokens of its UserPool");
    };
    let all = keys::of_client(client);
    let matched = matched(&target, &all, keys, RevocationTarget::SdkClient, now)?;
    let (key_ids, keys_created_before) = fields(keys, &matched);
    let mut effects = vec!["Requests with these API keys are rejected at once.".to_owned()];
    if service.api_key.delivery.is_some() {
        effects.push("The operator delivers a new API key into the Secret immediately; consumers fail until they have read it.".to_owned());
    } else if matched.len() == all.len() {
        effects.push(format!(
            "{target} has no other valid API key: add one first (`kubectl anon rotate {target}`)."
        ));
    }
    Ok(Plan {
        stem: format!("key-{name}"),
        spec: RevocationSpec {
            sdk_client: Some(RevokedApiKeys { name, key_ids, keys_created_before }),
            ..RevocationSpec::default()
        },
        obsolete_at: None,
        preview: Preview {
            title: counted("revoke", matched.len(), all.len(), "API keys", &target),
            table: Some(table(&matched, now)),
            effects,
        },
    })
}

/// Whether status lists this API key.
pub fn has_key(client: &SdkClient, hash: &KeyHash) -> bool {
    let mut keys = client.status.iter().flat_map(|status| &status.keys);
    keys.any(|key| key.sha256 == hash.to_string())
}

/// The keys that a Revocation will match.
///
/// # Errors
/// None does, or an id is that of no key or the beginning of several.
fn matched<'k>(
    target: &str,
    all: &'k [Key],
    keys: &Keys<'_>,
    of: RevocationTarget,
    now: Timestamp,
) -> anyhow::Result<Vec<&'k Key>> {
    let existing = || all.iter().map(|key| key.id.as_str()).collect::<Vec<_>>().join(", ");
    ensure!(!all.is_empty(), "{target} has no keys; nothing was revoked");
    let matched = match keys {
        Keys::Ids(ids) => {
            let mut matched = Vec::new();
            for id in *ids {
                let exact = all.iter().find(|key| key.id == *id);
                let mut found: Vec<_> = match exact {
                    Some(key) => vec![key],
                    None => all.iter().filter(|key| key.id.starts_with(id.as_str())).collect(),
                };
                ensure!(
                    found.len() < 2,
                    "`{id}` is the beginning of several keys of {target}: {}",
                    existing()
                );
                let Some(key) = found.pop().filter(|_| !id.is_empty()) else {
                    bail!("{target} has no key `{id}`; it has: {}", existing());
                };
                if !matched.iter().any(|it: &&Key| it.id == key.id) {
                    matched.push(key);
                }
            }
            matched
        }
        Keys::CreatedBefore(time) => {
            let revocation = created_before(of, *time);
            let created = |key: &Key| key.created_at.as_ref().map(|Time(time)| *time);
            all.iter().filter(|key| revocation.covers_age(created(key), now)).collect()
        }
    };
    ensure!(
        !matched.is_empty(),
        "no key of {target} was created before that time; nothing was revoked"
    );
    Ok(matched)
}

/// The fields of the spec that select the keys. Ids are complete, whatever the command line had.
fn fields(keys: &Keys<'_>, matched: &[&Key]) -> (Option<Vec<String>>, Option<Time>) {
    match keys {
        Keys::Ids(_) => (Some(matched.iter().map(|key| key.id.clone()).collect()), None),
        Keys::CreatedBefore(time) => (None, Some(Time(*time))),
    }
}

fn table(keys: &[&Key], now: Timestamp) -> Table {
    let mut table = Table::new(&["KEY", "STATE", "CREATED", "OUTLOOK"]);
    for key in keys {
        let created = key.created_at.as_ref();
        let created = created.map(|Time(time)| when::relative(now, *time)).unwrap_or_default();
        table.row([
            key.id.as_str().into(),
            key.state.as_str().into(),
            created.into(),
            key.outlook(now).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    /// With keys of these ids and times.
    fn client(source: &Value) -> SdkClient {
        let key = |id: &str, created_at: &str| json!({"id": id, "sha256": id.repeat(4), "state": "Current", "createdAt": created_at});
        let keys = [
            key("6cfb000000000000", "2027-01-01T00:00:00Z"),
            key("6cfc000000000000", "2027-01-10T00:00:00Z"),
        ];
        serde_json::from_value(json!({
            "metadata": {"name": "backend"},
            "spec": {"service": {"role": "Member", "apiKey": source}},
            "status": {"keys": keys},
        }))
        .unwrap()
    }

    fn ids(ids: &[&str]) -> Result<Plan, String> {
        let ids: Vec<_> = ids.iter().map(|id| (*id).to_owned()).collect();
        let client = client(&json!({"hashes": []}));
        client_keys(&client, &Keys::Ids(&ids), now()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_beginning_of_an_id_is_enough_if_it_is_unique() {
        let plan = ids(&["6cfb", "6cfb0"]).unwrap();
        assert_eq!(plan.preview.title, "revoke 1 of 2 API keys of sdkclient/backend");
        let spec = serde_json::to_value(&plan.spec).unwrap();
        let expected = json!({"name": "backend", "keyIds": ["6cfb000000000000"]});
        assert_eq!(spec, json!({"sdkClient": expected}));
        for (id, text) in
            [("6cf", "several keys"), ("7", "no key `7`; it has: 6cfb"), ("", "several keys")]
        {
            let error = ids(&[id]).unwrap_err();
            assert!(error.contains(text), "{id}: {error}");
        }
        let all = ids(&["6cfb", "6cfc"]).unwrap();
        assert!(all.preview.effects.iter().any(|it| it.contains("no other valid API key")));
    }

    #[test]
    fn keys_before_a_time() {
        let client = client(&json!({"delivery": {"secretName": "s"}}));
        let before =
            |time: &str| client_keys(&client, &Keys::CreatedBefore(time.parse().unwrap()), now());
        let plan = before("2027-01-05T00:00:00Z").unwrap();
        assert_eq!(plan.preview.title, "revoke 1 of 2 API keys of sdkclient/backend");
        let spec = serde_json::to_value(&plan.spec).unwrap();
        assert_eq!(spec["sdkClient"]["keysCreatedBefore"], "2027-01-05T00:00:00Z");
        assert!(plan.preview.effects.iter().any(|it| it.contains("delivers a new API key")));
        assert!(before("2026-12-01T00:00:00Z").unwrap_err().to_string().contains("no key"));
    }
}
