//! The rotation of API keys that are generated elsewhere and listed by their hashes, as a pure
//! function of the list and the time. The REST API and `kubectl anon` call it.
//!
//! Nothing has to propagate first, because the new key is shown once it is listed: its consumers are
//! configured afterwards, by the caller. The previous keys have to stay valid until then.

use jiff::{SignedDuration, Timestamp};

use super::api_keys::StoredApiKey;
use crate::domain::duration::later;

/// The maximum number of hashes of a client, expired ones included.
pub const MAX_LISTED: usize = 16;

/// All of the listed keys are valid, and there is no room for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// When the first of them expires, if any does.
    pub until: Option<Timestamp>,
}

/// The keys to list after `new` was added at `now`: without those that have expired. The others
/// expire after `overlap` at the latest, if there is one; otherwise they stay valid until they are
/// removed.
///
/// # Errors
/// There is no room for the key.
pub fn rotate(
    listed: &[StoredApiKey],
    new: StoredApiKey,
    overlap: Option<SignedDuration>,
    now: Timestamp,
) -> Result<Vec<StoredApiKey>, NoRoom> {
    let mut keys = listed.to_vec();
    keys.retain(|key| key.expires_at.is_none_or(|end| end > now));
    if keys.len() >= MAX_LISTED {
        return Err(NoRoom { until: keys.iter().filter_map(|key| key.expires_at).min() });
    }
    if let Some(overlap) = overlap {
        let end = later(now, overlap);
        for key in &mut keys {
            key.expires_at = Some(key.expires_at.map_or(end, |expiry| expiry.min(end)));
        }
    }
    keys.push(new);
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::credential::ApiKey;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn key(expires_at: Option<i64>) -> StoredApiKey {
        let hash = ApiKey::generate().unwrap().hash();
        StoredApiKey::listed(hash, Some(at(0)), expires_at.map(at))
    }

    fn expiries(keys: &[StoredApiKey]) -> Vec<Option<i64>> {
        keys.iter().map(|key| key.expires_at.map(Timestamp::as_second)).collect()
    }

    #[test]
    fn previous_keys_expire_after_the_overlap_and_not_later_than_before() {
        let listed = [key(None), key(Some(9)), key(Some(10)), key(Some(20)), key(Some(9000))];
        let rotated = rotate(&listed, key(None), Some(HOUR), at(10)).unwrap();
        assert_eq!(expiries(&rotated), [Some(3610), Some(20), Some(3610), None]);
    }

    #[test]
    fn previous_keys_stay_valid_without_an_overlap() {
        let listed = [key(None), key(Some(9)), key(Some(9000))];
        let rotated = rotate(&listed, key(Some(50)), None, at(10)).unwrap();
        assert_eq!(expiries(&rotated), [None, Some(9000), Some(50)]);
    }

    #[test]
    fn no_valid_key_makes_room_for_another_one() {
        let mut listed: Vec<_> = (0..16).map(|n| key(Some(100 + n))).collect();
        for overlap in [None, Some(HOUR)] {
            let rotated = rotate(&listed, key(None), overlap, at(10));
            assert_eq!(rotated, Err(NoRoom { until: Some(at(100)) }));
        }
        listed[7].expires_at = Some(at(10));
        assert_eq!(rotate(&listed, key(None), None, at(10)).unwrap().len(), 16);
    }
}
