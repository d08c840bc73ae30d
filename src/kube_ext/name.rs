//! The name of an object.

use kube::Resource;

use crate::domain::ids::ObjectName;

/// Namespace and name of a namespaced object. Every object from the API server has both; what an
/// object from elsewhere lacks is empty, which is the name of nothing.
pub fn object_name(object: &impl Resource) -> ObjectName {
    let metadata = object.meta();
    ObjectName {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}
