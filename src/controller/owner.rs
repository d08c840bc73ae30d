//! Maps a child or Secret to the custom resource that owns it. Anyone with write access can strip
//! the owner annotation or reference, so this falls back to a search by name or id; otherwise the
//! watch that repairs the damage would never fire.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store};

use super::Guarded;
use crate::names;

/// Finds the owner of a child in `namespace`: the object `noted` if it has such a child, otherwise
/// any object that has one. If none has, returns `noted`: that object may have been deleted, which
/// its controller will find out.
pub fn of<K>(
    objects: &Store<Guarded<K>>,
    namespace: &str,
    noted: Option<&str>,
    has: impl Fn(&K) -> bool,
) -> Option<ObjectRef<Guarded<K>>>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let noted = noted.map(|name| ObjectRef::new(name).within(namespace));
    let has = |object: &Guarded<K>| object.0.as_ref().is_ok_and(&has);
    if let Some(owner) = &noted
        && objects.get(owner).is_some_and(|owner| has(&owner))
    {
        return noted;
    }
    // A scan of all objects, needed only when the annotation or reference is missing or wrong.
    let within = |object: &Guarded<K>| object.meta().namespace.as_deref() == Some(namespace);
    let found = objects.find(|object| within(object) && has(object));
    found.map(|owner| ObjectRef::from_obj(owner.as_ref())).or(noted)
}

/// The controller owner reference of a child, if it has one.
pub fn controller_of<K: Resource>(child: &K) -> Option<&OwnerReference> {
    let owners = child.meta().owner_references.iter().flatten();
    owners.into_iter().find(|owner| owner.controller == Some(true))
}

/// Finds the owner of a Secret in the operator's namespace: the object that its annotations
/// specify, if that has the id in the Secret's label, otherwise the object that has this id.
pub fn of_id<K>(
    objects: &Store<Guarded<K>>,
    secret: &impl Resource,
    id: impl Fn(&str, &str) -> String,
) -> Option<ObjectRef<Guarded<K>>>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let annotation = |name: &str| secret.meta().annotations.as_ref()?.get(name);
    let (namespace, name) = (annotation(names::OWNER_NAMESPACE), annotation(names::OWNER_NAME));
    let label = secret.meta().labels.as_ref().and_then(|labels| labels.get(names::ID));
    let is_its = |namespace: &str, name: &str| label.is_some_and(|it| *it == id(namespace, name));
    let noted = namespace.zip(name);
    let reference = |(namespace, name): (&String, &String)| ObjectRef::new(name).within(namespace);
    if let Some((namespace, name)) = noted.filter(|(namespace, name)| is_its(namespace, name)) {
        return Some(reference((namespace, name)));
    }
    let found = objects.find(|object| {
        let meta = object.meta();
        let named = meta.namespace.as_deref().zip(meta.name.as_deref());
        named.is_some_and(|(namespace, name)| is_its(namespace, name))
    });
    found.map(|owner| ObjectRef::from_obj(owner.as_ref())).or(noted.map(reference))
}
