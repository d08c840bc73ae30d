//! The public HTTP endpoints. [`validate`] is a thin adapter around [`super::authenticate`] and
//! documents who sets the client; [`clients`] and [`keys`] serve public data without a credential.

pub mod clients;
pub mod keys;
pub mod validate;
