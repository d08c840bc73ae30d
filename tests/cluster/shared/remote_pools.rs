//! Pools of an identity provider that the operator may not connect to.

use anon_operator::testing::crd::{UserPool, condition};

use crate::harness::provider::{ca_secret, remote_pool};
use crate::harness::wait::expect;
use crate::harness::{Space, eventually, shared};
use crate::idp::{Idp, JWKS};

/// By literal, by name, and in other clothes: the address is what counts. Nothing is connected to.
#[tokio::test]
async fn forbidden_addresses_are_refused_and_it_is_said() {
    let _operator = shared().await;
    let (space, idp) = (Space::new("forbidden").await, Idp::start());
    idp.serve_keys(&[]);
    space.apply(&ca_secret(&idp)).await;
    let hosts = ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"];
    for (n, host) in hosts.iter().enumerate() {
        let url = format!("https://{host}:{}{JWKS}", idp.port);
        space.apply(&remote_pool(&format!("p{n}"), &url)).await;
    }
    for n in 0..hosts.len() {
        let pool = eventually("status says why", async || {
            let pool: UserPool = space.get(&format!("p{n}")).await.unwrap();
            let error = pool.status.as_ref().and_then(|status| status.last_fetch_error);
            let refused = error.is_some_and(|error| error.as_str() == "AddressRefused");
            expect(refused, format!("{error:?}")).map(|()| pool)
        })
        .await;
        let conditions = pool.status.unwrap().conditions;
        let ready = condition::find(&conditions, "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "FetchFailed"));
        assert!(ready.message.contains("--allow-fetch-from"), "{ready:?}");
    }
    assert_eq!(idp.all_hits(), 0);
}
