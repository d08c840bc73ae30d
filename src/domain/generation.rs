//! Generations: how long a verdict remains true that was derived from the state of an object.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One state of everything that a verdict depends on. It is current until any of that changes, and
/// then ends permanently: the next state is another generation, even if the change was undone. So
/// a verdict that holds the generation it was derived from cannot be mistaken for a later one.
#[derive(Clone, Debug, Default)]
pub struct Generation {
    ended: Arc<AtomicBool>,
}

impl Generation {
    /// One that has ended already.
    #[must_use]
    pub fn ended() -> Self {
        let generation = Self::default();
        generation.end();
        generation
    }

    /// Ends it, for everyone who holds it.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether nothing has changed yet.
    #[must_use]
    pub fn is_current(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }
}
