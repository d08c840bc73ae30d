//! Labels, annotations and names of what the operator stores: shared by who writes it (the
//! controllers) and who reads it (the API, when it mints).

use std::collections::BTreeMap;

use crate::domain::ids::ObjectName;
use crate::domain::staff::Member;

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

/// Annotation on a Member that the API gave a password, and on the Secret with its hash: random, and
/// the same on both, or the hash does not count. A uid would do for a member that was deleted and
/// made again, but a restore changes it; this one comes back with the Member's manifest.
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

/// Name of the Secret with a member's password hash, in the operator's namespace. The uid as for
/// [`signing_secret`].
#[must_use]
pub fn password_secret(namespace_uid: &str, member: &str) -> String {
    format!("{namespace_uid}.{member}.password-hash")
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

/// Whether a Secret with these annotations has the hash of this member's password: made from the
/// Secret that the member names, or by the API for this very member. What a deleted member of the
/// same name has left behind is neither.
#[must_use]
pub fn is_password_of(annotations: &BTreeMap<String, String>, member: &Member) -> bool {
    let Some(source) = annotations.get(PASSWORD_SOURCE) else { return false };
    if let Some(entry) = &member.password {
        return source.starts_with(&format!("{}/{} ", entry.secret, entry.entry));
    }
    let id = annotations.get(PASSWORD_ID);
    source == MADE_BY_API && id.is_some() && id == member.password_id.as_ref()
}

/// Name of the ConfigMap with a pool's public set, to be mounted by workloads.
#[must_use]
pub fn jwks_config_map(pool: &str) -> String {
    format!("{pool}-jwks")
}

/// Name of a member's RoleBinding. The role is in the name because a `roleRef` cannot change.
#[must_use]
pub fn role_binding(member: &str, role: crate::domain::role::Role) -> String {
    format!("anon-member-{member}-{}", role.as_str().to_ascii_lowercase())
}

/// `Retain` or `Delete`.
#[must_use]
pub const fn deletion_policy(retain: bool) -> &'static str {
    if retain { "Retain" } else { "Delete" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{MemberId, OrganizationId};
    use crate::domain::role::Role;
    use crate::domain::staff::SecretEntry;

    #[test]
    fn a_hash_is_of_one_member_and_one_source() {
        let name = ObjectName { namespace: "acme".into(), name: "ada".into() };
        let mut ada = Member {
            id: MemberId::derive("acme", "ada"),
            organization: OrganizationId::derive("acme"),
            name: name.clone(),
            created_at: None,
            email: "ada@acme.example".into(),
            role: Role::Admin,
            suspended: false,
            password: None,
            password_id: Some("1".into()),
            kubernetes: None,
            sessions: vec![],
        };
        let mut by_api = password_annotations(&name, MADE_BY_API);
        assert!(!is_password_of(&by_api, &ada), "of nobody in particular");
        by_api.insert(PASSWORD_ID.to_owned(), "1".to_owned());
        assert!(is_password_of(&by_api, &ada));
        ada.password_id = Some("2".into());
        assert!(!is_password_of(&by_api, &ada), "of an earlier Ada");
        ada.password_id = None;
        assert!(!is_password_of(&by_api, &ada));

        let by_secret = password_annotations(&name, "ada/password uid 7");
        assert!(!is_password_of(&by_secret, &ada));
        ada.password = Some(SecretEntry { secret: "ada".into(), entry: "password".into() });
        assert!(is_password_of(&by_secret, &ada));
        assert!(!is_password_of(&by_api, &ada));
        ada.password = Some(SecretEntry { secret: "ada".into(), entry: "pass".into() });
        assert!(!is_password_of(&by_secret, &ada));
        assert!(!is_password_of(&BTreeMap::new(), &ada));
    }
}
