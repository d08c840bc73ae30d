//! What the chain takes from its context: no caller can leave these checks out.

use super::*;
use Reason::{
    ClientMismatch, ClientNotWebapp, ClientSuspended, KeyRevoked, KeySetStale, PoolNotReady,
    UserRevoked,
};

fn eddsa() -> &'static Issuer {
    issuer(Algorithm::EdDSA)
}

/// The verdict on a token that states `made_for`, if anything, in a changed context.
fn verdict(
    made_for: Option<SdkClientId>,
    change: impl Fn(&mut TokenContext),
) -> Result<(), Reason> {
    let token = eddsa().token(|_, claims| {
        if let Some(client) = made_for {
            claims["sdkClientId"] = json!(client);
        }
    });
    let mut context = context(&eddsa().pool);
    change(&mut context);
    verify_in(&context, &token, NOW).map(drop)
}

fn change_client(context: &mut TokenContext, change: impl Fn(&mut SdkClient)) {
    let mut client = webapp();
    change(&mut client);
    context.client = client.for_tokens();
}

#[test]
fn a_strict_client_rejects_tokens_issued_for_others_or_for_none() {
    let strict = |context: &mut TokenContext| {
        change_client(context, |client| {
            let ClientKind::Webapp(webapp) = &mut client.kind else { panic!("a webapp") };
            webapp.strict = true;
        });
    };
    assert_eq!(verdict(Some(client()), strict), Ok(()));
    assert_eq!(verdict(Some(sibling()), strict), Err(ClientMismatch));
    assert_eq!(verdict(None, strict), Err(ClientMismatch));
    assert_eq!(verdict(Some(sibling()), |_| {}), Ok(()), "not strict");
}

#[test]
fn rejects_a_client_that_is_suspended_or_not_of_the_pool() {
    let suspended = |context: &mut TokenContext| change_client(context, |it| it.suspended = true);
    assert_eq!(verdict(None, suspended), Err(ClientSuspended));
    let elsewhere = |context: &mut TokenContext| {
        change_client(context, |client| {
            let ClientKind::Webapp(webapp) = &mut client.kind else { panic!("a webapp") };
            webapp.pool_id = UserPoolId::derive("acme", "others");
        });
    };
    assert_eq!(verdict(None, elsewhere), Err(PoolNotReady));
    let service = |context: &mut TokenContext| {
        change_client(context, |client| {
            client.kind = ClientKind::Service(Service {
                role: Role::Member,
                is_delivered: false,
                keys: StoredApiKeys::from_iter([]),
            });
        });
    };
    assert_eq!(verdict(None, service), Err(ClientNotWebapp));
}

#[test]
fn rejects_a_key_set_that_was_fetched_too_long_ago() {
    let fetched = |age: i64, max: SignedDuration| {
        verdict(None, |context: &mut TokenContext| {
            Arc::make_mut(&mut context.pool).fetch.at = Some(at(NOW - age));
            context.max_jwks_age = max;
        })
    };
    let day = SignedDuration::from_hours(24);
    assert_eq!(fetched(86_400, day), Ok(()));
    assert_eq!(fetched(86_401, day), Err(KeySetStale));
    assert_eq!(fetched(86_401, SignedDuration::MAX), Ok(()), "not limited");
    assert_eq!(verdict(None, |context| context.max_jwks_age = day), Ok(()), "not fetched");
}

#[test]
fn rejects_what_is_revoked() {
    let nothing = revocation();
    let revoked = |revocation: &Revocation| {
        let revocations = vec![Arc::new(revocation.clone())];
        verdict(None, |context| context.revocations.clone_from(&revocations))
    };
    assert_eq!(revoked(&nothing), Ok(()));
    let key = Revocation { key_ids: vec![eddsa().kid().to_owned()], ..nothing.clone() };
    assert_eq!(revoked(&key), Err(KeyRevoked));
    let user = Revocation { subjects: ["user-123".to_owned()].into(), ..nothing };
    assert_eq!(revoked(&user), Err(UserRevoked));
}
