//! The objects of one organization. This is the boundary between tenants: to a caller, an object of
//! another organization does not exist.

use std::sync::Arc;

use super::Reader;
use crate::domain::client::SdkClient;
use crate::domain::ids::{MemberId, OrganizationId, SdkClientId, UserPoolId};
use crate::domain::member::Member;
use crate::domain::pool::UserPool;

/// A kind of object that belongs to an organization.
pub trait Owned: Sized {
    /// Its id.
    type Id;

    /// Parses the text of an id.
    fn parse(id: &str) -> Option<Self::Id>;

    /// The object with this id, of any organization.
    fn find(reader: &Reader, id: Self::Id) -> Option<Arc<Self>>;

    /// The organization that it belongs to.
    fn organization(&self) -> OrganizationId;
}

macro_rules! owned {
    ($($kind:ident by $id:ident in $lookup:ident),*) => {$(
        impl Owned for $kind {
            type Id = $id;

            fn parse(id: &str) -> Option<$id> {
                $id::parse(id)
            }

            fn find(reader: &Reader, id: $id) -> Option<Arc<Self>> {
                reader.$lookup(id)
            }

            fn organization(&self) -> OrganizationId {
                self.organization
            }
        }
    )*};
}

owned!(Member by MemberId in member, UserPool by UserPoolId in pool, SdkClient by SdkClientId in client);

impl Reader {
    /// The object with this id, if it belongs to the organization.
    #[must_use]
    pub fn own<T: Owned>(&self, organization: OrganizationId, id: &str) -> Option<Arc<T>> {
        let found = T::find(self, T::parse(id)?)?;
        (found.organization() == organization).then_some(found)
    }
}
