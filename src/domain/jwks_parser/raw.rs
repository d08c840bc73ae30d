//! Reads the relevant members of a key set from untrusted JSON. Everything else is skipped, because
//! a tree of the whole set could take a hundred times its size.

use serde::de::{DeserializeSeed as _, MapAccess, SeqAccess};
use serde_json::Value;

use super::MAX_READ;
use crate::domain::json::{Names, Shape, Within};

/// The members of a private or symmetric key (RFC 7518 section 6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// An element of `keys`. Every key has a `kty`; private members are not stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawKey {
    pub(super) kty: Member,
    pub(super) kid: Member,
    pub(super) alg: Member,
    pub(super) use_: Member,
    pub(super) key_ops: Operations,
    pub(super) crv: Member,
    pub(super) n: Member,
    pub(super) e: Member,
    pub(super) x: Member,
    pub(super) y: Member,
    /// Whether it has a member of private or symmetric keys that is not null.
    pub(super) has_private: bool,
}

/// A member that should be a string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Member {
    /// It is missing or null.
    #[default]
    Absent,
    Text(String),
    /// Any other type.
    Other,
}

/// `key_ops`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Operations {
    /// It is missing or null.
    #[default]
    Absent,
    /// An array, and whether it contains these operations.
    List { verify: bool, sign: bool },
    /// Not an array.
    Other,
}

/// A JSON text, read as a key set.
#[derive(Debug, PartialEq, Eq)]
pub enum RawSet {
    /// It is not an object.
    NoObject,
    /// It has no member `keys`, or `keys` is not an array.
    NoKeys,
    /// The elements of `keys`, up to one more than [`MAX_READ`].
    Keys(Vec<RawKey>),
}

impl Shape<'_> for Member {
    fn other() -> Self {
        Self::Other
    }

    fn null() -> Self {
        Self::Absent
    }

    fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Whether a member has a value, which is not stored.
struct Present(bool);

impl Shape<'_> for Present {
    fn other() -> Self {
        Self(true)
    }

    fn null() -> Self {
        Self(false)
    }
}

impl<'de> Shape<'de> for Operations {
    fn other() -> Self {
        Self::Other
    }

    fn null() -> Self {
        Self::Absent
    }

    fn list<A: SeqAccess<'de>>(mut list: A, depth: usize) -> Result<Self, A::Error> {
        let (mut verify, mut sign) = (false, false);
        while let Some(operation) = list.next_element_seed(Within::<Operation>::new(depth))? {
            verify |= operation == Operation::Verify;
            sign |= operation == Operation::Sign;
        }
        Ok(Self::List { verify, sign })
    }
}

#[derive(PartialEq, Eq)]
enum Operation {
    Verify,
    Sign,
    Other,
}

impl Shape<'_> for Operation {
    fn other() -> Self {
        Self::Other
    }

    fn text(text: &str) -> Self {
        match text {
            "verify" => Self::Verify,
            "sign" => Self::Sign,
            _ => Self::Other,
        }
    }
}

impl<'de> Shape<'de> for RawKey {
    fn other() -> Self {
        Self::default()
    }

    fn object<A: MapAccess<'de>>(mut object: A, depth: usize) -> Result<Self, A::Error> {
        let mut names = Names::default();
        let mut key = Self::default();
        while let Some(name) = object.next_key::<String>()? {
            names.add(&name)?;
            let member = match name.as_str() {
                "kty" => &mut key.kty,
                "kid" => &mut key.kid,
                "alg" => &mut key.alg,
                "use" => &mut key.use_,
                "crv" => &mut key.crv,
                "n" => &mut key.n,
                "e" => &mut key.e,
                "x" => &mut key.x,
                "y" => &mut key.y,
                "key_ops" => {
                    key.key_ops = object.next_value_seed(Within::new(depth))?;
                    continue;
                }
                other => {
                    let is_private = PRIVATE.contains(&other);
                    let Present(present) = object.next_value_seed(Within::new(depth))?;
                    key.has_private |= is_private && present;
                    continue;
                }
            };
            *member = object.next_value_seed(Within::new(depth))?;
        }
        Ok(key)
    }
}

impl<'de> Shape<'de> for RawSet {
    fn other() -> Self {
        Self::NoObject
    }

    fn object<A: MapAccess<'de>>(mut object: A, depth: usize) -> Result<Self, A::Error> {
        let mut names = Names::default();
        let mut set = Self::NoKeys;
        while let Some(name) = object.next_key::<String>()? {
            names.add(&name)?;
            if name == "keys" {
                set = object.next_value_seed(Within::<Keys>::new(depth))?.0;
            } else {
                object.next_value_seed(Within::<()>::new(depth))?;
            }
        }
        Ok(set)
    }
}

/// The member `keys`.
struct Keys(RawSet);

impl<'de> Shape<'de> for Keys {
    fn other() -> Self {
        Self(RawSet::NoKeys)
    }

    fn list<A: SeqAccess<'de>>(mut list: A, depth: usize) -> Result<Self, A::Error> {
        let mut keys = Vec::new();
        while keys.len() <= MAX_READ {
            let Some(key) = list.next_element_seed(Within::<RawKey>::new(depth))? else {
                return Ok(Self(RawSet::Keys(keys)));
            };
            keys.push(key);
        }
        // Too many. The rest is only skipped, so that malformed JSON is still reported as such.
        while list.next_element_seed(Within::<()>::new(depth))?.is_some() {}
        Ok(Self(RawSet::Keys(keys)))
    }
}

impl From<Value> for RawKey {
    fn from(value: Value) -> Self {
        // A Value has no duplicate members. One that is nested too deeply is not a key.
        Within::new(0).deserialize(value).unwrap_or_default()
    }
}
