//! Odd answers of an API server, at the wire.

mod leader;
mod propagation;
mod watch;
mod watch_failures;
mod writes;
