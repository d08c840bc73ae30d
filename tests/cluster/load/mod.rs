//! Floods and crowds. They have the cluster to themselves, like the tests in `alone`.

mod consumer;
mod floods;
mod login_flood;
mod many_pools;
