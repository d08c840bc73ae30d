//! The reasons of `Ready`, each with its state.

use super::ReadyState;
use super::{Documentation, names};

names! {
    /// The reasons of `Ready`, and of `Reconciling` or `Stalled` beside it.
    ReadyReason,
    /// The state of an object that has this reason.
    state: ReadyState;

    Pending = Unknown {
        /// The API server has stored the object, and the operator has not reconciled it yet. If
        /// this persists, check that the operator runs and that one replica is the leader.
        EveryKind;
    }
    Invalid = Stalled {
        /// The spec was stored before a validation rule existed, or bypassed it. The object is not
        /// served: a pool has no keys, a member has no rights, a Revocation revokes nothing. Change
        /// what the message specifies.
        EveryKind;
    }
    Unreadable = Stalled {
        /// This version of the operator cannot read the object, most likely because a newer version
        /// wrote it. The object is not served, and the rest of its status is unchanged. Go back to
        /// the newer version, or change what the message specifies.
        EveryKind;
    }
    Refused = Reconciling {
        /// The API server rejected a write, for example because of a quota, a policy or a missing
        /// permission; or, for clients with `delivery`, Secret `anon-operator.record-keys` of the
        /// operator's namespace is unusable ([operations.md](operations.md#backup-and-restore)).
        /// The condition contains the message. The previous state remains in effect. Keys of a pool
        /// are published and withdrawn even if its ConfigMap is rejected. Remove the cause; the
        /// operator retries within three minutes.
        EveryKind;
    }
    Accepted = Ready {
        /// Display name, logo and defaults are in effect.
        Organization;
        /// The role is in effect in the REST API. The Member specifies no Kubernetes identity.
        Member;
        /// Tokens of the pool are accepted for this client.
        SdkClient "webapp";
    }
    Bound = Ready {
        /// The Kubernetes identity also has the role in this namespace.
        Member;
    }
    Suspended = Ready {
        /// The member has no rights, and its sessions have ended.
        Member;
        /// The API keys of the client are rejected. So are tokens that are validated for it or were
        /// issued for it.
        SdkClient "both types";
    }
    PasswordSecretUnusable = Reconciling {
        /// The text that `passwordSecretRef` refers to cannot be read. The message is the same
        /// whether Secret, label or entry is missing. The member cannot log in with a password, and
        /// its sessions have ended. Create the Secret that the message describes, with label
        /// `anon.dev/use: password`.
        Member;
    }
    PasswordRefused = Stalled {
        /// The password is too short or too long, or its hash is not of an accepted form. The
        /// member cannot log in with it. Put another password into the Secret; the message contains
        /// the rule; [api.md](api.md#from-login-to-a-validated-token) lists the limits of a hash.
        Member;
    }
    EmailConflict = Stalled {
        /// An older member of the organization has the e-mail address. Everything except logging in
        /// with it works. Choose another address.
        Member;
    }
    ChildConflict = Stalled {
        /// A RoleBinding with the name in the message was not created by the operator, so the
        /// identity does not have the role by it. Delete the RoleBinding; within half a minute, the
        /// operator creates its own.
        Member;
        /// The keys are in use, but a ConfigMap `<name>-jwks` exists that the operator did not
        /// create. Delete the ConfigMap; within half a minute, the operator creates its own.
        UserPool "`hosted`, `provided`";
    }
    KeysPublished = Ready {
        /// The public key set is in use, in status, over HTTP and in ConfigMap `<name>-jwks`.
        UserPool "`hosted`, `provided`";
    }
    KeysFetched = Ready {
        /// The fetched key set is in use.
        UserPool "`jwks`, `oidc`";
    }
    KeysAccepted = Ready {
        /// The keys of the spec are in use.
        UserPool "`inline`";
        /// The keys with these hashes are valid.
        SdkClient "`hashes`";
    }
    SigningKeysUnreadable = Stalled {
        /// The Secret in the operator's namespace that the message names contains no key set. The
        /// published keys remain in use; no token is issued. The platform administrator restores
        /// the Secret, or deletes it to have a new key created, which invalidates every token.
        UserPool "`hosted`";
    }
    JwksSecretUnusable = Reconciling {
        /// The entry that `secretRef` refers to cannot be read. The message is the same whether
        /// Secret, label or entry is missing. The keys are withdrawn. Create the Secret that the
        /// message describes, with label `anon.dev/use: jwks`.
        UserPool "`provided`";
    }
    NotAKeySet = Stalled {
        /// The entry of the Secret is not a JWKS. The previously published keys remain in use. Put
        /// a JWKS there.
        UserPool "`provided`";
    }
    NoUsableKey = Stalled {
        /// No key of the set can verify tokens, so none is used. See condition `KeysDropped`;
        /// [user-pools.md](user-pools.md#usable-keys) describes which keys are usable.
        UserPool "`provided`, `inline`";
    }
    NotFetched = Reconciling {
        /// The set has not been fetched yet. Wait.
        UserPool "`jwks`, `oidc`";
    }
    FetchFailed = Reconciling {
        /// No fetch from this source has succeeded yet. See the condition of the same name.
        UserPool "`jwks`, `oidc`";
    }
    KeySetStale = Reconciling {
        /// The set has not been fetched for longer than `--max-jwks-age`; its tokens get 503
        /// `key_set_stale`. See condition `FetchFailed`.
        UserPool "`jwks`, `oidc`";
    }
    UserPoolNotFound = Reconciling {
        /// The namespace contains no such pool. Create it, or wait: it may be created after the
        /// client.
        SdkClient "webapp";
    }
    UserPoolNotReady = Reconciling {
        /// The pool has no keys yet, its key set is too old, or its spec is invalid. Check the
        /// pool.
        SdkClient "webapp";
    }
    KeyDelivered = Ready {
        /// The API key is in the Secret. The message reports how many previous keys are still
        /// valid, and whether the next one is being propagated.
        SdkClient "`delivery`";
    }
    KeyExpired = Stalled {
        /// The `lifetime` of the key has ended, and no rotation is configured. Run `kubectl anon
        /// rotate sdkclient/<name>`, or set `rotation`.
        SdkClient "`delivery`";
    }
    SecretConflict = Stalled {
        /// A Secret of that name was not created for this client, and is not modified. There is no
        /// key, except those of the previous `secretName`, until the end of their overlap. Choose
        /// another `secretName`, or delete the Secret.
        SdkClient "`delivery`";
    }
    NoKeys = Reconciling {
        /// The list is empty. Add a hash: `kubectl anon key generate`.
        SdkClient "`hashes`";
    }
    KeyConflict = Stalled {
        /// The status of another client lists one of the keys; or no status does, and another
        /// client has the same evidence that the key is its own. The key is not accepted for this
        /// client; see [sdk-clients.md](sdk-clients.md#key-ownership). Use separate keys for each
        /// client; for `delivery`, delete the Secret to get a new key.
        SdkClient "service";
    }
    ClientIdNotAllowed = Stalled {
        /// The Namespace does not allow the `clientId` that the spec specifies. The client is not
        /// served. A cluster administrator adds the id to the annotation `anon.dev/client-ids` of
        /// the Namespace, as described in the message.
        SdkClient "both types";
    }
    ClientIdConflict = Stalled {
        /// Another client, possibly of another organization, has the specified `clientId`. This
        /// client is not served. Choose another id.
        SdkClient "both types";
    }
    Propagating = Reconciling {
        /// Not every replica has acknowledged the Revocation yet. Those that have received it already
        /// enforce it. Or its target does not exist, and it was created less than ten seconds ago: both
        /// may be part of the same commit. Wait; after ten seconds, the message names the Pods that are
        /// behind.
        /// A replica that ended without deleting its Lease is waited for until about a minute after
        /// its Pod is deleted; if the Pod cannot be checked, until it has been silent for
        /// `--max-staleness` and a minute. If you are sure that it has ended, delete its Lease
        /// `anon-validator-<pod>`.
        Revocation;
    }
    NoMatch = Stalled {
        /// The Revocation is enforced, but none of its targets exists: no such object, key or session
        /// was found. The message lists what exists. Check the name, the ids and the time; most
        /// likely, what was to be revoked is still valid. It is checked again every few seconds, in
        /// case a target is created or restored.
        Revocation;
    }
    Revoked = Ready {
        /// Every replica enforces the Revocation. The message reports how many keys or sessions it has
        /// matched, what cannot be checked, and the number of replicas, or that only the elapsed time
        /// makes it certain. `status.matched` lists the ids.
        Revocation;
    }
    Expired = Stalled {
        /// `expiresAt` has passed, so the Revocation revokes nothing, and what it revoked may be valid
        /// again. Delete it; or, if the time was a mistake, create another one with a later time.
        Revocation;
    }
}
