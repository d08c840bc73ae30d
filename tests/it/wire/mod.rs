//! Odd answers of an API server, at the wire.

mod watch;
mod watch_failures;
