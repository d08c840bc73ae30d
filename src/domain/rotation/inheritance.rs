//! Takes over the signing keys of a former namespace of the same name. Pure.

use jiff::Timestamp;

use super::signing_keys::MAX_KEYS;
use crate::domain::signing_key_set::{SigningKeyState, StoredKeySet};

/// The keys of a pool that takes over a former key set. Keys that it has already are not changed.
///
/// A pool without keys continues with the former set as it is. One that signs with a key of its own
/// has published that, so it keeps signing with it: of the former set, everything that tokens may
/// have been signed by becomes Retiring `at` this time, and a Next key is dropped. The same key
/// never signs for two pools.
///
/// `None` if the pool would have more keys than it may publish.
#[must_use]
pub fn inherit(
    own: Option<StoredKeySet>,
    mut former: StoredKeySet,
    at: Timestamp,
) -> Option<StoredKeySet> {
    let Some(mut own) = own else { return Some(former) };
    former.keys.retain(|key| {
        let is_known = own.keys.iter().any(|known| known.kid() == key.kid());
        let is_expired = key.gone_at().is_some_and(|end| end <= at);
        key.state != SigningKeyState::Next && !is_known && !is_expired
    });
    for key in &mut former.keys {
        if key.state == SigningKeyState::Active {
            key.state = SigningKeyState::Retiring;
            key.active_until = Some(at);
            key.pkcs8 = None;
        }
    }
    if own.keys.len() + former.keys.len() > MAX_KEYS {
        return None;
    }
    // Oldest first.
    former.keys.append(&mut own.keys);
    Some(StoredKeySet { keys: former.keys, ..own })
}

#[cfg(test)]
mod tests {
    use super::super::signing_keys::tests::first;
    use super::*;
    use crate::domain::algorithm::Algorithm;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn kids(set: &StoredKeySet) -> Vec<(String, SigningKeyState)> {
        set.keys.iter().map(|key| (key.kid().to_owned(), key.state)).collect()
    }

    #[test]
    fn a_pool_without_keys_continues_with_the_former_set() {
        let former = first(Algorithm::EdDSA);
        let taken = inherit(None, former.clone(), at(9)).unwrap();
        assert!(taken.is_sound());
        assert_eq!(kids(&taken), kids(&former));
    }

    #[test]
    fn a_pool_with_a_key_verifies_with_the_former_ones_and_signs_with_its_own() {
        let (own, mut former) = (first(Algorithm::EdDSA), first(Algorithm::ES256));
        let mut next = first(Algorithm::ES256).keys.remove(0);
        next.state = SigningKeyState::Next;
        let mut expired = first(Algorithm::ES256).keys.remove(0);
        (expired.state, expired.active_until) = (SigningKeyState::Retiring, Some(at(1)));
        former.keys.extend([next, expired]);
        let at = at(1_000_000);
        let taken = inherit(Some(own.clone()), former.clone(), at).unwrap();
        assert!(taken.is_sound());
        let retired = (former.keys[0].kid().to_owned(), SigningKeyState::Retiring);
        assert_eq!(kids(&taken), [retired, kids(&own).remove(0)]);
        assert_eq!(taken.keys[0].active_until, Some(at));
        assert_eq!(taken.keys[0].longest_lifetime, former.keys[0].longest_lifetime);
        assert!(taken.keys[0].pkcs8.is_none());

        // After a crash, the same again changes nothing.
        let again = inherit(Some(taken.clone()), former, at).unwrap();
        assert_eq!(kids(&again), kids(&taken));
    }

    #[test]
    fn no_key_is_dropped_because_there_are_too_many() {
        let (own, mut former) = (first(Algorithm::EdDSA), first(Algorithm::EdDSA));
        let mut retiring = former.keys[0].clone();
        (retiring.state, retiring.active_until) = (SigningKeyState::Retiring, Some(at(0)));
        for number in 1..MAX_KEYS {
            retiring.jwk.kid = Some(number.to_string());
            former.keys.push(retiring.clone());
        }
        assert!(inherit(Some(own.clone()), former.clone(), at(0)).is_none());
        former.keys.pop();
        assert!(inherit(Some(own), former, at(0)).is_some());
    }
}
