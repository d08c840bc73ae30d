//! The types and reasons of conditions, and the reasons of Events: one table each, from which
//! `make generate` writes the lists in `docs/conditions.md`.
//!
//! The names are part of the API and never change. An entry states the property of its name, and for
//! each place where it occurs its documentation: what has happened and what to do, the kinds, and
//! which objects of these if not all.

mod ready;

pub use ready::ReadyReason;

/// What `docs/conditions.md` says of a name at one of the places where it occurs.
#[derive(Clone, Copy, Debug)]
pub struct Documentation {
    /// The kinds that have it; `EveryKind` stands for all.
    pub kinds: &'static [&'static str],
    /// The objects that have it, in words; empty if all of the kind can have it.
    pub scope: &'static str,
    /// What has happened, and what to do.
    pub text: &'static str,
}

/// The states of the `Ready` condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyState {
    /// The object has not been reconciled yet.
    Unknown,
    /// The object works as specified.
    Ready,
    /// It will work once what it waits for has happened.
    Reconciling,
    /// It will not work until someone changes something.
    Stalled,
}

/// The type of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// An expected change.
    Normal,
    /// Something that may need attention.
    Warning,
}

/// An enum of names from a table, optionally with a property that each entry states.
macro_rules! names {
    ($(#[$meta:meta])* $Name:ident;
     $($variant:ident {
        $($(#[doc = $doc:literal])+ $($kind:ident),+ $($scope:literal)?;)+
     })+) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $Name {
            $($($(#[doc = $doc])+)+ $variant,)+
        }

        impl $Name {
            /// Every name.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The stable name, CamelCase.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }

            /// The documentation, for each place where the name occurs.
            #[must_use]
            pub const fn documentation(self) -> &'static [Documentation] {
                match self {
                    $(Self::$variant => const { &[$(Documentation {
                        kinds: &[$(stringify!($kind)),+],
                        scope: concat!($($scope)?),
                        text: concat!($($doc),+).trim_ascii_start(),
                    }),+] },)+
                }
            }
        }
    };
    ($(#[$meta:meta])* $Name:ident, $(#[$doc:meta])* $property:ident: $Property:ident;
     $($variant:ident = $value:ident { $($places:tt)+ })+) => {
        names! { $(#[$meta])* $Name; $($variant { $($places)+ })+ }

        impl $Name {
            $(#[$doc])*
            #[must_use]
            pub const fn $property(self) -> $Property {
                match self { $(Self::$variant => $Property::$value,)+ }
            }
        }
    };
}
use names;

names! {
    /// The types of conditions.
    ConditionType;

    Ready {
        /// Always present. It is `True`, `False`, or `Unknown` before the first reconciliation.
        EveryKind "every kind";
    }
    Reconciling {
        /// Present while `Ready` is `False` and the operator waits for something or retries.
        EveryKind "every kind";
    }
    Stalled {
        /// Present while `Ready` is `False` and only a change helps, of the object or of something
        /// it depends on.
        EveryKind "every kind";
    }
    RotationDeferred {
        /// Present while a due rotation has to wait.
        UserPool, SdkClient "hosted pools, clients with `delivery`";
    }
    KeysNotInherited {
        /// Present while a Secret of the former namespace is marked, and its keys cannot be taken
        /// over. See [operations.md](operations.md#backup-and-restore).
        UserPool "hosted pools";
    }
    KeysDropped {
        /// Present while some keys of the set are unusable. The others are used.
        UserPool "pools that are not hosted";
    }
    AnyAudience {
        /// Always present on these.
        UserPool "pools with `anyAudience: true`";
    }
    FetchFailed {
        /// Present from a failed fetch to the next successful one.
        UserPool "`jwks` and `oidc` pools";
    }
    PrivilegeEscalationRisk {
        /// Present while other users can become this Admin by means of objects in the namespace.
        Member "Members with role `Admin`";
    }
}

names! {
    /// The reasons of conditions other than `Ready`, `Reconciling` and `Stalled`. Those of
    /// `FetchFailed` are the classes of [`crate::domain::fetch_error::FetchError`].
    ExtraReason,
    /// The type of the condition that has this reason.
    condition: ConditionType;

    WaitingForValidators = RotationDeferred {
        /// The next key is published, and not every replica has acknowledged it. The current key
        /// remains valid. See `Propagating` above.
        UserPool, SdkClient;
    }
    TooManyKeys = RotationDeferred {
        /// Eight previous API keys are still valid, or a pool publishes 100 keys. The message
        /// contains the earliest time at which the rotation can continue. Rotate less often, or
        /// shorten the overlap or the lifetime of tokens.
        UserPool, SdkClient;
    }
    FormerKeysUnusable = KeysNotInherited {
        /// The marked Secret has no key set, or the pool would have to publish more than 100 keys.
        /// The pool uses its own keys. The platform administrator restores the Secret that the
        /// message names, or removes its label.
        UserPool;
    }
    UnusableKeys = KeysDropped {
        /// The message names the keys and the causes. If the keys are not for signatures, ignore
        /// it; otherwise see [user-pools.md](user-pools.md#usable-keys).
        UserPool;
    }
    PasswordInNamespace = PrivilegeEscalationRisk {
        /// Anyone who can write the Secret of `passwordSecretRef`, or read a plain-text password in
        /// it, can log in as this Admin. That includes everyone with the built-in role `edit` in
        /// the namespace. Replace the plain text by a PHC hash, and grant `edit` only to users who
        /// may be Admins; or specify a Kubernetes user instead.
        Member;
    }
    ServiceAccountInNamespace = PrivilegeEscalationRisk {
        /// Anyone who can create tokens for the ServiceAccount, or run Pods as it, effectively has
        /// this Admin's permissions. That, too, includes everyone with `edit`. Use a Kubernetes
        /// user, or the role `Member`.
        Member;
    }
    AudienceNotChecked = AnyAudience {
        /// Tokens that the issuer issued for other applications are accepted, too. Set `audiences`.
        UserPool;
    }
}

names! {
    /// The reasons of Events, besides those of conditions, which are reported as Events, too.
    EventReason,
    /// The type of the Event.
    type_: EventType;

    KeyRotated = Normal {
        /// A new API key is in the Secret; the message names both. Every replica had acknowledged
        /// the key before.
        SdkClient "clients with `delivery`";
    }
    KeyReplaced = Warning {
        /// The key was deleted together with its Secret, was no longer a key, or was revoked; the
        /// message says which. A new key is in the Secret, and the old one is rejected, unless the
        /// operator itself has deleted the Secret because it was immutable.
        SdkClient, UserPool "clients with `delivery`, hosted pools";
    }
    SecretNameChanged = Normal {
        /// `secretName` was edited, and the new Secret contains an API key. The keys of the former
        /// Secret stay valid for the overlap; the message reports how many there are.
        SdkClient "clients with `delivery`";
    }
    SecretRepaired = Normal {
        /// Entries, labels or annotations of the Secret drifted from the desired state and were
        /// repaired. Someone edited the Secret, or the spec or the public URL changed.
        SdkClient "clients with `delivery`";
    }
    KeyPublished = Normal {
        /// The next key is published. It starts to sign once every verifier has had time to load it.
        UserPool "hosted pools";
    }
    KeyActivated = Normal {
        /// A key has started to sign.
        UserPool "hosted pools";
    }
    KeyRetired = Normal {
        /// A key no longer signs. The tokens that it signed remain valid.
        UserPool "hosted pools";
    }
    KeyRemoved = Normal {
        /// A retired key was removed, because all tokens that it signed have expired.
        UserPool "hosted pools";
    }
    KeyDiscarded = Normal {
        /// A next key was removed before it signed, because another algorithm is configured.
        UserPool "hosted pools";
    }
    KeysInherited = Normal {
        /// The keys of the former namespace of the same name were taken over, as the platform
        /// administrator decided. The tokens that they signed are valid again.
        UserPool "hosted pools";
    }
    KeyRevoked = Warning {
        /// A key was destroyed, because a Revocation covers it or a key beside it in the same
        /// Secret.
        UserPool "hosted pools";
    }
    Withdrawn = Normal {
        /// The Revocation was deleted, by a user or, with `deletionPolicy: Delete`, at its end. What
        /// it revoked is valid again, as far as it still exists and has not expired.
        Revocation;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::Kind;

    /// The names are unique in their table, and everything that is stated of them is well-formed.
    fn check<T: Copy>(
        all: &[T],
        as_str: impl Fn(T) -> &'static str,
        documentation: impl Fn(T) -> &'static [Documentation],
    ) {
        let is_kind = |name: &&str| {
            *name == "EveryKind" || Kind::ALL.iter().any(|kind| kind.as_str() == *name)
        };
        let mut names: Vec<_> = all.iter().map(|it| as_str(*it)).collect();
        for name in &names {
            assert!(name.starts_with(|c: char| c.is_ascii_uppercase()), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_alphabetic()), "{name}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
        for place in all.iter().flat_map(|it| documentation(*it)) {
            assert!(place.kinds.iter().all(is_kind), "{place:?}");
            assert!(place.text.ends_with('.'), "{place:?}");
        }
    }

    #[test]
    fn names_are_camel_case_and_unique() {
        check(ConditionType::ALL, ConditionType::as_str, ConditionType::documentation);
        check(ReadyReason::ALL, ReadyReason::as_str, ReadyReason::documentation);
        check(ExtraReason::ALL, ExtraReason::as_str, ExtraReason::documentation);
        check(EventReason::ALL, EventReason::as_str, EventReason::documentation);
    }
}
