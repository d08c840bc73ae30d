//! Model-based test of the ownership of keys: the client that had a hash first keeps it.

use proptest::prelude::*;

use super::model::{CLIENTS, DELIVERED, KEYS, LEADERS, Model, Step};

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let listing = DELIVERED..CLIENTS;
    let step = prop_oneof![
        3 => (listing, 0..KEYS).prop_map(|(client, key)| Step::Edit(client, key)),
        3 => (0..DELIVERED, prop::option::weighted(0.9, 0..KEYS)).prop_map(|(client, key)| Step::Put(client, key)),
        2 => (0..DELIVERED, 0..KEYS).prop_map(|(client, key)| Step::Forge(client, key)),
        1 => (0..DELIVERED).prop_map(Step::Copy),
        12 => (0..LEADERS, 0..CLIENTS).prop_map(|(leader, client)| Step::Reconcile(leader, client)),
        12 => (0..4_usize).prop_map(Step::LookUp),
        8 => (0..4_usize).prop_map(Step::Land),
        16 => (0..LEADERS).prop_map(Step::Watch),
        1 => (0..CLIENTS).prop_map(Step::Lose),
        2 => (0..CLIENTS).prop_map(Step::Toggle),
        3 => Just(Step::Settle),
        1 => (0..LEADERS).prop_map(Step::Restart),
        1 => prop::option::of(0..DELIVERED).prop_map(Step::Restore),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever users write, and whenever two leaders receive it: a key is never used for a client
    /// that did not have it first, unless the first one has given it up. After a loss of status,
    /// the strongest evidence decides, and if two clients have equal evidence, neither gets the
    /// key.
    #[test]
    fn a_hash_is_never_used_for_a_client_that_did_not_hold_it_first(steps in steps()) {
        let mut model = Model::new();
        for step in &steps {
            model.step(step);
            model.check()?;
        }
    }

    /// No client is locked out: once all changes have been received, a client that is the only one
    /// to ask for a key gets it.
    #[test]
    fn a_hash_that_one_client_asks_for_is_granted(steps in steps()) {
        let mut model = Model::new();
        for step in &steps {
            model.step(step);
        }
        model.settle();
        // The reservation of a leader whose write was rejected times out.
        model.step(&Step::Restart(0));
        model.leaders.truncate(1);
        model.settle();
        for key in 0..KEYS {
            let asking: Vec<_> = (0..CLIENTS).filter(|client| model.asks(*client, key)).collect();
            let recorded = model.secrets.iter().any(|secret| secret.lists(key) && secret.mac.is_some());
            if let [one] = asking[..] && !recorded {
                prop_assert_eq!(model.user(key), Some(one), "key {}", key);
            }
        }
    }
}

/// It is as if it had given the key up after it got it, and the next reconciliation takes it away.
#[test]
fn a_client_that_gives_up_during_its_look_up_may_get_the_key() -> Result<(), TestCaseError> {
    let mut model = Model::new();
    for step in [
        Step::Toggle(0),
        Step::Restore(Some(0)),
        Step::Put(1, Some(1)),
        Step::Reconcile(0, 1),
        Step::Put(1, None),
        // The record of the first client is lost, too.
        Step::Copy(1),
        Step::LookUp(0),
        Step::Land(0),
    ] {
        model.step(&step);
        model.check()?;
    }
    assert_eq!(model.user(1), Some(1));
    model.step(&Step::Settle);
    assert_eq!(model.user(1), None);
    Ok(())
}

/// Found by a test on a cluster, on a busy machine.
#[test]
fn a_client_that_returns_while_another_looks_up_keeps_its_keys() -> Result<(), TestCaseError> {
    let mut model = Model::new();
    let thief = DELIVERED;
    for step in [
        Step::Restore(Some(0)),
        Step::Settle,
        Step::Edit(thief, 0),
        Step::Settle,
        Step::Toggle(0),
        Step::Settle,
        Step::Reconcile(0, thief),
        Step::Toggle(0),
        Step::Watch(0),
        Step::Reconcile(0, 0),
        Step::LookUp(0),
        Step::Settle,
    ] {
        model.step(&step);
        model.check()?;
    }
    Ok(())
}
