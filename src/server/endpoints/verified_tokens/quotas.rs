//! Which entries are evicted: first those that are no longer valid, then those of the organization
//! that takes the most memory, in the order of their insertion, except that a used entry gets another
//! turn (the CLOCK algorithm). All of it is only about memory.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use super::{Entry, TokenKey};
use crate::domain::ids::OrganizationId;

/// How many used entries are passed before one is evicted anyway. It limits what an insertion
/// costs.
const MAX_PASSED: usize = 16;

type Slot = (TokenKey, Arc<Entry>);

/// The entries by organization.
#[derive(Default)]
pub struct Quotas {
    bytes: usize,
    queues: HashMap<OrganizationId, Queue>,
    /// The organizations by the memory that their entries take.
    by_size: BTreeSet<(usize, OrganizationId)>,
}

/// The entries of an organization, oldest first.
#[derive(Default)]
struct Queue {
    bytes: usize,
    slots: VecDeque<Slot>,
}

impl Quotas {
    /// Adds an entry, and returns those that must be removed to keep all within `capacity`.
    pub fn add(
        &mut self,
        organization: OrganizationId,
        key: TokenKey,
        entry: Arc<Entry>,
        capacity: usize,
        now: Timestamp,
    ) -> Vec<Slot> {
        let mut evicted = Vec::new();
        self.change(organization, |queue| {
            // Two for each that is added, so that the invalid ones become fewer.
            for _ in 0..2 {
                evicted.extend(queue.slots.pop_front_if(|(_, entry)| !entry.is_valid(now)));
            }
            queue.bytes += entry.bytes();
            queue.bytes -= evicted.iter().map(|(_, entry)| entry.bytes()).sum::<usize>();
            queue.slots.push_back((key, entry));
        });
        while self.bytes > capacity {
            let Some((_, largest)) = self.by_size.last().copied() else { break };
            self.change(largest, |queue| {
                let slot = queue.next(now);
                queue.bytes -= slot.as_ref().map_or(0, |(_, entry)| entry.bytes());
                evicted.extend(slot);
            });
        }
        evicted
    }

    /// Changes a queue, and keeps the sums and the order by size.
    fn change(&mut self, organization: OrganizationId, change: impl FnOnce(&mut Queue)) {
        let queue = self.queues.entry(organization).or_default();
        let before = queue.bytes;
        change(queue);
        let after = queue.bytes;
        if after == 0 {
            self.queues.remove(&organization);
        }
        self.by_size.remove(&(before, organization));
        if after > 0 {
            self.by_size.insert((after, organization));
        }
        self.bytes = self.bytes - before + after;
    }

    /// The memory that all entries take, and those of one organization.
    #[cfg(test)]
    pub fn bytes(&self, organization: OrganizationId) -> (usize, usize) {
        (self.bytes, self.queues.get(&organization).map_or(0, |queue| queue.bytes))
    }
}

impl Queue {
    /// Takes out the next entry to be evicted.
    fn next(&mut self, now: Timestamp) -> Option<Slot> {
        for _ in 0..MAX_PASSED {
            let slot = self.slots.pop_front()?;
            let used = slot.1.used.swap(false, Ordering::Relaxed);
            if !used || !slot.1.is_valid(now) {
                return Some(slot);
            }
            self.slots.push_back(slot);
        }
        self.slots.pop_front()
    }
}
