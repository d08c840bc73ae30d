//! Which changes end the [`Generation`](crate::domain::generation::Generation) of a pool: every change
//! that may invalidate a token of the pool which was valid before. Changes of other pools, and of
//! clients without a pool, leave it as it is, however many there are.

use std::sync::Arc;

use super::key_holders::derived_id;
use super::store::State;
use crate::domain::client::SdkClient;
use crate::domain::ids::{ObjectName, OrganizationId, SdkClientId, UserPoolId};
use crate::domain::revocation::RevocationTarget;

impl State {
    /// The clients that have an id which a change of the client `name` may affect: its id before
    /// the change, and `id` after it.
    pub(super) fn holders(
        &self,
        name: &ObjectName,
        id: Option<SdkClientId>,
    ) -> [Option<Arc<SdkClient>>; 2] {
        let before = self.clients.get(&derived_id(name)).map(|client| client.id);
        [before, id].map(|id| self.client(id?).cloned())
    }

    /// Ends the verdicts that depend on one of these clients, if that client has changed. A verdict
    /// depends on clients that exist and have a pool, and never on the absence of one: the client
    /// that the token is validated for, and those that `aud` and `sdkClientId` name.
    pub(super) fn renew_changed(&mut self, before: &[Option<Arc<SdkClient>>]) {
        for old in before.iter().flatten() {
            let Ok(pool) = old.live_pool() else { continue };
            let same =
                |new: &Arc<SdkClient>| new.name == old.name && new.for_tokens() == old.for_tokens();
            if !self.client(old.id).is_some_and(same) {
                self.generations.renew(pool);
            }
        }
    }

    /// Ends the verdicts that a Revocation of this object's credentials may contradict.
    pub(super) fn renew_revoked(&mut self, of: RevocationTarget, owner: &ObjectName) {
        if of == RevocationTarget::UserPool {
            self.generations.renew(UserPoolId::derive(&owner.namespace, &owner.name));
        }
    }

    /// Stops serving what is in a namespace. Returns whether it was served before.
    pub(super) fn terminate(&mut self, namespace: &str) -> bool {
        let pools = self.pools_of.get(&OrganizationId::derive(namespace));
        for pool in pools.into_iter().flatten() {
            self.generations.renew(*pool);
        }
        self.terminating.insert(namespace.to_owned())
    }
}
