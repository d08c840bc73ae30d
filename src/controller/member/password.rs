//! The password of a member whose spec names a Secret: an argon2id hash of it in the operator's
//! own namespace, where the API looks at a login.
//!
//! The hash follows its source: another value is hashed again, and a source that is gone, or no
//! longer carries the label of consent, takes the hash with it. While the spec names no Secret, the
//! hash that the API has made for this very member is left alone, and any other removed.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, ObjectMeta};
use tracing::info;

use crate::controller::apply::{self, Created};
use crate::controller::{Context, Error, consent};
use crate::crd::condition::Standing;
use crate::domain::password::{PasswordHash, Refused};
use crate::domain::staff::{Member, SecretEntry};
use crate::kube_ext::tolerant::Tolerant;
use crate::names;

/// Sees to it that the hash is that of the Secret in the spec. `Err` in the result says what
/// stands in the way.
pub async fn follow(context: &Context, member: &Member) -> Result<Result<(), Standing>, Error> {
    let uid = context.namespace_uid(&member.name.namespace).await?;
    let name = names::password_secret(&uid, &member.name.name);
    let (client, namespace) = (&context.client, &context.settings.operator_namespace);
    let stored = apply::read_secret(client, namespace, &name).await?;
    let Some(entry) = &member.password else {
        let left_over = stored.filter(|it| !names::is_password_of(it.annotations(), member));
        remove(context, left_over).await?;
        return Ok(Ok(()));
    };
    let source = consent::read(context, &member.name.namespace, entry, names::USE_PASSWORD).await?;
    let text = source.as_ref().and_then(|source| std::str::from_utf8(&source.bytes).ok());
    let (Some(source), Some(text)) = (source.as_ref(), text) else {
        remove(context, stored).await?;
        return Ok(Err(unusable(entry)));
    };
    let mark = mark(&source.version, entry);
    if stored.as_ref().is_some_and(|stored| source_of(stored) == Some(mark.as_str())) {
        return Ok(Ok(()));
    }
    match hash(context, text.to_owned()).await? {
        Ok(hash) => {
            let secret = desired(member, name, &mark, &hash);
            store(context, stored, secret).await?;
            Ok(Ok(()))
        }
        Err(Refused::Failed) => Err(Error::Incomplete { what: "a hash" }),
        Err(refused) => {
            remove(context, stored).await?;
            Ok(Err(Standing::stalled(
                "PasswordRefused",
                format!("spec.passwordSecretRef: {refused}"),
            )))
        }
    }
}

/// Hashes off the async threads, and one at a time: a hash takes 19 MiB.
async fn hash(context: &Context, text: String) -> Result<Result<PasswordHash, Refused>, Error> {
    let _turn = context.hashing.lock().await;
    let text = zeroize::Zeroizing::new(text);
    Ok(tokio::task::spawn_blocking(move || PasswordHash::from_entry(&text)).await?)
}

async fn store(context: &Context, stored: Option<Secret>, secret: Secret) -> Result<(), Error> {
    let (client, namespace) = (&context.client, &context.settings.operator_namespace);
    let written = match stored {
        None => match apply::create_secret(client, namespace, &secret).await? {
            Created::New(made) => made,
            // Somebody was faster; the next look compares.
            Created::Existing(_) => return Err(Error::Conflict { action: "create Secret" }),
        },
        Some(stored) => {
            let mut replacement = secret;
            replacement.metadata.resource_version = stored.metadata.resource_version;
            apply::replace_secret(client, namespace, &replacement).await?
        }
    };
    info!(name = %written.name_any(), "stored a password hash");
    Ok(())
}

async fn remove(context: &Context, stored: Option<Secret>) -> Result<(), Error> {
    let Some(stored) = stored else { return Ok(()) };
    let namespace = &context.settings.operator_namespace;
    let api: Api<Tolerant<Secret>> = Api::namespaced(context.client.clone(), namespace);
    apply::delete_exactly(&api, &stored).await?;
    info!(name = %stored.name_any(), "removed a password hash that has no source");
    Ok(())
}

fn desired(member: &Member, name: String, mark: &str, hash: &PasswordHash) -> Secret {
    let data = ByteString(hash.expose().as_bytes().to_vec());
    Secret {
        metadata: ObjectMeta {
            name: Some(name),
            labels: Some(names::labels(names::PASSWORD, &member.id)),
            annotations: Some(names::password_annotations(&member.name, mark)),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some([(names::PASSWORD_HASH.to_owned(), data)].into()),
        ..Secret::default()
    }
}

/// What a hash was made from: another value in the source is another mark.
fn mark(version: &str, entry: &SecretEntry) -> String {
    format!("{}/{} {version}", entry.secret, entry.entry)
}

fn source_of(stored: &Secret) -> Option<&str> {
    stored.annotations().get(names::PASSWORD_SOURCE).map(String::as_str)
}

fn unusable(entry: &SecretEntry) -> Standing {
    let needed = consent::needed(entry, names::USE_PASSWORD, "a text");
    Standing::reconciling(
        "PasswordSecretUnusable",
        format!("the member cannot log in with a password: {needed}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_the_source_is_another_mark() {
        let entry = |name: &str| SecretEntry { secret: "ada".into(), entry: name.into() };
        let before = mark("uid 7", &entry("password"));
        assert_ne!(before, mark("uid 7", &entry("other")));
        assert_ne!(before, mark("uid 8", &entry("password")));
        assert_ne!(before, names::MADE_BY_API);
    }
}
