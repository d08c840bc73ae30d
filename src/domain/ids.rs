//! Ids. Each is a version-5 UUID (RFC 9562 section 5.5) over `namespace/Kind/name`, so the same
//! manifests give the same ids in every cluster and after a restore, and nobody can choose one.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The UUID namespace of every derived id. Changing it would change every id in every cluster.
const NAMESPACE: Uuid = Uuid::from_u128(0x85e7_fda7_be0a_43c5_b5b4_b68a_762c_019e);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": "uuid" })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    };
}

id! {
    /// Id of the organization that a namespace is.
    OrganizationId
}
id! {
    /// Id of a UserPool.
    UserPoolId
}
id! {
    /// Id of an SdkClient: its clientId.
    SdkClientId
}
id! {
    /// Id of a Member.
    MemberId
}
id! {
    /// Id of a Revocation.
    RevocationId
}
id! {
    /// Id of a password of a member. It changes with every change of the password.
    PasswordId
}

impl PasswordId {
    /// The id of a new password.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The id of the password from this source, such as a version of a Secret.
    #[must_use]
    pub fn derive(source: &[&str]) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, format!("password/{}", source.join("/")).as_bytes()))
    }
}

impl OrganizationId {
    /// The id of the organization that `namespace` is.
    #[must_use]
    pub fn derive(namespace: &str) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, namespace.as_bytes()))
    }
}

macro_rules! parsed {
    ($name:ident) => {
        impl $name {
            /// Parses an id as callers send it. `None` if it is not a UUID, and so cannot be an id.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                // `try_parse` alone would also accept the braced and URN forms; a single form per
                // id keeps string comparisons meaningful.
                (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten().map(Self)
            }
        }
    };
}

macro_rules! derived {
    ($name:ident, $kind:literal) => {
        impl $name {
            /// The id of the object of this name.
            #[must_use]
            pub fn derive(namespace: &str, name: &str) -> Self {
                let path = format!(concat!("{}/", $kind, "/{}"), namespace, name);
                Self(Uuid::new_v5(&NAMESPACE, path.as_bytes()))
            }
        }
    };
}

impl SdkClientId {
    /// Whether this is a version-5 UUID. These are derived, so a spec may not choose one.
    #[must_use]
    pub const fn is_derived(&self) -> bool {
        self.0.get_version_num() == 5
    }

    /// Whether it was chosen in a spec, and not derived.
    #[must_use]
    pub const fn is_chosen(&self) -> bool {
        !self.is_derived()
    }
}

parsed!(OrganizationId);
parsed!(UserPoolId);
parsed!(SdkClientId);
parsed!(MemberId);
parsed!(PasswordId);

derived!(UserPoolId, "UserPool");
derived!(SdkClientId, "SdkClient");
derived!(MemberId, "Member");
derived!(RevocationId, "Revocation");

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// The namespace, which is the organization.
    pub namespace: String,
    /// The name within it.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_never_change() {
        // A changed value here means that every client of every user breaks.
        assert_eq!(
            OrganizationId::derive("acme").to_string(),
            "3a4eb43a-d1e2-5196-b33f-f15b03dea9cd"
        );
        assert_eq!(
            SdkClientId::derive("acme", "web").to_string(),
            "fb18ec6c-7b4e-5bff-8551-f3fbf9c8f841"
        );
    }

    #[test]
    fn kinds_and_namespaces_are_apart() {
        let pool = UserPoolId::derive("a", "x").to_string();
        assert_ne!(pool, SdkClientId::derive("a", "x").to_string());
        assert_ne!(pool, UserPoolId::derive("b", "x").to_string());
        // No namespace or name holds a slash, so the joined path is unambiguous.
        assert_ne!(UserPoolId::derive("a", "b").0, OrganizationId::derive("a").0);
    }

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let id = UserPoolId::derive("a", "x");
        assert_eq!(UserPoolId::parse(&id.to_string()), Some(id));
        assert_eq!(UserPoolId::parse(&format!("{{{id}}}")), None);
        assert_eq!(UserPoolId::parse(&id.to_string().replace('-', "")), None);
        assert_eq!(UserPoolId::parse(""), None);
    }
}
