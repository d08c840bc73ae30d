//! The chart's ClusterRoles for people, asked of the real authorizer: what each gives, and that it
//! gives nothing else. What the admission policies add to that is in `rights`.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};

use crate::harness::cluster::operator_user;
use crate::harness::{Space, eventually, shared, wait::expect};

const KINDS: [&str; 5] = ["organizations", "members", "userpools", "sdkclients", "revocations"];
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// `resource`, or `resource/subresource`, of a group.
type Target = (&'static str, &'static str);

/// What nobody gets by any of the roles: to raise oneself, to read what is secret, to say what the
/// operator alone may say.
const NEVER: [Target; 16] = [
    ("anon.dev", "organizations/status"),
    ("anon.dev", "members/status"),
    ("anon.dev", "userpools/status"),
    ("anon.dev", "sdkclients/status"),
    ("anon.dev", "revocations/status"),
    ("anon.dev", "*"),
    ("", "secrets"),
    ("", "configmaps"),
    ("", "serviceaccounts"),
    ("", "serviceaccounts/token"),
    ("", "namespaces"),
    ("", "pods"),
    ("coordination.k8s.io", "leases"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
];

async fn may(space: &Space, namespace: &str, user: &str, target: Target, verb: &str) -> bool {
    let (group, resource) = target;
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (resource, None),
    };
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            groups: Some(vec!["system:authenticated".to_owned()]),
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                verb: Some(verb.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(space.client.clone());
    let review = reviews.create(&PostParams::default(), &review).await.unwrap();
    review.status.unwrap().allowed
}

/// What a role gives: for each kind, whether to read and whether to write; `revocations` may be
/// created only. `revoke` is the verb that the policy for Revocations asks for.
fn gives(role: &str, kind: &str, verb: &str) -> bool {
    let builds = ["userpools", "sdkclients"].contains(&kind);
    let reads = READ.contains(&verb);
    let revokes = kind == "revocations" && (reads || verb == "create");
    match role {
        "anon-admin" => verb != "revoke",
        "anon-member" => builds && verb != "revoke" || kind == "organizations" && reads || revokes,
        "anon-readonly" => builds && reads,
        "anon-revoker" => revokes || verb == "revoke" && (builds || kind == "members"),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_role_gives_what_it_says_in_its_namespace_and_nothing_else() {
    let _operator = shared().await;
    let (space, other) = (Space::new("grants").await, Space::new("grants-not").await);
    let rbac = "rbac.authorization.k8s.io";
    for role in ["anon-admin", "anon-member", "anon-readonly", "anon-revoker"] {
        let user = format!("{role}-{}", space.uid);
        space.bind(&user, "ClusterRole", role).await;
        let known = if role == "anon-revoker" { "revocations" } else { "userpools" };
        eventually("the authorizer knows", async || {
            let known = may(&space, &space.name, &user, ("anon.dev", known), "list").await;
            expect(known, "not yet")
        })
        .await;
        for verb in READ.iter().chain(&WRITE).chain(&["revoke"]) {
            for kind in KINDS {
                let target = ("anon.dev", kind);
                let here = may(&space, &space.name, &user, target, verb).await;
                assert_eq!(here, gives(role, kind, verb), "{role}: {verb} {kind}");
                let elsewhere = may(&space, &other.name, &user, target, verb).await;
                assert!(!elsewhere, "{role}: {verb} {kind} in another namespace");
            }
            for target in NEVER {
                let allowed = may(&space, &space.name, &user, target, verb).await;
                assert!(!allowed, "{role}: {verb} {target:?}");
            }
        }
        for group in ["", "events.k8s.io"] {
            let reads = may(&space, &space.name, &user, (group, "events"), "list").await;
            assert_eq!(reads, role == "anon-admin", "{role}: list events of {group:?}");
        }
        for verb in ["bind", "escalate", "impersonate"] {
            for target in [(rbac, "clusterroles"), (rbac, "roles"), ("", "users"), ("", "groups")] {
                let allowed = may(&space, &space.name, &user, target, verb).await;
                assert!(!allowed, "{role}: {verb} {target:?}");
            }
        }
    }
}

/// What would let the operator's own account raise itself, and what it has no use for. What it may
/// do with the Secrets, ConfigMaps and RoleBindings of others is in `operator_writes`.
#[tokio::test]
async fn operator_account_has_no_right_that_it_does_not_need() {
    let _operator = shared().await;
    let space = Space::new("operator").await;
    let rbac = "rbac.authorization.k8s.io";
    let every: Vec<&str> = READ.iter().chain(&WRITE).copied().collect();
    let cases: &[(Target, &[&str])] = &[
        (("", "secrets"), &["patch", "deletecollection"]),
        (("", "configmaps"), &["update", "deletecollection"]),
        (("", "namespaces"), &["update", "deletecollection"]),
        (("", "namespaces/finalize"), &["update"]),
        (("", "serviceaccounts"), &every),
        (("", "serviceaccounts/token"), &["create"]),
        (("", "pods"), &every),
        (("", "pods/exec"), &["get", "create"]),
        (("", "nodes"), &every),
        (("", "nodes/proxy"), &["get", "create"]),
        (("", "persistentvolumes"), &every),
        (("apps", "deployments"), &every),
        (("events.k8s.io", "events"), &["get", "watch", "update", "patch", "delete"]),
        ((rbac, "rolebindings"), &["update", "deletecollection"]),
        ((rbac, "clusterrolebindings"), &every),
        ((rbac, "roles"), &every),
        ((rbac, "clusterroles"), &every),
        ((rbac, "clusterroles"), &["bind", "escalate"]),
        ((rbac, "roles"), &["bind", "escalate"]),
        (("", "users"), &["impersonate"]),
        (("", "groups"), &["impersonate"]),
        (("", "serviceaccounts"), &["impersonate"]),
        (("authorization.k8s.io", "subjectaccessreviews"), &["create"]),
        (("certificates.k8s.io", "certificatesigningrequests"), &every),
        (("certificates.k8s.io", "certificatesigningrequests/approval"), &["update"]),
        (("apiextensions.k8s.io", "customresourcedefinitions"), &every),
        (("apiregistration.k8s.io", "apiservices"), &every),
        (("admissionregistration.k8s.io", "validatingadmissionpolicies"), &every),
        (("admissionregistration.k8s.io", "validatingadmissionpolicybindings"), &every),
        (("admissionregistration.k8s.io", "mutatingwebhookconfigurations"), &every),
        (("anon.dev", "revocations"), &["update", "patch", "deletecollection"]),
        (("anon.dev", "*"), &["get", "update"]),
        (("coordination.k8s.io", "leases"), &every),
    ];
    let operator = operator_user();
    for &(target, verbs) in cases {
        for verb in verbs {
            let allowed = may(&space, &space.name, &operator, target, verb).await;
            assert!(!allowed, "{verb} {target:?}");
        }
    }
    // In its own namespace it has Leases, too, reads whether a Pod exists, and nothing else.
    let home = space.operators().name;
    let on_pods: Vec<_> = every.iter().copied().filter(|verb| *verb != "get").collect();
    for (target, verbs) in [
        (("", "pods"), &on_pods[..]),
        (("", "serviceaccounts/token"), &["create"]),
        (("", "secrets"), &["patch"]),
    ] {
        for verb in verbs {
            assert!(!may(&space, &home, &operator, target, verb).await, "{verb} {target:?}");
        }
    }
}
