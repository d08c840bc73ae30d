//! The Secret with the hash of a member's password, in the operator's namespace. The leader writes
//! it for members whose spec refers to a Secret, and the REST API for all others.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;

use crate::domain::member::Member;
use crate::domain::password::PasswordHash;
use crate::names;

/// A new one. `source` identifies the source of the password.
#[must_use]
pub fn new(member: &Member, name: String, source: &str, hash: &PasswordHash) -> Secret {
    let data = ByteString(hash.expose().as_bytes().to_vec());
    Secret {
        metadata: ObjectMeta {
            name: Some(name),
            labels: Some(names::labels(names::PASSWORD, &member.id)),
            annotations: Some(names::password_annotations(&member.name, source)),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some([(names::PASSWORD_HASH.to_owned(), data)].into()),
        ..Secret::default()
    }
}

/// The hash in it; `None` if there is no acceptable one.
#[must_use]
pub fn hash(secret: &Secret) -> Option<PasswordHash> {
    let ByteString(bytes) = secret.data.as_ref()?.get(names::PASSWORD_HASH)?;
    PasswordHash::parse(std::str::from_utf8(bytes).ok()?)
}
