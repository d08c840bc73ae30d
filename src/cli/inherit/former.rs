//! What is stored for a former namespace. Pure, and without private keys.

use std::fmt;

use anyhow::{anyhow, bail};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::cli::output::Table;
use crate::cli::target::name_of;
use crate::cli::terminal::Terminal;
use crate::cli::when::age;
use crate::crd::Kind;
use crate::domain::signing_key_set::{SigningKeyState, StoredKey, StoredKeySet};
use crate::names;

/// A Secret that is stored for a former namespace.
#[derive(Debug)]
pub struct Former {
    /// Its name.
    pub secret: String,
    /// Its version, as it was read.
    pub resource_version: Option<String>,
    /// Whose it is.
    pub owner: Owner,
    /// What is in it.
    pub stored: Stored,
}

/// The owner of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The UserPool of this name.
    UserPool(String),
    /// The Member of this name.
    Member(String),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self {
            Self::UserPool(name) => name_of(Kind::UserPool, name),
            Self::Member(name) => name_of(Kind::Member, name),
        })
    }
}

/// The content of a Secret.
#[derive(Debug)]
pub enum Stored {
    /// Signing keys, and whether the pool has signing keys of its own now.
    Keys(Vec<Key>, bool),
    /// The hash of a password, since this time.
    Password(Option<Time>),
    /// Neither.
    Unreadable,
}

/// The public part of a signing key.
#[derive(Debug)]
pub struct Key {
    kid: String,
    algorithm: &'static str,
    state: SigningKeyState,
    published_at: Timestamp,
}

impl Stored {
    /// The ids of the keys that tokens may have been signed by.
    pub fn kids(&self) -> Vec<&str> {
        let Self::Keys(keys, _) = self else { return Vec::new() };
        let used = keys.iter().filter(|key| key.state != SigningKeyState::Next);
        used.map(|key| key.kid.as_str()).collect()
    }

    /// For a line about the owner.
    pub fn describe(&self) -> String {
        match self {
            Self::Keys(keys, _) if keys.len() == 1 => "1 key".to_owned(),
            Self::Keys(keys, _) => format!("{} keys", keys.len()),
            Self::Password(_) => "a password hash".to_owned(),
            Self::Unreadable => "an unreadable Secret".to_owned(),
        }
    }
}

impl Former {
    /// For programs.
    pub fn to_json(&self) -> Value {
        let keys = match &self.stored {
            Stored::Keys(keys, _) => keys.as_slice(),
            Stored::Password(_) | Stored::Unreadable => &[],
        };
        let keys = keys.iter().map(|key| {
            json!({
                "kid": key.kid, "algorithm": key.algorithm, "state": key.state,
                "publishedAt": key.published_at,
            })
        });
        json!({
            "owner": self.owner.to_string(), "secret": self.secret,
            "keys": keys.collect::<Vec<_>>(),
        })
    }
}

/// The key set in a Secret.
pub fn key_set(secret: &Secret) -> Option<StoredKeySet> {
    let ByteString(json) = secret.data.as_ref()?.get(names::KEY_SET)?;
    StoredKeySet::from_json(json)
}

/// Finds what is stored for the namespace when it had the uid `from`. Now it has the uid `uid`.
///
/// # Errors
/// There is nothing, or it is of another namespace.
pub fn find(
    secrets: &[Secret],
    namespace: &str,
    from: &str,
    uid: &str,
) -> anyhow::Result<Vec<Former>> {
    let mut found = Vec::new();
    for secret in secrets {
        let name = secret.name_any();
        if stored_for(&name) != from {
            continue;
        }
        let noted = |annotation| secret.annotations().get(annotation).map_or("", String::as_str);
        let of = noted(names::OWNER_NAMESPACE);
        if of != namespace {
            bail!(
                "Secret `{name}` is of a namespace `{of}`, not of `{namespace}`; keys are only handed over to a namespace of the same name"
            );
        }
        let owner = noted(names::OWNER_NAME).to_owned();
        let component = secret.labels().get(names::COMPONENT).map(String::as_str);
        let is_pool = component == Some(names::SIGNING_KEYS);
        let keys = key_set(secret).map(|set| {
            let own = names::inherited(&name, uid);
            Stored::Keys(keys(&set), secrets.iter().any(|secret| secret.name_any() == own))
        });
        found.push(Former {
            resource_version: secret.resource_version(),
            owner: if is_pool { Owner::UserPool(owner) } else { Owner::Member(owner) },
            stored: if is_pool {
                keys.unwrap_or(Stored::Unreadable)
            } else {
                Stored::Password(secret.creation_timestamp())
            },
            secret: name,
        });
    }
    if found.is_empty() {
        return Err(nothing(secrets, namespace, from, uid));
    }
    found.sort_by(|one, other| one.owner.cmp(&other.owner));
    Ok(found)
}

fn stored_for(secret: &str) -> &str {
    secret.split_once('.').map_or("", |(uid, _)| uid)
}

fn keys(set: &StoredKeySet) -> Vec<Key> {
    let key = |key: &StoredKey| Key {
        kid: key.kid().to_owned(),
        algorithm: key.algorithm.as_str(),
        state: key.state,
        published_at: key.published_at,
    };
    set.keys.iter().map(key).collect()
}

fn nothing(secrets: &[Secret], namespace: &str, from: &str, uid: &str) -> anyhow::Error {
    let mut others = Vec::new();
    for secret in secrets {
        let noted = secret.annotations().get(names::OWNER_NAMESPACE);
        let (name, is_its) = (secret.name_any(), noted.is_some_and(|noted| noted == namespace));
        let other = stored_for(&name).to_owned();
        if is_its && other != uid && !others.contains(&other) {
            others.push(other);
        }
    }
    let hint = if others.is_empty() {
        "nor under any other former uid of the namespace; restore the Secrets from a backup first"
            .to_owned()
    } else {
        format!("but there is something under {}", others.join(", "))
    };
    anyhow!("nothing is stored under {from} for namespace `{namespace}`, {hint}")
}

/// What was found, for people.
pub fn table(found: &[Former], now: Timestamp, terminal: &Terminal) -> String {
    let mut table = Table::new(&["OWNER", "KEY", "ALGORITHM", "STATE", "AGE", "WILL"]);
    for former in found {
        let owner = former.owner.to_string();
        match &former.stored {
            Stored::Keys(keys, has_own) => {
                for key in keys {
                    let will = match key.state {
                        SigningKeyState::Next if *has_own => "be dropped, unused",
                        SigningKeyState::Active if *has_own => "verify",
                        SigningKeyState::Next => "sign next",
                        SigningKeyState::Active => "sign",
                        SigningKeyState::Retiring => "verify",
                    };
                    table.row([
                        owner.clone().into(),
                        key.kid.clone().into(),
                        key.algorithm.into(),
                        format!("{:?}", key.state).into(),
                        age(now, Some(&Time(key.published_at))).into(),
                        will.into(),
                    ]);
                }
            }
            Stored::Password(since) => table.row([
                owner.into(),
                "password hash".into(),
                "".into(),
                "".into(),
                age(now, since.as_ref()).into(),
                "be valid".into(),
            ]),
            Stored::Unreadable => table.row([
                owner.into(),
                "unreadable".into(),
                "".into(),
                "".into(),
                "".into(),
                "stay as it is".into(),
            ]),
        }
    }
    table.render(terminal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::algorithm::Algorithm;
    use crate::domain::rotation::signing_keys::tests::first;

    const POOL: &str = "users";

    fn secret(component: &str, uid: &str, namespace: &str, set: Option<&StoredKeySet>) -> Secret {
        let (owner, name) = match component {
            names::SIGNING_KEYS => (POOL, names::signing_secret(uid, POOL)),
            _ => ("ada", format!("{uid}.ada.id.password-hash")),
        };
        let mut secret: Secret = serde_json::from_value(json!({"metadata": {
            "name": name, "resourceVersion": "7", "creationTimestamp": "1970-01-01T00:00:00Z",
            "labels": {names::COMPONENT: component},
            "annotations": {names::OWNER_NAMESPACE: namespace, names::OWNER_NAME: owner},
        }}))
        .unwrap();
        let json = set.map(|set| ByteString(serde_json::to_vec(set).unwrap()));
        secret.data = json.map(|json| [(names::KEY_SET.to_owned(), json)].into());
        secret
    }

    #[test]
    fn shows_everything_that_is_stored_and_nothing_private() {
        let mut set = first(Algorithm::ES256);
        set.keys[0].jwk.kid = Some("k1".to_owned());
        let former = [
            secret(names::PASSWORD, "old", "acme", None),
            secret(names::SIGNING_KEYS, "old", "acme", Some(&set)),
            secret(names::SIGNING_KEYS, "older", "acme", Some(&set)),
        ];
        let found = find(&former, "acme", "old", "new").unwrap();
        let now = Timestamp::from_second(7200).unwrap();
        let shown = table(&found, now, &Terminal::default());
        let expected = "\
OWNER            KEY             ALGORITHM   STATE    AGE   WILL
userpool/users   k1              ES256       Active   2h    sign
member/ada       password hash   -           -        2h    be valid
";
        assert_eq!(shown, expected);
        let json = json!(found.iter().map(Former::to_json).collect::<Vec<_>>()).to_string();
        assert!(json.contains(r#""kid":"k1""#) && !json.contains("pkcs8"), "{json}");

        // The pool has started with a new key.
        let own = secret(names::SIGNING_KEYS, "new", "acme", Some(&first(Algorithm::ES256)));
        let found = find(&[&former[1..2], &[own]].concat(), "acme", "old", "new").unwrap();
        assert!(table(&found, now, &Terminal::default()).ends_with("2h    verify\n"));
    }

    #[test]
    fn hands_nothing_over_to_a_namespace_of_another_name() {
        let set = first(Algorithm::EdDSA);
        let others = [secret(names::SIGNING_KEYS, "old", "victim", Some(&set))];
        let error = find(&others, "thief", "old", "new").unwrap_err().to_string();
        assert!(error.contains("is of a namespace `victim`"), "{error}");
    }

    #[test]
    fn an_unknown_uid_is_answered_by_those_that_are_known() {
        let own = secret(names::PASSWORD, "new", "acme", None);
        let old = secret(names::PASSWORD, "old", "acme", None);
        let error = find(&[own.clone(), old], "acme", "typo", "new").unwrap_err().to_string();
        assert!(error.ends_with("but there is something under old"), "{error}");
        let error = find(&[own], "acme", "typo", "new").unwrap_err().to_string();
        assert!(error.contains("restore the Secrets"), "{error}");
    }
}
