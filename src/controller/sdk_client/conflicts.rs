//! Conflicts between clients: a clientId from the spec, or an API key, may belong to another
//! client.

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::api::Api;

use crate::controller::{Context, Error, GuardedMeta};
use crate::crd::condition::Readiness;
use crate::crd::reasons::ReadyReason;
use crate::domain::client::SdkClient;
use crate::domain::credential::KeyHash;
use crate::kube_ext::api::ReadExt as _;
use crate::names;
use crate::validate::conflict::Conflict;

/// The readiness of a client that may not have the clientId that its spec specifies. It may have it
/// if a cluster administrator has allowed it on the Namespace and no other client has it.
pub async fn refused_id(context: &Context, client: &SdkClient) -> Result<Option<Readiness>, Error> {
    if !client.id.is_chosen() {
        return Ok(None);
    }
    let api: Api<GuardedMeta<Namespace>> = Api::all(context.client.clone());
    let namespace = api.read(&client.name.namespace).await;
    let namespace = namespace.map_err(Error::api("read Namespace"))?;
    let id = client.id.to_string();
    if !allows(namespace.annotations().get(names::CLIENT_IDS), &id) {
        return Ok(Some(Readiness::new(
            ReadyReason::ClientIdNotAllowed,
            format!(
                "spec.clientId must be allowed by a cluster administrator: annotate the Namespace with `{}: {id}`",
                names::CLIENT_IDS
            ),
        )));
    }
    let held = context.reader.is_client_id_held_besides(client);
    Ok(held.then(|| Readiness::new(ReadyReason::ClientIdConflict, Conflict::ClientId.to_string())))
}

/// The readiness of a client with a key that belongs to another client.
pub fn key_conflict(hash: &KeyHash) -> Readiness {
    Readiness::new(
        ReadyReason::KeyConflict,
        format!(
            "key {} belongs to another client, or another client lists it, too, so it is not accepted for this client; use a separate key for each client",
            hash.id()
        ),
    )
}

/// Whether the annotation lists the id or `*`.
fn allows(annotation: Option<&String>, id: &str) -> bool {
    annotation.is_some_and(|ids| ids.split(',').map(str::trim).any(|it| it == "*" || it == id))
}

#[cfg(test)]
mod tests {
    use super::allows;

    #[test]
    fn consent_is_exact() {
        let id = "6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111";
        let annotation = |text: &str| Some(text.to_owned());
        assert!(!allows(None, id));
        assert!(!allows(annotation("").as_ref(), id));
        assert!(!allows(annotation("6f0c8ad6").as_ref(), id));
        assert!(allows(annotation(&format!("other, {id}")).as_ref(), id));
        assert!(allows(annotation("*").as_ref(), id));
    }
}
