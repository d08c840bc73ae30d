//! Objects that an API server stores and our types, or even JSON parsers, cannot hold: they disturb no
//! other object, in whatever place of a list or watch.

use axum::body::Bytes;
use serde_json::json;

use super::watch::{Wire, list, pool};

/// A `fieldsV1` nested this deep.
fn nested(depth: usize) -> String {
    format!("{}{{}}{}", r#"{"f:a":"#.repeat(depth), "}".repeat(depth))
}

/// Entries of `managedFields` that were stored by a real API server.
fn odd_managers() -> Vec<Vec<u8>> {
    let entry = |time: &str, fields: &str| {
        format!(
            r#"{{"manager":"x","operation":"Update","apiVersion":"v1","time":"{time}","fieldsType":"FieldsV1","fieldsV1":{fields}}}"#
        )
    };
    let mut not_utf8 = entry("2026-01-01T00:00:00Z", r#"{"f:?":{}}"#).into_bytes();
    let byte = not_utf8.iter_mut().find(|byte| **byte == b'?').unwrap();
    *byte = 0xff;
    vec![
        entry("9999-12-31T23:59:59Z", "{}").into_bytes(),
        entry("2026-01-01T00:00:00Z", &nested(300)).into_bytes(),
        entry("2026-01-01T00:00:00Z", r#"{"f:\ud800":{},"f:\u0000":{}}"#).into_bytes(),
        not_utf8,
    ]
}

const PLACEHOLDER: &str = r#""managers""#;

/// The text of an object, with a placeholder for `managedFields`.
fn text(name: &str, version: &str) -> String {
    let mut pool = pool(name, version);
    pool["metadata"]["managedFields"] = json!("managers");
    pool.to_string()
}

/// The text with `managers` in the place of every placeholder.
fn filled(text: &str, managers: &[u8]) -> Bytes {
    let list = [b"[".as_slice(), managers, b"]".as_slice()].concat();
    let parts: Vec<_> = text.split(PLACEHOLDER).map(str::as_bytes).collect();
    parts.join(list.as_slice()).into()
}

#[tokio::test(start_paused = true)]
async fn every_object_of_a_list_is_served_whatever_managed_fields_one_has() {
    for managers in odd_managers() {
        for odd in 0..3 {
            let names = ["a", "b", "c"];
            let mut page = list("10", &names, "");
            page["items"][odd]["metadata"]["managedFields"] = json!("managers");
            let mut wire = Wire::start();
            wire.server.list().await.bytes(filled(&page.to_string(), &managers));
            wire.server.watch("10").await;
            wire.serves(&names).await;
            assert!(wire.is_ready());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_event_of_a_watch_is_taken_up_whatever_managed_fields_one_has() {
    for managers in odd_managers() {
        let (mut wire, events) = Wire::watching(&["a"]).await;
        let odd = |type_: &str, name: &str, version: &str| {
            let line = format!(r#"{{"type":"{type_}","object":{}}}"#, text(name, version));
            events.bytes(filled(&format!("{line}\n"), &managers));
        };
        odd("ADDED", "b", "11");
        events.send("ADDED", &pool("c", "12"));
        wire.serves(&["a", "b", "c"]).await;
        odd("MODIFIED", "a", "13");
        odd("DELETED", "b", "14");
        events.send("DELETED", &pool("c", "15"));
        wire.serves(&["a"]).await;
        drop(events);
        wire.server.watch("15").await;
    }
}

/// Also what is in other fields than `managedFields`; such an object itself is not served.
#[tokio::test(start_paused = true)]
async fn an_object_that_is_not_what_its_kind_says_disturbs_no_other() {
    for (path, value) in [
        ("/metadata/creationTimestamp", r#""9999-12-31T23:59:59Z""#.to_owned()),
        ("/metadata/deletionTimestamp", r#""9999-12-31T23:59:59Z""#.to_owned()),
        ("/metadata/labels", r#"{"a":7}"#.to_owned()),
        ("/metadata/ownerReferences", r#"{"\ud800":1e999}"#.to_owned()),
        ("/metadata/generation", "123456789012345678901234567890".to_owned()),
        ("/spec", "7".to_owned()),
        ("/status/keys", nested(300)),
        ("/spec/hosted", "7".to_owned()),
    ] {
        for odd in 0..3 {
            let names = ["a", "b", "c"];
            let mut page = list("10", &names, "");
            let item = &mut page["items"][odd];
            let (parent, field) = path.rsplit_once('/').unwrap();
            item.pointer_mut(parent).unwrap()[field] = json!("odd");
            let page = page.to_string().replace(r#""odd""#, &value);
            let mut wire = Wire::start();
            wire.server.list().await.bytes(page);
            let events = wire.server.watch("10").await.stream();
            let others: Vec<_> = names
                .iter()
                .enumerate()
                .filter(|(n, _)| *n != odd)
                .map(|(_, name)| *name)
                .collect();
            wire.serves(&others).await;
            assert!(wire.is_ready(), "{path}");
            // And once it is what it should be, it is served.
            events.send("MODIFIED", &pool(names[odd], "11"));
            wire.serves(&names).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pages_shrink_with_the_size_of_objects() {
    let mut wire = Wire::start();
    let first = wire.server.list().await;
    let limit: u32 = first.parameter("limit").unwrap().parse().unwrap();
    assert!(limit <= 20, "before anything is known of the size");
    let mut large = list("10", &["a"], "more");
    large["items"][0]["metadata"]["annotations"] = json!({"a": "x".repeat(8 << 20)});
    first.ok(&large);
    let second = wire.server.list().await;
    let smaller: u32 = second.parameter("limit").unwrap().parse().unwrap();
    assert!(smaller < limit, "{smaller}");
    second.ok(&list("10", &["b"], "more"));
    let third = wire.server.list().await;
    assert!(third.parameter("limit").unwrap().parse::<u32>().unwrap() > smaller);
    third.ok(&list("10", &["c"], ""));
    wire.server.watch("10").await;
    wire.serves(&["a", "b", "c"]).await;
}
