//! The headers by which a gateway tells the backend behind it who the caller is.

use std::fmt::Write as _;

use axum::http::HeaderName;
use serde_json::{Map, Value};

use crate::domain::principal::{AppUser, Principal, Verified};

/// The type of the principal: `appUser`, `apiKey` or `member`.
const PRINCIPAL_TYPE: HeaderName = HeaderName::from_static("x-anon-principal-type");
const ORGANIZATION_ID: HeaderName = HeaderName::from_static("x-anon-organization-id");
const USER_POOL_ID: HeaderName = HeaderName::from_static("x-anon-user-pool-id");
const SDK_CLIENT_ID: HeaderName = HeaderName::from_static("x-anon-sdk-client-id");
const APP_USER_ID: HeaderName = HeaderName::from_static("x-anon-app-user-id");
const MEMBER_ID: HeaderName = HeaderName::from_static("x-anon-member-id");
const ROLE: HeaderName = HeaderName::from_static("x-anon-role");

/// Every identity header, with its description.
pub const DOCUMENTATION: [(&str, &str); 7] = [
    ("X-Anon-Principal-Type", "`appUser`, `apiKey` or `member`"),
    ("X-Anon-Organization-Id", "The organization of the caller"),
    ("X-Anon-User-Pool-Id", "The pool of an end user"),
    ("X-Anon-Sdk-Client-Id", "The gateway's client; of an API key, the client that it belongs to"),
    ("X-Anon-App-User-Id", "The id of an end user, percent-encoded"),
    ("X-Anon-Member-Id", "The id of a member"),
    ("X-Anon-Role", "The role of an API key or a member"),
];

/// The identity headers of a principal: always all of them, so that a gateway overwrites each one
/// that came from outside. Those that do not apply are empty.
pub fn headers(verified: &Verified) -> [(HeaderName, String); 7] {
    let none = String::new;
    let (principal, pool, client, app_user, member, role) = match verified.principal() {
        Principal::AppUser(user) => {
            let (pool, client) = (user.pool.to_string(), user.client.to_string());
            ("appUser", pool, client, encode(&user.app_user_id), none(), "")
        }
        Principal::ApiKey(key) => {
            ("apiKey", none(), key.client.to_string(), none(), none(), key.role.as_str())
        }
        Principal::Member(session) => {
            let member = session.member.to_string();
            ("member", none(), none(), none(), member, session.role.as_str())
        }
    };
    [
        (PRINCIPAL_TYPE, principal.to_owned()),
        (ORGANIZATION_ID, verified.organization().to_string()),
        (USER_POOL_ID, pool),
        (SDK_CLIENT_ID, client),
        (APP_USER_ID, app_user),
        (MEMBER_ID, member),
        (ROLE, role.to_owned()),
    ]
}

/// The claims of a token.
pub fn claims(user: &AppUser) -> Map<String, Value> {
    user.claims.clone()
}

/// Percent-encodes (RFC 3986 section 2.1) every byte of a text outside 0x21 to 0x7E, and `%`. The
/// rest is the same in every header, log and user name, and two texts never have the same encoding.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a backend does with the value of a header.
    fn decode(encoded: &str) -> Option<String> {
        let mut bytes = encoded.bytes();
        let mut decoded = Vec::new();
        while let Some(byte) = bytes.next() {
            decoded.push(match byte {
                b'%' => {
                    let digits = [bytes.next()?, bytes.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                byte => byte,
            });
        }
        String::from_utf8(decoded).ok()
    }

    #[test]
    fn every_header_is_documented() {
        let documented = DOCUMENTATION.map(|(name, _)| name.to_lowercase());
        let headers = [
            PRINCIPAL_TYPE,
            ORGANIZATION_ID,
            USER_POOL_ID,
            SDK_CLIENT_ID,
            APP_USER_ID,
            MEMBER_ID,
            ROLE,
        ];
        assert_eq!(documented.to_vec(), headers.map(|name| name.to_string()).to_vec());
    }

    #[test]
    fn encodes_what_a_header_cannot_carry() {
        for (text, encoded) in [
            ("user-123", "user-123"),
            ("auth0|a/b:c@d", "auth0|a/b:c@d"),
            ("a b", "a%20b"),
            ("100%", "100%25"),
            ("%41", "%2541"),
            ("a\r\nx: y", "a%0D%0Ax:%20y"),
            ("\u{7f}\0", "%7F%00"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(encode(text), encoded);
        }
    }

    proptest! {
        #[test]
        fn every_text_survives_as_a_header_value(text in any::<String>()) {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|byte| (0x21..=0x7e).contains(&byte)));
            prop_assert_eq!(decode(&encoded), Some(text));
        }
    }
}
