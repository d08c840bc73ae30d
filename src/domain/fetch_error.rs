//! Why a remote key set could not be fetched, in coarse classes.
//!
//! Who writes a URL reads these in status. So they name the cure, and nothing that was seen on the
//! way: no address, no part of an answer, no text of a library.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

macro_rules! fetch_errors {
    ($($(#[$doc:meta])* $variant:ident, $message:literal;)*) => {
        /// Why a key set could not be fetched.
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
    /// Not an https URL with a host.
    UrlRefused, "the URL is not one that is fetched: it has to begin with https:// and must have neither user nor password";
    /// Not a host that key sets are fetched from.
    HostRefused, "the host of the URL is not one that key sets are fetched from here; ask who runs the operator to name it (--fetch-host)";
    /// The CA bundle cannot be used.
    CaUnusable, "the CA bundle holds no certificate in PEM";
    /// The host has no address.
    NameNotResolved, "the host of the URL could not be resolved; check its name";
    /// No address of the host may be connected to.
    AddressRefused, "the host of the URL has no address that may be connected to; private ones have to be opened by who runs the operator (--allow-fetch-from)";
    /// No connection.
    NotConnected, "no connection to the host; check host and port, and that the operator may reach it";
    /// No TLS session.
    TlsFailed, "no TLS session with the host; check its certificate, and for a private CA set `caRef`";
    /// It took too long.
    TimedOut, "the host did not answer completely in time";
    /// It answered with a redirect.
    Redirected, "the host answered with a redirect, and these are not followed; name the URL that it leads to";
    /// It answered with another status than 200.
    UnexpectedStatus, "the host did not answer with status 200; open the URL to see what it says";
    /// It answered with something that is not HTTP.
    NotHttp, "the host did not answer in HTTP/1.1";
    /// It answered with more than is read.
    TooLarge, "the answer is larger than 512 KiB";
    /// It answered with something else than JSON.
    NotJson, "the answer is not a JSON object, or has a member twice; open the URL to see what it says";
    /// It answered with something else than a key set.
    NotAKeySet, "the answer is not a key set: it has no array `keys` (RFC 7517 section 5)";
    /// The set has no key that could be used.
    NoUsableKey, "the key set has no key that can be used";
    /// The discovery document says too little.
    DiscoveryInvalid, "the discovery document names no `issuer` or no https `jwks_uri`";
    /// The discovery document is that of another issuer.
    IssuerMismatch, "the discovery document names another `issuer`; write it in the spec exactly as the provider does, trailing slash included";
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
