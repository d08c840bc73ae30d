//! Wall-clock time as a dependency, so that tests can bring their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// A source of the current time.
pub trait Clock: Send + Sync {
    /// Now, in whole seconds: the precision of every time that Kubernetes stores.
    fn now(&self) -> Timestamp;

    /// The latest time that was ever returned: later than now if the clock has been set back since.
    fn latest(&self) -> Timestamp {
        self.now()
    }
}

/// The time of the machine as precisely as it is known, where it is shown to people and nothing
/// depends on its order: in Leases, and in requests to rotate a key, which differ by it.
#[expect(clippy::disallowed_methods, reason = "the only place that reads the clock of the machine")]
pub fn to_show() -> Timestamp {
    Timestamp::now()
}

/// A shared clock.
pub type SharedClock = Arc<dyn Clock>;

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// The latest second that a [`SystemClock`] has returned in this process.
static LATEST: AtomicI64 = AtomicI64::new(0);

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let second = to_show().as_second();
        LATEST.fetch_max(second, Ordering::Relaxed);
        Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn latest(&self) -> Timestamp {
        let now = self.now();
        Timestamp::from_second(LATEST.load(Ordering::Relaxed)).unwrap_or(now).max(now)
    }
}
