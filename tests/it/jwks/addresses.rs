//! Where a fetch may connect to, whatever the URL or the name says.

use anon_operator::testing::domain::pool::Location;
use anon_operator::testing::jwks::FetchError;

use super::{Names, fetcher, some_key};
use crate::idp::{Idp, JWKS, NAME};

#[tokio::test]
async fn literals_of_forbidden_addresses_are_refused() {
    let idp = Idp::start();
    idp.serve_keys(&[some_key()]);
    let port = idp.port;
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "10.0.0.1",
    ] {
        let location = Location::Jwks(format!("https://{host}:{port}{JWKS}"));
        let fetched = fetcher(Names::new([&[]]), &[]).fetch(&location, None, None).await;
        assert_eq!(fetched, Err(FetchError::AddressRefused), "{host}");
    }
    assert_eq!(idp.all_hits(), 0);
}

#[tokio::test]
async fn names_that_resolve_to_forbidden_addresses_are_refused() {
    let idp = Idp::start();
    idp.serve_keys(&[some_key()]);
    let location = Location::Jwks(format!("https://{NAME}:{}{JWKS}", idp.port));
    let ca = Some(idp.ca.as_bytes());
    for addresses in [&["127.0.0.1"][..], &["::1", "::ffff:127.0.0.1"], &["169.254.169.254"]] {
        let names = Names::new([addresses]);
        let fetched = fetcher(names.clone(), &[]).fetch(&location, ca, None).await;
        assert_eq!(fetched, Err(FetchError::AddressRefused), "{addresses:?}");
        assert_eq!(names.asked(), 1);
    }
    let nothing = fetcher(Names::new([&[]]), &[]).fetch(&location, ca, None).await;
    assert_eq!(nothing, Err(FetchError::NameNotResolved));
    assert_eq!(idp.all_hits(), 0);

    // What is opened is used, past what is not.
    let names = Names::new([&["169.254.169.254", "127.0.0.1"]]);
    let fetched = fetcher(names, &["127.0.0.0/8"]).fetch(&location, ca, None).await;
    assert!(fetched.is_ok(), "{fetched:?}");
    assert_eq!(idp.last_head()["host"], format!("{NAME}:{}", idp.port));
}

/// A name that is public when it is resolved and private when it is connected to: every answer is
/// looked at, and only that one is used.
#[tokio::test]
async fn a_name_that_changes_its_mind_gains_nothing() {
    let idp = Idp::start();
    idp.serve_keys(&[some_key()]);
    let issuer = format!("https://{NAME}:{}", idp.port);
    let document = serde_json::json!({"issuer": issuer, "jwks_uri": format!("{issuer}{JWKS}")});
    idp.serve(crate::idp::DISCOVERY, crate::idp::Page::json(document));
    let ca = Some(idp.ca.as_bytes());
    // Discovery is let through, and what it leads to is not.
    let names = Names::new([&["127.0.0.1"], &["127.0.0.2"]]);
    let fetcher = fetcher(names.clone(), &["127.0.0.1/32"]);
    let fetched = fetcher.fetch(&Location::Issuer(issuer), ca, None).await;
    assert_eq!(fetched, Err(FetchError::AddressRefused));
    assert_eq!((names.asked(), idp.hits(JWKS)), (2, 0));
}
