//! `Revocation`: validators act on it by themselves, through their watch. Here it is only said how
//! many of them have, and the object is removed once it has ended.

use std::time::Instant;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::controller::Controller;
use kube::runtime::watcher;

use super::propagation::Write;
use super::{Context, Error, Guarded, Look, Outcome, Reconcile, apply, status};
use crate::crd::condition::{self, Standing};
use crate::crd::{Revocation, RevocationStatus};
use crate::domain::ids::{ObjectName, UserPoolId};
use crate::domain::pool::Source;
use crate::domain::revocation::{self as domain, Of};
use crate::index::Kind;
use crate::validate;

pub(super) fn controller(context: &Context) -> Controller<Guarded<Revocation>> {
    Controller::new(Api::all(context.client.clone()), watcher::Config::default())
}

impl Reconcile for Revocation {
    async fn reconcile(&self, context: &Context) -> Result<Outcome, Error> {
        let unchanged = self.status.clone().unwrap_or_default();
        let revocation = match validate::revocation(self) {
            Ok(revocation) => revocation,
            Err(violations) => {
                status::write(context, self, unchanged, &status::invalid(&violations)).await?;
                return Ok(Outcome::INVALID);
            }
        };
        let end = revocation.expires_at.or_else(|| moot_at(context, &revocation));
        if end.is_some_and(|end| end <= context.clock.now()) {
            let api: Api<Self> =
                Api::namespaced(context.client.clone(), &revocation.name.namespace);
            apply::delete_exactly(&api, self).await?;
            return Ok(Outcome::SETTLED);
        }
        let look = end.map_or(Look::OnChange, Look::At);
        // Proven once, it stays so: nothing takes a revocation back but its deletion.
        if condition::is_ready(&unchanged.conditions) {
            context.memory.seen_through(self);
            return Ok(Outcome { look, ..Outcome::SETTLED });
        }
        let write = Write {
            kind: Kind::Revocation,
            resource_version: self.resource_version().unwrap_or_default(),
            at: context.memory.first_seen(self, Instant::now()),
        };
        let reached = context.propagation.reached(&write);
        // Our own index too: the status that is written then brings the owner's reconciliation,
        // which replaces a revoked key and asks that index.
        let here = context.reader.has(Kind::Revocation, &write.resource_version);
        let (standing, look) = if reached.everywhere && here {
            (Standing::ready("Revoked", format!("refused by {}", reached.text)), look)
        } else {
            let waiting = reached.waiting_for(&write);
            let waiting = waiting.map(|pods| format!("; not known of: {pods}")).unwrap_or_default();
            let text =
                format!("not every validator is known to refuse what is revoked yet{waiting}");
            (Standing::reconciling("Propagating", text), Look::Soon)
        };
        status::write(context, self, RevocationStatus::default(), &standing).await?;
        Ok(Outcome { look, ..Outcome::SETTLED })
    }
}

/// When everything that it revokes has expired by itself, as far as that is certain: the tokens of
/// other issuers live for as long as these like.
fn moot_at(context: &Context, revocation: &domain::Revocation) -> Option<Timestamp> {
    let ObjectName { namespace, name } = &revocation.owner;
    let pool = (revocation.of == Of::UserPool).then(|| UserPoolId::derive(namespace, name))?;
    let pool = context.reader.pool(pool)?;
    matches!(pool.source, Source::Hosted(_)).then(|| revocation.moot_at())?
}
