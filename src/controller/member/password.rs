//! The password of a member whose spec refers to a Secret. The operator stores an argon2id hash of
//! it in its own namespace, where the REST API reads it at login.
//!
//! Each password has an id and a Secret of its own, and status contains the id of the current one.
//! So a single write of status switches to a new password and ends the sessions that began with the
//! previous one ([`crate::domain::member::Member::prove`]). A leader that is killed before this
//! write has created a Secret that the next leader finds, because the id is derived from the
//! source. Hashes that are no longer referenced are deleted by garbage collection.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::ObjectMeta;

use crate::controller::apply;
use crate::controller::plan::{SecretWrite, Write};
use crate::controller::{Context, Error, labelled_secret};
use crate::crd::condition::Readiness;
use crate::crd::reasons::ReadyReason;
use crate::domain::ids::PasswordId;
use crate::domain::member::Member;
use crate::domain::password::{PasswordHash, Refused};
use crate::domain::secret_ref::SecretEntry;
use crate::kube_ext::password_secret;
use crate::names;

/// The password that the spec refers to.
pub enum Password {
    /// The spec refers to no Secret.
    None,
    /// There is no Secret that may be read, with a text in the entry.
    Unusable(SecretEntry),
    /// Its hash is stored.
    Stored(PasswordId),
    /// Its hash is stored, but was computed from an earlier version of the source, with the same
    /// text. Contains the Secret with the new mark.
    Rewritten(PasswordId, Box<Secret>),
    /// It is new. Contains the Secret with its hash.
    New(PasswordId, Box<Secret>),
    /// It must not be used as a password.
    Refused(Refused),
}

/// Reads the source and the stored hashes, and computes the hash of a new password.
pub async fn observe(context: &Context, member: &Member) -> Result<Password, Error> {
    let Some(entry) = &member.password else { return Ok(Password::None) };
    let source =
        labelled_secret::read_opted_in(context, &member.name.namespace, entry, names::USE_PASSWORD)
            .await?;
    let text = source.as_ref().and_then(|source| std::str::from_utf8(&source.bytes).ok());
    let (Some(source), Some(text)) = (source.as_ref(), text) else {
        return Ok(Password::Unusable(entry.clone()));
    };
    let uid = context.namespace_uid(&member.name.namespace).await?;
    let mark = mark(&source.version, entry);
    if let Some(id) = member.password_id {
        let name = names::password_secret(&uid, &member.name.name, id);
        if let Some(mut secret) = stored(context, &name).await? {
            if source_of(&secret) == Some(&mark) {
                return Ok(Password::Stored(id));
            }
            // The source may have been written again with the same text, or only been annotated,
            // which must not end any session.
            if is_of(context, &secret, text.to_owned()).await? {
                secret.annotations_mut().insert(names::PASSWORD_SOURCE.to_owned(), mark);
                return Ok(Password::Rewritten(id, Box::new(secret)));
            }
        }
    }
    let id = PasswordId::derive(&[&uid, &member.name.name, &mark]);
    let name = names::password_secret(&uid, &member.name.name, id);
    if stored(context, &name).await?.is_some() {
        return Ok(Password::Stored(id));
    }
    hashed(context, text.to_owned(), |hash| {
        Password::New(id, Box::new(password_secret::new(member, name, &mark, &hash)))
    })
    .await
}

impl Password {
    /// The id of the password, the write that stores its hash, and the readiness of a member whose
    /// password cannot be used. Pure.
    pub fn plan(self, namespace: &str) -> (Option<PasswordId>, Option<Write>, Option<Readiness>) {
        let write = |secret: Box<Secret>| SecretWrite::new(namespace, *secret);
        match self {
            Self::None => (None, None, None),
            Self::Stored(id) => (Some(id), None, None),
            Self::Rewritten(id, secret) => {
                (Some(id), Some(Write::ReplaceSecret(write(secret))), None)
            }
            // An existing one was created from the same source, by another leader.
            Self::New(id, secret) => (Some(id), Some(Write::EnsureSecret(write(secret))), None),
            Self::Unusable(entry) => (None, None, Some(unusable(&entry))),
            Self::Refused(refused) => {
                let text = format!("spec.passwordSecretRef: {refused}");
                (None, None, Some(Readiness::new(ReadyReason::PasswordRefused, text)))
            }
        }
    }
}

/// The writes by which a member takes over a hash that was stored for a former namespace, if that is
/// marked ([`former`](crate::controller::former)). Which of its hashes is in force, the Member says.
pub fn take_over(former: &Secret, member: &Member, namespace: &str) -> Vec<Write> {
    let name = former.name_any();
    let Some(uid) = names::heir(&name, former.labels()) else { return Vec::new() };
    let metadata = ObjectMeta {
        name: Some(names::inherited(&name, uid)),
        labels: Some(names::labels(names::PASSWORD, &member.id)),
        annotations: former.metadata.annotations.clone(),
        ..ObjectMeta::default()
    };
    let own = Secret { metadata, ..former.clone() };
    vec![
        Write::EnsureSecret(SecretWrite::new(namespace, own)),
        Write::DeleteSecret(SecretWrite::new(namespace, former.clone())),
    ]
}

async fn stored(context: &Context, name: &str) -> Result<Option<Secret>, Error> {
    apply::read_secret(&context.client, &context.settings.operator_namespace, name).await
}

/// Whether the stored hash is of this text.
async fn is_of(context: &Context, secret: &Secret, text: String) -> Result<bool, Error> {
    let Some(hash) = password_secret::hash(secret) else { return Ok(false) };
    let _turn = context.hashing.lock().await;
    let text = zeroize::Zeroizing::new(text);
    Ok(tokio::task::spawn_blocking(move || hash.is_of_entry(&text)).await?)
}

/// Hashes a new password outside the async threads, and one at a time, because each hash takes
/// 19 MiB.
async fn hashed(
    context: &Context,
    text: String,
    new: impl FnOnce(PasswordHash) -> Password,
) -> Result<Password, Error> {
    let _turn = context.hashing.lock().await;
    let text = zeroize::Zeroizing::new(text);
    match tokio::task::spawn_blocking(move || PasswordHash::from_entry(&text)).await? {
        Ok(hash) => Ok(new(hash)),
        Err(Refused::Failed) => Err(Error::Incomplete { what: "a hash" }),
        Err(refused) => Ok(Password::Refused(refused)),
    }
}

/// Identifies the source of a hash: any change of the source changes the mark.
fn mark(version: &str, entry: &SecretEntry) -> String {
    format!("{}/{} {version}", entry.secret, entry.entry)
}

fn source_of(stored: &Secret) -> Option<&str> {
    stored.annotations().get(names::PASSWORD_SOURCE).map(String::as_str)
}

fn unusable(entry: &SecretEntry) -> Readiness {
    let needed = labelled_secret::needed(entry, names::USE_PASSWORD, "a UTF-8 text");
    Readiness::new(
        ReadyReason::PasswordSecretUnusable,
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
