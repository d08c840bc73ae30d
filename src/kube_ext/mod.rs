//! Reads objects from the API server in isolation, so that one unreadable object does not affect
//! others.
//!
//! The API server stores and serves objects that our types cannot represent, such as a
//! `managedFields` entry that is dated in the year 9999 or nested 300 levels deep. With kube's own
//! types, one such object makes every list and watch that contains it fail, for as long as it
//! exists. So no object is read through a plain `Api<Secret>`; see [`tolerant::Tolerant`].
//!
//! Besides, what every client of the API server needs once: names, errors, guarded deletions,
//! retries after a conflict, which tool manages an object, and the Secrets that two of them write.

pub mod api;
pub mod error;
pub mod gitops;
pub mod name;
pub mod pages;
pub mod password_secret;
pub mod retry;
pub mod scope;
pub mod tolerant;
pub mod traced;
pub mod utf8;
