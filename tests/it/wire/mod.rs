//! Odd answers of an API server, at the wire.

mod leader;
mod watch;
mod watch_failures;
mod writes;
