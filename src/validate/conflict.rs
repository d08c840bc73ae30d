//! What only one object can have. The controllers report a conflict in the status of an object, and
//! the admission webhook rejects an object that would cause one.

use std::fmt;

/// A value of a spec that another object has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// A chosen clientId, of any client in the cluster.
    ClientId,
    /// An e-mail address, of a member of the same organization.
    Email,
    /// A delivery Secret, of a client in the same namespace.
    DeliverySecret,
}

/// The message. It does not name the other object, which may belong to another organization.
impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientId => {
                "spec.clientId is already in use by another client; choose another one"
            }
            Self::Email => {
                "spec.email is already in use by another member of the organization; choose another one"
            }
            Self::DeliverySecret => {
                "spec.service.apiKey.delivery.secretName is already in use by another client of the namespace; choose another one"
            }
        })
    }
}
