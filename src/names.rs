//! Labels, annotations and names of stored objects, shared by the controllers, which write them,
//! and the REST API, which reads some of them.

use std::collections::BTreeMap;

use crate::domain::ids::{ObjectName, PasswordId};
use crate::domain::role::Role;

/// Field manager of `Member.status.sessions`. It differs from that of the rest of the status, so
/// that `managedFields` shows which component wrote a field.
pub const SESSIONS: &str = "anon-operator/sessions";
/// The name of this program: field manager, and value of [`MANAGED_BY`].
pub const MANAGER: &str = "anon-operator";
/// Label: [`MANAGER`] on every object that the operator creates.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label: the purpose of the object.
pub const COMPONENT: &str = "anon.dev/component";
/// Label: id of the pool, client or member that owns the object.
pub const ID: &str = "anon.dev/id";
/// Annotation: name of the owner.
pub const OWNER_NAME: &str = "anon.dev/owner-name";
/// Annotation on a signing Secret: namespace of the pool.
pub const OWNER_NAMESPACE: &str = "anon.dev/owner-namespace";
/// Annotation: `Retain` or `Delete`. Stored on the Secret, because it is needed after the owner is
/// deleted.
pub const DELETION_POLICY: &str = "anon.dev/deletion-policy";
/// Label on a Secret in the operator's namespace that is stored for a namespace that no longer
/// exists: the uid of the namespace that takes it over. Set by a platform administrator; see
/// [`heir`].
pub const INHERITED_BY: &str = "anon.dev/inherited-by";
/// Annotation on a delivery Secret: id, hash, state and times of every valid key, so that a lost
/// status can be recomputed completely.
pub const KEYS: &str = "anon.dev/keys";

/// Annotation on a delivery Secret: the MAC of [`KEYS`], see [`crate::domain::record_mac`].
pub const KEYS_MAC: &str = "anon.dev/keys-mac";
/// Prefix of labels on a delivery Secret, followed by the id of a key that [`KEYS`] lists.
pub const KEY_LABEL: &str = "anon.dev/key.";
/// Name of the Secret in the operator's namespace that contains the keys of these MACs.
pub const RECORD_KEYS_SECRET: &str = "anon-operator.record-keys";
/// Value of [`COMPONENT`]: that Secret.
pub const RECORD_KEYS: &str = "record-keys";

/// Name of the Secret in the operator's namespace that contains the certificate of the admission
/// webhook. Written by the leader, and read by the replicas that serve the webhook.
pub const WEBHOOK_SECRET: &str = "anon-operator.webhook-certificate";
/// Value of [`COMPONENT`]: that Secret.
pub const WEBHOOK_CERTIFICATE: &str = "webhook-certificate";
/// Data key of that Secret: the certificate, in PEM.
pub const TLS_CERTIFICATE: &str = "tls.crt";
/// Data key of that Secret: the private key, in PEM.
pub const TLS_KEY: &str = "tls.key";
/// Data key of that Secret: the certificate of the CA, in PEM.
pub const CA_CERTIFICATE: &str = "ca.crt";

/// Annotation on an SdkClient or UserPool: any new value requests a rotation.
pub const ROTATE: &str = "anon.dev/rotate";
/// Annotation on a delivery Secret: digest of the last [`ROTATE`] that was carried out.
pub const ROTATED: &str = "anon.dev/rotated";
/// Annotation on a delivery Secret: the names of its labels and annotations that come from the
/// spec.
pub const OWNED_METADATA: &str = "anon.dev/owned-metadata";
/// Annotation on a Namespace, written by a cluster administrator: the clientIds that its clients
/// may choose, separated by commas, or `*`.
pub const CLIENT_IDS: &str = "anon.dev/client-ids";

/// Annotation on an object that the REST API created: identifies the request, so that a retry is
/// recognized.
pub const REQUEST: &str = "anon.dev/request";

/// Annotation on a Member: the REST API is about to remove its role Admin. See
/// [`crate::server`]'s `org::last_admin`.
pub const LEAVING: &str = "anon.dev/leaving";

/// Prefix of the names of namespaces that a sign-up created.
pub const SIGN_UP_PREFIX: &str = "anon-org-";
/// Label on a Namespace whose sign-up is in progress. The chart's admission policy allows only the
/// operator to set it.
pub const SIGN_UP: &str = "anon.dev/sign-up";
/// Value of [`COMPONENT`]: the Secret that records the namespace of a sign-up.
pub const SIGN_UP_RECORD: &str = "sign-up";
/// Value of [`SIGN_UP`].
pub const SIGN_UP_PENDING: &str = "pending";

/// Name of the Lease of the leader, in the operator's namespace.
pub const LEADER_LEASE: &str = "anon-operator-leader";
/// Prefix of the name of a replica's Lease, followed by the name of its Pod. A replica is
/// identified by this name and never by a label, because the chart's admission policy protects the
/// name.
pub const VALIDATOR_LEASE: &str = "anon-validator-";
/// Annotation on a replica's Lease: the resourceVersions that it has applied, by kind.
pub const APPLIED: &str = "anon.dev/applied";
/// Annotation on a replica's Lease: its open requests to fetch key sets again.
pub const ASKED: &str = "anon.dev/asked";
/// Value of [`COMPONENT`]: the Lease of a validator, a replica that authenticates requests.
pub const VALIDATOR: &str = "validator";

/// Data key of a signing Secret: a [`crate::domain::signing_key_set::StoredKeySet`] in JSON.
pub const KEY_SET: &str = "keyset.json";

/// Label on a Secret that a spec refers to: the use that the owner of the Secret consents to.
pub const USE: &str = "anon.dev/use";
/// Value of [`USE`]: the password of a Member.
pub const USE_PASSWORD: &str = "password";
/// Value of [`USE`]: the JWKS, with private keys, of a UserPool.
pub const USE_JWKS: &str = "jwks";
/// Value of [`USE`]: CA certificates for connections to an identity provider.
pub const USE_CA: &str = "ca";
/// Data key of a Secret with a password hash: argon2id in PHC format.
pub const PASSWORD_HASH: &str = "password.phc";
/// Annotation on a Secret with a password hash: the source of the password.
pub const PASSWORD_SOURCE: &str = "anon.dev/password-source";
/// Value of [`PASSWORD_SOURCE`]: a password that was sent to the REST API. Values for a Secret are
/// different, because they contain spaces.
pub const MADE_BY_API: &str = "api";

/// Annotation on a Member whose password was set by the REST API: the password id, which is part of
/// the name of the Secret with the hash. A member that is deleted and re-created lacks the
/// annotation and so has no password, unless its manifest contains the annotation.
pub const PASSWORD_ID: &str = "anon.dev/password-id";

/// Value of [`COMPONENT`]: the Secret with the password hash of a member.
pub const PASSWORD: &str = "password-hash";
/// Value of [`COMPONENT`]: the Secret with the signing keys of a hosted pool.
pub const SIGNING_KEYS: &str = "signing-keys";
/// Value of [`COMPONENT`]: a delivery Secret, which contains an API key.
pub const API_KEY: &str = "api-key";
/// Value of [`COMPONENT`]: the ConfigMap with a pool's public key set.
pub const JWKS: &str = "jwks";
/// Value of [`COMPONENT`]: the RoleBinding of a member.
pub const MEMBER_ROLE: &str = "member-role";

/// The labels and annotations of watched objects that are kept in memory. All others are dropped,
/// so a label or annotation that a controller reads from its store or a watch must be listed here.
const RETAINED_METADATA: [&str; 11] = [
    ID,
    OWNER_NAME,
    OWNER_NAMESPACE,
    DELETION_POLICY,
    INHERITED_BY,
    ROTATE,
    PASSWORD_ID,
    LEAVING,
    CLIENT_IDS,
    SIGN_UP,
    ASKED,
];

/// Whether a label or annotation is one of [`RETAINED_METADATA`].
#[must_use]
pub fn is_read(name: &str) -> bool {
    RETAINED_METADATA.contains(&name)
}

/// The labels of an object of `component` that is owned by `id`.
#[must_use]
pub fn labels(component: &str, id: &impl ToString) -> BTreeMap<String, String> {
    BTreeMap::from([
        (MANAGED_BY.to_owned(), MANAGER.to_owned()),
        (COMPONENT.to_owned(), component.to_owned()),
        (ID.to_owned(), id.to_string()),
    ])
}

/// Selects every object of `component` that the operator created.
#[must_use]
pub fn selector(component: &str) -> String {
    format!("{MANAGED_BY}={MANAGER},{COMPONENT}={component}")
}

/// The label of a delivery Secret whose record lists the key of this id.
#[must_use]
pub fn key_label(id: &str) -> String {
    format!("{KEY_LABEL}{id}")
}

/// Selects the objects of `component` that are owned by `id`.
#[must_use]
pub fn selector_of(component: &str, id: &impl ToString) -> String {
    format!("{},{ID}={}", selector(component), id.to_string())
}

/// Name of the signing Secret of a pool, in the operator's namespace. It contains the uid of the
/// pool's namespace, so that a re-created namespace starts with new keys.
#[must_use]
pub fn signing_secret(namespace_uid: &str, pool: &str) -> String {
    format!("{namespace_uid}.{pool}.signing-keys")
}

/// Name of the Secret with the hash of a member's password, in the operator's namespace. For the
/// uid, see [`signing_secret`]. Each password has its own Secret, so that one write to the Member,
/// which refers to the Secret by the password id, changes the password.
#[must_use]
pub fn password_secret(namespace_uid: &str, member: &str, id: PasswordId) -> String {
    format!("{namespace_uid}.{member}.{id}.password-hash")
}

/// The uid of the namespace that takes over a Secret of this name and with these labels; `None` if
/// none does, or if the Secret is stored for that namespace already.
#[must_use]
pub fn heir<'l>(secret: &str, labels: &'l BTreeMap<String, String>) -> Option<&'l str> {
    let heir = labels.get(INHERITED_BY)?;
    let (stored_for, _) = secret.split_once('.')?;
    (stored_for != heir).then_some(heir)
}

/// The name of a Secret that is stored for a namespace, once the namespace with this uid has taken
/// it over.
#[must_use]
pub fn inherited(secret: &str, namespace_uid: &str) -> String {
    let rest = secret.split_once('.').map_or(secret, |(_, rest)| rest);
    format!("{namespace_uid}.{rest}")
}

/// The annotations of a Secret with a password hash. `source` identifies the source of the password.
#[must_use]
pub fn password_annotations(member: &ObjectName, source: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (OWNER_NAMESPACE.to_owned(), member.namespace.clone()),
        (OWNER_NAME.to_owned(), member.name.clone()),
        (PASSWORD_SOURCE.to_owned(), source.to_owned()),
        // Never retained: a later member with the same name is another person.
        (DELETION_POLICY.to_owned(), deletion_policy(false).to_owned()),
    ])
}

/// Name of the ConfigMap with a pool's public key set, which workloads can mount.
#[must_use]
pub fn jwks_config_map(pool: &str) -> String {
    format!("{pool}-jwks")
}

/// Name of a member's RoleBinding. It contains the role, because a `roleRef` is immutable.
#[must_use]
pub fn role_binding(member: &str, role: Role) -> String {
    format!("anon-member-{member}-{}", role.as_str().to_ascii_lowercase())
}

/// Name of the member to whom a RoleBinding of this name belongs.
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
    fn a_marked_secret_is_inherited_under_the_uid_of_its_heir() {
        let marked = |uid: &str| BTreeMap::from([(INHERITED_BY.to_owned(), uid.to_owned())]);
        let (signing, id) = (signing_secret("old", "users"), PasswordId::derive(&["a"]));
        assert_eq!(heir(&signing, &marked("new")), Some("new"));
        assert_eq!(heir(&signing, &marked("old")), None);
        assert_eq!(heir(&signing, &BTreeMap::new()), None);
        assert_eq!(inherited(&signing, "new"), signing_secret("new", "users"));
        let hash = password_secret("old", "ada.admin", id);
        assert_eq!(inherited(&hash, "new"), password_secret("new", "ada.admin", id));
    }

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
