//! How long objects have been orphans.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The current orphans, by uid.
#[derive(Default)]
pub struct OrphanTracker(HashMap<String, Orphan>);

struct Orphan {
    /// When it was first seen as an orphan.
    since: Instant,
    /// Whether the current pass has seen it.
    seen: bool,
}

impl OrphanTracker {
    /// Records an orphan that is seen at `now`. Returns whether it has been one for `grace`.
    pub fn expired(&mut self, uid: &str, now: Instant, grace: Duration) -> bool {
        let orphan = self.0.entry(uid.to_owned()).or_insert(Orphan { since: now, seen: true });
        orphan.seen = true;
        now.saturating_duration_since(orphan.since) >= grace
    }

    /// Drops an object that has an owner (again) or was deleted.
    pub fn clear(&mut self, uid: &str) {
        self.0.remove(uid);
    }

    /// Drops what was not seen since the last call: someone else has deleted it.
    pub fn forget_unseen(&mut self) {
        self.0.retain(|_, orphan| std::mem::take(&mut orphan.seen));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orphan_goes_after_the_whole_grace() {
        let mut orphans = OrphanTracker::default();
        let grace = Duration::from_hours(1);
        let start = Instant::now();
        assert!(!orphans.expired("a", start, grace));
        assert!(!orphans.expired("a", start + grace / 2, grace));
        orphans.clear("a");
        assert!(!orphans.expired("a", start + grace, grace));
        assert!(orphans.expired("a", start + grace * 2, grace));
        // It is dropped by the next pass that does not see it.
        orphans.forget_unseen();
        assert!(orphans.expired("a", start + grace * 3, grace));
        orphans.forget_unseen();
        orphans.forget_unseen();
        assert!(orphans.0.is_empty());
    }
}
