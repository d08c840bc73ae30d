//! The rules across objects.
//!
//! A write is rejected only if it causes a conflict: it creates an object with a value that another
//! one has, or changes an object to such a value. A write that changes something else passes, even
//! if the object has a conflict, or else labels, finalizers and suspension could not be changed any
//! more. A reference to an object that does not exist is a warning, so that the order of manifests
//! does not matter. Deletions are not reviewed at all.

use super::review::Request;
use super::verdict::Verdict;
use crate::crd::{self, CustomKind};
use crate::domain::client::{ClientKind, KeySource};
use crate::domain::ids::UserPoolId;
use crate::domain::member::Member;
use crate::domain::reason::Reason;
use crate::index::Reader;
use crate::validate::conflict::Conflict;
use crate::validate::{self, Violations};

const GROUP: &str = "anon.dev";

/// An object that is written, and the stored one that it replaces.
struct Change<K> {
    object: K,
    /// `None` at a creation.
    stored: Option<Stored<K>>,
}

enum Stored<K> {
    Readable(Box<K>),
    Unreadable,
}

/// Decides about a write.
pub fn decide(reader: &Reader, request: &Request<'_>) -> Verdict {
    if request.kind.group != GROUP || request.sub_resource.as_ref().is_some_and(|it| !it.is_empty())
    {
        return Verdict::default();
    }
    match request.kind.kind.as_str() {
        "Organization" => review(reader, request, |change| organization(reader, change)),
        "Member" => review(reader, request, |change| member(reader, change)),
        "UserPool" => review(reader, request, user_pool),
        "SdkClient" => review(reader, request, |change| sdk_client(reader, change)),
        _ => Verdict::default(),
    }
}

/// Reads the objects of the request and applies the rules of their kind. An object that is being
/// deleted passes, and so does one in a namespace that this installation does not watch.
fn review<K: CustomKind>(
    reader: &Reader,
    request: &Request<'_>,
    rules: impl FnOnce(&Change<K>) -> Result<Verdict, Violations>,
) -> Verdict {
    let Some(object) = request.object else { return Verdict::default() };
    let Ok(object) = serde_json::from_str::<K>(object.get()) else {
        return Verdict::unchecked("this version of the operator cannot read the object");
    };
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    let is_ours = reader.applied().scope().contains(namespace);
    if !is_ours || object.meta().deletion_timestamp.is_some() {
        return Verdict::default();
    }
    let stored = request.old_object.map(|stored| match serde_json::from_str(stored.get()) {
        Ok(stored) => Stored::Readable(Box::new(stored)),
        Err(_) => Stored::Unreadable,
    });
    rules(&Change { object, stored }).unwrap_or_else(|violations| Verdict {
        warnings: violations.iter().map(ToString::to_string).collect(),
        ..Verdict::default()
    })
}

impl<K> Change<K> {
    /// Whether this write sets a value that the stored object does not have. Of an unreadable
    /// object that is unknown: then the write passes.
    fn sets<V: PartialEq>(&self, value: impl Fn(&K) -> V) -> bool {
        match &self.stored {
            None => true,
            Some(Stored::Readable(stored)) => value(stored) != value(&self.object),
            Some(Stored::Unreadable) => false,
        }
    }
}

fn organization(
    reader: &Reader,
    change: &Change<crd::Organization>,
) -> Result<Verdict, Violations> {
    let organization = validate::organization(&change.object)?;
    if let Some(name) = &organization.default_user_pool
        && is_missing(reader, UserPoolId::derive(&organization.namespace, name))
    {
        return Ok(Verdict::warning(missing("spec.defaultUserPoolRef", name)));
    }
    Ok(Verdict::default())
}

fn member(reader: &Reader, change: &Change<crd::Member>) -> Result<Verdict, Violations> {
    let member = validate::member(&change.object)?;
    let sets_email = change.sets(|object| Member::login_name(&object.spec.email));
    if sets_email && reader.email_holder(&member).is_some() {
        return Ok(Verdict::conflict(Conflict::Email));
    }
    Ok(Verdict::default())
}

fn user_pool(change: &Change<crd::UserPool>) -> Result<Verdict, Violations> {
    validate::user_pool(&change.object).map(|_| Verdict::default())
}

fn sdk_client(reader: &Reader, change: &Change<crd::SdkClient>) -> Result<Verdict, Violations> {
    let declared = validate::declared_client(&change.object)?;
    let client = &declared.client;
    let sets_id = change.sets(|object| object.spec.client_id.clone());
    if sets_id && client.id.is_chosen() && reader.is_client_id_held_besides(client) {
        return Ok(Verdict::conflict(Conflict::ClientId));
    }
    let sets_secret = change.sets(|object| object.delivery_secret().map(str::to_owned));
    if let (true, Some(KeySource::Delivery(delivery))) = (sets_secret, &declared.source)
        && reader.is_delivery_secret_specified_besides(&client.name, &delivery.secret_name)
    {
        return Ok(Verdict::conflict(Conflict::DeliverySecret));
    }
    if let ClientKind::Webapp(webapp) = &client.kind
        && is_missing(reader, webapp.pool_id)
    {
        let warning = missing("spec.webapp.userPoolRef", &webapp.pool.name);
        return Ok(Verdict::warning(warning));
    }
    Ok(Verdict::default())
}

fn is_missing(reader: &Reader, pool: UserPoolId) -> bool {
    matches!(reader.find_pool(pool), Err(Reason::PoolNotFound))
}

fn missing(field: &str, pool: &str) -> String {
    format!("{field}: UserPool `{pool}` does not exist in this namespace yet")
}
