//! The Secrets that API keys are delivered into.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::sweep::{Claim, Owned, Sweep};
use crate::controller::{Context, Error, Guarded, GuardedMeta};
use crate::crd::SdkClient;
use crate::domain::ids::SdkClientId;
use crate::kube_ext::name::object_name;
use crate::kube_ext::pages;
use crate::names;

/// API keys, which belong to SdkClients and are in their namespaces.
pub struct ApiKeys;

impl Sweep for ApiKeys {
    const COMPONENT: &str = names::API_KEY;

    fn places(context: &Context) -> Vec<Api<GuardedMeta<Secret>>> {
        context.apis()
    }

    fn name(secret: &GuardedMeta<Secret>) -> String {
        object_name(secret).to_string()
    }

    fn owner_namespace(secret: &GuardedMeta<Secret>) -> Option<String> {
        secret.namespace()
    }

    async fn owned(context: &Context) -> Result<Owned, Error> {
        let mut owned = Owned::default();
        let take = |client: Guarded<SdkClient>| match client.0 {
            Ok(client) => owned.claims.extend(claims(&client).into_iter().flatten()),
            Err(unreadable) => owned.unclear.extend(unreadable.metadata.namespace),
        };
        let listed = pages::each_of(&context.apis(), ListParams::default(), take).await;
        listed.map_err(Error::api("list SdkClients"))?;
        Ok(owned)
    }
}

/// The Secret that the spec specifies, and the one that the keys in status were delivered into: as
/// long as these differ, the latter is read to decide which keys are still valid.
fn claims(client: &SdkClient) -> Option<impl Iterator<Item = Claim>> {
    let namespace = client.namespace()?;
    let delivery = client.spec.service.as_ref()?.api_key.delivery.as_ref()?;
    // As in the Secret's label. The spec need not be valid otherwise.
    let derived = || SdkClientId::derive(&namespace, &client.name_any()).to_string();
    let id = client.spec.client_id.clone().unwrap_or_else(derived);
    let former = client.status.as_ref().and_then(|status| status.secret_name.as_ref());
    let secrets = [Some(&delivery.secret_name), former].into_iter().flatten();
    Some(secrets.map(move |secret| (id.clone(), format!("{namespace}/{secret}"))))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::sweep::claim;
    use super::*;
    use crate::crd::SdkClientStatus;

    fn client(spec: &Value) -> SdkClient {
        serde_json::from_value(json!({
            "apiVersion": "anon.dev/v1beta1", "kind": "SdkClient",
            "metadata": {"namespace": "acme", "name": "backend"}, "spec": spec,
        }))
        .unwrap()
    }

    fn is_claimed(client: &SdkClient, namespace: &str, name: &str, id: &str) -> bool {
        let secret: GuardedMeta<Secret> = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {
                "namespace": namespace, "name": name, "labels": {"anon.dev/id": id},
            }
        }))
        .unwrap();
        claims(client).unwrap().any(|owned| owned == claim::<ApiKeys>(&secret))
    }

    #[test]
    fn a_secret_is_claimed_by_id_and_place() {
        let service = json!({"role": "Member", "apiKey": {"delivery": {"secretName": "key"}}});
        let derived = SdkClientId::derive("acme", "backend").to_string();
        let mut backend = client(&json!({"service": service}));
        assert!(is_claimed(&backend, "acme", "key", &derived));
        assert!(!is_claimed(&backend, "acme", "old-key", &derived));
        assert!(!is_claimed(&backend, "copied", "key", &derived));

        // The Secret that the keys in status were delivered into, until they are in the new one.
        let old = Some("old-key".to_owned());
        backend.status = Some(SdkClientStatus { secret_name: old, ..SdkClientStatus::default() });
        assert!(is_claimed(&backend, "acme", "key", &derived));
        assert!(is_claimed(&backend, "acme", "old-key", &derived));

        // A client with a clientId of its own has that in the label of its Secret.
        let chosen = "6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111";
        let spec = json!({"clientId": chosen, "service": service});
        assert!(is_claimed(&client(&spec), "acme", "key", chosen));
    }
}
