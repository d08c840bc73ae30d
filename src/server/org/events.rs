//! `GET /org/events`: what the operator reports about the objects of the organization, from the
//! Kubernetes Events that it publishes. The API server deletes them after an hour, by default.

use axum::extract::State;
use jiff::Timestamp;
use k8s_openapi::api::events::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use schemars::JsonSchema;
use serde::Serialize;

use super::caller::Caller;
use super::client_id::id_named;
use super::list::{List, Range};
use super::resources::refused;
use super::route::{Reply, reply};
use crate::domain::ids::{MemberId, OrganizationId, RevocationId, UserPoolId};
use crate::kube_ext::pages;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;
use crate::server::{ApiError, ApiState};

/// The beginning of the `apiVersion` of the operator's kinds.
const GROUP: &str = "anon.dev/";

/// Something that the operator has done, or waits for.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    type_: String,
    /// In CamelCase, for programs.
    reason: String,
    /// For people.
    message: String,
    /// The kind of the object that the event is about.
    resource: String,
    /// The id of that object.
    id: String,
    #[schemars(with = "String", extend("format" = "date-time"))]
    created_at: Timestamp,
}

/// Returns the events of the organization, the newest first.
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    range: Range,
) -> Result<Reply<List<Event>>, ApiError> {
    let api: Api<Tolerant<v1::Event>> =
        Api::namespaced(state.platform.client.clone(), &caller.namespace);
    let ours = ListParams::default().fields(&format!("reportingController={}", names::MANAGER));
    let mut found = Vec::new();
    let take = |event: Tolerant<v1::Event>| {
        let shown = event.0.ok().and_then(|event| {
            let name = event.name_any();
            Some((name, show(&state, &caller, event)?))
        });
        found.extend(shown);
    };
    pages::each(&api, ours, take).await.map_err(|error| refused(&error))?;
    found.sort_by_cached_key(newest_first);
    Ok(reply(range.cut("Event", found, newest_first).map(|(_, event)| event)))
}

/// A key that sorts later events before earlier ones.
fn newest_first((name, event): &(String, Event)) -> String {
    format!("{:020}/{name}", i64::MAX.abs_diff(event.created_at.as_microsecond()))
}

/// `None` if it is not about an object of the organization. Anyone who may create Events in the
/// namespace can have written it.
fn show(state: &ApiState, caller: &Caller, event: v1::Event) -> Option<Event> {
    let about = event.regarding?;
    about.api_version.filter(|version| version.starts_with(GROUP))?;
    let (resource, name) = (about.kind?, about.name?);
    let MicroTime(created_at) = event.event_time?;
    Some(Event {
        type_: event.type_?,
        reason: event.reason?,
        message: event.note.unwrap_or_default(),
        id: id_of(state, &caller.namespace, &resource, name)?,
        resource,
        created_at,
    })
}

fn id_of(state: &ApiState, namespace: &str, kind: &str, name: String) -> Option<String> {
    Some(match kind {
        "Organization" => OrganizationId::derive(namespace).to_string(),
        "Member" => MemberId::derive(namespace, &name).to_string(),
        "UserPool" => UserPoolId::derive(namespace, &name).to_string(),
        "Revocation" => RevocationId::derive(namespace, &name).to_string(),
        "SdkClient" => id_named(&state.reader, namespace, name).to_string(),
        _ => return None,
    })
}
