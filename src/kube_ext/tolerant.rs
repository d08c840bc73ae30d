//! An object that is parsed from its own text, so that a parse error concerns only this object.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::ops::Range;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use kube::Resource;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::names;

/// The maximum length of the error in an [`Unreadable`], in bytes: an error message may quote a
/// whole value.
const MAX_ERROR_BYTES: usize = 512;

/// A `K`, or the readable parts of an object that is not a valid `K`. Deserialization fails only
/// for JSON that is not an object of the API server at all, so lists and watches deliver every
/// object.
///
/// It is parsed from its own raw text. `managedFields` is skipped without being parsed: it is not
/// needed here, and anyone who may write the object can put almost anything into it. `M` determines
/// which other metadata is retained.
///
/// The deserializer must be one of `serde_json`. In a watch event, `type` must come before
/// `object`, as the API server writes it; otherwise serde buffers the object, and the raw text is
/// lost.
#[derive(Clone, Debug)]
pub struct Tolerant<K, M = Whole>(pub Result<K, Unreadable>, PhantomData<M>);

/// An object that cannot be parsed as its type.
#[derive(Clone, Debug, Error)]
#[error("{error}")]
pub struct Unreadable {
    /// The parse error. It may quote the object, so it must not be shown for objects with secrets.
    pub error: String,
    /// The metadata fields that can be parsed; at least the name.
    pub metadata: ObjectMeta,
    /// The conditions in the status, if they can be parsed.
    pub conditions: Vec<Condition>,
    /// `status.observedGeneration`.
    pub observed_generation: Option<i64>,
}

/// Determines which metadata of an object is retained.
pub trait Keep: Clone + Debug + Send + Sync + 'static {
    /// Whether the manager names in `managedFields` are retained. Nothing else of it ever is.
    const MANAGERS: bool = false;

    /// Removes the metadata that is not retained.
    fn keep(_metadata: &mut ObjectMeta) {}
}

/// Retains everything but `managedFields`: for objects that are shown or written back completely. A
/// PUT without `managedFields` leaves them unchanged.
#[derive(Clone, Debug)]
pub struct Whole;

impl Keep for Whole {}

/// Retains everything and the names of the field managers: for code that detects objects managed by
/// other tools. Such an object must not be written back, because its `managedFields` are
/// incomplete.
#[derive(Clone, Debug)]
pub struct WithManagers;

impl Keep for WithManagers {
    const MANAGERS: bool = true;
}

/// Retains the metadata that the controllers read: for objects in memory, because an object may
/// have more than a megabyte of labels and annotations.
#[derive(Clone, Debug)]
pub struct Lean;

impl Keep for Lean {
    fn keep(metadata: &mut ObjectMeta) {
        for map in [&mut metadata.labels, &mut metadata.annotations] {
            // A new map, because a map that shrinks does not release its memory.
            let all = map.take().into_iter().flatten();
            let read: BTreeMap<_, _> = all.filter(|(name, _)| names::is_read(name)).collect();
            *map = (!read.is_empty()).then_some(read);
        }
        let owners = metadata.owner_references.take().into_iter().flatten();
        let controller = owners.into_iter().find(|owner| owner.controller == Some(true));
        metadata.owner_references = controller.map(|owner| vec![owner]);
        metadata.finalizers = None;
        metadata.generate_name = None;
        metadata.self_link = None;
    }
}

impl<K, M> Tolerant<K, M> {
    /// An object to send to the API server.
    pub const fn new(object: K) -> Self {
        Self(Ok(object), PhantomData)
    }
}

impl<K: Resource + DeserializeOwned, M: Keep> Tolerant<K, M> {
    /// Parses the text of one object.
    ///
    /// # Errors
    /// The text is not an object with a name.
    pub fn parse(text: &str) -> serde_json::Result<Self> {
        let object = without_managed_fields::<M>(text);
        let result = match object.and_then(|text| serde_json::from_str::<K>(&text)) {
            Ok(mut object) => {
                M::keep(object.meta_mut());
                Ok(object)
            }
            Err(error) => {
                let mut remains = Unreadable::of(text, &error)?;
                M::keep(&mut remains.metadata);
                Err(remains)
            }
        };
        Ok(Self(result, PhantomData))
    }
}

impl<'de, K: Resource + DeserializeOwned, M: Keep> Deserialize<'de> for Tolerant<K, M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse(text.get()).map_err(D::Error::custom)
    }
}

impl<K: Serialize, M> Serialize for Tolerant<K, M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(object) => object.serialize(serializer),
            Err(_) => Err(ser::Error::custom("an unreadable object cannot be written")),
        }
    }
}

impl<K: Resource, M> Resource for Tolerant<K, M> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn metadata_api() -> bool {
        K::metadata_api()
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|unreadable| &unreadable.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|unreadable| &mut unreadable.metadata, K::meta_mut)
    }
}

#[derive(Deserialize)]
struct Outer<'t> {
    #[serde(borrow)]
    metadata: Option<&'t RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManagedFields<'t> {
    #[serde(borrow)]
    managed_fields: Option<&'t RawValue>,
}

/// The retained part of an entry of `managedFields`.
#[derive(Serialize, Deserialize)]
struct Manager<'t> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    manager: Option<Cow<'t, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    subresource: Option<Cow<'t, str>>,
}

/// The text with `managedFields` replaced. The old value is skipped without recursion and without
/// decoding, so neither its depth nor its content matters.
fn without_managed_fields<M: Keep>(text: &str) -> serde_json::Result<Cow<'_, str>> {
    let outer: Outer<'_> = serde_json::from_str(text)?;
    let Some(metadata) = outer.metadata else { return Ok(Cow::Borrowed(text)) };
    let metadata: ManagedFields<'_> = serde_json::from_str(metadata.get())?;
    let Some(skipped) = metadata.managed_fields else { return Ok(Cow::Borrowed(text)) };
    let managers = if M::MANAGERS { managers(skipped.get()) } else { None };
    let managers = managers.unwrap_or_else(|| "null".to_owned());
    let Range { start, end } = range_in(text, skipped.get());
    let (before, after) = (text.get(..start), text.get(end..));
    let (Some(before), Some(after)) = (before, after) else {
        return Err(serde_json::Error::custom("managedFields is not where it was found"));
    };
    Ok(Cow::Owned([before, &managers, after].concat()))
}

fn managers(text: &str) -> Option<String> {
    let managers: Vec<Manager<'_>> = serde_json::from_str(text).ok()?;
    serde_json::to_string(&managers).ok()
}

/// The range of `part`, a slice of `text`, within it.
fn range_in(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    start..start.saturating_add(part.len())
}

/// The members of a JSON object, each as raw text.
type Members<'t> = BTreeMap<String, &'t RawValue>;

fn members<'t>(object: &Members<'t>, name: &str) -> Members<'t> {
    let text = object.get(name).map(|raw| raw.get()).unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

fn member<T: DeserializeOwned>(members: &Members<'_>, name: &str) -> Option<T> {
    members.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok())
}

impl Unreadable {
    /// The parts of an object that can be parsed.
    fn of(text: &str, error: &serde_json::Error) -> serde_json::Result<Self> {
        let object: Members<'_> = serde_json::from_str(text)?;
        let metadata = members(&object, "metadata");
        let name: String = member(&metadata, "name")
            .ok_or_else(|| serde_json::Error::custom("an object without `metadata.name`"))?;
        // An object with an unreadable deletionTimestamp is still one that is being deleted.
        let goes = metadata.get("deletionTimestamp").is_some_and(|raw| raw.get() != "null");
        let epoch = Time(Timestamp::UNIX_EPOCH);
        let deleted_at = || member(&metadata, "deletionTimestamp").unwrap_or(epoch);
        let metadata = ObjectMeta {
            name: Some(name),
            namespace: member(&metadata, "namespace"),
            uid: member(&metadata, "uid"),
            resource_version: member(&metadata, "resourceVersion"),
            generation: member(&metadata, "generation"),
            creation_timestamp: member(&metadata, "creationTimestamp"),
            deletion_timestamp: goes.then(deleted_at),
            labels: member(&metadata, "labels"),
            annotations: member(&metadata, "annotations"),
            owner_references: member(&metadata, "ownerReferences"),
            ..ObjectMeta::default()
        };
        let status = members(&object, "status");
        let mut error = error.to_string();
        error.truncate(error.floor_char_boundary(MAX_ERROR_BYTES));
        Ok(Self {
            error,
            metadata,
            conditions: member(&status, "conditions").unwrap_or_default(),
            observed_generation: member(&status, "observedGeneration"),
        })
    }
}

#[cfg(test)]
mod tests;
