//! Which objects have what others specify, too.

use super::Reader;
use crate::domain::client::SdkClient;
use crate::domain::ids::ObjectName;
use crate::domain::member::Member;

impl Reader {
    /// Whether another client has the clientId of this one.
    #[must_use]
    pub fn is_client_id_held_besides(&self, client: &SdkClient) -> bool {
        self.client(client.id).is_some_and(|holder| holder.name != client.name)
    }

    /// The other member of the organization that has the e-mail address of this one, and so logs in
    /// with it.
    #[must_use]
    pub fn email_holder(&self, member: &Member) -> Option<ObjectName> {
        let holders = self.members_by_email(&Member::login_name(&member.email));
        let holder = holders.into_iter().find(|it| it.organization == member.organization)?;
        (holder.name != member.name).then(|| holder.name.clone())
    }

    /// Whether another client of its namespace specifies the delivery Secret of this one. Only a
    /// replica whose index was created [for admission](super::IndexSettings::for_admission) knows.
    #[must_use]
    pub fn is_delivery_secret_specified_besides(&self, client: &ObjectName, secret: &str) -> bool {
        let ObjectName { namespace, .. } = client;
        let secret = ObjectName { namespace: namespace.clone(), name: secret.to_owned() };
        let state = self.0.state.read();
        state.delivery_secrets.as_ref().is_some_and(|it| it.is_specified_besides(&secret, client))
    }
}
