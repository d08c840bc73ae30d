//! Secrets of organizations that the operator is asked to read: passwords, key sets, CA
//! certificates. The label `anon.dev/use` is the opt-in of a user with write access to the Secret.
//!
//! The watches select this label, so unrelated Secrets cost nothing. As a result, a watch cannot
//! tell a deleted Secret from one that lost its label, or from its own reconnection. So every
//! decision is based on a GET, and a watch only triggers it.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::runtime::watcher;

use super::apply::read_secret;
use super::queue::{Objects, Reference};
use super::{Context, Error, GuardedMeta};
use crate::domain::ids::ObjectName;
use crate::domain::secret_ref::SecretEntry;
use crate::names;

/// The requested entry of a labelled Secret.
pub struct OptedIn {
    /// The value.
    pub bytes: Vec<u8>,
    /// Identifies this version of this Secret: changes with its content and when it is re-created.
    pub version: String,
}

/// Reads an entry. `None` for a missing Secret, a missing label and a missing entry alike, so that
/// a user who cannot read the Secret learns nothing about it.
///
/// # Errors
/// The API server did not answer.
pub async fn read_opted_in(
    context: &Context,
    namespace: &str,
    entry: &SecretEntry,
    use_: &str,
) -> Result<Option<OptedIn>, Error> {
    let secret = read_secret(&context.client, namespace, &entry.secret).await?;
    Ok(secret.and_then(|secret| consented(secret, entry, use_)))
}

fn consented(secret: Secret, entry: &SecretEntry, use_: &str) -> Option<OptedIn> {
    let agreed = secret.labels().get(names::USE).is_some_and(|label| label == use_);
    let version = format!(
        "{} {}",
        secret.uid().unwrap_or_default(),
        secret.resource_version().unwrap_or_default()
    );
    let ByteString(bytes) = secret.data?.remove(&entry.entry)?;
    agreed.then_some(OptedIn { bytes, version })
}

/// What is required, for a message: one text for every possible cause.
pub fn needed(entry: &SecretEntry, use_: &str, what: &str) -> String {
    format!(
        "Secret `{}` with label `{}: {use_}` and {what} in `{}` is required in this namespace",
        entry.secret,
        names::USE,
        entry.entry
    )
}

/// Selects the Secrets labelled for one of these uses.
pub fn watched(uses: &[&str]) -> watcher::Config {
    watcher::Config::default().labels(&format!("{} in ({})", names::USE, uses.join(",")))
}

/// Maps a Secret to the objects in its namespace that refer to it.
pub fn referrers<T>(
    objects: Objects<T>,
) -> impl Fn(GuardedMeta<Secret>) -> Vec<ObjectName> + Send + Sync + 'static
where
    T: Send + Sync + 'static,
{
    move |secret| {
        let namespace = secret.namespace().unwrap_or_default();
        objects.referrers(&namespace, &Reference::secret(&secret.name_any()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn secret(labels: &Value, version: &str) -> Secret {
        serde_json::from_value(json!({
            "metadata": {"name": "ada", "uid": "u", "resourceVersion": version, "labels": labels},
            "data": {"password": "Y29ycmVjdCBob3JzZQ=="},
        }))
        .unwrap()
    }

    fn read(labels: &Value, entry: &str) -> Option<OptedIn> {
        let entry = SecretEntry { secret: "ada".into(), entry: entry.into() };
        consented(secret(labels, "7"), &entry, names::USE_PASSWORD)
    }

    #[test]
    fn only_with_consent() {
        let agreed = json!({"anon.dev/use": "password"});
        assert_eq!(read(&agreed, "password").unwrap().bytes, b"correct horse");
        assert!(read(&agreed, "nothing").is_none());
        assert!(read(&json!({"anon.dev/use": "jwks"}), "password").is_none());
        assert!(read(&json!({}), "password").is_none());
    }

    #[test]
    fn every_write_is_another_version() {
        let entry = SecretEntry { secret: "ada".into(), entry: "password".into() };
        let version = |version: &str| {
            let labels = json!({"anon.dev/use": "password"});
            consented(secret(&labels, version), &entry, "password").unwrap().version
        };
        assert_eq!(version("7"), version("7"));
        assert_ne!(version("7"), version("8"));
    }
}
