//! Completes or removes what interrupted sign-ups have left. A pending Namespace without a Member
//! never became an organization and is deleted; one with a Member is an organization, and its label
//! is removed. See `server/org/sign_up.rs` for the order of the writes.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::json;
use tracing::{info, warn};

use super::orphans::OrphanTracker;
use crate::controller::apply::delete_exactly;
use crate::controller::{Context, Error, GuardedMeta};
use crate::crd::Member;
use crate::kube_ext::pages;
use crate::names;

/// The minimum time for which a record is retained: longer than a request can be repeated.
const MIN_RECORD_GRACE: Duration = Duration::from_mins(3);

/// Deletes the records of sign-ups that can no longer be repeated: see `server/org/reservation.rs`.
pub async fn records(
    context: &Context,
    orphans: &mut OrphanTracker,
    grace: Duration,
) -> Result<(), Error> {
    let namespace = &context.settings.operator_namespace;
    let api: Api<GuardedMeta<Secret>> = Api::namespaced(context.client.clone(), namespace);
    let selector = names::selector(names::SIGN_UP_RECORD);
    let mut records = Vec::new();
    let take = |record| records.push(record);
    let listed = pages::each(&api, ListParams::default().labels(&selector), take).await;
    listed.map_err(Error::api("list Secrets"))?;
    for record in records {
        let Some(uid) = record.uid() else { continue };
        if orphans.expired(&uid, Instant::now(), grace.max(MIN_RECORD_GRACE)) {
            // A record that cannot be deleted must not protect the following ones.
            match delete_exactly(&api, &record).await {
                Ok(()) => orphans.clear(&uid),
                Err(error) => {
                    warn!(kind = "Secret", %namespace, name = %record.name_any(), %error, "failed to delete an old sign-up record; the next pass retries");
                }
            }
        }
    }
    Ok(())
}

/// Checks every pending Namespace once.
pub async fn pass(
    context: &Context,
    orphans: &mut OrphanTracker,
    grace: Duration,
) -> Result<(), Error> {
    let api: Api<GuardedMeta<Namespace>> = Api::all(context.client.clone());
    let selector = format!("{}={}", names::SIGN_UP, names::SIGN_UP_PENDING);
    let mut pending = Vec::new();
    let take = |namespace| pending.push(namespace);
    let listed = pages::each(&api, ListParams::default().labels(&selector), take).await;
    listed.map_err(Error::api("list Namespaces"))?;
    for namespace in pending {
        let Some(uid) = namespace.uid() else { continue };
        let ours = namespace.name_any().starts_with(names::SIGN_UP_PREFIX);
        if !ours || namespace.meta().deletion_timestamp.is_some() {
            orphans.clear(&uid);
        } else if orphans.expired(&uid, Instant::now(), grace) {
            // Nor must a Namespace.
            match finish(&context.client, &api, &namespace).await {
                Ok(()) => orphans.clear(&uid),
                Err(error) => {
                    warn!(namespace = %namespace.name_any(), %error, "failed to end an interrupted sign-up; the next pass retries");
                }
            }
        }
    }
    Ok(())
}

/// Completes the sign-up of an organization, and deletes any other pending Namespace.
async fn finish(
    client: &Client,
    api: &Api<GuardedMeta<Namespace>>,
    namespace: &GuardedMeta<Namespace>,
) -> Result<(), Error> {
    if has_member(client, namespace).await? {
        return complete(api, namespace).await;
    }
    // The resourceVersion is a precondition: a sign-up that continues removes the label first.
    delete_exactly(api, namespace).await?;
    info!(namespace = %namespace.name_any(), "deleted the Namespace of an interrupted sign-up");
    Ok(())
}

async fn has_member(client: &Client, namespace: &GuardedMeta<Namespace>) -> Result<bool, Error> {
    let members: Api<GuardedMeta<Member>> = Api::namespaced(client.clone(), &namespace.name_any());
    let members = members.list(&ListParams::default().limit(1)).await;
    Ok(!members.map_err(Error::api("list Members"))?.items.is_empty())
}

async fn complete(
    api: &Api<GuardedMeta<Namespace>>,
    namespace: &GuardedMeta<Namespace>,
) -> Result<(), Error> {
    let patch = json!({"metadata": {
        "resourceVersion": namespace.resource_version(), "labels": {names::SIGN_UP: null},
    }});
    let (name, patch) = (namespace.name_any(), Patch::Merge(&patch));
    let patched = api.patch(&name, &PatchParams::default(), &patch).await;
    patched.map(drop).map_err(Error::api("complete Namespace"))
}
