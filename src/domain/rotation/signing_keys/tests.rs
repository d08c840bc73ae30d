//! The life cycle of signing keys under clock changes, crashes, edits and revocations.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3600;
const AHEAD: i64 = PUBLISH_AHEAD.as_secs();
/// The longest lifetime that a spec allows.
const LEEWAY: i64 = 300;
const MARGIN: i64 = RETIRE_MARGIN.as_secs();

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

fn policy() -> Policy {
    Policy {
        algorithm: Algorithm::EdDSA,
        interval: Some(hours(10)),
        longest_lifetime: hours(2),
        requested: String::new(),
    }
}

/// Circumstances at this time, with the Next key propagated this far and nothing revoked.
fn case(second: i64, next: Reach) -> Circumstances<'static> {
    let now = at(second);
    Circumstances { now, latest: now, made_at: now, next, is_revoked: &|_| false, id: "id" }
}

fn make(policy: &Policy, step: &mut Step, case: &Circumstances<'_>) {
    if let Some((algorithm, _)) = step.make {
        let key = SigningKey::generate(algorithm).unwrap();
        policy.add(step, &key, "https://issuer".into(), case).unwrap();
    }
}

/// Runs a step and adds the key that it requests.
fn step(policy: &Policy, stored: &StoredKeySet, case: &Circumstances<'_>) -> Step {
    let mut step = policy.step(stored, case);
    make(policy, &mut step, case);
    step
}

/// The first key set of a pool.
#[must_use]
pub fn first(algorithm: Algorithm) -> StoredKeySet {
    let policy = Policy { algorithm, ..policy() };
    let mut step = policy.first();
    make(&policy, &mut step, &case(0, Reach::Nowhere));
    step.set
}

fn states(set: &StoredKeySet) -> Vec<SigningKeyState> {
    set.keys.iter().map(|key| key.state).collect()
}

use SigningKeyState::{Active, Next, Retiring};

#[test]
fn a_whole_life() {
    let policy = policy();
    let set = first(Algorithm::EdDSA);
    let quiet = step(&policy, &set, &case(HOUR, Reach::Nowhere));
    let due = quiet.next_rotation.unwrap();
    assert!(due > at(9 * HOUR - 1) && due <= at(10 * HOUR), "{due}");
    assert_eq!(quiet.wake_at, due.checked_sub(PUBLISH_AHEAD).ok());
    assert!(quiet.changes.is_empty());

    let begin = due.as_second() - AHEAD;
    let made = step(&policy, &quiet.set, &case(begin, Reach::Nowhere));
    assert_eq!(states(&made.set), [Active, Next]);
    assert!(made.waits_for_validators && made.wake_at.is_none());
    // However late it is: first every validator must acknowledge the key, then caches must expire.
    let waits = step(&policy, &made.set, &case(begin + HOUR, Reach::Published));
    assert!(waits.waits_for_validators && waits.changes.is_empty());
    let known = begin + 2 * HOUR;
    let waits = step(&policy, &waits.set, &case(known, Reach::Everywhere));
    assert_eq!(waits.wake_at, Some(at(known + AHEAD)));
    assert_eq!(waits.next_rotation, waits.wake_at);
    let waits = step(&policy, &waits.set, &case(known + AHEAD - 1, Reach::Published));
    assert_eq!(states(&waits.set), [Active, Next]);

    let rotated = step(&policy, &waits.set, &case(known + AHEAD, Reach::Published));
    assert_eq!(states(&rotated.set), [Retiring, Active]);
    assert!(rotated.set.keys[0].pkcs8.is_none() && rotated.set.is_sound());
    let gone = known + AHEAD + 2 * HOUR + MARGIN;
    assert_eq!(rotated.set.keys[0].gone_at(), Some(at(gone)));
    let last = step(&policy, &rotated.set, &case(gone - 1, Reach::Nowhere));
    assert_eq!(states(&last.set), [Retiring, Active]);
    let last = step(&policy, &rotated.set, &case(gone, Reach::Nowhere));
    assert_eq!(states(&last.set), [Active]);
}

#[test]
fn a_request_rotates_once_and_not_at_first_sight() {
    let asked = |value: &str| Policy { requested: value.into(), interval: None, ..policy() };
    let mut set = first(Algorithm::EdDSA);
    set.rotated = None;
    let seen = step(&asked("restored"), &set, &case(1, Reach::Nowhere));
    assert_eq!(states(&seen.set), [Active]);
    assert_eq!(seen.wake_at, None);
    let set = step(&asked("now"), &seen.set, &case(2, Reach::Nowhere)).set;
    let set = step(&asked("now"), &set, &case(2, Reach::Everywhere)).set;
    let set = step(&asked("now"), &set, &case(2 + AHEAD, Reach::Everywhere)).set;
    assert_eq!(states(&set), [Retiring, Active]);
    let done = step(&asked("now"), &set, &case(3 + AHEAD, Reach::Nowhere));
    assert_eq!(states(&done.set), [Retiring, Active]);
    // Removing the annotation is not a request.
    assert_eq!(states(&step(&asked(""), &set, &case(9, Reach::Nowhere)).set), [Retiring, Active]);
}

#[test]
fn another_algorithm_is_a_rotation_and_replaces_a_next_of_the_old_one() {
    let set = first(Algorithm::EdDSA);
    let asked = Policy { requested: "x".into(), ..policy() };
    let set = step(&asked, &set, &case(1, Reach::Nowhere)).set;
    let other = Policy { algorithm: Algorithm::ES256, ..policy() };
    let switched = step(&other, &set, &case(2, Reach::Everywhere));
    assert_eq!(states(&switched.set), [Active, Next]);
    assert_eq!(switched.set.next().unwrap().algorithm, Algorithm::ES256);
    assert!(matches!(switched.changes[..], [Change::Discarded(_), Change::Published(_)]));
    let set = step(&other, &switched.set, &case(3, Reach::Everywhere)).set;
    let set = step(&other, &set, &case(3 + AHEAD, Reach::Published)).set;
    assert_eq!(set.active().unwrap().algorithm, Algorithm::ES256);
}

#[test]
fn a_lifetime_counts_as_long_as_it_could_be_had() {
    let asked =
        |lifetime| Policy { requested: "x".into(), longest_lifetime: hours(lifetime), ..policy() };
    let set = first(Algorithm::EdDSA);
    // The lifetime is extended for a while, then shortened.
    let set = step(&asked(50), &set, &case(1, Reach::Nowhere)).set;
    let set = step(&asked(1), &set, &case(2, Reach::Everywhere)).set;
    let set = step(&asked(1), &set, &case(2 + AHEAD, Reach::Published)).set;
    assert_eq!(set.keys[0].gone_at(), Some(at(2 + AHEAD + 50 * HOUR + MARGIN)));
    // If no lifetime was recorded, the longest possible one is assumed.
    let mut unrecorded = set;
    unrecorded.keys[0].longest_lifetime = None;
    assert_eq!(unrecorded.keys[0].longest_lifetime(), LONGEST_LIFETIME);
}

#[test]
fn a_next_that_status_has_lost_is_published_ahead_once_more() {
    let asked = Policy { requested: "x".into(), ..policy() };
    let set = step(&asked, &first(Algorithm::EdDSA), &case(1, Reach::Nowhere)).set;
    let set = step(&asked, &set, &case(2, Reach::Everywhere)).set;
    let set = step(&asked, &set, &case(2 + AHEAD, Reach::Nowhere)).set;
    assert_eq!(states(&set), [Active, Next]);
    let set = step(&asked, &set, &case(3 + AHEAD, Reach::Everywhere)).set;
    assert_eq!(states(&set), [Active, Next]);
    assert_eq!(set.next().unwrap().known_at, Some(at(3 + AHEAD)));
}

#[test]
fn a_clock_that_was_set_back_neither_stops_a_rotation_nor_shortens_a_retirement() {
    let asked = Policy { requested: "x".into(), ..policy() };
    let set = step(&asked, &first(Algorithm::EdDSA), &case(1, Reach::Nowhere)).set;
    let set = step(&asked, &set, &case(1_000_000, Reach::Everywhere)).set;
    let set = step(&asked, &set, &case(500, Reach::Everywhere)).set;
    assert_eq!(set.next().unwrap().known_at, Some(at(500)));
    // Tokens were issued until 1,000,000; the clock has been set back since.
    let back = Circumstances { latest: at(1_000_000), ..case(500 + AHEAD, Reach::Published) };
    let set = step(&asked, &set, &back).set;
    assert_eq!(set.keys[0].active_until, Some(at(1_000_000)));
}

#[test]
fn what_is_revoked_goes_at_once_and_its_next_with_it() {
    let asked = Policy { requested: "x".into(), ..policy() };
    let set = step(&asked, &first(Algorithm::EdDSA), &case(1, Reach::Nowhere)).set;
    let leaked = set.active().unwrap().kid().to_owned();
    let is_revoked = |key: &StoredKey| key.kid() == leaked;
    let revoked = Circumstances { is_revoked: &is_revoked, ..case(2, Reach::Everywhere) };
    let fresh = step(&asked, &set, &revoked);
    assert_eq!(states(&fresh.set), [Active]);
    assert!(fresh.set.keys.iter().all(|key| set.keys.iter().all(|old| old.kid() != key.kid())));
    assert!(matches!(
        fresh.changes[..],
        [Change::Revoked(_), Change::Revoked(_), Change::Activated(_)]
    ));
    // An older Secret is restored.
    let again = step(&asked, &set, &revoked);
    assert_eq!(states(&again.set), [Active]);
    assert_ne!(again.set.active().unwrap().kid(), leaked);
}

#[test]
fn too_many_keys_wait_for_room() {
    let mut set = first(Algorithm::EdDSA);
    let mut clock = 0;
    for n in 1..MAX_KEYS {
        let asked = Policy { requested: n.to_string(), interval: None, ..policy() };
        clock += 1;
        set = step(&asked, &set, &case(clock, Reach::Nowhere)).set;
        set = step(&asked, &set, &case(clock, Reach::Everywhere)).set;
        set.keys.last_mut().unwrap().known_at = Some(at(clock - AHEAD));
        set = step(&asked, &set, &case(clock, Reach::Published)).set;
        assert_eq!(set.keys.len(), n + 1);
    }
    let asked = Policy { requested: "more".into(), ..policy() };
    let waits = step(&asked, &set, &case(clock, Reach::Nowhere));
    assert_eq!(waits.set.keys.len(), MAX_KEYS);
    let room = waits.deferred_until.unwrap();
    assert_eq!((Some(room), waits.wake_at), (set.keys[0].gone_at(), Some(room)));
    let made = step(&asked, &set, &case(room.as_second(), Reach::Nowhere));
    assert!(made.set.next().is_some());
}

/// An event in the simulated cluster.
#[derive(Clone, Debug)]
enum Event {
    /// The clock moves forward or backward.
    Clock(i64),
    /// The leader reconciles, and crashes after this number of writes.
    Look(usize),
    /// Every validator applies the current status.
    Propagate,
    /// A token is issued with this fraction of the longest lifetime.
    Mint(i64),
    Algorithm(bool),
    Interval(Option<i64>),
    Lifetime(i64),
    Request(u8),
    /// The n-th key is revoked.
    Revoke(usize),
    /// Status is cleared.
    LoseStatus,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (-3000..9000_i64).prop_map(Event::Clock),
        2 => (-40_000..200_000_i64).prop_map(Event::Clock),
        8 => Just(Event::Look(2)),
        2 => (0..2_usize).prop_map(Event::Look),
        6 => Just(Event::Propagate),
        6 => (1..=10_i64).prop_map(Event::Mint),
        1 => any::<bool>().prop_map(Event::Algorithm),
        1 => prop::option::of(1..20_i64).prop_map(Event::Interval),
        1 => (1..40_i64).prop_map(Event::Lifetime),
        2 => any::<u8>().prop_map(Event::Request),
        1 => (0..4_usize).prop_map(Event::Revoke),
        1 => Just(Event::LoseStatus),
    ]
}

/// A simulated cluster: the stored, the published and the acknowledged keys.
struct World {
    policy: Policy,
    now: i64,
    latest: i64,
    /// The minimum time that has really passed: the sum of the clock's forward steps.
    passed: i64,
    set: StoredKeySet,
    status: HashSet<String>,
    known: HashSet<String>,
    /// Since when, in terms of `passed`, each key is acknowledged everywhere.
    known_since: HashMap<String, i64>,
    /// Keys that became Active without being published ahead.
    fresh: HashSet<String>,
    revoked: HashSet<String>,
    /// Tokens by key, with their `exp`.
    tokens: Vec<(String, i64)>,
}

impl World {
    fn new() -> Self {
        let set = first(Algorithm::EdDSA);
        let kid = set.keys[0].kid().to_owned();
        Self {
            policy: policy(),
            now: 0,
            latest: 0,
            passed: 0,
            status: HashSet::from([kid.clone()]),
            known: HashSet::from([kid.clone()]),
            known_since: HashMap::new(),
            fresh: HashSet::from([kid]),
            revoked: HashSet::new(),
            tokens: Vec::new(),
            set,
        }
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Clock(by) => {
                self.now = (self.now + by).max(0);
                self.latest = self.latest.max(self.now);
                self.passed += by.max(0);
            }
            Event::Look(writes) => self.look(writes),
            Event::Propagate => {
                self.known = self.status.clone();
                for kid in &self.known {
                    self.known_since.entry(kid.clone()).or_insert(self.passed);
                }
                self.known_since.retain(|kid, _| self.known.contains(kid));
            }
            Event::Mint(share) => self.mint(share),
            Event::Algorithm(other) => {
                self.policy.algorithm = if other { Algorithm::ES256 } else { Algorithm::EdDSA };
            }
            Event::Interval(interval) => self.policy.interval = interval.map(hours),
            Event::Lifetime(lifetime) => self.policy.longest_lifetime = hours(lifetime),
            Event::Request(value) => self.policy.requested = value.to_string(),
            Event::Revoke(n) => {
                self.revoked.extend(self.set.keys.get(n).map(|key| key.kid().to_owned()));
            }
            Event::LoseStatus => {
                self.status.clear();
                self.known.clear();
                self.known_since.clear();
            }
        }
    }

    /// One reconciliation by the leader: it writes the Secret first, and then status.
    fn look(&mut self, writes: usize) {
        let next = self.set.next().map_or("", StoredKey::kid).to_owned();
        let next = match (self.status.contains(&next), self.known.contains(&next)) {
            (false, _) => Reach::Nowhere,
            (true, false) => Reach::Published,
            (true, true) => Reach::Everywhere,
        };
        let revoked = self.revoked.clone();
        let is_revoked = |key: &StoredKey| revoked.contains(key.kid());
        let latest = at(self.latest);
        let case = Circumstances { latest, is_revoked: &is_revoked, ..case(self.now, next) };
        let step = step(&self.policy, &self.set, &case);
        assert!(step.wake_at.is_none_or(|time| time > at(self.now)), "a hot loop");
        if writes == 0 {
            return;
        }
        let before = self.set.active().map(|key| key.kid().to_owned());
        let after = step.set.active().unwrap().kid().to_owned();
        if before.as_ref() != Some(&after) {
            let published = self.known_since.get(&after);
            if step.changes.iter().any(|change| matches!(change, Change::Retired(..))) {
                let ahead = self.passed
                    - published.expect("an Active key that is not acknowledged everywhere");
                assert!(ahead >= AHEAD, "published ahead for {ahead} s only");
            } else {
                assert!(before.is_none_or(|kid| self.revoked.contains(&kid)));
                self.fresh.insert(after);
            }
        }
        // Serialized and parsed, as in the Secret.
        let json = serde_json::to_vec(&step.set).unwrap();
        self.set = StoredKeySet::from_json(&json).unwrap();
        if writes > 1 {
            self.status = self.set.keys.iter().map(|key| key.kid().to_owned()).collect();
            self.known.retain(|kid| self.status.contains(kid));
            self.known_since.retain(|kid, _| self.status.contains(kid));
        }
    }

    /// A replica issues a token with the Active key if status lists the key, with a lifetime up to
    /// the one recorded in the Secret.
    fn mint(&mut self, share: i64) {
        let Some(active) = self.set.active() else { return };
        if self.status.contains(active.kid()) {
            let longest = active.longest_lifetime().min(self.policy.longest_lifetime);
            self.tokens.push((active.kid().to_owned(), self.now + longest.as_secs() * share / 10));
        }
    }

    fn check(&self) {
        let count = |state| self.set.keys.iter().filter(|key| key.state == state).count();
        assert!(self.set.is_sound(), "{:?}", states(&self.set));
        assert!(count(Next) <= 1 && self.set.keys.len() <= MAX_KEYS);
        let private = |key: &&StoredKey| key.state == Retiring && key.pkcs8.is_some();
        assert!(!self.set.keys.iter().any(|key| private(&key)), "a Retiring key has a private key");
        for (kid, exp) in &self.tokens {
            let live = exp + LEEWAY > self.latest && !self.revoked.contains(kid);
            let verified = self.set.keys.iter().any(|key| key.kid() == kid);
            assert!(!live || verified, "a valid token without a published key");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens, every valid token has a published key, no unpublished key signs, there is
    /// one Active key, no private key outlives its use, the number of keys is bounded, and there is
    /// no hot loop.
    #[test]
    fn nothing_that_happens_breaks_the_rules(events in prop::collection::vec(event(), 1..120)) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
            world.check();
        }
    }
}
