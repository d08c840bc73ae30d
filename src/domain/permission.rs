//! The one role table: which operation of the REST API asks for which role. The API decides by it,
//! its routes are made from it, and the documentation is rendered from it.

use super::role::Role;

macro_rules! operations {
    ($($(#[$doc:meta])* $variant:ident = $method:ident $path:literal, $needs:expr, $summary:literal;)*) => {
        /// An operation of the REST API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Operation {
            $($(#[$doc])* $variant,)*
        }

        impl Operation {
            /// Every operation.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name, also the `operationId` of the OpenAPI description.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            /// Its HTTP method, in capitals.
            #[must_use]
            pub const fn method(self) -> &'static str {
                match self { $(Self::$variant => stringify!($method),)* }
            }

            /// Its path, with placeholders in braces.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self { $(Self::$variant => $path,)* }
            }

            /// The least role that may do it; none where the caller proves itself in the body.
            #[must_use]
            pub const fn needs(self) -> Option<Role> {
                match self { $(Self::$variant => $needs,)* }
            }

            /// What it does, as the end of the sentence "may …".
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary,)* }
            }
        }
    };
}

operations! {
    /// `POST /org/login`.
    Login = POST "/org/login", None,
        "log in, by e-mail address and password or by the token of a Kubernetes identity";
    /// `POST /org/logout`.
    Logout = POST "/org/logout", Some(Role::ReadOnly),
        "end the own session";
    /// `POST /org/logout/all`.
    LogoutAll = POST "/org/logout/all", Some(Role::ReadOnly),
        "end every session of one's own";
    /// `POST /org/appUserIdToken`.
    MintAppUserIdToken = POST "/org/appUserIdToken", Some(Role::Member),
        "mint a token for an end user of a hosted pool";
}

impl Operation {
    /// Whether a caller of this role may do it.
    #[must_use]
    pub fn allows(self, role: Role) -> bool {
        self.needs().is_none_or(|least| role >= least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_routes_are_unique() {
        let mut routes: Vec<_> = Operation::ALL.iter().map(|it| (it.path(), it.method())).collect();
        routes.sort_unstable();
        routes.dedup();
        assert_eq!(routes.len(), Operation::ALL.len());
    }

    #[test]
    fn a_stronger_role_may_do_all_that_a_weaker_one_may() {
        for operation in Operation::ALL {
            let allowed = Role::ALL.map(|role| operation.allows(role));
            assert!(allowed.is_sorted(), "{operation:?}");
            assert!(allowed[2], "{operation:?}");
            // Who only reads, only reads, and logs out.
            let reads = operation.method() == "GET" || operation.path().starts_with("/org/logout");
            assert!(!allowed[0] || reads || operation.needs().is_none(), "{operation:?}");
        }
    }
}
