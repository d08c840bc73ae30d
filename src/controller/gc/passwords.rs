//! The Secrets with the password hashes of members.

use std::time::Duration;

use kube::api::ListParams;

use super::sweep::{Owned, Sweep, namespace_uids};
use crate::controller::{Context, Error, Guarded};
use crate::crd::Member;
use crate::domain::ids::{MemberId, ObjectName};
use crate::kube_ext::name::object_name;
use crate::kube_ext::pages;
use crate::{names, validate};

/// Password hashes, which belong to Members.
pub struct Passwords;

impl Sweep for Passwords {
    const COMPONENT: &str = names::PASSWORD;
    /// A password hash is stored before status of its Member refers to it.
    const MIN_GRACE: Duration = Duration::from_mins(3);

    async fn owned(context: &Context) -> Result<Owned, Error> {
        let mut members: Vec<Guarded<Member>> = Vec::new();
        let take = |member| members.push(member);
        let listed = pages::each_of(&context.apis(), ListParams::default(), take).await;
        listed.map_err(Error::api("list Members"))?;
        let uids = namespace_uids(context).await?;
        let mut owned = Owned::default();
        for member in members {
            let ObjectName { namespace, name } = object_name(&member);
            let id = MemberId::derive(&namespace, &name).to_string();
            match &member.0 {
                Ok(member) => {
                    let claimed = uids.get(&namespace).zip(validate::password_id(member));
                    owned.claims.extend(
                        claimed.map(|(uid, password)| {
                            (id, names::password_secret(uid, &name, password))
                        }),
                    );
                }
                Err(_) => {
                    owned.unclear_ids.insert(id);
                }
            }
        }
        Ok(owned)
    }
}
