//! Odd answers of an API server, at the wire.

mod leader;
mod odd_objects;
mod propagation;
mod watch;
mod watch_failures;
mod writes;
