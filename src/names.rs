//! Labels, annotations and names of what the operator stores: shared by who writes it (the
//! controllers) and who reads it (the API, when it mints).

use std::collections::BTreeMap;

use crate::domain::ids::{ObjectName, PasswordId};
use crate::domain::role::Role;

/// Field manager of `Member.status.sessions`. Not the one of the rest of the status, so that
/// `managedFields` tells who wrote what.
pub const SESSIONS: &str = "anon-operator/sessions";
/// Who made an object; also the name of this program to the API server.
pub const MANAGER: &str = "anon-operator";
/// Label: [`MANAGER`] on everything that is ours.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label: what the object is for.
pub const COMPONENT: &str = "anon.dev/component";
/// Label: id of the pool, client or member that the object belongs to.
pub const ID: &str = "anon.dev/id";
/// Annotation: name of the object that it belongs to.
pub const OWNER_NAME: &str = "anon.dev/owner-name";
/// Annotation on a signing Secret: namespace of the pool.
pub const OWNER_NAMESPACE: &str = "anon.dev/owner-namespace";
/// Annotation: `Retain` or `Delete`. On the Secret itself, because it is needed when the object
/// that said so is gone.
pub const DELETION_POLICY: &str = "anon.dev/deletion-policy";
/// Annotation on a delivery Secret: id, hash, state and times of every live key, so that status
/// can be recomputed whole after a loss.
pub const KEYS: &str = "anon.dev/keys";

/// Annotation on a delivery Secret: the MAC of [`KEYS`], see [`crate::domain::record_mac`].
pub const KEYS_MAC: &str = "anon.dev/keys-mac";
/// Prefix of labels on a delivery Secret: the id of a key that [`KEYS`] lists follows.
pub const KEY_LABEL: &str = "anon.dev/key.";
/// Name of the Secret, in the operator's namespace, with the keys of these MACs.
pub const RECORD_KEYS_SECRET: &str = "anon-operator.record-keys";
/// Value of [`COMPONENT`]: that Secret.
pub const RECORD_KEYS: &str = "record-keys";

/// Annotation on an SdkClient or UserPool: any new value asks for a new ApiKey or signing key.
pub const ROTATE: &str = "anon.dev/rotate";
/// Annotation on a delivery Secret: digest of the last [`ROTATE`] that was carried out.
pub const ROTATED: &str = "anon.dev/rotated";
/// Annotation on a delivery Secret: which of its labels and annotations come from the spec.
pub const OWNED_METADATA: &str = "anon.dev/owned-metadata";
/// Annotation on a Namespace, written by a cluster admin: the clientIds that its clients may
/// choose, separated by commas, or `*`.
pub const CLIENT_IDS: &str = "anon.dev/client-ids";

/// Annotation on what the API made: tells a repeated request by who asked for what.
pub const REQUEST: &str = "anon.dev/request";

/// Annotation on a Member: the API is about to take the role Admin from it. See
/// [`crate::server`]'s `org::leaving`.
pub const LEAVING: &str = "anon.dev/leaving";

/// Begin of the names of namespaces that were made by a sign-up.
pub const SIGN_UP_PREFIX: &str = "anon-org-";
/// Label on a Namespace that a sign-up is at work on. The chart's admission policy keeps it to us.
pub const SIGN_UP: &str = "anon.dev/sign-up";
/// Value of [`COMPONENT`]: the Secret that says which namespace a sign-up was given.
pub const SIGN_UP_RECORD: &str = "sign-up";
/// Value of [`SIGN_UP`].
pub const SIGN_UP_PENDING: &str = "pending";

/// Prefix of the name of a replica's Lease; the name of its Pod follows. The chart's admission
/// policy guards by this name, so it is what a replica is counted by, never a label.
pub const VALIDATOR_LEASE: &str = "anon-validator-";
/// Annotation on a replica's Lease: the resourceVersions that it has applied, by kind.
pub const APPLIED: &str = "anon.dev/applied";
/// Annotation on a replica's Lease: the key sets that it asks to have fetched again.
pub const ASKED: &str = "anon.dev/asked";
/// Value of [`COMPONENT`]: the Lease of a replica that authenticates.
pub const VALIDATOR: &str = "validator";

/// Data key of a signing Secret: a [`crate::domain::keyset::StoredKeySet`] in JSON.
pub const KEY_SET: &str = "keyset.json";

/// Label on a Secret that we are asked to read: what for. Its writer consents by it.
pub const USE: &str = "anon.dev/use";
/// Value of [`USE`]: the password of a Member.
pub const USE_PASSWORD: &str = "password";
/// Value of [`USE`]: the JWKS, with private keys, of a UserPool.
pub const USE_JWKS: &str = "jwks";
/// Value of [`USE`]: CA certificates to check an identity provider by.
pub const USE_CA: &str = "ca";
/// Data key of a Secret with a password hash: argon2id in PHC form.
pub const PASSWORD_HASH: &str = "password.phc";
/// Annotation on a Secret with a password hash: what it was made from.
pub const PASSWORD_SOURCE: &str = "anon.dev/password-source";
/// Value of [`PASSWORD_SOURCE`]: a password that was sent to the API. No mark of a Secret looks
/// like it: those have spaces.
pub const MADE_BY_API: &str = "api";

/// Annotation on a Member that the API gave a password: which one, as the name of the Secret with its
/// hash says it. A member that was deleted and made again has no such annotation, and so no password;
/// one that comes back with its manifest has.
pub const PASSWORD_ID: &str = "anon.dev/password-id";

/// Value of [`COMPONENT`]: the Secret with the password hash of a member.
pub const PASSWORD: &str = "password-hash";
/// Value of [`COMPONENT`]: the Secret with the life cycle of a hosted pool's keys.
pub const SIGNING_KEYS: &str = "signing-keys";
/// Value of [`COMPONENT`]: a Secret that an ApiKey is delivered into.
pub const API_KEY: &str = "api-key";
/// Value of [`COMPONENT`]: the ConfigMap with a pool's public set.
pub const JWKS: &str = "jwks";
/// Value of [`COMPONENT`]: the RoleBinding of a member.
pub const MEMBER_ROLE: &str = "member-role";

/// The labels and annotations that the controllers read of the objects that they keep in memory. All
/// others are dropped there: a controller that is to read another one from its own store, or from what
/// a watch brings, finds it only if it is listed here.
const READ: [&str; 10] = [
    ID,
    OWNER_NAME,
    OWNER_NAMESPACE,
    DELETION_POLICY,
    ROTATE,
    PASSWORD_ID,
    LEAVING,
    CLIENT_IDS,
    SIGN_UP,
    ASKED,
];

/// Whether a label or annotation is one of [`READ`].
#[must_use]
pub fn is_read(name: &str) -> bool {
    READ.contains(&name)
}

/// The labels of an object of `component` that belongs to `id`.
#[must_use]
pub fn labels(component: &str, id: &impl ToString) -> BTreeMap<String, String> {
    BTreeMap::from([
        (MANAGED_BY.to_owned(), MANAGER.to_owned()),
        (COMPONENT.to_owned(), component.to_owned()),
        (ID.to_owned(), id.to_string()),
    ])
}

/// Selects everything of `component` that is ours.
#[must_use]
pub fn selector(component: &str) -> String {
    format!("{MANAGED_BY}={MANAGER},{COMPONENT}={component}")
}

/// The label of a delivery Secret whose record lists the key of this id.
#[must_use]
pub fn key_label(id: &str) -> String {
    format!("{KEY_LABEL}{id}")
}

/// Selects what of `component` belongs to `id`.
#[must_use]
pub fn selector_of(component: &str, id: &impl ToString) -> String {
    format!("{},{ID}={}", selector(component), id.to_string())
}

/// Name of the signing Secret of a pool, in the operator's namespace. The uid makes a namespace
/// that was deleted and created again start with fresh keys.
#[must_use]
pub fn signing_secret(namespace_uid: &str, pool: &str) -> String {
    format!("{namespace_uid}.{pool}.signing-keys")
}

/// Name of the Secret with the hash of a member's password, in the operator's namespace. The uid as
/// for [`signing_secret`]. Another password has another Secret, so which one the member has is for the
/// Member to say, in one write.
#[must_use]
pub fn password_secret(namespace_uid: &str, member: &str, id: PasswordId) -> String {
    format!("{namespace_uid}.{member}.{id}.password-hash")
}

/// The annotations of that Secret, whose hash was made from `source`.
#[must_use]
pub fn password_annotations(member: &ObjectName, source: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (OWNER_NAMESPACE.to_owned(), member.namespace.clone()),
        (OWNER_NAME.to_owned(), member.name.clone()),
        (PASSWORD_SOURCE.to_owned(), source.to_owned()),
        // There is nothing to go on with: a member of the same name is another person.
        (DELETION_POLICY.to_owned(), deletion_policy(false).to_owned()),
    ])
}

/// Name of the ConfigMap with a pool's public set, to be mounted by workloads.
#[must_use]
pub fn jwks_config_map(pool: &str) -> String {
    format!("{pool}-jwks")
}

/// Name of a member's RoleBinding. The role is in the name because a `roleRef` cannot change.
#[must_use]
pub fn role_binding(member: &str, role: Role) -> String {
    format!("anon-member-{member}-{}", role.as_str().to_ascii_lowercase())
}

/// Name of the member that a RoleBinding of this name is for.
#[must_use]
pub fn member_of_role_binding(binding: &str) -> Option<&str> {
    let (member, role) = binding.strip_prefix("anon-member-")?.rsplit_once('-')?;
    let is_role = Role::ALL.iter().any(|it| it.as_str().eq_ignore_ascii_case(role));
    is_role.then_some(member)
}

/// `Retain` or `Delete`.
#[must_use]
pub const fn deletion_policy(retain: bool) -> &'static str {
    if retain { "Retain" } else { "Delete" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_bindings_name_their_member() {
        for role in Role::ALL {
            let binding = role_binding("ada-admin.x", role);
            assert_eq!(member_of_role_binding(&binding), Some("ada-admin.x"), "{binding}");
        }
        for other in ["anon-member-ada", "anon-member-ada-owner", "ada-admin", "anon-member-admin"]
        {
            assert_eq!(member_of_role_binding(other), None, "{other}");
        }
    }
}
