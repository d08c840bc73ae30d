//! API keys as they are stored: only their hashes are known.

use std::slice;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::credential::KeyHash;

/// State of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiKeyState {
    /// Published to validators, not delivered yet.
    Next,
    /// The key in the Secret.
    Current,
    /// Replaced; valid until it expires.
    Previous,
}

/// An API key as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredApiKey {
    /// SHA-256 of the key.
    pub hash: KeyHash,
    /// The state of the key. Keys created elsewhere are always Current.
    pub state: ApiKeyState,
    /// When it was created or delivered. If unknown, as for a key that was put into a Secret by hand,
    /// the key is treated as older than any other.
    pub created_at: Option<Timestamp>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

impl StoredApiKey {
    /// A key that is created elsewhere, and listed by its hash.
    #[must_use]
    pub const fn listed(
        hash: KeyHash,
        created_at: Option<Timestamp>,
        expires_at: Option<Timestamp>,
    ) -> Self {
        Self { hash, state: ApiKeyState::Current, created_at, expires_at }
    }

    /// This key with the more restrictive of its own times and those of `other`. An unknown
    /// creation time is earlier than any other, and a key without an expiry never expires.
    #[must_use]
    pub fn restricted_by(&self, other: &Self) -> Self {
        let created_at = self.created_at.zip(other.created_at);
        let expires_at = match (self.expires_at, other.expires_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self { created_at: created_at.map(|(one, other)| one.min(other)), expires_at, ..*self }
    }
}

/// The keys of a client: 60 bytes for each, because there may be millions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredApiKeys(Keys);

/// Most clients have one key. It is part of the client, so that no other memory has to be read for it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Keys {
    One(Packed),
    Many(Box<[Packed]>),
}

/// A [`StoredApiKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packed {
    hash: KeyHash,
    state: ApiKeyState,
    created_at: PackedTime,
    expires_at: PackedTime,
}

impl StoredApiKeys {
    fn all(&self) -> &[Packed] {
        match &self.0 {
            Keys::One(key) => slice::from_ref(key),
            Keys::Many(keys) => keys,
        }
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = StoredApiKey> + '_ {
        self.all().iter().map(Packed::unpack)
    }

    /// The hashes of the keys.
    pub fn hashes(&self) -> impl Iterator<Item = &KeyHash> + '_ {
        self.all().iter().map(|key| &key.hash)
    }

    /// The hash of the key at this position.
    #[must_use]
    pub fn hash(&self, position: usize) -> Option<&KeyHash> {
        self.all().get(position).map(|key| &key.hash)
    }

    /// The size of the keys.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        size_of_val(self.all())
    }

    /// The key with this hash.
    #[must_use]
    pub fn find(&self, hash: &KeyHash) -> Option<StoredApiKey> {
        self.all().iter().find(|key| key.hash == *hash).map(Packed::unpack)
    }
}

impl FromIterator<StoredApiKey> for StoredApiKeys {
    fn from_iter<I: IntoIterator<Item = StoredApiKey>>(keys: I) -> Self {
        let keys: Box<[Packed]> = keys.into_iter().map(Packed::from).collect();
        Self(match *keys {
            [key] => Keys::One(key),
            _ => Keys::Many(keys),
        })
    }
}

impl From<StoredApiKey> for Packed {
    fn from(key: StoredApiKey) -> Self {
        let StoredApiKey { hash, state, created_at, expires_at } = key;
        Self { hash, state, created_at: created_at.into(), expires_at: expires_at.into() }
    }
}

impl Packed {
    fn unpack(&self) -> StoredApiKey {
        StoredApiKey {
            hash: self.hash,
            state: self.state,
            created_at: self.created_at.unpack(),
            expires_at: self.expires_at.unpack(),
        }
    }
}

/// An `Option<Timestamp>` in 12 bytes instead of 24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(Rust, packed(4))]
struct PackedTime {
    seconds: i64,
    /// [`PackedTime::NONE`] for no time.
    nanoseconds: i32,
}

impl PackedTime {
    /// Nanoseconds of a time are between -999,999,999 and 999,999,999.
    const NONE: i32 = i32::MIN;

    fn unpack(self) -> Option<Timestamp> {
        let Self { seconds, nanoseconds } = self;
        if nanoseconds == Self::NONE {
            return None;
        }
        // It was a time before, so it is one.
        Timestamp::new(seconds, nanoseconds).ok()
    }
}

impl From<Option<Timestamp>> for PackedTime {
    fn from(time: Option<Timestamp>) -> Self {
        time.map_or(Self { seconds: 0, nanoseconds: Self::NONE }, |time| Self {
            seconds: time.as_second(),
            nanoseconds: time.subsec_nanosecond(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::credential::ApiKey;

    #[test]
    fn the_more_restrictive_time_wins() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let hash = ApiKey::generate().unwrap().hash();
        let key = |created_at, expires_at| StoredApiKey {
            hash,
            state: ApiKeyState::Current,
            created_at,
            expires_at,
        };
        for (one, other, both) in [
            (key(at(1), at(9)), key(at(2), at(8)), key(at(1), at(8))),
            (key(None, None), key(at(2), at(8)), key(None, at(8))),
            (key(at(1), None), key(at(1), None), key(at(1), None)),
        ] {
            assert_eq!(one.restricted_by(&other), both);
            assert_eq!(other.restricted_by(&one), both);
        }
    }

    #[test]
    fn packed_keys_are_small_and_lose_nothing() {
        assert_eq!(size_of::<Packed>(), 60);
        let time = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let times = [
            None,
            time("1970-01-01T00:00:00Z"),
            time("1969-12-31T23:59:59.999999999Z"),
            time("2026-11-30T01:02:03.000000004Z"),
            Some(Timestamp::MIN),
            Some(Timestamp::MAX),
        ];
        let states = [ApiKeyState::Current, ApiKeyState::Previous, ApiKeyState::Next];
        let keys: Vec<_> = times
            .iter()
            .zip(times.iter().rev())
            .zip(states.iter().cycle())
            .map(|((created_at, expires_at), state)| StoredApiKey {
                hash: ApiKey::generate().unwrap().hash(),
                state: *state,
                created_at: *created_at,
                expires_at: *expires_at,
            })
            .collect();
        for count in 0..=keys.len() {
            let stored: StoredApiKeys = keys.iter().copied().take(count).collect();
            assert_eq!(stored.iter().collect::<Vec<_>>(), keys[..count]);
            assert_eq!((stored.len(), stored.is_empty()), (count, count == 0));
        }
        let stored: StoredApiKeys = keys.iter().copied().collect();
        assert_eq!(stored.find(&keys[3].hash), Some(keys[3]));
        assert_eq!(stored.find(&ApiKey::generate().unwrap().hash()), None);
    }
}
