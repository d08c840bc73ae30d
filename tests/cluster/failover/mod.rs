//! Several operators, and one of them, or the API server, is killed, suspended or cut off: the others
//! go on or take over, and no key is created twice, lost, or accepted although it was revoked.

mod api_server_away;
mod clocks;
mod dead_validator;
mod partition;
mod rotation;
mod shutdown;
mod suspended;
mod two_leaders;
mod two_operators;
