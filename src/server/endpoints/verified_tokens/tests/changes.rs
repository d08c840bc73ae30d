//! What ends an entry, and what does not.

use super::*;
use crate::index::terminating::NamespaceState;

/// A change of the index.
type Change = (&'static str, fn(&Index));

fn suspended(client: &str) -> crd::SdkClient {
    let mut client = webapp("acme", client, &json!({}));
    client.spec.suspended = Some(true);
    client
}

fn changed_pool(change: &Value) -> crd::UserPool {
    let mut pool = serde_json::to_value(pool(&KEYS[..])).unwrap();
    pool["spec"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(pool).unwrap()
}

/// Changes after which the token is rejected.
pub const INVALIDATING: &[Change] = &[
    ("the client is suspended", |index| index.apply(&suspended("web"))),
    ("the client becomes strict", |index| {
        index.apply(&webapp("acme", "web", &json!({"strictClient": true})));
    }),
    ("the client gets another pool", |index| {
        index.apply(&webapp("acme", "web", &json!({"userPoolRef": {"name": "others"}})));
    }),
    ("the client is deleted", |index| index.delete::<crd::SdkClient>(&name("acme", "web"))),
    ("the client can no longer be parsed", |index| {
        index.withdraw::<crd::SdkClient>(&name("acme", "web"));
    }),
    ("the client that the token names is deleted", |index| {
        index.delete::<crd::SdkClient>(&name("acme", "mobile"));
    }),
    ("the client that the token names is suspended", |index| index.apply(&suspended("mobile"))),
    ("the key is removed", |index| index.apply(&pool(&KEYS[1..]))),
    ("the pool is deleted", |index| index.delete::<crd::UserPool>(&name("acme", "users"))),
    ("the pool can no longer be parsed", |index| {
        index.withdraw::<crd::UserPool>(&name("acme", "users"));
    }),
    ("the pool has other audiences", |index| {
        index.apply(&changed_pool(&json!({"audiences": ["web"]})));
    }),
    ("the pool requires a claim", |index| {
        let required = json!({"requiredClaims": [{"claim": "tenant", "values": ["acme"]}]});
        index.apply(&changed_pool(&required));
    }),
    ("the key is revoked", |index| index.apply(&revocation(&json!({"keyIds": [kid(0)]})))),
    ("old keys are revoked", |index| {
        index.apply(&revocation(&json!({"keysCreatedBefore": at(NOW).to_string()})));
    }),
    ("the user is revoked", |index| index.apply(&revocation(&json!({"subjects": ["ada"]})))),
    ("the token is revoked", |index| index.apply(&revocation(&json!({"tokenIds": ["t1"]})))),
    ("old tokens are revoked", |index| {
        index.apply(&revocation(&json!({"tokensIssuedBefore": at(NOW).to_string()})));
    }),
    ("the namespace is being deleted", |index| {
        index.settle("acme", &NamespaceState::Terminating, &[]);
    }),
];

/// Changes that the token does not depend on.
const UNRELATED: &[Change] = &[
    ("the client may redirect elsewhere", |index| {
        index.apply(&webapp("acme", "web", &json!({"redirectUrls": ["https://acme.example/x"]})));
    }),
    ("the same client again", |index| index.apply(&webapp("acme", "web", &json!({})))),
    ("a new client of the pool", |index| index.apply(&webapp("acme", "new", &json!({})))),
    ("a client of another organization", |index| {
        index.apply(&webapp("other", "web", &json!({"strictClient": true})));
        index.delete::<crd::SdkClient>(&name("other", "web"));
    }),
    ("a service client", |index| {
        let service = json!({"service": {"role": "Member", "apiKey": {"hashes": []}}});
        index.apply::<crd::SdkClient>(&object("acme", "ci", &json!({"spec": service})));
        index.delete::<crd::SdkClient>(&name("acme", "ci"));
    }),
    ("another pool", |index| {
        index.apply::<crd::UserPool>(&object("acme", "x", &json!({"spec": {"hosted": {}}})));
        index.delete::<crd::UserPool>(&name("acme", "x"));
    }),
    ("a Revocation for another pool", |index| {
        let spec = json!({"userPool": {"name": "x", "subjects": ["ada"]}, "reason": "leaked"});
        index.apply::<crd::Revocation>(&object("acme", "leak", &json!({"spec": spec})));
    }),
    ("another namespace is being deleted", |index| {
        index.settle("other", &NamespaceState::Terminating, &[]);
    }),
];

#[test]
fn every_change_that_invalidates_the_token_ends_its_entry() {
    for (change, apply) in INVALIDATING {
        let world = World::new();
        world.fill(NOW);
        apply(&world.index);
        assert!(!world.truth(NOW), "{change}");
        assert!(!world.hits(NOW), "{change}");
    }
}

/// The token is valid again, but the entry is from before the change.
#[test]
fn an_entry_stays_ended_when_the_change_is_undone() {
    for (change, apply) in INVALIDATING {
        let world = World::new();
        world.fill(NOW);
        apply(&world.index);
        world.index.delete::<crd::Revocation>(&name("acme", "leak"));
        let living = NamespaceState::Living(Some(at(0)));
        world.index.settle("acme", &living, &world.index.withdrawn_in("acme"));
        world.index.apply(&pool(&KEYS[..]));
        world.index.apply(&webapp("acme", "web", &json!({})));
        world.index.apply(&webapp("acme", "mobile", &json!({})));
        assert!(world.truth(NOW), "{change}");
        assert!(!world.hits(NOW), "{change}");
        world.fill(NOW);
    }
}

#[test]
fn changes_of_others_leave_the_entry() {
    for (change, apply) in UNRELATED {
        let world = World::new();
        world.fill(NOW);
        apply(&world.index);
        assert!(world.truth(NOW), "{change}");
        assert!(world.hits(NOW), "{change}");
    }
}

#[test]
fn an_older_client_that_takes_a_client_id_ends_the_entry() {
    let id = "6f1e9a52-2b7c-4f7e-9d55-0c1f6b2a9d11";
    let client = |name, spec: Value| -> crd::SdkClient {
        let mut spec = spec;
        spec["clientId"] = json!(id);
        object("acme", name, &json!({"spec": spec, "status": {"clientId": id}}))
    };
    let mut world = World::new();
    world.token = token(&json!({"sdkClientId": id}));
    world.index.apply(&client("chosen", json!({"webapp": {"userPoolRef": {"name": "users"}}})));
    world.fill(NOW);
    let service = json!({"service": {"role": "Member", "apiKey": {"hashes": []}}});
    // Of the same age, the first name wins.
    world.index.apply(&client("later", service.clone()));
    assert!(world.truth(NOW) && world.hits(NOW), "another client has the id");
    world.index.apply(&client("a", service));
    assert!(!world.truth(NOW) && !world.hits(NOW));
}

#[test]
fn time_ends_an_entry_when_it_ends_the_token() {
    let leeway = crate::domain::policy::LEEWAY.as_secs();
    let day = 24 * 3600;
    for (exp, end) in [(NOW + 600, NOW + 600 + leeway), (NOW + 10 * day, NOW - 3600 + day)] {
        let mut world = World::new();
        world.token = token(&json!({"exp": exp}));
        world.fill(NOW);
        assert!(world.truth(end - 1) && world.hits(end - 1), "{exp}: the last second");
        assert!(!world.truth(end + 1) && !world.hits(end + 1), "{exp}");
        assert!(!world.hits(NOW - 1), "the clock was set back behind the verification");
    }
}

/// Whatever the time is, the cache accepts no token that the chain rejects.
#[test]
fn no_time_makes_an_entry_outlive_the_verdict() {
    let spec = json!({
        "userPool": {"name": "users", "subjects": ["ada"]}, "reason": "leaked",
        "expiresAt": at(NOW - 5).to_string(),
    });
    let world = World::new();
    world.index.apply::<crd::Revocation>(&object("acme", "past", &json!({"spec": spec})));
    world.fill(NOW);
    for now in (NOW - 100..NOW + 1000).step_by(3).chain((NOW + 82_000..NOW + 83_000).step_by(9)) {
        assert!(!world.hits(now) || world.truth(now), "{}", now - NOW);
    }
}
