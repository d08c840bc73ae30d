//! Conditions as kstatus defines them: `Ready`, and while it is not true, either `Reconciling`
//! (work continues, or something is awaited) or `Stalled` (someone has to change something).
//!
//! <https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Condition type: whether the object works as specified.
pub const READY: &str = "Ready";
/// Condition type: present while something is awaited.
pub const RECONCILING: &str = "Reconciling";
/// Condition type: present while only a change of the object or its surroundings helps.
pub const STALLED: &str = "Stalled";

/// The readiness of an object. Reasons are CamelCase and stable; messages are for people and may
/// change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// The state of the `Ready` condition.
    pub state: ReadyState,
    /// CamelCase, stable.
    pub reason: &'static str,
    /// For people: the situation, and what to do about it.
    pub message: String,
    /// Further conditions, each present while it is true.
    pub notes: Vec<ExtraCondition>,
}

/// A condition of a type of its own, present with status True while it applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraCondition {
    /// Condition type: CamelCase, stable.
    pub type_: &'static str,
    /// Condition reason: CamelCase, stable.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl ExtraCondition {
    /// Creates the condition.
    pub fn new(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { type_, reason, message: message.into() }
    }
}

/// The states of the `Ready` condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyState {
    /// The object works as specified.
    Ready,
    /// It will work once what it waits for has happened.
    Reconciling,
    /// It will not work until someone changes something.
    Stalled,
}

impl Readiness {
    /// Ready: the object works as specified.
    pub fn ready(reason: &'static str, message: impl Into<String>) -> Self {
        Self { state: ReadyState::Ready, reason, message: message.into(), notes: Vec::new() }
    }

    /// Reconciling: something is awaited or retried.
    pub fn reconciling(reason: &'static str, message: impl Into<String>) -> Self {
        Self { state: ReadyState::Reconciling, reason, message: message.into(), notes: Vec::new() }
    }

    /// Stalled: someone has to change something.
    pub fn stalled(reason: &'static str, message: impl Into<String>) -> Self {
        Self { state: ReadyState::Stalled, reason, message: message.into(), notes: Vec::new() }
    }

    /// The conditions for status. A condition whose status did not change keeps its transition
    /// time, so that unchanged readiness gives unchanged conditions.
    #[must_use]
    pub fn conditions(
        &self,
        previous: &[Condition],
        generation: Option<i64>,
        now: Timestamp,
    ) -> Vec<Condition> {
        let condition = |type_: &str, status: &str, reason: &str, message: &str| {
            let before = previous.iter().find(|old| old.type_ == type_ && old.status == status);
            Condition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: reason.to_owned(),
                message: message.to_owned(),
                observed_generation: generation,
                last_transition_time: before
                    .map_or(Time(now), |old| old.last_transition_time.clone()),
            }
        };
        let main = |type_, status| condition(type_, status, self.reason, &self.message);
        let mut conditions = match self.state {
            ReadyState::Ready => vec![main(READY, "True")],
            ReadyState::Reconciling => vec![main(READY, "False"), main(RECONCILING, "True")],
            ReadyState::Stalled => vec![main(READY, "False"), main(STALLED, "True")],
        };
        let note =
            |note: &ExtraCondition| condition(note.type_, "True", note.reason, &note.message);
        conditions.extend(self.notes.iter().map(note));
        conditions
    }
}

/// The condition of this type, if it is present.
#[must_use]
pub fn find<'c>(conditions: &'c [Condition], type_: &str) -> Option<&'c Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether `Ready` is `True`.
#[must_use]
pub fn is_ready(conditions: &[Condition]) -> bool {
    find(conditions, READY).is_some_and(|ready| ready.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_unchanged_standing_gives_unchanged_conditions() {
        let readiness = Readiness::reconciling("UserPoolNotFound", "waits");
        let first = readiness.conditions(&[], Some(1), at(10));
        assert_eq!(readiness.conditions(&first, Some(1), at(20)), first);
    }

    #[test]
    fn only_a_flip_moves_the_transition_time() {
        let waiting = Readiness::reconciling("A", "a").conditions(&[], Some(1), at(10));
        let other = Readiness::stalled("B", "b").conditions(&waiting, Some(2), at(20));
        assert_eq!(find(&other, READY).unwrap().last_transition_time, Time(at(10)));
        assert_eq!(find(&other, STALLED).unwrap().last_transition_time, Time(at(20)));
        assert!(find(&other, RECONCILING).is_none());
        let ready = Readiness::ready("C", "c").conditions(&other, Some(2), at(30));
        assert_eq!(ready.len(), 1);
        assert_eq!(ready[0].last_transition_time, Time(at(30)));
        assert!(is_ready(&ready) && !is_ready(&other));
    }
}
