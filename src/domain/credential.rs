//! Opaque credentials: the format of API keys and session tokens, generated, parsed and hashed only
//! here.
//!
//! `ory_apikey_` or `ory_st_`, then 43 characters of `0-9A-Za-z` (256 bits), then a checksum of 6
//! such characters. The alphabet selects as one word on a double click and needs no escaping in
//! URLs, headers or shells. The checksum (CRC-32 of everything before it, in base 62, as in
//! GitHub's tokens) allows junk to be refused without a lookup and lets secret scanners tell a key
//! from a look-alike. It is no secret and proves nothing.
//!
//! Keys are compared by SHA-256. A slow hash would add nothing to 256 random bits.

use std::fmt;
use std::marker::PhantomData;

use aws_lc_rs::{digest, rand};
use data_encoding::HEXLOWER;
use thiserror::Error;
use zeroize::Zeroizing;

/// The kind of an opaque credential, identified by its prefix.
pub trait Scheme {
    /// Prefix of every credential of the scheme.
    const PREFIX: &'static str;
}

/// The scheme of [`ApiKey`].
pub enum ApiKeys {}

impl Scheme for ApiKeys {
    const PREFIX: &'static str = "ory_apikey_";
}

/// The scheme of [`SessionToken`].
pub enum SessionTokens {}

impl Scheme for SessionTokens {
    const PREFIX: &'static str = "ory_st_";
}

/// An API key of a backend, in plain text.
pub type ApiKey = Opaque<ApiKeys>;
/// A session token of a member, in plain text.
pub type SessionToken = Opaque<SessionTokens>;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 is just above 2^256.
const RANDOM_CHARS: usize = 43;
const CHECKSUM_CHARS: usize = 6;

/// The operating system's random generator failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the system's random generator failed")]
pub struct RandomFailed;

/// An opaque credential in plain text. No `Debug`, no `Display`, wiped on drop.
pub struct Opaque<S> {
    text: Zeroizing<String>,
    scheme: PhantomData<S>,
}

impl<S: Scheme> Opaque<S> {
    /// Generates a new credential.
    ///
    /// # Errors
    /// The random generator failed.
    pub fn generate() -> Result<Self, RandomFailed> {
        let length = S::PREFIX.len() + RANDOM_CHARS + CHECKSUM_CHARS;
        let mut text = Zeroizing::new(String::with_capacity(length));
        text.push_str(S::PREFIX);
        let mut bytes = Zeroizing::new([0_u8; 64]);
        let mut wanted = RANDOM_CHARS;
        while wanted > 0 {
            rand::fill(bytes.as_mut()).map_err(|_| RandomFailed)?;
            // 248 is the largest multiple of 62 that fits a byte: rejecting the rest keeps every
            // character equally likely.
            let fair = bytes.iter().filter(|byte| **byte < 248).take(wanted);
            let chars = fair.filter_map(|byte| ALPHABET.get(usize::from(byte % 62)));
            let before = text.len();
            text.extend(chars.map(|byte| char::from(*byte)));
            wanted -= text.len() - before;
        }
        let sum = checksum(&text);
        text.extend(sum.map(char::from));
        Ok(Self { text, scheme: PhantomData })
    }

    /// Parses a credential: exact length, alphabet and checksum. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let copy = || Zeroizing::new(text.to_owned());
        Self::is_well_formed(text).then(|| Self { text: copy(), scheme: PhantomData })
    }

    /// The hash of a credential in plain text, without a copy of it. `None` if the format or the
    /// checksum is wrong.
    #[must_use]
    pub fn hash_of(text: &str) -> Option<KeyHash> {
        Self::is_well_formed(text).then(|| KeyHash::of(text))
    }

    fn is_well_formed(text: &str) -> bool {
        let Some(random) = text.strip_prefix(S::PREFIX) else { return false };
        let well_formed = random.len() == RANDOM_CHARS + CHECKSUM_CHARS
            && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let parts = text.split_at_checked(S::PREFIX.len() + RANDOM_CHARS);
        well_formed && parts.is_some_and(|(body, sum)| checksum(body) == *sum.as_bytes())
    }

    /// The plain text, for the one place that delivers it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the whole string.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.text)
    }
}

/// SHA-256 of an opaque credential: the form that is stored and looked up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    fn of(text: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hash.as_ref());
        Self(bytes)
    }

    /// Parses 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(hex: &str) -> Option<Self> {
        let bytes = HEXLOWER.decode(hex.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// The id of the key: the first 16 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        let [first, ..] = self.0.as_chunks::<8>().0 else { return String::new() };
        HEXLOWER.encode(first)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.0).fmt(f)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn checksum(text: &str) -> [u8; CHECKSUM_CHARS] {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        if let Some(char) = ALPHABET.get((rest % 62) as usize) {
            *digit = *char;
        }
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn made_keys_parse_and_differ() {
        let keys: HashSet<String> =
            (0..100).map(|_| ApiKey::generate().unwrap().expose().to_owned()).collect();
        assert_eq!(keys.len(), 100);
        for key in &keys {
            assert_eq!(key.len(), 60);
            assert_eq!(ApiKey::parse(key).unwrap().expose(), key);
        }
    }

    /// The documented true and false examples (docs/sdk-clients.md).
    #[test]
    #[expect(clippy::string_slice, reason = "ASCII")]
    fn the_format_is_exact() {
        let good = "ory_apikey_000000000000000000000000000000000000000000000CHECK";
        let body = &good[..54];
        let sum = checksum(body).map(char::from);
        let good = format!("{body}{}", String::from_iter(sum));
        assert!(ApiKey::parse(&good).is_some());
        for bad in [
            String::new(),
            "ory_apikey_".into(),
            good.replace("ory_apikey_0", "ory_apikey_1"),
            good.replace("ory_apikey_", "ory_st_"),
            format!("{good} "),
            format!(" {good}"),
            format!("{good}0"),
            good.to_uppercase(),
            format!("ory_apikey_{}", "é".repeat(24)),
            format!("ory_apikey_{}", "-".repeat(49)),
        ] {
            assert!(ApiKey::parse(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    #[expect(clippy::string_slice, reason = "ASCII")]
    fn hashes_round_trip() {
        let hash = ApiKey::generate().unwrap().hash();
        let hex = hash.to_string();
        assert_eq!(KeyHash::parse(&hex), Some(hash));
        assert_eq!(hash.id(), hex[..16]);
        assert_eq!(KeyHash::parse(&hex.to_uppercase()), None);
        assert_eq!(KeyHash::parse(&hex[1..]), None);
        assert_eq!(KeyHash::parse(&"é".repeat(32)), None);
    }
}
