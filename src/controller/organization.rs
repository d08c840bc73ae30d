//! Reconciles `Organization`, which only refines its namespace: nothing but its status is written.

use kube::api::Api;
use kube::runtime::controller::Controller;

use super::{Context, Error, Guarded, Outcome, Reconcile, status, triggers};
use crate::crd::condition::Readiness;
use crate::crd::reasons::ReadyReason;
use crate::crd::{Organization, OrganizationStatus};
use crate::validate;

pub(super) fn controller(context: &Context) -> Controller<Guarded<Organization>> {
    triggers::controller(Api::all(context.client.clone()))
}

impl Reconcile for Organization {
    async fn reconcile(&self, context: &Context) -> Result<Outcome, Error> {
        let (readiness, id, outcome) = match validate::organization(self) {
            Ok(organization) => (
                Readiness::new(ReadyReason::Accepted, "the organization is in use"),
                Some(organization.id.to_string()),
                Outcome::SETTLED,
            ),
            Err(violations) => (status::invalid(&violations), None, Outcome::INVALID),
        };
        let desired = OrganizationStatus { id, ..OrganizationStatus::default() };
        status::write(context, self, desired, &readiness).await?;
        Ok(outcome)
    }
}
