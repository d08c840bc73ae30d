//! Maps a child or Secret to the custom resource that owns it. Anyone with write access can strip
//! the owner annotation or reference, so this falls back to a search by name or id; otherwise the
//! watch that repairs the damage would never fire.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;

use super::queue::{Objects, Reference};
use crate::domain::ids::ObjectName;
use crate::names;

/// Finds the owner of a child in `namespace`: the object `noted` if it has such a child, otherwise
/// any object that has one. If none has, returns `noted`: that object may have been deleted, which
/// its controller will find out.
pub fn of<T>(
    objects: &Objects<T>,
    namespace: &str,
    noted: Option<&str>,
    has: impl Fn(&str, Option<&Reference>) -> bool,
) -> Option<ObjectName> {
    let named = |name: &str| ObjectName { namespace: namespace.to_owned(), name: name.to_owned() };
    let noted = noted.map(named);
    let has = |object: &ObjectName, refers_to: Option<&Reference>| has(&object.name, refers_to);
    if let Some(owner) = &noted
        && objects.has(owner, has)
    {
        return noted;
    }
    // A scan of the namespace, needed only when the annotation or reference is missing or wrong.
    objects.within(namespace, has).pop().or(noted)
}

/// The controller owner reference of a child, if it has one.
pub fn controller_of<K: Resource>(child: &K) -> Option<&OwnerReference> {
    let owners = child.meta().owner_references.iter().flatten();
    owners.into_iter().find(|owner| owner.controller == Some(true))
}

/// Finds the owner of a Secret in the operator's namespace: the object that its annotations
/// specify, if that has the id in the Secret's label, otherwise the object that has this id.
pub fn of_id<T>(
    objects: &Objects<T>,
    secret: &impl Resource,
    id: impl Fn(&str, &str) -> String,
) -> Option<ObjectName> {
    let annotation = |name: &str| secret.meta().annotations.as_ref()?.get(name).cloned();
    let (namespace, name) = (annotation(names::OWNER_NAMESPACE), annotation(names::OWNER_NAME));
    let label = secret.meta().labels.as_ref().and_then(|labels| labels.get(names::ID));
    let is_its = |it: &ObjectName| label.is_some_and(|label| *label == id(&it.namespace, &it.name));
    let noted = namespace.zip(name).map(|(namespace, name)| ObjectName { namespace, name });
    if noted.as_ref().is_some_and(is_its) {
        return noted;
    }
    objects.find(is_its).or(noted)
}
