//! The key set of a hosted pool: what is kept in the signing Secret, and what of it is public.

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

/// The whole life cycle of a pool's keys, as the signing Secret holds it. It is the truth: status
/// is a projection of it that can be recomputed at any time.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredKeySet {
    /// The keys, oldest first.
    pub keys: Vec<StoredKey>,
    /// The rotation request that was carried out last; empty for none. `None`: not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated: Option<String>,
}

/// One key with its dates and, while it may sign, its private part.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredKey {
    /// The algorithm that the key signs with.
    pub algorithm: Algorithm,
    /// Where the key is in its life.
    pub state: SigningKeyState,
    /// The `iss` of the tokens that it signs, fixed when the key was made: a later change of the
    /// public URL must not orphan tokens that live.
    pub issuer: String,
    /// When the key was made and published.
    pub published_at: Timestamp,
    /// Since when every validator is known to serve it. Not asked of a key that was Active at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_at: Option<Timestamp>,
    /// When the key began to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_at: Option<Timestamp>,
    /// When the key ceased to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_until: Option<Timestamp>,
    /// The longest lifetime that a token could get while the key was Active, in seconds. Recorded
    /// before such a token is minted, so that a later change of the spec orphans none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_lifetime: Option<i64>,
    /// The public half.
    pub jwk: Jwk,
    /// The private half, PKCS #8. Absent once the key no longer signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkcs8: Option<PrivateKeyBytes>,
}

impl StoredKeySet {
    /// Reads what a signing Secret holds; `None` if it is not a key set.
    #[must_use]
    pub fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The key that signs.
    #[must_use]
    pub fn active(&self) -> Option<&StoredKey> {
        self.in_state(SigningKeyState::Active)
    }

    /// The key that will sign.
    #[must_use]
    pub fn next(&self) -> Option<&StoredKey> {
        self.in_state(SigningKeyState::Next)
    }

    fn in_state(&self, state: SigningKeyState) -> Option<&StoredKey> {
        self.keys.iter().find(|key| key.state == state)
    }

    /// Whether this can be the key set of a pool: one Active key, and private parts that are
    /// readable and belong to the published halves.
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
    /// Its id.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.jwk.kid.as_deref().unwrap_or_default()
    }

    /// The private half, ready to sign.
    ///
    /// # Errors
    /// There is none, or it is not a key of the algorithm.
    pub fn signing_key(&self) -> Result<SigningKey, SigningError> {
        let bytes = self.pkcs8.as_ref().ok_or(SigningError::Rejected(self.algorithm))?;
        SigningKey::from_pkcs8(self.algorithm, &bytes.0)
    }
}

/// A private key in PKCS #8; base64 in JSON. Its `Debug` says nothing.
#[derive(Clone)]
pub struct PrivateKeyBytes(Zeroizing<Vec<u8>>);

impl PrivateKeyBytes {
    /// Those of this key.
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

/// One public key as it is served: what status says, ready to verify.
#[derive(Clone, Debug)]
pub struct PublishedKey {
    /// Key id.
    pub kid: String,
    /// Where the key is in its life.
    pub state: SigningKeyState,
    /// When the key was published.
    pub published_at: Option<Timestamp>,
    /// The `iss` that tokens of this key must carry.
    pub issuer: Option<String>,
    /// The public key as served.
    pub jwk: Jwk,
    /// The same, parsed, with its algorithm pinned.
    pub verifying: VerifyingKey,
}

#[cfg(test)]
mod tests {
    use super::super::key_lifecycle::tests::first;
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
