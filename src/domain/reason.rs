//! Why a credential is not accepted: the stable reasons, each with its class and message.

/// The class of a [`Reason`]. "Cannot tell" is neither an invalid credential nor a bad request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The request is incomplete or contradictory (400).
    BadRequest,
    /// The credential is invalid (401).
    Unauthorized,
    /// The result is currently unknown (503).
    Unavailable,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $class:ident, $message:literal;)*) => {
        /// Why a credential was not accepted. The names are part of the API and never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The stable name, `snake_case`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The class of the response.
            #[must_use]
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)* }
            }

            /// One sentence for the caller, with what to do if there is something. It never
            /// contains any part of the credential.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)* }
            }
        }
    };
}

reasons! {
    /// No credential in the request.
    CredentialMissing = "credential_missing", Unauthorized,
        "no credential: send `Authorization: Bearer <credential>` (POST /v1/validate also accepts `token` in the body)";
    /// Both a bearer and a `token` in the body.
    TwoCredentials = "two_credentials", BadRequest,
        "two credentials: send the Authorization header or `token` in the body, not both";
    /// The Authorization header is not `Bearer <credential>`.
    AuthorizationMalformed = "authorization_malformed", Unauthorized,
        "the Authorization header must be `Bearer <credential>`";
    /// A JWT without a client id.
    ClientMissing = "client_missing", BadRequest,
        "an appUserIdToken is validated for a client: send X-Anon-Sdk-Client-Id or `sdkClientId`";
    /// Header and body name different clients.
    ClientAmbiguous = "client_ambiguous", BadRequest,
        "X-Anon-Sdk-Client-Id and `sdkClientId` specify different clients";
    /// Longer than any credential that is accepted.
    CredentialTooLarge = "credential_too_large", Unauthorized,
        "the credential is larger than 16 KiB";
    /// Neither a JWT nor one of our opaque formats, or one with a wrong checksum.
    CredentialUnrecognized = "credential_unrecognized", Unauthorized,
        "neither a JWT, nor a session token or ApiKey in the right format";
    /// The header or payload of a JWT cannot be read.
    TokenMalformed = "token_malformed", Unauthorized,
        "the token is not a well-formed JWT in compact form";
    /// `crit` or `b64`, or a `typ` of another kind of token.
    TokenTypeUnsupported = "token_type_unsupported", Unauthorized,
        "the token's header has `crit` or `b64`, or a `typ` other than JWT, at+jwt and JOSE";
    /// `alg` is missing, unknown, symmetric or `none`.
    AlgorithmUnsupported = "algorithm_unsupported", Unauthorized,
        "the token's `alg` is not an accepted asymmetric algorithm";
    /// No `kid`, or one that is not a string.
    KeyIdMissing = "key_id_missing", Unauthorized,
        "the token's header has no `kid`: it is required for a hosted UserPool, and for one with more than 4 keys of the token's `alg`";
    /// No such client. Clients of other organizations are indistinguishable from unknown ones.
    ClientUnknown = "client_unknown", Unauthorized,
        "client not found";
    /// The client is suspended.
    ClientSuspended = "client_suspended", Unauthorized,
        "the client is suspended";
    /// The client is a service: it has no user pool.
    ClientNotWebapp = "client_not_webapp", Unauthorized,
        "the client is not a webapp client, so it has no users";
    /// The client's pool was deleted, or never existed.
    PoolNotFound = "user_pool_not_found", Unauthorized,
        "the client's UserPool does not exist";
    /// The client's pool has no keys yet, or its spec is invalid or of a newer version.
    PoolNotReady = "pool_not_ready", Unavailable,
        "the client's UserPool has no keys yet, or its spec cannot be used";
    /// No key of the set has the token's `kid`, and the set may be older than the key.
    KeyNotYetKnown = "key_not_yet_known", Unavailable,
        "the token's `kid` is not in the last fetched key set of the UserPool; the set is being fetched again, retry shortly";
    /// The key set was not fetched for longer than `--max-jwks-age`.
    KeySetStale = "key_set_stale", Unavailable,
        "the key set of the UserPool is too old: it could not be fetched for longer than --max-jwks-age";
    /// The pool has no key of this `kid`.
    KeyUnknown = "key_unknown", Unauthorized,
        "the UserPool has no key with the token's `kid`";
    /// The key, and with it everything that it signed, was revoked.
    KeyRevoked = "key_revoked", Unauthorized,
        "the key that signed the token was revoked";
    /// The token states another algorithm than that of its key.
    AlgorithmMismatch = "algorithm_mismatch", Unauthorized,
        "the token's `alg` is not the algorithm of its key; without `kid`: the UserPool has no key of that algorithm";
    /// The signature is invalid.
    SignatureInvalid = "signature_invalid", Unauthorized,
        "the token's signature is not valid";
    /// No `exp`, or not a number.
    ExpiryMissing = "expiry_missing", Unauthorized,
        "the token has no numeric `exp`";
    /// Past `exp`.
    TokenExpired = "token_expired", Unauthorized,
        "the token has expired";
    /// Before `nbf`.
    TokenNotYetValid = "token_not_yet_valid", Unauthorized,
        "the token is not valid yet";
    /// `iat` lies in the future.
    TokenFromFuture = "token_from_future", Unauthorized,
        "the token was issued in the future";
    /// `iss` is missing or is a different one.
    IssuerMismatch = "issuer_mismatch", Unauthorized,
        "the token's `iss` is not an issuer of the UserPool";
    /// `aud` is missing or contains none of the accepted values.
    AudienceMismatch = "audience_mismatch", Unauthorized,
        "the token's `aud` has none of the UserPool's audiences";
    /// The token is bound to a key that the caller must prove to hold (RFC 7800).
    TokenSenderConstrained = "token_sender_constrained", Unauthorized,
        "the token has `cnf`: proof of possession is not supported";
    /// `sub`, or the claim that the pool's idClaim specifies, is missing, empty or not a string.
    SubjectMissing = "subject_missing", Unauthorized,
        "the token has no user id: `sub`, or the claim that the UserPool's idClaim specifies, is not a non-empty string (with idClaimType Integer: not an integer)";
    /// A user id that no Revocation can name.
    SubjectTooLong = "subject_too_long", Unauthorized,
        "the token's user id is longer than 255 characters, so it could not be revoked";
    /// A `jti` that no Revocation can name.
    TokenIdInvalid = "token_id_invalid", Unauthorized,
        "the token's `jti` is not a string of 1 to 256 characters, so the token could not be revoked";
    /// The idClaim is `email`, and `email_verified` is not true.
    EmailUnverified = "email_unverified", Unauthorized,
        "the token's `email` is the user id, and `email_verified` is not true";
    /// A claim that the pool requires is missing or has another value.
    RequiredClaimMismatch = "required_claim_mismatch", Unauthorized,
        "the token lacks a claim that the UserPool requires, or it has another value";
    /// The client accepts only tokens that were issued for it.
    ClientMismatch = "client_mismatch", Unauthorized,
        "the client is strict and the token was not issued for it";
    /// The token specifies a client that does not exist or belongs to another pool.
    TokenClientGone = "token_client_gone", Unauthorized,
        "the client that the token was issued for no longer exists";
    /// The token was revoked, by its `jti` or by the time at which it was issued.
    TokenRevoked = "token_revoked", Unauthorized,
        "the token was revoked";
    /// Every token of the user was revoked.
    UserRevoked = "user_revoked", Unauthorized,
        "the tokens of this user were revoked";
    /// No such API key, or no longer.
    ApiKeyUnknown = "api_key_unknown", Unauthorized,
        "unknown ApiKey";
    /// The API key was valid once.
    ApiKeyExpired = "api_key_expired", Unauthorized,
        "the ApiKey has expired or was rotated away; read the current one from its Secret";
    /// The ApiKey was revoked.
    ApiKeyRevoked = "api_key_revoked", Unauthorized,
        "the ApiKey was revoked";
    /// No such session, or no longer.
    SessionUnknown = "session_unknown", Unauthorized,
        "the session is unknown or was ended; log in again";
    /// The session was valid once.
    SessionExpired = "session_expired", Unauthorized,
        "the session has expired; log in again";
    /// The session was revoked.
    SessionRevoked = "session_revoked", Unauthorized,
        "the session was revoked; log in again";
    /// The member of the session is suspended.
    MemberSuspended = "member_suspended", Unauthorized,
        "the member is suspended";
    /// The request specifies one organization and the credential belongs to another.
    OrganizationMismatch = "organization_mismatch", Unauthorized,
        "the credential does not belong to that organization";
    /// This type of credential is not accepted by this endpoint.
    CredentialKindRefused = "credential_kind_refused", Unauthorized,
        "this kind of credential is not accepted here";
    /// The replica has not heard from the API server for longer than `--max-staleness`.
    IndexStale = "index_stale", Unavailable,
        "this replica has lost contact with the API server; try another one";
    /// More tokens wait for the verification of their signatures than the replica allows.
    Overloaded = "overloaded", Unavailable,
        "too many tokens are waiting to be verified; try again";
    /// The replica has not listed all objects yet.
    IndexNotReady = "index_not_ready", Unavailable,
        "this replica is not ready yet; try again";
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn names_are_snake_case_and_unique() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
