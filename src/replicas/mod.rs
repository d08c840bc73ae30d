//! What replicas tell each other, through one Lease for each replica that authenticates requests:
//! which versions it has applied, and which key sets it needs fetched again.
//!
//! [`lease`] writes the Lease of this replica, from its [`applied`] versions and its
//! [`refetch_requests`]. [`tracker`] reads the Leases of all replicas. [`watches`] names what a
//! version is of.

pub mod applied;
pub mod lease;
pub mod refetch_requests;
pub mod tracker;
pub mod watches;
