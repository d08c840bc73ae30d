//! Every order in which the steps of two requests and a change of the index can happen. Each step is
//! atomic for the others: a lookup and an insertion hold the lock of their map, the context is read
//! and a change is applied under the lock of the index, and a verification reads what cannot change.
//! The end of a generation is seen as before or after the change.

use super::changes::INVALIDATING;
use super::*;

/// When a request reads the generation that its entry gets.
#[derive(Clone, Copy, PartialEq)]
enum Stamp {
    WithContext,
    AfterVerification,
}

/// A request for the token, which does one step at a time.
#[derive(Default)]
struct Request {
    done: usize,
    context: Option<TokenContext>,
    verified: Option<Verified>,
    started_after_change: bool,
    accepted: bool,
}

impl Request {
    const STEPS: usize = 4;

    fn step(&mut self, world: &World, stamp: Stamp, changed: bool) {
        match self.done {
            0 => {
                self.started_after_change = changed;
                self.accepted = world.hits(NOW);
            }
            _ if self.accepted => {}
            1 => self.context = world.context(NOW).ok(),
            2 => {
                let verify = |context| world.verify(context, NOW).ok();
                self.verified = self.context.as_ref().and_then(verify);
            }
            _ => {
                let (Some(context), Some(verified)) = (&mut self.context, &self.verified) else {
                    return;
                };
                let later = world.context(NOW).ok().filter(|_| stamp == Stamp::AfterVerification);
                if let Some(later) = later {
                    context.generation = later.generation;
                }
                world.cache.insert(world.key(), context, verified, at(NOW));
                self.accepted = true;
            }
        }
        self.done += 1;
    }
}

/// Every order of `counts[n]` steps of each actor n.
fn orders(counts: &[usize]) -> Vec<Vec<usize>> {
    if counts.iter().all(|count| *count == 0) {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for actor in 0..counts.len() {
        let mut rest = counts.to_vec();
        let Some(less) = rest[actor].checked_sub(1) else { continue };
        rest[actor] = less;
        for mut order in orders(&rest) {
            order.push(actor);
            all.push(order);
        }
    }
    all
}

/// The changes after which, in some order, a request that starts later is accepted by the state
/// before it; and the number of orders.
fn violations(stamp: Stamp) -> (Vec<&'static str>, usize) {
    let mut orders = orders(&[Request::STEPS, Request::STEPS, 1]);
    // The requests are alike.
    orders.retain(|order| order.iter().find(|actor| **actor < 2) == Some(&0));
    let mut found = Vec::new();
    for (change, apply) in INVALIDATING {
        let violated = |order: &Vec<usize>| {
            let world = World::new();
            let mut requests = [Request::default(), Request::default()];
            let mut changed = false;
            for actor in order {
                if let Some(request) = requests.get_mut(*actor) {
                    request.step(&world, stamp, changed);
                } else {
                    apply(&world.index);
                    changed = true;
                }
            }
            world.hits(NOW) || requests.iter().any(|it| it.started_after_change && it.accepted)
        };
        if orders.iter().any(violated) {
            found.push(*change);
        }
    }
    (found, orders.len())
}

#[test]
fn no_request_after_a_change_is_answered_from_before_it() {
    let (found, orders) = violations(Stamp::WithContext);
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(orders, 315);
}

/// The model finds the fault that it is for.
#[test]
fn a_generation_read_after_the_verification_is_noticed() {
    let (found, _) = violations(Stamp::AfterVerification);
    assert!(found.contains(&"the user is revoked"), "{found:?}");
    assert!(found.contains(&"the key is removed"), "{found:?}");
}
