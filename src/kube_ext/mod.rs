//! How objects are read from the API server: each by itself, so that none can disturb the handling
//! of another one.
//!
//! Whatever the API server stores, it serves; and it stores more than our types can hold, such as a
//! `managedFields` entry of the year 9999 or one that is nested 300 levels deep. In a list or watch of
//! kube's own types one such object fails the whole of it, for as long as the object exists.
//! So nothing is read through a bare `Api<Secret>`: see [`tolerant::Tolerant`].

pub mod api;
pub mod pages;
pub mod tolerant;
pub mod utf8;
