//! What the tests stand on: one file per subject.

pub mod audit;
pub mod books;
pub mod caller;
pub mod cluster;
pub mod collector;
pub mod company;
pub mod description;
pub mod http;
pub mod kubectl;
pub mod manifests;
pub mod operator;
pub mod provider;
pub mod signing;
pub mod space;
pub mod tokens;
pub mod turn;
pub mod wait;

pub use manifests::*;
pub use operator::Operator;
pub use space::Space;
pub use turn::{alone, shared};
pub use wait::{eventually, immediately};
