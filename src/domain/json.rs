//! Untrusted JSON: duplicate member names are rejected at every depth, and the memory that a parsed
//! text can take is bounded.
//!
//! RFC 7515 section 4 and RFC 7519 section 4 allow a parser to reject a duplicate name or to use
//! the last one. Two parsers that choose differently see two different tokens, so here it is an
//! error.
//!
//! A crafted text, such as `{"":0}` repeated many times, takes a hundred times its size when it is
//! parsed into a tree. So a tree is built only for a limited number of values
//! ([`parse_small_object`]) or for a text from an authenticated source ([`parse_object`]).
//! Everything else is read member by member, and members that are not needed are skipped
//! ([`Shape`]).
//!
//! serde_json only deserializes: into a tree it keeps the last duplicate and has no limit but depth,
//! and into a struct it skips unknown members without looking into them.

mod tree;

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

pub use tree::{Json, Object};

/// The maximum nesting depth.
pub const MAX_DEPTH: usize = 16;
/// The maximum number of members and array items of a small object in total, and of each object or
/// array that is skipped.
pub const MAX_MEMBERS: usize = 256;

/// Parses one JSON object and nothing after it. Nesting is limited by serde_json (128). For short
/// texts from authenticated sources.
///
/// # Errors
/// Not JSON, not an object, or an object with a duplicate member at any depth.
pub fn parse_object(bytes: &[u8]) -> Result<Object<'_>, serde_json::Error> {
    let values = Cell::new(usize::MAX);
    parse(bytes, Strict { depth: usize::MAX, values: &values })
}

/// Like [`parse_object`], but for untrusted texts: limited to [`MAX_DEPTH`] levels and to
/// [`MAX_MEMBERS`] members and array items in total.
///
/// # Errors
/// As for [`parse_object`], or a limit is exceeded.
pub fn parse_small_object(bytes: &[u8]) -> Result<Object<'_>, serde_json::Error> {
    let values = Cell::new(MAX_MEMBERS);
    parse(bytes, Strict { depth: MAX_DEPTH, values: &values })
}

fn parse<'t>(bytes: &'t [u8], strict: Strict<'_>) -> Result<Object<'t>, serde_json::Error> {
    // Once for all strings.
    let text = str::from_utf8(bytes).map_err(|_| de::Error::custom("not UTF-8"))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = strict.deserialize(&mut deserializer)?;
    deserializer.end()?;
    match value {
        Json::Object(object) => Ok(object),
        _ => Err(de::Error::custom("not a JSON object")),
    }
}

/// The text without a byte order mark, which a parser may ignore (RFC 8259 section 8.1) and some
/// editors write into every file.
#[must_use]
pub fn without_byte_order_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Parses one JSON text and nothing after it into an `S`. For files and responses: a byte order mark
/// is ignored.
///
/// # Errors
/// Not JSON, nested more than [`MAX_DEPTH`] levels deep, or an error of `S`.
pub fn read<'de, S: Shape<'de>>(bytes: &'de [u8]) -> Result<S, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(without_byte_order_mark(bytes));
    let value = Within::new(0).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Builds a tree, within limits.
#[derive(Clone, Copy)]
struct Strict<'l> {
    /// The number of levels left.
    depth: usize,
    /// The number of members and array items left.
    values: &'l Cell<usize>,
}

impl Strict<'_> {
    /// The limits inside an object or array.
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(too_deep)?;
        Ok(Self { depth, ..self })
    }

    fn one_more<E: de::Error>(self) -> Result<(), E> {
        let left = self.values.get().checked_sub(1).ok_or_else(too_many)?;
        self.values.set(left);
        Ok(())
    }
}

fn too_deep<E: de::Error>() -> E {
    E::custom(format_args!("nested more than {MAX_DEPTH} levels deep"))
}

fn too_many<E: de::Error>() -> E {
    E::custom(format_args!("more than {MAX_MEMBERS} members and array items"))
}

fn repeated<E: de::Error>() -> E {
    E::custom("duplicate member")
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
        // A JSON text has no other numbers.
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json<'de>, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            self.one_more()?;
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        let inner = self.deeper()?;
        let mut members = Vec::new();
        while let Some(Name(name)) = access.next_key()? {
            self.one_more()?;
            members.push((name, access.next_value_seed(inner)?));
        }
        Object::new(members).map(Json::Object).ok_or_else(repeated)
    }
}

/// The name of a member, borrowed if it contains no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'t>(#[serde(borrow)] Cow<'t, str>);

/// The member names of one object, without duplicates.
#[derive(Debug, Default)]
pub struct Names(HashSet<String>);

impl Names {
    /// Adds a name.
    ///
    /// # Errors
    /// It is a duplicate, or there are already [`MAX_MEMBERS`] names.
    pub fn add<E: de::Error>(&mut self, name: &str) -> Result<(), E> {
        if self.0.len() >= MAX_MEMBERS {
            return Err(too_many());
        }
        if self.0.insert(name.to_owned()) { Ok(()) } else { Err(repeated()) }
    }
}

/// What is extracted from a JSON value. Every type of value gives a result, so a value of the wrong
/// type is not an error here. Types that are not overridden are skipped, within limits, and give
/// [`Shape::other`].
pub trait Shape<'de>: Sized {
    /// The result for a value of any other type.
    fn other() -> Self;

    /// The result for null.
    #[must_use]
    fn null() -> Self {
        Self::other()
    }

    /// The result for a string.
    #[must_use]
    fn text(_text: &str) -> Self {
        Self::other()
    }

    /// The result for an array, whose items are `depth` levels deep.
    ///
    /// # Errors
    /// The text is malformed, or a limit is exceeded.
    fn list<A: SeqAccess<'de>>(mut list: A, depth: usize) -> Result<Self, A::Error> {
        let mut count = 0;
        while list.next_element_seed(Within::<()>::new(depth))?.is_some() {
            count += 1;
            if count > MAX_MEMBERS {
                return Err(too_many());
            }
        }
        Ok(Self::other())
    }

    /// The result for an object, whose members are `depth` levels deep.
    ///
    /// # Errors
    /// As for [`Shape::list`], or there is a duplicate member.
    fn object<A: MapAccess<'de>>(mut object: A, depth: usize) -> Result<Self, A::Error> {
        let mut names = Names::default();
        while let Some(name) = object.next_key::<String>()? {
            names.add(&name)?;
            object.next_value_seed(Within::<()>::new(depth))?;
        }
        Ok(Self::other())
    }
}

/// Skips the value.
impl Shape<'_> for () {
    fn other() {}
}

/// Deserializes a value at a given depth.
pub struct Within<S> {
    depth: usize,
    shape: PhantomData<S>,
}

impl<S> Within<S> {
    /// `depth` is the number of objects and lists around the value.
    #[must_use]
    pub const fn new(depth: usize) -> Self {
        Self { depth, shape: PhantomData }
    }

    fn deeper<E: de::Error>(&self) -> Result<usize, E> {
        if self.depth < MAX_DEPTH { Ok(self.depth + 1) } else { Err(too_deep()) }
    }
}

impl<'de, S: Shape<'de>> DeserializeSeed<'de> for Within<S> {
    type Value = S;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Shape<'de>> Visitor<'de> for Within<S> {
    type Value = S;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_bool<E>(self, _: bool) -> Result<S, E> {
        Ok(S::other())
    }

    fn visit_i64<E>(self, _: i64) -> Result<S, E> {
        Ok(S::other())
    }

    fn visit_u64<E>(self, _: u64) -> Result<S, E> {
        Ok(S::other())
    }

    fn visit_f64<E>(self, _: f64) -> Result<S, E> {
        Ok(S::other())
    }

    fn visit_str<E>(self, text: &str) -> Result<S, E> {
        Ok(S::text(text))
    }

    fn visit_unit<E>(self) -> Result<S, E> {
        Ok(S::null())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<S, A::Error> {
        S::list(list, self.deeper()?)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<S, A::Error> {
        S::object(object, self.deeper()?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn reads_what_serde_json_reads() {
        let text = br#"{"a":[1,-2,1.5,true,null,"x"],"b":{"c":{}}}"#;
        let strict = parse_object(text).unwrap();
        let plain: Value = serde_json::from_slice(text).unwrap();
        assert_eq!(Value::Object(strict.into()), plain);
    }

    #[test]
    fn borrows_what_has_no_escapes() {
        let text = br#"{"a":"plain","\u0062":["es\tcaped"]}"#;
        let object = parse_object(text).unwrap();
        assert!(matches!(object.get("a"), Some(Json::Text(Cow::Borrowed("plain")))));
        let escaped = object.get("b").and_then(|list| list.pointer("/0"));
        assert_eq!(escaped.and_then(Json::as_str), Some("es\tcaped"));
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        for text in [
            r#"{"sub":"a","sub":"b"}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
            r#"{"s\u0075b":"a","sub":"b"}"#,
            r#"{"a":1,"b":2,"c":3,"a":1}"#,
            "{} {}",
            "[]",
            "",
        ] {
            assert!(parse_object(text.as_bytes()).is_err(), "{text}");
        }
        let deep = format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200));
        assert!(parse_object(deep.as_bytes()).is_err());
    }

    fn skip(bytes: &[u8]) -> Result<(), serde_json::Error> {
        read(bytes)
    }

    #[test]
    fn small_objects_and_skipped_ones_have_the_same_bounds() {
        let nested =
            |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let lists = |levels: usize| {
            format!(r#"{{"a":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1))
        };
        let items = |count: usize| format!(r#"{{"a":[{}]}}"#, vec!["0"; count].join(","));
        let members = |count: usize| {
            let members: Vec<_> = (0..count).map(|n| format!(r#""{n}":0"#)).collect();
            format!("{{{}}}", members.join(","))
        };
        for text in [nested(16), lists(16), members(256), items(255)] {
            assert!(parse_small_object(text.as_bytes()).is_ok(), "{text}");
            assert!(skip(text.as_bytes()).is_ok(), "{text}");
        }
        for text in [nested(17), lists(17), members(257), items(257)] {
            assert!(parse_small_object(text.as_bytes()).is_err(), "{text}");
            assert!(skip(text.as_bytes()).is_err(), "{text}");
        }
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":{"b":1,"b":1}}"#, "{} {}", "", "[1,]"] {
            assert!(parse_small_object(text.as_bytes()).is_err(), "{text}");
            assert!(skip(text.as_bytes()).is_err(), "{text}");
        }
        // For a tree, the limit is on the total number of values.
        let junk = format!(r#"{{"a":[{}]}}"#, vec![r#"{"":0}"#; 130].join(","));
        assert!(parse_small_object(junk.as_bytes()).is_err());
        assert!(skip(junk.as_bytes()).is_ok());
    }
}
