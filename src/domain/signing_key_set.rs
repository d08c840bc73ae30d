//! The key set of a hosted pool: its stored form in the signing Secret, and its public keys.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use super::jwk::{Jwk, VerifyingKey};
use super::signing::{SigningError, SigningKey};

/// State of a signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SigningKeyState {
    /// Published, not signing yet.
    Next,
    /// Signs new tokens.
    Active,
    /// No longer signing; published until the last token that it signed has expired.
    Retiring,
}

/// The keys of a pool with their life cycle, as stored in the signing Secret. This is the source of
/// truth: status is derived from it and can be recomputed at any time.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredKeySet {
    /// The keys, oldest first.
    pub keys: Vec<StoredKey>,
    /// The last rotation request that was carried out; empty for none. `None`: not recorded yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated: Option<String>,
}

/// A key with its dates and, unless it is Retiring, its private key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredKey {
    /// The algorithm that the key signs with.
    pub algorithm: Algorithm,
    /// The state of the key.
    pub state: SigningKeyState,
    /// The `iss` of the tokens that it signs. Fixed when the key is created, so that a later change
    /// of the public URL does not invalidate tokens.
    pub issuer: String,
    /// When the key was created and published.
    pub published_at: Timestamp,
    /// Since when every validator has acknowledged it. Unset for a key that was Active at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_at: Option<Timestamp>,
    /// When the key became Active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_at: Option<Timestamp>,
    /// When the key became Retiring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_until: Option<Timestamp>,
    /// The longest lifetime that a token could have while the key was Active, in seconds. Recorded
    /// before such a token is issued, so that a later change of the spec does not invalidate it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_lifetime: Option<i64>,
    /// The public key.
    pub jwk: Jwk,
    /// The private key, PKCS #8. Removed when the key becomes Retiring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkcs8: Option<PrivateKeyBytes>,
}

impl StoredKeySet {
    /// Parses the content of a signing Secret; `None` if it is not a key set.
    #[must_use]
    pub fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The Active key.
    #[must_use]
    pub fn active(&self) -> Option<&StoredKey> {
        self.in_state(SigningKeyState::Active)
    }

    /// The Next key.
    #[must_use]
    pub fn next(&self) -> Option<&StoredKey> {
        self.in_state(SigningKeyState::Next)
    }

    fn in_state(&self, state: SigningKeyState) -> Option<&StoredKey> {
        self.keys.iter().find(|key| key.state == state)
    }

    /// Whether the set is valid: it has exactly one Active key, and each private key can be parsed
    /// and belongs to its public key.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let count = |state| self.keys.iter().filter(|key| key.state == state).count();
        let matches = |key: &StoredKey| {
            key.state == SigningKeyState::Retiring
                || key.signing_key().is_ok_and(|signing| signing.public_jwk() == key.jwk)
        };
        count(SigningKeyState::Active) == 1
            && count(SigningKeyState::Next) <= 1
            && self.keys.iter().all(matches)
    }
}

impl StoredKey {
    /// The `kid`.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.jwk.kid.as_deref().unwrap_or_default()
    }

    /// The private key, ready to sign.
    ///
    /// # Errors
    /// There is none, or it is not a key of the algorithm.
    pub fn signing_key(&self) -> Result<SigningKey, SigningError> {
        let bytes = self.pkcs8.as_ref().ok_or(SigningError::Rejected(self.algorithm))?;
        SigningKey::from_pkcs8(self.algorithm, &bytes.0)
    }
}

/// A private key in PKCS #8; base64 in JSON. Its `Debug` shows nothing of the key.
#[derive(Clone)]
pub struct PrivateKeyBytes(Zeroizing<Vec<u8>>);

impl PrivateKeyBytes {
    /// The PKCS #8 form of a key.
    ///
    /// # Errors
    /// The key could not be encoded.
    pub fn of(key: &SigningKey) -> Result<Self, SigningError> {
        key.to_pkcs8().map(Self)
    }
}

impl fmt::Debug for PrivateKeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[private key]")
    }
}

impl Serialize for PrivateKeyBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = Zeroizing::new(STANDARD.encode(&self.0));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for PrivateKeyBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        // The decoder's own error would quote a byte of the key.
        let bytes =
            STANDARD.decode(text.as_bytes()).map_err(|_| de::Error::custom("not base64"))?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

/// A public key from status, ready to verify signatures.
#[derive(Clone, Debug)]
pub struct PublishedKey {
    /// Key id.
    pub kid: String,
    /// The state of the key.
    pub state: SigningKeyState,
    /// When the key was published.
    pub published_at: Option<Timestamp>,
    /// The `iss` that tokens of this key must carry.
    pub issuer: Option<String>,
    /// The public key as published.
    pub jwk: Jwk,
    /// The same key, parsed, with its algorithm pinned.
    pub verifying: VerifyingKey,
}

#[cfg(test)]
mod tests {
    use super::super::rotation::signing_keys::tests::first;
    use super::*;

    #[test]
    fn what_is_stored_reads_back_and_signs() {
        let json = serde_json::to_string(&first(Algorithm::EdDSA)).unwrap();
        let read: StoredKeySet = serde_json::from_str(&json).unwrap();
        assert!(read.is_sound());
        assert_eq!(read.active().unwrap().kid(), read.keys[0].kid());
    }

    #[test]
    fn broken_sets_are_not_sound() {
        let good = first(Algorithm::ES256);
        let mut swapped = good.clone();
        swapped.keys[0].jwk = first(Algorithm::ES256).keys[0].jwk.clone();
        assert!(!swapped.is_sound());
        let mut without = good.clone();
        without.keys[0].pkcs8 = None;
        assert!(!without.is_sound());
        let mut two = good.clone();
        two.keys.push(good.keys[0].clone());
        assert!(!two.is_sound());
        assert!(!StoredKeySet { keys: vec![], ..good }.is_sound());
    }

    #[test]
    fn debug_shows_no_private_key() {
        let set = first(Algorithm::EdDSA);
        let debug = format!("{:?}", set.keys[0].pkcs8);
        assert_eq!(debug, "Some([private key])");
    }
}
