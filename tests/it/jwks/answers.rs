//! What a provider answers.

use std::io::Write as _;
use std::time::Duration;

use anon_operator::testing::domain::jwks_parser::RawKey;
use anon_operator::testing::domain::pool::Location;
use anon_operator::testing::jwks::{FetchError, Fetched};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::{Names, discover, fetch, impatient_fetcher, open_fetcher, some_key};
use crate::idp::{DISCOVERY, Idp, JWKS, Page};

#[tokio::test]
async fn a_set_is_fetched_by_url_and_by_discovery() {
    let idp = Idp::start();
    idp.serve_keys(&[some_key()]);
    for fetched in [fetch(&idp, JWKS).await, discover(&idp).await] {
        let Fetched::Set { keys, validator: None, max_age: None } = fetched.unwrap() else {
            panic!("not a set");
        };
        assert_eq!(keys, [RawKey::from(some_key())]);
    }
    assert_eq!((idp.hits(JWKS), idp.hits(DISCOVERY)), (2, 1));
    let head = idp.last_head();
    assert_eq!(head["accept-encoding"], "identity");
    assert!(!head.contains_key("authorization") && !head.contains_key("cookie"));
}

#[tokio::test]
async fn an_unchanged_set_is_not_sent_again() {
    let idp = Idp::start();
    let headers = |etag: &str| {
        vec![("etag", etag.to_owned()), ("cache-control", "public, max-age=600".to_owned())]
    };
    idp.serve(JWKS, Page::Json(json!({"keys": [some_key()]}), headers("\"a\"")));
    let location = Location::Jwks(idp.url(JWKS));
    let ca = Some(idp.ca.as_bytes());
    let first = open_fetcher().fetch(&location, ca, None).await.unwrap();
    let Fetched::Set { validator: Some(validator), max_age, .. } = first else {
        panic!("{first:?}");
    };
    assert_eq!(max_age, Some(Duration::from_mins(10)));
    let again = open_fetcher().fetch(&location, ca, Some(&validator)).await;
    assert_eq!(again, Ok(Fetched::Unchanged { max_age }));
    // It rotates.
    idp.serve(JWKS, Page::Json(json!({"keys": []}), headers("\"b\"")));
    let rotated = open_fetcher().fetch(&location, ca, Some(&validator)).await.unwrap();
    assert!(matches!(rotated, Fetched::Set { .. }), "{rotated:?}");
    // Of another URL it says nothing.
    idp.serve("/other", Page::Json(json!({"keys": []}), headers("\"a\"")));
    let other = Location::Jwks(idp.url("/other"));
    let other = open_fetcher().fetch(&other, ca, Some(&validator)).await.unwrap();
    assert!(matches!(other, Fetched::Set { .. }), "{other:?}");
    // A 304 that nobody asked for is no answer.
    idp.serve(JWKS, Page::Raw(304, vec![], vec![]));
    assert!(open_fetcher().fetch(&location, ca, None).await.is_err());
}

#[tokio::test]
async fn what_is_no_key_set_is_told_apart() {
    let idp = Idp::start();
    let html = b"<html><title>Log in</title></html>".to_vec();
    let raw = |status, body: &[u8]| Page::Raw(status, vec![], body.to_vec());
    let many = format!(r#"{{"keys": [{}]}}"#, vec![some_key().to_string(); 10_000].join(","));
    let encoded = Page::Raw(200, vec![("content-encoding", "gzip".into())], b"{}".to_vec());
    let metadata = vec![("location", "https://169.254.169.254/latest/meta-data/".to_owned())];
    let elsewhere = vec![("location", idp.url(JWKS))];
    idp.serve_keys(&[some_key()]);
    for (page, error) in [
        (raw(500, b"boom"), FetchError::UnexpectedStatus),
        (raw(404, b"{\"keys\":[]}"), FetchError::UnexpectedStatus),
        (raw(204, b""), FetchError::UnexpectedStatus),
        (raw(200, &html), FetchError::NotJson),
        (raw(200, b""), FetchError::NotJson),
        (raw(200, b"[]"), FetchError::NotJson),
        (raw(200, b"{\"keys\":[],\"keys\":[]}"), FetchError::NotJson),
        (raw(200, &b"{\"a\":".repeat(50_000)), FetchError::NotJson),
        (encoded, FetchError::NotJson),
        (raw(200, b"{}"), FetchError::NotAKeySet),
        (raw(200, b"{\"keys\":{}}"), FetchError::NotAKeySet),
        (raw(200, &vec![b' '; 10 * 1024 * 1024]), FetchError::TooLarge),
        (raw(200, many.as_bytes()), FetchError::TooLarge),
        (Page::Endless, FetchError::TooLarge),
        (Page::Raw(302, metadata, vec![]), FetchError::Redirected),
        (Page::Raw(307, elsewhere, vec![]), FetchError::Redirected),
    ] {
        idp.serve("/it", page.clone());
        let hits = idp.all_hits();
        assert_eq!(fetch(&idp, "/it").await, Err(error), "{page:?}");
        assert_eq!(idp.all_hits(), hits + 1, "one request: {page:?}");
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn encoded(encoding: &str, body: Vec<u8>) -> Page {
    Page::Raw(200, vec![("content-encoding", encoding.to_owned())], body)
}

#[tokio::test]
async fn unrequested_gzip_and_byte_order_marks_are_read() {
    let idp = Idp::start();
    let bom = |json: serde_json::Value| format!("\u{feff}{json}").into_bytes();
    let set = bom(json!({"keys": [some_key()]}));
    let document = bom(json!({"issuer": idp.issuer(), "jwks_uri": idp.url(JWKS)}));
    for encoding in ["gzip", "GZIP", "x-gzip"] {
        idp.serve(JWKS, encoded(encoding, gzip(&set)));
        idp.serve(DISCOVERY, encoded(encoding, gzip(&document)));
        let Fetched::Set { keys, .. } = discover(&idp).await.unwrap() else { panic!("not a set") };
        assert_eq!(keys, [RawKey::from(some_key())], "{encoding}");
    }
}

#[tokio::test]
async fn rejects_compressed_bodies_that_are_too_large_or_broken() {
    let idp = Idp::start();
    let spaces = |count: usize| gzip(&[br#"{"keys":[]}"#, vec![b' '; count].as_slice()].concat());
    let limit = 512 * 1024 - br#"{"keys":[]}"#.len();
    // 50 MiB in 50 KiB.
    let bomb = spaces(50 * 1024 * 1024);
    assert!(bomb.len() < 100 * 1024);
    let mut cut = spaces(0);
    cut.pop();
    let twice = gzip(&spaces(0));
    for (page, error) in [
        (encoded("gzip", spaces(limit + 1)), FetchError::TooLarge),
        (encoded("gzip", bomb), FetchError::TooLarge),
        (encoded("gzip", cut), FetchError::NotJson),
        (encoded("gzip", twice.clone()), FetchError::NotJson),
        (encoded("gzip, gzip", twice), FetchError::NotJson),
        (encoded("br", spaces(0)), FetchError::NotJson),
    ] {
        idp.serve("/it", page);
        assert_eq!(fetch(&idp, "/it").await, Err(error));
    }
    idp.serve("/it", encoded("gzip", spaces(limit)));
    assert!(fetch(&idp, "/it").await.is_ok());
}

#[tokio::test]
async fn who_lies_in_discovery_is_not_believed() {
    let idp = Idp::start();
    idp.serve_keys(&[some_key()]);
    for (document, error) in [
        (
            json!({"issuer": "https://evil.example", "jwks_uri": idp.url(JWKS)}),
            FetchError::IssuerMismatch,
        ),
        (json!({"issuer": idp.issuer()}), FetchError::DiscoveryInvalid),
        (
            json!({"issuer": idp.issuer(), "jwks_uri": "http://127.0.0.1/jwks"}),
            FetchError::DiscoveryInvalid,
        ),
        (
            json!({"issuer": idp.issuer(), "jwks_uri": "https://169.254.169.254/latest"}),
            FetchError::AddressRefused,
        ),
        (
            json!({"issuer": idp.issuer(), "jwks_uri": "https://[::1]/jwks"}),
            FetchError::AddressRefused,
        ),
    ] {
        idp.serve(DISCOVERY, Page::json(document.clone()));
        assert_eq!(discover(&idp).await, Err(error), "{document}");
    }
    assert_eq!(idp.hits(JWKS), 0);
}

#[tokio::test]
async fn who_hangs_or_drips_is_left() {
    let idp = Idp::start();
    for page in [Page::Hang, Page::Drip] {
        idp.serve(JWKS, page);
        let names = Names::new([&["127.0.0.1"]]);
        let fetcher = impatient_fetcher(names, &["127.0.0.1/32"], Duration::from_millis(500));
        let location = Location::Jwks(idp.url(JWKS));
        let fetched = fetcher.fetch(&location, Some(idp.ca.as_bytes()), None).await;
        assert_eq!(fetched, Err(FetchError::TimedOut));
    }
}

#[tokio::test]
async fn only_the_named_ca_is_trusted() {
    let (idp, other) = (Idp::start(), Idp::start());
    idp.serve_keys(&[some_key()]);
    let location = Location::Jwks(idp.url(JWKS));
    let fetch = async |ca: Option<&str>| {
        open_fetcher().fetch(&location, ca.map(str::as_bytes), None).await.map(drop)
    };
    assert_eq!(fetch(Some(&idp.ca)).await, Ok(()));
    assert_eq!(fetch(Some(&other.ca)).await, Err(FetchError::TlsFailed));
    assert_eq!(fetch(None).await, Err(FetchError::TlsFailed), "the platform's CAs do not know it");
    assert_eq!(fetch(Some("nothing")).await, Err(FetchError::CaUnusable));
}

#[tokio::test]
async fn who_speaks_something_else_is_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    let plain = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail ready\r\n").await;
        }
    });
    let fetched = open_fetcher().fetch(&Location::Jwks(url), None, None).await;
    assert_eq!(fetched, Err(FetchError::TlsFailed));
    plain.abort();
}
