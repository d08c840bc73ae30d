use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt as _;
use kube::api::{ObjectList, PartialObjectMeta, WatchEvent};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::crd::UserPool;

/// A `fieldsV1` nested this deep.
fn nested(depth: usize) -> String {
    format!("{}{{}}{}", r#"{"f:a":"#.repeat(depth), "}".repeat(depth))
}

/// Entries of `managedFields` that the API server stores and our types cannot hold.
fn odd_managers() -> Vec<String> {
    let entry = |time: &str, fields: &str| {
        format!(
            r#"{{"manager":"x","operation":"Update","apiVersion":"v1","time":"{time}","fieldsType":"FieldsV1","fieldsV1":{fields}}}"#
        )
    };
    vec![
        entry("9999-12-31T23:59:59Z", "{}"),
        entry("0000-01-01T00:00:00Z", "{}"),
        entry("2026-01-01T00:00:00Z", &nested(300)),
        entry("2026-01-01T00:00:00Z", &nested(100_000)),
        entry("2026-01-01T00:00:00Z", r#"{"f:\ud800":{},"v:\"}],":{},"f:\u0000":{}}"#),
    ]
}

fn pool(metadata: &str) -> String {
    format!(
        r#"{{"apiVersion":"anon.dev/v1beta1","kind":"UserPool","metadata":{metadata},"spec":{{"hosted":{{}}}}}}"#
    )
}

fn pool_with_managers(managers: &str) -> String {
    pool(&format!(
        r#"{{"name":"users","namespace":"acme","resourceVersion":"7","managedFields":{managers},"labels":{{"a":"b"}}}}"#
    ))
}

#[test]
fn reads_an_object_whatever_its_managed_fields() {
    for entry in odd_managers() {
        let text = pool_with_managers(&format!("[{entry}]"));
        let pool = Tolerant::<UserPool>::parse(&text).unwrap().0.unwrap();
        assert_eq!(pool.metadata.managed_fields, None);
        assert_eq!(pool.labels()["a"], "b");
        let text = text.replace("UserPool", "PartialObjectMetadata");
        let meta = Tolerant::<PartialObjectMeta<Secret>>::parse(&text).unwrap().0.unwrap();
        assert_eq!(meta.name_any(), "users");
    }
}

#[test]
fn keeps_the_names_of_managers_where_asked() {
    let all = odd_managers().join(",");
    let text =
        pool_with_managers(&format!(r#"[{all},{{"manager":"helm","subresource":"status"}}]"#));
    let pool = Tolerant::<UserPool, WithManagers>::parse(&text).unwrap().0.unwrap();
    let managers = pool.managed_fields();
    assert_eq!(managers.len(), odd_managers().len() + 1);
    assert_eq!(managers[0].manager.as_deref(), Some("x"));
    assert_eq!(managers[0].time, None);
    let last = managers.last().unwrap();
    assert_eq!(
        (last.manager.as_deref(), last.subresource.as_deref()),
        (Some("helm"), Some("status"))
    );
}

#[test]
fn drops_metadata_that_no_controller_reads() {
    let text = pool(
        &json!({
            "name": "users", "namespace": "acme", "uid": "u", "resourceVersion": "7", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/y"],
            "labels": {"team": "shop", "anon.dev/id": "i"},
            "annotations": {"anon.dev/rotate": "1", "anon.dev/unknown": "2", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "a"},
                {"apiVersion": "v1", "kind": "ConfigMap", "name": "b", "uid": "b", "controller": true},
            ],
        })
        .to_string(),
    );
    let pool = Tolerant::<UserPool, Lean>::parse(&text).unwrap().0.unwrap();
    assert_eq!(json!(pool.labels()), json!({"anon.dev/id": "i"}));
    assert_eq!(json!(pool.annotations()), json!({"anon.dev/rotate": "1"}));
    assert_eq!(pool.owner_references().len(), 1);
    assert_eq!(pool.owner_references()[0].name, "b");
    assert!(pool.finalizers().is_empty());
    let kept = (pool.uid(), pool.resource_version(), pool.metadata.generation);
    assert_eq!(kept, (Some("u".into()), Some("7".into()), Some(3)));
    assert!(pool.creation_timestamp().is_some());
    // Also for an unreadable object.
    let text = text.replace(r#""hosted":{}"#, r#""hosted":7"#);
    let unreadable = Tolerant::<UserPool, Lean>::parse(&text).unwrap();
    assert!(unreadable.0.is_err());
    assert_eq!(json!(unreadable.annotations()), json!({"anon.dev/rotate": "1"}));
}

#[test]
fn an_unreadable_object_keeps_what_can_be_read() {
    let text = pool(
        r#"{"name":"users","namespace":"acme","uid":"u","resourceVersion":"7","generation":"many",
            "creationTimestamp":"9999-12-31T23:59:59Z","deletionTimestamp":"9999-12-31T23:59:59Z",
            "labels":{"a":1},"annotations":{"a":"b"}}"#,
    );
    let text =
        text.replace(r#""spec""#, r#""status":{"observedGeneration":3,"conditions":[]},"spec""#);
    let unreadable = Tolerant::<UserPool>::parse(&text).unwrap().0.unwrap_err();
    let metadata = unreadable.metadata;
    assert_eq!(metadata.name.as_deref(), Some("users"));
    assert_eq!(metadata.namespace.as_deref(), Some("acme"));
    assert_eq!(metadata.uid.as_deref(), Some("u"));
    assert_eq!(metadata.resource_version.as_deref(), Some("7"));
    assert_eq!(
        (metadata.generation, metadata.creation_timestamp, metadata.labels),
        (None, None, None)
    );
    assert_eq!(metadata.annotations.unwrap()["a"], "b");
    assert!(metadata.deletion_timestamp.is_some(), "it is being deleted, whatever the timestamp");
    assert_eq!(unreadable.observed_generation, Some(3));
}

#[test]
fn an_error_does_not_grow_with_the_object() {
    let text = pool(r#"{"name":"users","namespace":"acme"}"#).replace(
        r#""hosted":{}"#,
        &format!(r#""hosted":{{"algorithm":"{}"}}"#, "ü".repeat(100_000)),
    );
    let unreadable = Tolerant::<UserPool>::parse(&text).unwrap().0.unwrap_err();
    assert!(unreadable.error.contains('ü') && unreadable.error.len() <= MAX_ERROR_BYTES);
}

#[test]
fn rejects_what_is_no_object() {
    for text in ["7", "null", "[]", r#"{"metadata":7}"#, r#"{"metadata":{"name":7}}"#] {
        assert!(Tolerant::<Secret>::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_time_that_no_type_holds_makes_only_its_own_object_unreadable() {
    let lease = |time: &str| {
        format!(
            r#"{{"metadata":{{"name":"l","annotations":{{"a":"b"}}}},"spec":{{"renewTime":"{time}"}}}}"#
        )
    };
    assert!(Tolerant::<Lease>::parse(&lease("2026-01-01T00:00:00.000000Z")).unwrap().0.is_ok());
    let odd = lease("9999-12-31T23:59:59.999999Z");
    let unreadable = Tolerant::<Lease>::parse(&odd).unwrap();
    assert!(unreadable.0.is_err());
    assert_eq!(unreadable.annotations()["a"], "b");
    assert!(Tolerant::<PartialObjectMeta<Lease>>::parse(&odd).unwrap().0.is_ok());
}

#[test]
fn what_cannot_be_read_is_not_sent() {
    let text = pool(r#"{"name":"users","generation":"x"}"#);
    let unreadable = Tolerant::<UserPool>::parse(&text).unwrap();
    assert!(serde_json::to_string(&unreadable).is_err());
}

/// Any JSON, as text, including numbers, escapes and depths that a `Value` cannot represent.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?[1-9][0-9]{0,40}(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
        any::<String>().prop_map(|text| json!(text).to_string()),
        Just(r#""\ud800""#.to_owned()),
        Just(r#""9999-12-31T23:59:59Z""#.to_owned()),
        Just(r#""-0001-01-01T00:00:00Z""#.to_owned()),
        (100..400_usize).prop_map(nested),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8)
                .prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::vec((any::<String>(), inner), 0..8).prop_map(|all| {
                let all: Vec<_> = all
                    .into_iter()
                    .map(|(name, value)| format!("{}:{value}", json!(name)))
                    .collect();
                format!("{{{}}}", all.join(","))
            }),
        ]
    })
}

const FIELDS: [&str; 16] = [
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
    "generateName",
    "selfLink",
    "unknown",
    "managedFields2",
];

/// An object named `odd` with arbitrary metadata, spec, status and data.
fn any_object() -> impl Strategy<Value = String> {
    let metadata =
        prop::collection::btree_map(prop::sample::select(FIELDS.to_vec()), any_json(), 0..8);
    let parts = ["spec", "status", "data", "apiVersion", "kind", "unknown"].to_vec();
    let rest = prop::collection::btree_map(prop::sample::select(parts), any_json(), 0..5);
    let members = |all: std::collections::BTreeMap<&str, String>| {
        let members: Vec<_> =
            all.into_iter().map(|(name, value)| format!(r#","{name}":{value}"#)).collect();
        members.concat()
    };
    (metadata, rest).prop_map(move |(metadata, rest)| {
        format!(r#"{{"metadata":{{"name":"odd"{}}}{}}}"#, members(metadata), members(rest))
    })
}

/// Checks that a list and a watch of `K` deliver the good objects and also the odd ones between
/// them.
fn delivers<K, M>(good: &str, odd: &str) -> Result<(), TestCaseError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    M: Keep,
{
    let fine = |object: &Tolerant<K, M>| object.0.is_ok() && object.name_any() == "good";
    let list = format!(
        r#"{{"kind":"L","apiVersion":"v1","metadata":{{"resourceVersion":"9"}},"items":[{good},{odd},{good},{odd}]}}"#
    );
    let list: ObjectList<Tolerant<K, M>> = serde_json::from_str(&list)
        .map_err(|error| TestCaseError::fail(format!("{error}: {list}")))?;
    prop_assert_eq!(list.items.len(), 4);
    prop_assert!(fine(&list.items[0]) && fine(&list.items[2]));
    prop_assert_eq!(list.items[1].name_any(), "odd");
    for type_ in ["ADDED", "MODIFIED", "DELETED"] {
        let event = format!(r#"{{"type":"{type_}","object":{odd}}}"#);
        let event: WatchEvent<Tolerant<K, M>> = serde_json::from_str(&event)
            .map_err(|error| TestCaseError::fail(format!("{error}: {event}")))?;
        let (WatchEvent::Added(object)
        | WatchEvent::Modified(object)
        | WatchEvent::Deleted(object)) = event
        else {
            return Err(TestCaseError::fail("another event"));
        };
        prop_assert_eq!(object.name_any(), "odd");
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_object_disturbs_another(odd in any_object()) {
        let good = r#"{"apiVersion":"anon.dev/v1beta1","kind":"UserPool","metadata":{"name":"good","namespace":"acme"},"spec":{"hosted":{}}}"#;
        delivers::<UserPool, Whole>(good, &odd)?;
        delivers::<UserPool, Lean>(good, &odd)?;
        delivers::<UserPool, WithManagers>(good, &odd)?;
        let good = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"good","namespace":"acme"},"data":{"a":"YQ=="}}"#;
        delivers::<Secret, Whole>(good, &odd)?;
        delivers::<PartialObjectMeta<Secret>, Lean>(good, &odd)?;
        let good = r#"{"metadata":{"name":"good","namespace":"acme"},"spec":{"renewTime":"2026-01-01T00:00:00.000000Z"}}"#;
        delivers::<Lease, Whole>(good, &odd)?;
        for (kind, spec) in [
            ("Organization", "{}"),
            ("Member", r#"{"email":"ada@acme.example","role":"Admin"}"#),
            ("SdkClient", r#"{"webapp":{"userPoolRef":{"name":"users"}}}"#),
            ("Revocation", r#"{"userPool":{"name":"users","subjects":["a"]}}"#),
        ] {
            let good = format!(
                r#"{{"apiVersion":"anon.dev/v1beta1","kind":"{kind}","metadata":{{"name":"good","namespace":"acme"}},"spec":{spec}}}"#
            );
            match kind {
                "Organization" => delivers::<crate::crd::Organization, Lean>(&good, &odd)?,
                "Member" => delivers::<crate::crd::Member, Lean>(&good, &odd)?,
                "SdkClient" => delivers::<crate::crd::SdkClient, Lean>(&good, &odd)?,
                _ => delivers::<crate::crd::Revocation, Lean>(&good, &odd)?,
            }
        }
        let good = r#"{"metadata":{"name":"good","namespace":"acme"}}"#;
        delivers::<PartialObjectMeta<ConfigMap>, Lean>(good, &odd)?;
        delivers::<PartialObjectMeta<RoleBinding>, Whole>(good, &odd)?;
        delivers::<PartialObjectMeta<Namespace>, Lean>(good, &odd)?;
    }
}
