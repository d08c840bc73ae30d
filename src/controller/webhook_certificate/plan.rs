//! The next step of a rotation. Pure.
//!
//! A rotation has five steps, and a crash after any of them loses nothing, because the next leader
//! decides by what is stored:
//!
//! 1. The next pair is stored beside the current one.
//! 2. The bundle of the webhook configuration gets the CA of the next pair, too.
//! 3. The API servers have had time to read the bundle: the next pair becomes the current one.
//! 4. The replicas have had time to read the pair.
//! 5. The bundle loses every other CA.
//!
//! So at any time, the API servers trust whichever pair a replica presents.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::issue::Issued;

/// How long an API server may take to use a new bundle.
const PUBLICATION: Duration = Duration::from_secs(15);
/// How long a replica may take to present a new certificate. Longer than it reads the Secret
/// (`watch/webhook_certificate.rs`), and than an API server keeps a connection open.
const OVERLAP: Duration = Duration::from_mins(10);

/// Certificates of CAs, in DER.
pub type Cas = BTreeSet<Vec<u8>>;

/// What the Secret contains.
#[derive(Clone, Default)]
pub struct Stored {
    /// The pair that replicas present.
    pub current: Option<Issued>,
    /// The pair that replaces it.
    pub next: Option<Issued>,
}

/// What the webhook configuration contains.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Trusted {
    /// The CAs that every webhook of the configuration trusts.
    pub by_all: Cas,
    /// The CAs that some webhook of the configuration trusts.
    pub by_any: Cas,
}

/// The next step.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Issue a pair and store it as the next one.
    Issue,
    /// Write this bundle.
    Publish(Cas),
    /// Make the next pair the current one.
    Promote,
    /// Nothing is due.
    Wait,
}

/// Decides by what is stored. The configuration has trusted the same CAs for `unchanged_for`.
pub fn step(
    stored: &Stored,
    trusted: &Trusted,
    unchanged_for: Duration,
    hosts: &[String],
    now: Timestamp,
) -> Step {
    let usable = |pair: &&Issued| pair.is_usable(hosts, now);
    let current = stored.current.as_ref().filter(usable);
    let next = stored.next.as_ref().filter(usable);
    if next.is_none() && current.is_none_or(|current| current.is_due(now)) {
        return Step::Issue;
    }
    let mut wanted = Cas::new();
    for pair in [current, next].into_iter().flatten() {
        wanted.extend(pair.ca().map(|ca| ca.to_vec()));
    }
    if !wanted.is_subset(&trusted.by_all) {
        return Step::Publish(trusted.by_any.union(&wanted).cloned().collect());
    }
    // The first pair need not wait: no API server trusts another one.
    let is_first = current.is_none() && trusted.by_any == wanted;
    if next.is_some() && (is_first || unchanged_for >= PUBLICATION) {
        return Step::Promote;
    }
    if next.is_none() && trusted.by_any != wanted && unchanged_for >= OVERLAP {
        return Step::Publish(wanted);
    }
    Step::Wait
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::super::issue::issue;
    use super::*;

    const DAY: i64 = 24 * 60 * 60;

    /// A cluster with one leader after the other: each knows only what is stored.
    struct World {
        stored: Stored,
        trusted: Trusted,
        now: Timestamp,
    }

    fn hosts() -> Vec<String> {
        vec!["hook.anon-system.svc".to_owned(), "127.0.0.1".to_owned()]
    }

    fn ca(pair: Option<&Issued>) -> Vec<u8> {
        pair.unwrap().ca().unwrap().to_vec()
    }

    impl World {
        fn new() -> Self {
            let now = "2026-11-30T12:00:00Z".parse().unwrap();
            Self { stored: Stored::default(), trusted: Trusted::default(), now }
        }

        fn step(&self, unchanged_for: Duration) -> Step {
            step(&self.stored, &self.trusted, unchanged_for, &hosts(), self.now)
        }

        fn carry_out(&mut self, step: Step) {
            match step {
                Step::Issue => self.stored.next = Some(issue(&hosts(), self.now).unwrap()),
                Step::Publish(cas) => {
                    self.trusted = Trusted { by_all: cas.clone(), by_any: cas };
                }
                Step::Promote => self.stored.current = self.stored.next.take(),
                Step::Wait => panic!("nothing is due"),
            }
        }

        fn presented_is_trusted(&self) -> bool {
            self.trusted.by_all.contains(&ca(self.stored.current.as_ref()))
        }

        fn installed() -> Self {
            let mut world = Self::new();
            for _ in 0..3 {
                world.carry_out(world.step(Duration::ZERO));
            }
            assert_eq!(world.step(OVERLAP), Step::Wait);
            world
        }
    }

    #[test]
    fn first_pair_is_trusted_before_it_is_presented() {
        let mut world = World::new();
        assert_eq!(world.step(Duration::ZERO), Step::Issue);
        world.carry_out(Step::Issue);
        let next = ca(world.stored.next.as_ref());
        let publish = world.step(Duration::ZERO);
        assert_eq!(publish, Step::Publish(Cas::from([next])));
        world.carry_out(publish);
        assert_eq!(world.step(Duration::ZERO), Step::Promote);
        world.carry_out(Step::Promote);
        assert!(world.presented_is_trusted());
        assert_eq!(world.step(OVERLAP), Step::Wait);
    }

    #[test]
    fn rotation_overlaps_and_leaves_one_ca() {
        let mut world = World::installed();
        let first = ca(world.stored.current.as_ref());
        world.now += SignedDuration::from_hours(59 * 24);
        assert_eq!(world.step(OVERLAP), Step::Wait);
        world.now += SignedDuration::from_hours(2 * 24);
        assert_eq!(world.step(OVERLAP), Step::Issue);
        world.carry_out(Step::Issue);
        let second = ca(world.stored.next.as_ref());
        let both = Cas::from([first, second.clone()]);
        assert_eq!(world.step(OVERLAP), Step::Publish(both.clone()));
        world.carry_out(Step::Publish(both));
        assert_eq!(world.step(PUBLICATION / 2), Step::Wait, "an API server may not have read it");
        assert!(world.presented_is_trusted());
        assert_eq!(world.step(PUBLICATION), Step::Promote);
        world.carry_out(Step::Promote);
        assert!(world.presented_is_trusted());
        assert_eq!(world.step(OVERLAP / 2), Step::Wait, "a replica may not have read it");
        assert_eq!(world.step(OVERLAP), Step::Publish(Cas::from([second])));
    }

    /// Also how an administrator forces a rotation.
    #[test]
    fn deleted_secret_is_replaced_while_replicas_still_present_the_old_pair() {
        let mut world = World::installed();
        let first = ca(world.stored.current.as_ref());
        world.stored = Stored::default();
        world.carry_out(world.step(OVERLAP));
        world.carry_out(world.step(OVERLAP));
        assert!(world.trusted.by_all.contains(&first));
        assert_eq!(world.step(Duration::ZERO), Step::Wait);
        assert_eq!(world.step(PUBLICATION), Step::Promote);
    }

    #[test]
    fn bundle_that_somebody_removed_is_restored() {
        let mut world = World::installed();
        let trusted = std::mem::take(&mut world.trusted);
        assert_eq!(world.step(Duration::ZERO), Step::Publish(trusted.by_all.clone()));
        // One of two webhooks lacks it.
        world.trusted.by_any = trusted.by_all.clone();
        assert_eq!(world.step(Duration::ZERO), Step::Publish(trusted.by_all));
    }

    #[test]
    fn unusable_pairs_are_replaced() {
        let world = World::installed();
        let good = world.stored.current.clone().unwrap();
        let other = issue(&hosts(), world.now).unwrap();
        let elsewhere = issue(&["other.svc".to_owned()], world.now).unwrap();
        for (what, pair) in [
            (
                "half a certificate",
                Issued { certificate: good.certificate[..99].into(), ..good.clone() },
            ),
            ("the key of another", Issued { key: other.key.clone(), ..good.clone() }),
            ("no key", Issued { key: Vec::new().into(), ..good.clone() }),
            ("no CA", Issued { ca: Vec::new(), ..good.clone() }),
            ("another host", elsewhere),
        ] {
            let stored = Stored { current: Some(pair.clone()), next: None };
            let due = step(&stored, &world.trusted, OVERLAP, &hosts(), world.now);
            assert_eq!(due, Step::Issue, "{what}");
            let stored = Stored { current: Some(good.clone()), next: Some(pair) };
            let due = step(&stored, &world.trusted, OVERLAP, &hosts(), world.now);
            assert_eq!(due, Step::Wait, "{what}");
        }
        let expired = Timestamp::from_second(world.now.as_second() + 91 * DAY).unwrap();
        assert_eq!(step(&world.stored, &world.trusted, OVERLAP, &hosts(), expired), Step::Issue);
    }
}
