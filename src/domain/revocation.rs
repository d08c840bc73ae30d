//! "These no longer count, from now on."

use jiff::Timestamp;

use super::client::StoredApiKey;
use super::ids::ObjectName;

/// A revocation of ApiKeys of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The object that declares it.
    pub name: ObjectName,
    /// The client whose keys it revokes.
    pub client: ObjectName,
    /// Ids of revoked keys.
    pub key_ids: Vec<String>,
    /// Keys that were made before this are revoked; a key of unknown age was made before.
    pub keys_created_before: Option<Timestamp>,
    /// When the revocation itself ends.
    pub expires_at: Option<Timestamp>,
}

impl Revocation {
    /// Whether the revocation says that `key` does not count at `now`.
    #[must_use]
    pub fn covers(&self, key: &StoredApiKey, now: Timestamp) -> bool {
        let in_force = self.expires_at.is_none_or(|end| end > now);
        let named = || self.key_ids.contains(&key.hash.id());
        let too_old = || {
            self.keys_created_before
                .is_some_and(|limit| key.created_at.is_none_or(|created| created < limit))
        };
        in_force && (named() || too_old())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::api_key_life::ApiKeyState;
    use crate::domain::opaque::ApiKey;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn revokes_by_id_and_by_age() {
        let hash = ApiKey::generate().unwrap().hash();
        let key = |created_at| StoredApiKey {
            hash,
            state: ApiKeyState::Current,
            created_at,
            expires_at: None,
        };
        let name = ObjectName { namespace: "acme".into(), name: "leak".into() };
        let nothing = Revocation {
            client: name.clone(),
            name,
            key_ids: vec![],
            keys_created_before: None,
            expires_at: None,
        };
        assert!(!nothing.covers(&key(Some(at(5))), at(9)));
        let by_id = Revocation { key_ids: vec![hash.id()], ..nothing.clone() };
        assert!(by_id.covers(&key(Some(at(5))), at(9)));
        let by_age = Revocation { keys_created_before: Some(at(6)), ..nothing };
        assert!(by_age.covers(&key(Some(at(5))), at(9)));
        assert!(!by_age.covers(&key(Some(at(6))), at(9)));
        assert!(by_age.covers(&key(None), at(9)), "a key of unknown age counts as oldest");
        let over = Revocation { expires_at: Some(at(9)), ..by_id };
        assert!(!over.covers(&key(None), at(9)));
    }
}
