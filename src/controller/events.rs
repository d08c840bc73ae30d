//! Kubernetes Events about transitions of an object.
//!
//! They are not published with kube's `Recorder`, which merges an Event into an earlier one with
//! the same reason and keeps the earlier note: "key A is destroyed" would remain when key B was.
//! Events are rare (a transition, a rotation step), so each gets an object of its own.

use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tracing::{debug, info, warn};

use super::Context;
use crate::crd::HasStatus;
use crate::crd::condition::{ExtraCondition, Readiness, ReadyState};
use crate::crd::reasons::{EventReason, EventType};
use crate::domain::ids::ObjectName;
use crate::kube_ext::error::{is_gone, short};
use crate::kube_ext::name::object_name;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;

/// The longest note that the API server accepts, in bytes.
const MAX_NOTE: usize = 1024;

/// The content of an Event.
pub struct EventNote {
    /// `Normal` or `Warning`.
    pub type_: EventType,
    /// CamelCase, stable.
    pub reason: &'static str,
    /// For people.
    note: String,
}

impl EventNote {
    /// The content of an Event that has this reason.
    pub fn new(reason: EventReason, note: impl Into<String>) -> Self {
        Self { type_: reason.type_(), reason: reason.as_str(), note: note.into() }
    }

    /// Reports that an object has become ready or stalled.
    pub fn readiness(readiness: &Readiness) -> Self {
        let is_ready = readiness.state() == ReadyState::Ready;
        let type_ = if is_ready { EventType::Normal } else { EventType::Warning };
        Self { type_, reason: readiness.reason.as_str(), note: readiness.message.clone() }
    }

    /// Reports a condition other than `Ready`.
    pub fn condition(condition: &ExtraCondition) -> Self {
        let note = condition.message.clone();
        Self { type_: EventType::Warning, reason: condition.reason, note }
    }
}

/// Logs the change and publishes its Event.
pub async fn log_and_publish<K: HasStatus>(context: &Context, object: &K, news: EventNote) {
    let ObjectName { namespace, name } = object_name(object);
    let (kind, reason) = (K::kind(&()), news.reason);
    if news.type_ == EventType::Warning {
        warn!(%kind, %namespace, %name, reason, "{}", news.note);
    } else {
        info!(%kind, %namespace, %name, reason, "{}", news.note);
    }
    publish(context, object, news).await;
}

/// Publishes an Event. This is best effort: a failure is logged and delays nothing.
pub async fn publish<K: HasStatus>(context: &Context, object: &K, news: EventNote) {
    let ObjectName { namespace, name } = object_name(object);
    let event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{}", uuid::Uuid::new_v4().simple())),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        type_: Some(format!("{:?}", news.type_)),
        reason: Some(news.reason.to_owned()),
        note: Some(shortened(news.note)),
        action: Some("Reconcile".to_owned()),
        event_time: Some(MicroTime(context.clock.now())),
        regarding: Some(object.object_ref(&())),
        reporting_controller: Some(names::MANAGER.to_owned()),
        reporting_instance: Some(context.instance.clone()),
        ..Event::default()
    };
    let api: Api<Tolerant<Event>> = Api::namespaced(context.client.clone(), &namespace);
    if let Err(error) = api.create(&PostParams::default(), &Tolerant::new(event)).await {
        let (kind, gone, error) = (K::kind(&()), is_gone(&error), short(&error));
        if gone {
            debug!(%kind, %namespace, %name, %error, "no Event in a namespace that is being deleted");
        } else {
            warn!(%kind, %namespace, %name, %error, "failed to publish an Event");
        }
    }
}

fn shortened(mut note: String) -> String {
    if note.len() > MAX_NOTE {
        note.truncate(note.floor_char_boundary(MAX_NOTE - 3));
        note.push('…');
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_as_long_as_it_may_be() {
        assert_eq!(shortened("fine".into()), "fine");
        for text in ["x", "ü", "…"] {
            let long = shortened(text.repeat(2000));
            assert!(long.len() <= MAX_NOTE && long.len() > MAX_NOTE - 8 && long.ends_with('…'));
        }
    }
}
