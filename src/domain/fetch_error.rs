//! Why a remote key set could not be fetched, in coarse classes.
//!
//! Tenants choose the URLs and read these messages in status. So a message says what to do and
//! reveals nothing about the network or the response: no address, no part of a response, no error
//! text of a library.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

macro_rules! fetch_errors {
    ($($(#[$doc:meta])* $variant:ident, $message:literal;)*) => {
        /// Why a remote key set could not be fetched. Unset after a successful fetch.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, Error, Serialize, Deserialize, JsonSchema,
        )]
        pub enum FetchError {
            $($(#[$doc])* #[error($message)] $variant,)*
        }

        impl FetchError {
            /// Every class.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The stable name, CamelCase: for status and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }
        }
    };
}

fetch_errors! {
    /// Not an https URL with a host, or one with a user.
    UrlRefused, "the URL cannot be fetched: it must start with https:// and must not contain a user or password";
    /// The host is not in the allow-list.
    HostRefused, "the host of the URL is not in the allow-list (--fetch-host, chart value remoteKeySets.hosts); ask your platform administrator to add it";
    /// The CA bundle cannot be used.
    CaUnusable, "the CA bundle contains no PEM certificate";
    /// The host has no address.
    NameNotResolved, "the host name of the URL could not be resolved; check its spelling";
    /// The address filter permits no address of the host.
    AddressRefused, "the host of the URL has no address to which the operator may connect; the platform administrator can allow private networks (--allow-fetch-from, chart value remoteKeySets.allowFrom)";
    /// No connection.
    NotConnected, "cannot connect to the host; check host and port, and that the operator can reach it";
    /// No TLS session.
    TlsFailed, "TLS handshake with the host failed; check its certificate, and set `caRef` for a private CA";
    /// The fetch took longer than the timeout.
    TimedOut, "the host did not send a complete response in time";
    /// The response is a redirect.
    Redirected, "the host responded with a redirect, which is not followed; specify the URL that it leads to";
    /// The status of the response is not 200.
    UnexpectedStatus, "the host did not respond with status 200; open the URL to see the response";
    /// The response is not HTTP/1.1.
    NotHttp, "the host did not respond in HTTP/1.1";
    /// The response is larger than the limit.
    TooLarge, "the response is larger than 512 KiB";
    /// The response is not a JSON object without duplicate members, or has an unknown encoding.
    NotJson, "the response is not a JSON object, or has a duplicate member; open the URL to see the response";
    /// The response is not a JWK Set.
    NotAKeySet, "the response is not a JWK Set: it has no array `keys` (RFC 7517 section 5)";
    /// The JWK Set has no usable key.
    NoUsableKey, "the JWK Set has no usable key";
    /// The discovery document lacks a member.
    DiscoveryInvalid, "the discovery document has no `issuer` or no https `jwks_uri`";
    /// The discovery document belongs to another issuer.
    IssuerMismatch, "the discovery document has another `issuer`; copy it into the spec exactly as it is there, including a trailing slash";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_a_name_and_a_text_of_its_own() {
        let names: std::collections::BTreeSet<_> =
            FetchError::ALL.iter().map(|class| class.as_str()).collect();
        let texts: std::collections::BTreeSet<_> =
            FetchError::ALL.iter().map(ToString::to_string).collect();
        assert_eq!((names.len(), texts.len()), (FetchError::ALL.len(), FetchError::ALL.len()));
        assert_eq!(FetchError::TooLarge.as_str(), "TooLarge");
    }
}
