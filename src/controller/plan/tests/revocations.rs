use super::*;
use crate::controller::revocation::{self, Target};
use crate::replicas::tracker::Acknowledged;

/// A Revocation, and what its plan depends on.
struct Leak {
    object: crd::Revocation,
    keys: Option<Vec<(String, Option<Timestamp>)>>,
    everywhere: bool,
    obsolete_at: Option<Timestamp>,
    now: Timestamp,
}

impl Leak {
    fn new(more: &Value) -> Self {
        let mut spec = json!({"sdkClient": {"name": "backend", "keyIds": ["00000000000000aa"]}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Self {
            object: object("leak", spec),
            keys: Some(vec![("00000000000000aa".into(), Some(at(-HOUR)))]),
            everywhere: true,
            obsolete_at: None,
            now: at(0),
        }
    }

    /// Plans, and continues as if the plan had been applied.
    fn step(&mut self) -> String {
        let acknowledged = Acknowledged {
            everywhere: self.everywhere,
            text: "1 of 1 validators".into(),
            missing: vec![],
        };
        let plan = plan(
            &self.object,
            revocation::Observed {
                now: self.now,
                obsolete_at: self.obsolete_at,
                target: self.keys.clone().map_or(Target::Missing, Target::Exists),
                acknowledged,
                waiting: String::new(),
                here: true,
            },
        );
        let mut text = render(&plan);
        if let Some((mut status, readiness)) = plan.status {
            let before = self.object.status.take().unwrap_or_default().conditions;
            status.conditions = readiness.conditions(&before, Some(1), self.now);
            let matched: Vec<_> = status.matched.iter().map(|it| it.id.as_str()).collect();
            writeln!(text, "matched: {matched:?}").unwrap();
            self.object.status = Some(status);
        }
        text
    }
}

#[test]
fn revocations() {
    let end = json!({"expiresAt": "2026-01-01T02:00:00Z"});
    let mut leak = Leak { everywhere: false, ..Leak::new(&end) };
    assert_snapshot!(leak.step(), "waiting", @r#"
    status: Reconciling Propagating
    again: Soon
    awaits acknowledgements
    matched: ["00000000000000aa"]
    "#);
    leak.keys = Some(vec![]);
    leak.everywhere = true;
    assert_snapshot!(leak.step(), "enforced, and the key is destroyed", @r#"
    status: Ready Revoked
    again: after 120 min
    matched: ["00000000000000aa"]
    "#);
    leak.keys = None;
    leak.everywhere = false;
    assert_snapshot!(leak.step(), "settled, and the client is deleted", @"again: after 120 min");
    leak.now = at(2 * HOUR);
    assert_snapshot!(leak.step(), "expired", @r#"
    status: Stalled Expired
    again: OnChange
    matched: ["00000000000000aa"]
    "#);
    let policy = json!({"expiresAt": "2026-01-01T02:00:00Z", "deletionPolicy": "Delete"});
    let mut leak = Leak { now: at(2 * HOUR), ..Leak::new(&policy) };
    assert_snapshot!(leak.step(), "expired, with deletion", @"
    delete the object
    again: OnChange
    ");
}

#[test]
fn revocations_without_match() {
    let mut leak = Leak { keys: None, everywhere: false, ..Leak::new(&json!({})) };
    assert_snapshot!(leak.step(), "no client, and it is propagating", @"
    status: Stalled NoMatch
    again: Soon
    awaits acknowledgements
    matched: []
    ");
    leak.everywhere = true;
    leak.object.metadata.creation_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(-9)));
    assert_snapshot!(leak.step(), "no client, and it is new", @"
    status: Reconciling Propagating
    again: after 0 min
    matched: []
    ");
    leak.now = at(1);
    assert_snapshot!(leak.step(), "no client, and it is no longer new", @"
    status: Stalled NoMatch
    again: after 0 min
    matched: []
    ");
    leak.now = at(0);
    leak.keys = Some(vec![("00000000000000bb".into(), Some(at(-HOUR)))]);
    assert_snapshot!(leak.step(), "another key", @"
    status: Stalled NoMatch
    again: after 0 min
    matched: []
    ");
    leak.keys = Some(vec![("00000000000000aa".into(), Some(at(HOUR)))]);
    assert_snapshot!(leak.step(), "the key appears", @r#"
    status: Ready Revoked
    again: OnChange
    matched: ["00000000000000aa"]
    "#);
    leak.keys = Some(vec![]);
    assert_snapshot!(leak.step(), "the key is destroyed", @"again: OnChange");
}

#[test]
fn revocations_of_tokens_end_only_with_their_deletion_policy() {
    let mut leak = Leak { obsolete_at: Some(at(0)), ..Leak::new(&json!({})) };
    assert_snapshot!(leak.step(), "retained", @r#"
    status: Ready Revoked
    again: OnChange
    matched: ["00000000000000aa"]
    "#);
    leak.object.spec.deletion_policy = Some(crd::DeletionPolicy::Delete);
    assert_snapshot!(leak.step(), "deleted", @"
    delete the object
    again: OnChange
    ");
}
