//! The delivery Secrets that clients specify.

use std::collections::{BTreeSet, HashMap};

use kube::Resource as _;

use super::ownership::release;
use crate::crd;
use crate::domain::ids::ObjectName;

/// The clients that specify a Secret. Only a replica that serves the admission webhook needs
/// them, so only such a replica keeps them: there may be millions of clients.
#[derive(Debug, Default)]
pub struct DeliverySecrets {
    of_client: HashMap<ObjectName, ObjectName>,
    clients: HashMap<ObjectName, BTreeSet<ObjectName>>,
}

impl DeliverySecrets {
    /// Records the Secret of a client, unless that is being deleted.
    pub fn note(&mut self, client: &ObjectName, object: &crd::SdkClient) {
        self.forget(client);
        let Some(name) = object.delivery_secret() else { return };
        if object.meta().deletion_timestamp.is_some() {
            return;
        }
        let secret = ObjectName { namespace: client.namespace.clone(), name: name.to_owned() };
        self.clients.entry(secret.clone()).or_default().insert(client.clone());
        self.of_client.insert(client.clone(), secret);
    }

    /// Forgets a client that was deleted.
    pub fn forget(&mut self, client: &ObjectName) {
        if let Some(secret) = self.of_client.remove(client) {
            release(&mut self.clients, &secret, client);
        }
    }

    /// Whether another client specifies this Secret.
    pub fn is_specified_besides(&self, secret: &ObjectName, client: &ObjectName) -> bool {
        self.clients.get(secret).is_some_and(|clients| clients.iter().any(|it| it != client))
    }
}
