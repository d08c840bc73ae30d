//! The Anon REST API under `/org`: the caller's organization follows from its credential.

pub mod app_user_id_token;
mod caller;
pub mod signer;
