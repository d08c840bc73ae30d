//! What a client asks for that another may have: a chosen clientId, an ApiKey.

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::api::Api;

use super::Made;
use crate::controller::{Context, Error, GuardedMeta};
use crate::crd;
use crate::crd::condition::{Standing, State};
use crate::domain::client::SdkClient;
use crate::kube_ext::api::ReadExt as _;
use crate::names;

/// Reason: the Namespace does not allow the chosen clientId.
pub const NOT_ALLOWED: &str = "ClientIdNotAllowed";
/// Reason: another client holds the chosen clientId.
pub const ID_CONFLICT: &str = "ClientIdConflict";

/// Whether the client may have the clientId that its spec chooses: a cluster admin has allowed it
/// on the Namespace, and nobody else holds it.
pub async fn chosen_id(
    context: &Context,
    object: &crd::SdkClient,
    client: &SdkClient,
) -> Result<Result<(), Standing>, Error> {
    if object.spec.client_id.is_none() {
        return Ok(Ok(()));
    }
    let api: Api<GuardedMeta<Namespace>> = Api::all(context.client.clone());
    let namespace = api.read(&client.name.namespace).await;
    let namespace = namespace.map_err(Error::api("read Namespace"))?;
    let id = client.id.to_string();
    if !allows(namespace.annotations().get(names::CLIENT_IDS), &id) {
        return Ok(Err(Standing::stalled(
            NOT_ALLOWED,
            format!(
                "spec.clientId needs the consent of a cluster admin: annotate the Namespace with `{}: {id}`",
                names::CLIENT_IDS
            ),
        )));
    }
    let held = context.reader.client(client.id).is_some_and(|holder| holder.name != client.name);
    Ok(if held {
        // Who holds it is not said: it may be another organization.
        Err(Standing::stalled(
            ID_CONFLICT,
            "another client holds spec.clientId; choose another one",
        ))
    } else {
        Ok(())
    })
}

/// Says so if a key that the client lists or shows is not its own, and looks again later where
/// something unwatched may change the outcome.
pub fn settle(context: &Context, client: &SdkClient, made: &mut Made) {
    if let (Some(hash), State::Ready) = (made.conflict, made.standing.state) {
        made.standing = Standing::stalled(
            "KeyConflict",
            format!(
                "key {} is listed by another client, too, and is not accepted for this one; use a separate key for each client",
                hash.id()
            ),
        );
    }
    if made.conflict.is_some() || client.id.is_chosen() {
        made.look = made.look.at_latest_later(context.clock.now());
    }
}

/// Whether the annotation lists the id.
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
