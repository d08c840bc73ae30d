//! The operations of the REST API and the role that each requires: the one table that
//! authorization, routes and documentation are derived from.

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

            /// Its name, which is also the `operationId` in the OpenAPI document.
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

            /// The minimum role; `None` if the caller authenticates in the body.
            #[must_use]
            pub const fn needs(self) -> Option<Role> {
                match self { $(Self::$variant => $needs,)* }
            }

            /// What it does, as an imperative: completes "may …".
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
        "end the current session";
    /// `POST /org/logout/all`.
    LogoutAll = POST "/org/logout/all", Some(Role::ReadOnly),
        "end all of the caller's sessions";
    /// `GET /org/me`.
    GetMe = GET "/org/me", Some(Role::ReadOnly),
        "get the authenticated caller, with role, organization and expiry";
    /// `POST /org/organization`.
    CreateOrganization = POST "/org/organization", None,
        "sign up: create an organization and its first Admin, if the operator allows it";
    /// `GET /org/organization/{organizationId}`.
    GetOrganization = GET "/org/organization/{organizationId}", Some(Role::ReadOnly),
        "read the organization and its members";
    /// `PATCH /org/organization/{organizationId}`.
    PatchOrganization = PATCH "/org/organization/{organizationId}", Some(Role::Admin),
        "change the name and logo of the organization";
    /// `DELETE /org/organization/{organizationId}`.
    DeleteOrganization = DELETE "/org/organization/{organizationId}", Some(Role::Admin),
        "delete everything in the organization";
    /// `POST /org/member`.
    CreateMember = POST "/org/member", Some(Role::Admin),
        "create a member";
    /// `GET /org/member/{memberId}`.
    GetMember = GET "/org/member/{memberId}", Some(Role::ReadOnly),
        "read a member";
    /// `PATCH /org/member/{memberId}`.
    PatchMember = PATCH "/org/member/{memberId}", Some(Role::Admin),
        "change a member";
    /// `DELETE /org/member/{memberId}`.
    DeleteMember = DELETE "/org/member/{memberId}", Some(Role::Admin),
        "delete a member";
    /// `GET /org/members`.
    ListMembers = GET "/org/members", Some(Role::ReadOnly),
        "list the members";
    /// `POST /org/userPool`.
    CreateUserPool = POST "/org/userPool", Some(Role::Member),
        "create a user pool";
    /// `GET /org/userPool/{userPoolId}`.
    GetUserPool = GET "/org/userPool/{userPoolId}", Some(Role::ReadOnly),
        "read a user pool";
    /// `PATCH /org/userPool/{userPoolId}`.
    PatchUserPool = PATCH "/org/userPool/{userPoolId}", Some(Role::Member),
        "change a user pool";
    /// `DELETE /org/userPool/{userPoolId}`.
    DeleteUserPool = DELETE "/org/userPool/{userPoolId}", Some(Role::Member),
        "delete a user pool";
    /// `GET /org/userPools`.
    ListUserPools = GET "/org/userPools", Some(Role::ReadOnly),
        "list the user pools";
    /// `POST /org/sdkClient`.
    CreateSdkClient = POST "/org/sdkClient", Some(Role::Member),
        "create a client";
    /// `GET /org/sdkClient/auth`.
    GetSdkClientAuth = GET "/org/sdkClient/auth", Some(Role::ReadOnly),
        "get the authenticated caller";
    /// `GET /org/sdkClient/{sdkClientId}`.
    GetSdkClient = GET "/org/sdkClient/{sdkClientId}", Some(Role::ReadOnly),
        "read a client";
    /// `PATCH /org/sdkClient/{sdkClientId}`.
    PatchSdkClient = PATCH "/org/sdkClient/{sdkClientId}", Some(Role::Member),
        "change a client";
    /// `DELETE /org/sdkClient/{sdkClientId}`.
    DeleteSdkClient = DELETE "/org/sdkClient/{sdkClientId}", Some(Role::Member),
        "delete a client";
    /// `POST /org/sdkClient/{sdkClientId}/rotate`.
    RotateSdkClient = POST "/org/sdkClient/{sdkClientId}/rotate", Some(Role::Member),
        "rotate the ApiKey of a client";
    /// `GET /org/sdkClients`.
    ListSdkClients = GET "/org/sdkClients", Some(Role::ReadOnly),
        "list the clients";
    /// `POST /org/revocations`.
    CreateRevocation = POST "/org/revocations", Some(Role::Member),
        "revoke API keys, tokens or users; sessions and signing keys require role Admin";
    /// `GET /org/revocations`.
    ListRevocations = GET "/org/revocations", Some(Role::Member),
        "list the revocations";
    /// `GET /org/events`.
    ListEvents = GET "/org/events", Some(Role::Admin),
        "list what the operator reports about the objects of the organization";
    /// `POST /org/appUserIdToken`.
    MintAppUserIdToken = POST "/org/appUserIdToken", Some(Role::Member),
        "issue a token for an end user of a hosted pool";
    /// `GET /link/url`.
    GetLinkUrl = GET "/link/url", Some(Role::Member),
        "build the Link URL for an end user";
    /// `POST /v1/explain`.
    Explain = POST "/v1/explain", Some(Role::Admin),
        "explain the verdict on a credential of the organization";
}

impl Operation {
    /// Whether it changes anything or issues a credential.
    #[must_use]
    pub fn writes(self) -> bool {
        self.method() != "GET" && self != Self::Explain
    }

    /// Whether a caller with this role may do it.
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
            // A ReadOnly caller may only read and log out.
            let reads = operation.method() == "GET" || operation.path().starts_with("/org/logout");
            assert!(!allowed[0] || reads || operation.needs().is_none(), "{operation:?}");
        }
    }
}
