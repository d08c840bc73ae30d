//! The command line: `kubectl anon`.
fn main() {}
