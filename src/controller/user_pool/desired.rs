//! The desired signing Secret, ConfigMap, status and conditions of a hosted pool; pools of other
//! types share the ConfigMap. Pure.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;
use kube::api::ObjectMeta;

use crate::controller::Error;
use crate::controller::plan::Write;
use crate::crd::condition::Readiness;
use crate::crd::reasons::ReadyReason;
use crate::crd::{self, SigningKeyStatus, UserPoolStatus};
use crate::domain::jwk::public_set;
use crate::domain::pool::{Hosted, UserPool};
use crate::domain::signing_key_set::{SigningKeyState, StoredKeySet};
use crate::names;

/// The entry of the ConfigMap.
const JWKS_JSON: &str = "jwks.json";

/// The name and metadata of a pool's signing Secret.
pub struct SigningSecret {
    /// Its name, in the operator's namespace.
    pub name: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl SigningSecret {
    /// For a pool in the namespace with this uid.
    pub fn new(pool: &UserPool, namespace_uid: &str) -> Self {
        Self {
            name: names::signing_secret(namespace_uid, &pool.name.name),
            labels: names::labels(names::SIGNING_KEYS, &pool.id),
            annotations: BTreeMap::from([
                (names::OWNER_NAMESPACE.to_owned(), pool.name.namespace.clone()),
                (names::OWNER_NAME.to_owned(), pool.name.name.clone()),
            ]),
        }
    }

    /// The Secret with this key set.
    ///
    /// # Errors
    /// The key set could not be encoded.
    pub fn secret(&self, hosted: &Hosted, keys: &StoredKeySet) -> Result<Secret, Error> {
        let json =
            serde_json::to_vec(keys).map_err(|source| Error::Encode { what: "key set", source })?;
        Ok(Secret {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(self.labels.clone()),
                annotations: Some(self.annotations(hosted)),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some(BTreeMap::from([(names::KEY_SET.to_owned(), ByteString(json))])),
            ..Secret::default()
        })
    }

    /// The stored Secret, corrected to the desired metadata and key set; `None` if nothing differs.
    /// What others added stays.
    ///
    /// # Errors
    /// The key set could not be encoded.
    pub fn corrected(
        &self,
        stored: &Secret,
        hosted: &Hosted,
        keys: &StoredKeySet,
    ) -> Result<Option<Secret>, Error> {
        let desired = self.secret(hosted, keys)?;
        let mut corrected = stored.clone();
        let metadata = &mut corrected.metadata;
        metadata.labels.get_or_insert_default().extend(desired.metadata.labels.unwrap_or_default());
        let annotations = desired.metadata.annotations.unwrap_or_default();
        metadata.annotations.get_or_insert_default().extend(annotations);
        corrected.data.get_or_insert_default().extend(desired.data.unwrap_or_default());
        Ok((corrected != *stored).then_some(corrected))
    }

    fn annotations(&self, hosted: &Hosted) -> BTreeMap<String, String> {
        let mut annotations = self.annotations.clone();
        let policy = names::deletion_policy(hosted.retain_keys);
        annotations.insert(names::DELETION_POLICY.to_owned(), policy.to_owned());
        annotations
    }
}

/// The key set in a signing Secret; `None` if it is unreadable.
pub fn read(secret: &Secret) -> Option<StoredKeySet> {
    let ByteString(json) = secret.data.as_ref()?.get(names::KEY_SET)?;
    StoredKeySet::from_json(json)
}

/// The `iss` of tokens that the pool's next key will sign.
pub fn issuer(pool: &UserPool, public_url: &str) -> String {
    format!("{public_url}/userPools/{}", pool.id)
}

/// The URL of the pool's public key set.
pub fn jwks_uri(pool: &UserPool, public_url: &str) -> String {
    format!("{}/.well-known/jwks.json", issuer(pool, public_url))
}

/// The status that publishes this key set, without conditions.
pub fn status(pool: &UserPool, keys: &StoredKeySet, public_url: &str) -> UserPoolStatus {
    let published = keys.keys.iter().map(|key| SigningKeyStatus {
        kid: key.kid().to_owned(),
        algorithm: key.algorithm.into(),
        state: key.state,
        issuer: Some(key.issuer.clone()),
        published_at: Time(key.published_at),
        active_at: key.active_at.map(Time),
        retire_at: key.gone_at().map(Time),
        jwk: key.jwk.clone(),
    });
    UserPoolStatus {
        id: Some(pool.id.to_string()),
        source: Some(pool.source.describe()),
        issuer: keys.active().map(|key| key.issuer.clone()),
        jwks_uri: Some(jwks_uri(pool, public_url)),
        keys: published.collect(),
        ..UserPoolStatus::default()
    }
}

/// The write of the ConfigMap for workloads that mount the public key set.
///
/// # Errors
/// The set could not be encoded.
pub fn config_map(
    object: &crd::UserPool,
    pool: &UserPool,
    status: &UserPoolStatus,
) -> Result<Write, Error> {
    let owner =
        object.controller_owner_ref(&()).ok_or(Error::Incomplete { what: "metadata.uid" })?;
    let jwks = public_set(status.keys.iter().map(|key| &key.jwk));
    let json = jwks
        .and_then(|jwks| serde_json::to_string(&jwks))
        .map_err(|source| Error::Encode { what: "JWKS", source })?;
    Ok(Write::ApplyConfigMap(Box::new(ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::jwks_config_map(&pool.name.name)),
            namespace: Some(pool.name.namespace.clone()),
            labels: Some(names::labels(names::JWKS, &pool.id)),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(JWKS_JSON.to_owned(), json)])),
        ..ConfigMap::default()
    })))
}

/// The readiness of a pool that publishes these keys.
pub fn readiness(keys: &StoredKeySet) -> Readiness {
    Readiness::new(ReadyReason::KeysPublished, format!("keys published: {}", states(keys)))
}

/// The number of keys in each state, such as `1 Retiring, 1 Active`.
fn states(keys: &StoredKeySet) -> String {
    let count = |state| {
        let count = keys.keys.iter().filter(|key| key.state == state).count();
        (count > 0).then(|| format!("{count} {state:?}"))
    };
    let states = [SigningKeyState::Retiring, SigningKeyState::Active, SigningKeyState::Next];
    states.into_iter().filter_map(count).collect::<Vec<_>>().join(", ")
}

/// The readiness of a pool that publishes this many keys.
pub fn published(keys: usize) -> Readiness {
    Readiness::new(ReadyReason::KeysPublished, format!("keys published: {keys}"))
}

/// The readiness of a pool whose signing Secret is unreadable. The Secret is never overwritten: it
/// may contain the only copy of a key.
pub fn unreadable(operator_namespace: &str, secret: &str) -> Readiness {
    Readiness::new(
        ReadyReason::SigningKeysUnreadable,
        format!(
            "Secret `{operator_namespace}/{secret}` has no usable key set; restore it, or delete it to create a new key, which invalidates every token of the pool"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::algorithm::Algorithm;
    use crate::domain::ids::{ObjectName, OrganizationId, UserPoolId};
    use crate::domain::policy::ClaimsPolicy;
    use crate::domain::pool::{FetchState, Source};
    use crate::domain::rotation::signing_keys::tests::first;
    use jiff::SignedDuration;

    const HOSTED: Hosted = Hosted {
        algorithm: Algorithm::ES256,
        default_lifetime: SignedDuration::from_hours(1),
        max_lifetime: SignedDuration::from_hours(2),
        rotation_interval: None,
        retain_keys: true,
    };

    fn pool() -> UserPool {
        UserPool {
            id: UserPoolId::derive("acme", "users"),
            organization: OrganizationId::derive("acme"),
            name: ObjectName { namespace: "acme".into(), name: "users".into() },
            created_at: None,
            source: Source::Hosted(HOSTED),
            claims: ClaimsPolicy::default(),
            keys: vec![],
            fetch: FetchState::default(),
            document: std::sync::OnceLock::new(),
        }
    }

    fn keys() -> StoredKeySet {
        let mut keys = first(Algorithm::ES256);
        keys.keys[0].issuer = issuer(&pool(), "https://anon.example");
        keys
    }

    #[test]
    fn the_secret_reads_back() {
        let keys = keys();
        let names = SigningSecret::new(&pool(), "uid");
        let secret = names.secret(&HOSTED, &keys).unwrap();
        assert_eq!(secret.metadata.name.as_deref(), Some("uid.users.signing-keys"));
        assert_eq!(read(&secret).unwrap().keys[0].jwk, keys.keys[0].jwk);
        assert!(names.corrected(&secret, &HOSTED, &keys).unwrap().is_none());
        assert!(read(&Secret::default()).is_none());
    }

    #[test]
    fn metadata_is_repaired_and_keys_are_not_touched() {
        let names = SigningSecret::new(&pool(), "uid");
        let keys = keys();
        let mut secret = names.secret(&HOSTED, &keys).unwrap();
        secret.metadata.labels.as_mut().unwrap().remove(names::ID);
        secret.metadata.labels.as_mut().unwrap().insert("theirs".into(), "stays".into());
        let repaired = names.corrected(&secret, &HOSTED, &keys).unwrap().unwrap();
        assert_eq!(repaired.metadata.labels.as_ref().unwrap()[names::ID], pool().id.to_string());
        assert_eq!(repaired.metadata.labels.as_ref().unwrap()["theirs"], "stays");
        assert_eq!(repaired.data, secret.data);
        let deleting = Hosted { retain_keys: false, ..HOSTED };
        assert!(names.corrected(&repaired, &deleting, &keys).unwrap().is_some());
    }

    #[test]
    fn nothing_private_is_published() {
        let keys = keys();
        let status = status(&pool(), &keys, "https://anon.example");
        let mut object = crd::UserPool::new("users", crd::UserPoolSpec::default());
        object.metadata.uid = Some("u".into());
        let Write::ApplyConfigMap(map) = config_map(&object, &pool(), &status).unwrap() else {
            panic!("another write")
        };
        let published = serde_json::to_string(&(&status, &map)).unwrap();
        assert!(!published.contains("pkcs8") && !published.contains(r#""d""#));
        assert_eq!(status.issuer.unwrap(), format!("https://anon.example/userPools/{}", pool().id));
    }
}
