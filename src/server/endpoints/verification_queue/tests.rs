//! On one thread, so the order is the same in every run.

use std::sync::Mutex as Log;

use tokio::task::JoinSet;

use super::*;

fn organization(name: &str) -> OrganizationId {
    OrganizationId::derive(name)
}

/// A queue in front of one processor, after verifications have taken all of its time for an hour.
fn busy() -> VerificationQueue {
    let queue = VerificationQueue::new(NonZeroUsize::MIN);
    queue.0.done_by.store(nanos(Duration::from_hours(1)), Ordering::Relaxed);
    use_up(&queue);
    queue
}

/// What verifications that take a slice leave behind.
fn use_up(queue: &VerificationQueue) {
    queue.0.since_yield.store(nanos(SLICE), Ordering::Relaxed);
}

fn waiting(queue: &VerificationQueue) -> usize {
    let turns = queue.0.turns.lock();
    let waiting = turns.waiting.values().map(VecDeque::len).sum();
    assert_eq!(queue.0.waiting.load(Ordering::Relaxed), waiting);
    assert_eq!(turns.order.len(), turns.waiting.len());
    waiting
}

/// Nobody waits, and the turn is free again.
fn assert_idle(queue: &VerificationQueue) {
    assert_eq!(waiting(queue), 0);
    assert_eq!(queue.0.turns.lock().taken, 0);
}

fn ago(duration: Duration) -> Instant {
    Instant::now().checked_sub(duration).unwrap()
}

#[test]
fn takes_turns_only_after_much_work() {
    let queue = VerificationQueue::new(NonZeroUsize::MIN);
    let turns: Vec<_> = (0..9).map(|_| queue.try_turn()).collect();
    assert!(turns.iter().all(Option::is_some), "at the same time");
    queue.0.count(ago(Duration::from_secs(10)));
    assert!(queue.try_turn().is_none(), "10 s of work use up the share of 40 s");
    let more = VerificationQueue::new(NonZeroUsize::new(32).unwrap());
    more.0.count(ago(Duration::from_millis(10)));
    assert!(more.try_turn().is_some(), "it is little for 32 processors");
}

#[tokio::test]
async fn organizations_take_turns() {
    let queue = busy();
    let log = Arc::new(Log::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for (name, count) in [("flooded", 200), ("quiet", 2), ("other", 1)] {
        for _ in 0..count {
            let (queue, log) = (queue.clone(), Arc::clone(&log));
            tasks.spawn(async move {
                let _turn = queue.turn(organization(name)).await.unwrap();
                use_up(&queue);
                log.lock().unwrap().push(name);
            });
        }
    }
    tasks.join_all().await;
    let log = log.lock().unwrap();
    // The first had its turn before the others came.
    assert_eq!(log[..6], ["flooded", "flooded", "quiet", "other", "flooded", "quiet"]);
    assert_eq!(log.len(), 203);
    assert_idle(&queue);
}

#[tokio::test]
async fn whatever_is_ready_comes_after_every_few_verifications() {
    let queue = busy();
    let log = Arc::new(Log::new(Vec::new()));
    let mut tasks = JoinSet::new();
    let hit = |log: &Arc<Log<Vec<i32>>>| {
        let log = Arc::clone(log);
        async move { log.lock().unwrap().push(100) }
    };
    for number in 0..10 {
        let (queue, log) = (queue.clone(), Arc::clone(&log));
        tasks.spawn(async move {
            let _turn = queue.turn(organization("flooded")).await.unwrap();
            log.lock().unwrap().push(number);
            if number == 3 {
                // It needs no turn.
                tokio::spawn(hit(&log));
                use_up(&queue);
            }
        });
    }
    tasks.spawn(hit(&log));
    tasks.join_all().await;
    assert_eq!(*log.lock().unwrap(), [100, 0, 1, 2, 3, 100, 4, 5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn the_longest_queue_gives_way() {
    let queue = busy();
    let (flooded, quiet) = (organization("flooded"), organization("quiet"));
    let running = queue.turn(flooded).await.unwrap();
    let mut receivers: Vec<_> = (0..MAX_WAITING).map(|_| queue.0.enter(flooded).unwrap()).collect();
    assert_eq!(queue.0.enter(flooded).err(), Some(Reason::Overloaded));
    let own = queue.0.enter(quiet).unwrap();
    assert_eq!(waiting(&queue), MAX_WAITING);
    let mut latest = receivers.pop().unwrap();
    assert!(latest.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
    drop(running);
    drop(receivers.remove(0).await.unwrap());
    assert!(own.await.is_ok(), "after one of the other organization");
    drop(receivers);
    assert_idle(&queue);
}

#[tokio::test]
async fn a_caller_that_disconnects_takes_no_turn() {
    let queue = busy();
    let running = queue.turn(organization("acme")).await.unwrap();
    let (gone, granted, last) = (
        queue.0.enter(organization("acme")).unwrap(),
        queue.0.enter(organization("acme")).unwrap(),
        queue.0.enter(organization("acme")).unwrap(),
    );
    drop(gone);
    drop(running);
    // It has its turn, and has not taken notice of it.
    drop(granted);
    drop(last.await.unwrap());
    assert_idle(&queue);
}
