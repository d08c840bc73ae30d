//! Conditions as kstatus defines them: `Ready`, and while it is not true, either `Reconciling`
//! (work continues, or something is awaited) or `Stalled` (someone has to change something).
//!
//! <https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

pub use super::reasons::ReadyState;
use super::reasons::{ConditionType, ExtraReason, ReadyReason};
use crate::domain::fetch_error::FetchError;

/// The readiness of an object. Messages are for people and may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Determines the state of the `Ready` condition.
    pub reason: ReadyReason,
    /// For people: the situation, and what to do about it.
    pub message: String,
    /// Further conditions, each present while it is true.
    pub notes: Vec<ExtraCondition>,
}

/// A condition of a type of its own, present with status True while it applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraCondition {
    /// The type of the condition.
    pub type_: ConditionType,
    /// CamelCase, stable.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl ExtraCondition {
    /// Creates the condition that has this reason.
    pub fn new(reason: ExtraReason, message: impl Into<String>) -> Self {
        Self { type_: reason.condition(), reason: reason.as_str(), message: message.into() }
    }

    /// Whether the condition is worth an Event: it is new, or has another reason than before, and
    /// neither belongs to every rotation nor is what the spec asks for.
    #[must_use]
    pub fn is_news(&self, previous: &[Condition]) -> bool {
        let is_expected = [ExtraReason::WaitingForValidators, ExtraReason::AudienceNotChecked]
            .iter()
            .any(|expected| expected.as_str() == self.reason);
        let before = find(previous, self.type_.as_str());
        !is_expected && before.is_none_or(|before| before.reason != self.reason)
    }

    /// The condition while a key set cannot be fetched.
    #[must_use]
    pub fn fetch_failed(error: FetchError, message: String) -> Self {
        Self { type_: ConditionType::FetchFailed, reason: error.as_str(), message }
    }
}

impl Readiness {
    /// Readiness without further conditions.
    pub fn new(reason: ReadyReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), notes: Vec::new() }
    }

    /// The state of the `Ready` condition, which the reason determines.
    #[must_use]
    pub const fn state(&self) -> ReadyState {
        self.reason.state()
    }

    /// In a word each, what a reader of a list has to know of the object: whether it is ready or why
    /// not, whether it is suspended, and its further conditions.
    #[must_use]
    pub fn summary(&self, suspended: bool) -> String {
        let mut words = match self.state() {
            ReadyState::Ready if suspended => vec![],
            ReadyState::Ready => vec![ConditionType::Ready.as_str()],
            _ => vec![self.reason.as_str()],
        };
        if suspended {
            words.push(ReadyReason::Suspended.as_str());
        }
        words.extend(self.notes.iter().map(|note| note.type_.as_str()));
        words.dedup();
        words.join(",")
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
        let condition = |type_: ConditionType, status: &str, reason: &str, message: &str| {
            let type_ = type_.as_str();
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
        let main = |type_, status| condition(type_, status, self.reason.as_str(), &self.message);
        let ready = |status| main(ConditionType::Ready, status);
        let mut conditions = match self.state() {
            ReadyState::Unknown => vec![ready("Unknown")],
            ReadyState::Ready => vec![ready("True")],
            ReadyState::Reconciling => {
                vec![ready("False"), main(ConditionType::Reconciling, "True")]
            }
            ReadyState::Stalled => vec![ready("False"), main(ConditionType::Stalled, "True")],
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
    find(conditions, ConditionType::Ready.as_str()).is_some_and(|ready| ready.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_further_condition_is_news_if_it_is_new_and_unexpected() {
        let dropped = ExtraCondition::new(ExtraReason::UnusableKeys, "key a");
        let timed_out = ExtraCondition::fetch_failed(FetchError::TimedOut, "late".to_owned());
        let mut readiness = Readiness::new(ReadyReason::KeysAccepted, "fine");
        readiness.notes = vec![dropped.clone(), timed_out];
        let previous = readiness.conditions(&[], Some(1), at(10));
        assert!(dropped.is_news(&[]) && !dropped.is_news(&previous));
        let redirected = ExtraCondition::fetch_failed(FetchError::Redirected, "to b".to_owned());
        assert!(redirected.is_news(&previous), "another reason");
        for expected in [ExtraReason::WaitingForValidators, ExtraReason::AudienceNotChecked] {
            assert!(!ExtraCondition::new(expected, "").is_news(&[]));
        }
        assert!(ExtraCondition::new(ExtraReason::TooManyKeys, "").is_news(&[]));
    }

    #[test]
    fn an_unchanged_standing_gives_unchanged_conditions() {
        let readiness = Readiness::new(ReadyReason::UserPoolNotFound, "waits");
        let first = readiness.conditions(&[], Some(1), at(10));
        assert_eq!(readiness.conditions(&first, Some(1), at(20)), first);
    }

    #[test]
    fn only_a_flip_moves_the_transition_time() {
        let waiting = Readiness::new(ReadyReason::NoKeys, "a").conditions(&[], Some(1), at(10));
        let other =
            Readiness::new(ReadyReason::KeyConflict, "b").conditions(&waiting, Some(2), at(20));
        assert_eq!(find(&other, "Ready").unwrap().last_transition_time, Time(at(10)));
        assert_eq!(find(&other, "Stalled").unwrap().last_transition_time, Time(at(20)));
        assert!(find(&other, "Reconciling").is_none());
        let ready =
            Readiness::new(ReadyReason::KeysAccepted, "c").conditions(&other, Some(2), at(30));
        assert_eq!(ready.len(), 1);
        assert_eq!(ready[0].last_transition_time, Time(at(30)));
        assert!(is_ready(&ready) && !is_ready(&other));
    }

    #[test]
    fn the_summary_says_what_is_the_matter() {
        let ready = Readiness::new(ReadyReason::KeysFetched, "");
        assert_eq!(ready.summary(false), "Ready");
        let any = ExtraCondition::new(ExtraReason::AudienceNotChecked, "");
        let dropped = ExtraCondition::new(ExtraReason::UnusableKeys, "");
        let noted = Readiness { notes: vec![any, dropped], ..ready };
        assert_eq!(noted.summary(false), "Ready,AnyAudience,KeysDropped");
        let failed = ExtraCondition::fetch_failed(FetchError::ALL[0], String::new());
        let waiting = Readiness::new(ReadyReason::FetchFailed, "");
        let waiting = Readiness { notes: vec![failed], ..waiting };
        assert_eq!(waiting.summary(false), "FetchFailed");
        assert_eq!(Readiness::new(ReadyReason::Suspended, "").summary(true), "Suspended");
        let missing = Readiness::new(ReadyReason::UserPoolNotFound, "");
        assert_eq!(missing.summary(true), "UserPoolNotFound,Suspended");
    }

    #[test]
    fn the_reason_determines_the_state() {
        for (reason, expected) in [
            (ReadyReason::Pending, &[("Ready", "Unknown")][..]),
            (ReadyReason::Accepted, &[("Ready", "True")]),
            (ReadyReason::Refused, &[("Ready", "False"), ("Reconciling", "True")]),
            (ReadyReason::Invalid, &[("Ready", "False"), ("Stalled", "True")]),
        ] {
            let conditions = Readiness::new(reason, "text").conditions(&[], Some(1), at(10));
            let found: Vec<_> =
                conditions.iter().map(|it| (it.type_.as_str(), it.status.as_str())).collect();
            assert_eq!(found, expected, "{reason:?}");
            assert!(conditions.iter().all(|it| it.reason == reason.as_str()));
        }
    }
}
