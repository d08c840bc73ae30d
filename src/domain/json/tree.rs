//! A JSON value that borrows the text that it was parsed from. Every token is parsed into one, and
//! to copy its strings would take longer than to parse it.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

/// A JSON value. Its strings are parts of its text, unless they contain escapes.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'t> {
    /// null.
    Null,
    /// true or false.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(Cow<'t, str>),
    /// An array.
    List(Vec<Self>),
    /// An object.
    Object(Object<'t>),
}

/// A JSON object: its members, ordered by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Object<'t>(Vec<Member<'t>>);

/// The name of a member, and its value.
pub type Member<'t> = (Cow<'t, str>, Json<'t>);

impl Json<'_> {
    /// The string, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The value within this one at the location of a JSON Pointer (RFC 6901).
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<&Self> {
        if pointer.is_empty() {
            return Some(self);
        }
        pointer.strip_prefix('/')?.split('/').try_fold(self, |value, part| match value {
            Self::Object(object) => object.get(&part.replace("~1", "/").replace("~0", "~")),
            Self::List(items) => items.get(index(part)?),
            _ => None,
        })
    }
}

/// The index of an array item in a JSON Pointer: digits without leading zeros (RFC 6901 section 4).
fn index(part: &str) -> Option<usize> {
    let is_canonical = part == "0" || !part.starts_with(['0', '+']);
    is_canonical.then(|| part.parse().ok()).flatten()
}

impl<'t> Object<'t> {
    /// An object with these members, in any order. `None` if two have the same name.
    pub(super) fn new(mut members: Vec<Member<'t>>) -> Option<Self> {
        // Ordered, so that duplicates are found however many members there are.
        members.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let is_unique = members.array_windows().all(|[(one, _), (next, _)]| one != next);
        is_unique.then_some(Self(members))
    }

    /// The value of the member with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json<'t>> {
        // Most objects have few members, and most names differ in their lengths already.
        let Self(members) = self;
        members.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    /// Whether there is a member with this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

impl From<Json<'_>> for Value {
    fn from(json: Json<'_>) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(truth) => Self::Bool(truth),
            Json::Number(number) => Self::Number(number),
            Json::Text(text) => Self::String(text.into_owned()),
            Json::List(items) => items.into_iter().collect(),
            Json::Object(object) => Self::Object(object.into()),
        }
    }
}

impl From<Object<'_>> for Map<String, Value> {
    fn from(Object(members): Object<'_>) -> Self {
        members.into_iter().map(|(name, value)| (name.into_owned(), value.into())).collect()
    }
}
