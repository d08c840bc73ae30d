//! The doors: each a thin adapter around [`super::authenticate`] that states who sets the client.

pub mod clients;
pub mod keys;
pub mod validate;
