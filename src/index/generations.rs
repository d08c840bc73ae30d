//! The [`Generation`] of each pool. `changes.rs` decides which changes end it.

use std::collections::HashMap;

use crate::domain::generation::Generation;
use crate::domain::ids::UserPoolId;

/// The current generation of every pool that is served.
#[derive(Debug, Default)]
pub struct Generations(HashMap<UserPoolId, Generation>);

impl Generations {
    /// The current generation of a pool.
    pub fn current(&self, pool: UserPoolId) -> Generation {
        // A verdict about a pool that is not served must not be kept.
        self.0.get(&pool).cloned().unwrap_or_else(Generation::ended)
    }

    /// Begins the first generation of a pool that was not served before.
    pub fn begin(&mut self, pool: UserPoolId) {
        self.end(pool);
        self.0.insert(pool, Generation::default());
    }

    /// Ends the generation of a pool that is no longer served.
    pub fn end(&mut self, pool: UserPoolId) {
        if let Some(generation) = self.0.remove(&pool) {
            generation.end();
        }
    }

    /// Ends the generation of a pool and begins the next one.
    pub fn renew(&mut self, pool: UserPoolId) {
        if let Some(generation) = self.0.get_mut(&pool) {
            std::mem::take(generation).end();
        }
    }
}
