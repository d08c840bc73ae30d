//! `watch/objects.rs` with an API server, or a network, that does not behave.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::watch::{Wire, bookmark, list, pool};
use crate::support::api::failure;

#[tokio::test(start_paused = true)]
async fn a_list_that_fails_is_tried_again_ever_more_slowly() {
    let mut wire = Wire::start();
    let mut last = Instant::now();
    let mut pauses = Vec::new();
    for number in 0..12 {
        let ask = wire.server.list().await;
        pauses.push(ask.at - last);
        last = ask.at;
        match number % 4 {
            0 => ask.status(500, "InternalError"),
            1 => ask.status(429, "TooManyRequests"),
            2 => ask.reset(),
            _ => ask.text("<html>not a list</html>"),
        }
    }
    assert!(!wire.is_ready());
    assert!(pauses[1] < Duration::from_secs(1), "{pauses:?}");
    assert!(pauses[1..].is_sorted(), "{pauses:?}");
    let longest = *pauses.last().unwrap();
    assert!(longest >= Duration::from_secs(5) && longest <= Duration::from_secs(30), "{pauses:?}");
    wire.server.list().await.ok(&list("10", &["a"], ""));
    wire.server.watch("10").await;
    wire.serves(&["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_goes_on_where_it_was() {
    let (mut wire, events) = Wire::watching(&["a"]).await;
    events.send("ADDED", &pool("b", "11"));
    events.reset();
    wire.server.watch("11").await.status(500, "InternalError");
    wire.server.watch("11").await.reset();
    wire.server.watch("11").await.status(429, "TooManyRequests");
    let events = wire.server.watch("11").await.stream();
    wire.serves(&["a", "b"]).await;
    events.send("ADDED", &pool("c", "12"));
    wire.serves(&["a", "b", "c"]).await;
}

/// What cannot be read as an event would come again and again from the same version.
#[tokio::test(start_paused = true)]
async fn garbage_leads_to_a_list_in_the_end() {
    let (mut wire, events) = Wire::watching(&["a"]).await;
    events.line("{garbage");
    drop(events);
    for attempt in 0.. {
        let ask = wire.server.next().await;
        if ask.parameter("watch").is_none() {
            ask.ok(&list("20", &["b"], ""));
            break;
        }
        assert!(attempt < 20, "never listed again");
        ask.text("{\"type\":\"ADDED\",\"object\":7}\n");
    }
    wire.server.watch("20").await;
    wire.serves(&["b"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_event_other_than_410() {
    let (mut wire, events) = Wire::watching(&["a"]).await;
    events.send("ERROR", &failure(500, "InternalError"));
    wire.server.list().await.ok(&list("20", &["b"], ""));
    wire.server.watch("20").await;
    wire.serves(&["b"]).await;
}

/// One object that cannot be read is not served; the others are.
#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_read() {
    let mut wire = Wire::start();
    let mut page = list("10", &["a", "b"], "");
    page["items"][1]["spec"]["hosted"]["algorithm"] = json!("HS256");
    wire.server.list().await.ok(&page);
    let events = wire.server.watch("10").await.stream();
    wire.serves(&["a"]).await;
    events.send("MODIFIED", &pool("b", "11"));
    wire.serves(&["a", "b"]).await;
    let mut broken = pool("a", "12");
    broken["spec"] = json!("not an object");
    events.send("MODIFIED", &broken);
    wire.serves(&["b"]).await;
    events.send("DELETED", &broken);
    events.send("ADDED", &pool("c", "14"));
    wire.serves(&["b", "c"]).await;
    // It counts as progress like any other.
    drop(events);
    wire.server.watch("14").await;
}

/// A connection may be dead without a word (a node that lost power, a firewall that forgot): the
/// API server sends a bookmark every minute or so, and silence for longer than that is a failure.
#[tokio::test(start_paused = true)]
async fn a_silent_watch_is_given_up() {
    let (mut wire, events) = Wire::watching(&["a"]).await;
    let started = Instant::now();
    for minute in 0..10 {
        tokio::time::sleep(Duration::from_secs(75)).await;
        events.send("BOOKMARK", &bookmark(&format!("{}", 20 + minute)));
        wire.serves(&["a"]).await;
    }
    let quiet = Instant::now();
    let next = wire.server.watch("29").await;
    assert!(next.at - started > Duration::from_secs(750), "bookmarks keep a watch alive");
    assert!(next.at - quiet < Duration::from_mins(5), "{:?}", next.at - quiet);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_is_given_up() {
    let mut wire = Wire::start();
    let unanswered = wire.server.list().await;
    let again = wire.server.list().await;
    assert!(again.at - unanswered.at < Duration::from_mins(2));
    again.ok(&list("10", &["a"], ""));
    let unanswered = wire.server.watch("10").await;
    let again = wire.server.watch("10").await;
    assert!(again.at - unanswered.at < Duration::from_mins(2));
}

/// Something in between that ends every watch at once must not make us ask without pause.
#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_at_once_is_no_reason_to_hurry() {
    let (mut wire, events) = Wire::watching(&["a"]).await;
    drop(events);
    let started = Instant::now();
    for number in 0..50 {
        let ask = wire.server.next().await;
        let watch = ask.parameter("watch").is_some();
        match (watch, number % 2) {
            (false, _) => ask.ok(&list("10", &["a"], "")),
            (true, 0) => ask.text(""),
            (true, _) => ask.status(410, "Expired"),
        }
    }
    assert!(started.elapsed() > Duration::from_mins(2), "{:?}", started.elapsed());
}

/// Watches that live and then break, as behind a proxy with an idle timeout, are picked up at once
/// however often that happened.
#[tokio::test(start_paused = true)]
async fn a_watch_that_lived_is_resumed_at_once() {
    let (mut wire, mut events) = Wire::watching(&["a"]).await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_mins(1)).await;
        let broken = Instant::now();
        events.reset();
        let ask = wire.server.watch("10").await;
        assert!(ask.at - broken < Duration::from_secs(1), "{:?}", ask.at - broken);
        events = ask.stream();
    }
}
