//! The place of a request that is being processed.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

/// The place of a request that is being processed. It is free again when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct WorkerSlot(#[expect(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

impl WorkerSlot {
    /// The place that this permit stands for.
    pub fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(permit))
    }
}
