//! The list of the kinds, and what they have in common.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Calls a macro with every kind, in the order of their definitions. The only list of the kinds.
macro_rules! for_each_kind {
    ($macro:ident) => {
        $macro! { Organization, Member, UserPool, SdkClient, Revocation }
    };
}
pub(crate) use for_each_kind;

/// A kind of the group `anon.dev`. All are namespaced.
pub trait CustomKind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// The kind as a value.
    const KIND: Kind;
}

macro_rules! kinds {
    ($($kind:ident),*) => {
        /// The kinds as values.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $(#[doc = concat!("`", stringify!($kind), "`.")] $kind),*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: [Self; [$(stringify!($kind)),*].len()] = [$(Self::$kind),*];

            /// The name of the kind.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => stringify!($kind)),*
                }
            }
        }

        $(impl CustomKind for super::$kind {
            const KIND: Kind = Kind::$kind;
        })*
    };
}

for_each_kind!(kinds);
