//! Reconciles `Organization`, which only refines its namespace: nothing but its status is written.

use super::driver::Reconcile;
use super::expectations::Children;
use super::plan::{Met, Plan};
use super::triggers::{self, Triggers};
use super::{Context, Error};
use crate::crd::condition::Readiness;
use crate::crd::reasons::ReadyReason;
use crate::crd::{Organization, OrganizationStatus};
use crate::domain::organization as domain;
use crate::validate::{self, Violations};

pub(super) fn controller(context: &Context) -> Triggers<Organization> {
    triggers::controller(&context.client, &context.settings.scope, |_| None)
}

impl Reconcile for Organization {
    type Parsed = domain::Organization;
    type Observed = ();

    fn parse(&self) -> Result<Self::Parsed, Violations> {
        validate::organization(self)
    }

    async fn observe(&self, _: &Self::Parsed, _: &Context, _: Option<Met>) -> Result<(), Error> {
        Ok(())
    }

    fn plan(&self, parsed: &Self::Parsed, (): ()) -> Result<Plan<OrganizationStatus>, Error> {
        let id = Some(parsed.id.to_string());
        let status = OrganizationStatus { id, ..OrganizationStatus::default() };
        let readiness = Readiness::new(ReadyReason::Accepted, "the organization is in use");
        let children = Some(Children::new());
        Ok(Plan { children, ..Plan::publish(vec![], status, readiness) })
    }
}
