//! The test harness, with one file per subject.

pub mod api_server;
pub mod audit;
pub mod books;
pub mod caller;
pub mod cluster;
pub mod collector;
pub mod company;
pub mod description;
pub mod fuse;
pub mod http;
pub mod kubectl;
pub mod link;
pub mod manifests;
pub mod metrics;
pub mod operator;
pub mod provider;
pub mod signing;
pub mod space;
pub mod tenant;
pub mod tokens;
pub mod turn;
pub mod wait;

pub use link::Link;
pub use manifests::*;
pub use operator::Operator;
pub use space::Space;
pub use tenant::Tenant;
pub use turn::{alone, shared};
pub use wait::{eventually, immediately};
