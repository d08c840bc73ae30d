//! The id and the name of a client in responses.

use kube::ResourceExt as _;

use super::caller::Caller;
use crate::crd;
use crate::domain::ids::{ObjectName, SdkClientId};
use crate::index::Reader;

/// The client id: the one in the spec, or else the one derived from the name.
pub fn id_of(caller: &Caller, client: &crd::SdkClient) -> String {
    let derived = || SdkClientId::derive(&caller.namespace, &client.name_any()).to_string();
    client.spec.client_id.clone().unwrap_or_else(derived)
}

/// The id of the client of this name: the one in the index, which may have been chosen, or else the
/// one derived from the name.
pub fn id_named(reader: &Reader, namespace: &str, name: String) -> SdkClientId {
    let name = ObjectName { namespace: namespace.to_owned(), name };
    let known = reader.client_named(&name).map(|client| client.id);
    known.unwrap_or_else(|| SdkClientId::derive(namespace, &name.name))
}

/// The name: the one in the spec, or else that of the object.
pub fn name_of(client: &crd::SdkClient) -> String {
    client.spec.display_name.clone().unwrap_or_else(|| client.name_any())
}

/// Name and id of a client, for people.
pub fn label(caller: &Caller, client: &crd::SdkClient) -> String {
    format!("`{}` ({})", name_of(client), id_of(caller, client))
}
