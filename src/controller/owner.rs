//! From something of ours to the object that it belongs to. What says so in it, an annotation or an
//! owner reference, whoever may write it can take away; the watch that is to repair that must find
//! the owner all the same.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store};

use super::Guarded;
use crate::names;

/// The owner: the object that `noted` names, if it has such a child; else one in `namespace` that
/// has. Where none has one, whatever was noted: it may be gone, and that is for its controller to
/// find out.
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
    // Looking at all of them is for the rare case.
    let within = |object: &Guarded<K>| object.meta().namespace.as_deref() == Some(namespace);
    let found = objects.find(|object| within(object) && has(object));
    found.map(|owner| ObjectRef::from_obj(owner.as_ref())).or(noted)
}

/// The owner reference of the object that controls a child.
pub fn controller_of<K: Resource>(child: &K) -> Option<&OwnerReference> {
    let owners = child.meta().owner_references.iter().flatten();
    owners.into_iter().find(|owner| owner.controller == Some(true))
}

/// The owner of a Secret in the operator's namespace: whoever its annotations name, if that has the
/// `id` of its label; else the object that has.
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
