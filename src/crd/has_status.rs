//! What every kind has in its spec and status.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;

use super::CustomKind;

/// A kind whose status the leader writes.
pub trait HasStatus: CustomKind {
    /// The type of the status.
    type Status: Clone + Debug + Default + PartialEq + Serialize + Send + Sync;

    /// The status as it was read.
    fn status(&self) -> Option<&Self::Status>;

    /// The conditions in a status.
    fn conditions(status: &Self::Status) -> &[Condition];

    /// The conditions as they were read: none if there is no status yet.
    fn current_conditions(&self) -> &[Condition] {
        self.status().map(Self::conditions).unwrap_or_default()
    }

    /// The generation that a status is of.
    fn observed_generation(status: &Self::Status) -> Option<i64>;

    /// Clears the fields that another writer owns, so that they are not compared.
    fn leave_to_others(status: &mut Self::Status);

    /// The object with this status, in which the fields of another writer are as they were read.
    #[must_use]
    fn with_status(&self, status: Self::Status) -> Self;

    /// Whether the spec suspends the object.
    fn is_suspended(&self) -> bool;

    /// Sets the fields that every status has: conditions, their summary and observedGeneration.
    fn set_readiness(
        status: &mut Self::Status,
        conditions: Vec<Condition>,
        summary: String,
        generation: Option<i64>,
    );
}

macro_rules! has_status {
    ($($kind:ident => $status:ident $(without $foreign:ident)? $(suspended by $suspended:ident)?),*) => {$(
        impl HasStatus for super::$kind {
            type Status = super::$status;

            fn status(&self) -> Option<&Self::Status> {
                self.status.as_ref()
            }

            fn conditions(status: &Self::Status) -> &[Condition] {
                &status.conditions
            }

            fn observed_generation(status: &Self::Status) -> Option<i64> {
                status.observed_generation
            }

            #[allow(unused_variables, reason = "most have one writer")]
            fn leave_to_others(status: &mut Self::Status) {
                $(status.$foreign.clear();)?
            }

            #[allow(unused_mut, reason = "most have one writer")]
            fn with_status(&self, mut status: Self::Status) -> Self {
                $(if let Some(read) = &self.status {
                    status.$foreign.clone_from(&read.$foreign);
                })?
                Self { status: Some(status), ..self.clone() }
            }

            fn is_suspended(&self) -> bool {
                false $(|| self.spec.$suspended.unwrap_or_default())?
            }

            fn set_readiness(
                status: &mut Self::Status,
                conditions: Vec<Condition>,
                summary: String,
                generation: Option<i64>,
            ) {
                status.conditions = conditions;
                status.summary = Some(summary);
                status.observed_generation = generation;
            }
        }
    )*};
}

has_status!(
    Organization => OrganizationStatus,
    Member => MemberStatus without sessions suspended by suspended,
    UserPool => UserPoolStatus,
    SdkClient => SdkClientStatus suspended by suspended,
    Revocation => RevocationStatus
);
