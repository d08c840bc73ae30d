use serde_json::json;

use super::*;
use crate::cli::output::pretty;
use crate::cli::samples;
use crate::cli::terminal::Terminal;

fn namespace() -> Namespace {
    let event = json!({
        "metadata": {}, "type": "Warning", "reason": "KeyReplaced", "message": "the key was\ndeleted",
        "involvedObject": {
            "apiVersion": "anon.dev/v1beta1", "kind": "SdkClient", "name": "backend",
        },
        "lastTimestamp": samples::at(-600),
    });
    Namespace {
        name: "acme".to_owned(),
        organizations: Listed::Items(vec![samples::organization()]),
        pools: Listed::Items(vec![samples::failing_pool(), samples::pool()]),
        clients: Listed::Items(vec![
            samples::service(),
            samples::unreadable_client(),
            samples::webapp(),
        ]),
        members: Listed::Items(vec![samples::member("ada", false), samples::member("bob", true)]),
        revocations: Listed::Items(vec![samples::revocation()]),
        secrets: Listed::Items(vec!["backend-anon".to_owned()]),
        events: Listed::Items(vec![serde_json::from_value(event).unwrap()]),
    }
}

fn rendered(status: &Status) -> String {
    let text = tree::render(status, &Terminal::default(), "dev", samples::now());
    let error_of_the_parser = regex::Regex::new("cannot read it: .*").unwrap();
    error_of_the_parser.replace_all(&text, "cannot read it").into_owned()
}

#[test]
fn an_organization_is_a_tree() {
    let status = Status::of(&namespace());
    insta::assert_snapshot!(rendered(&status), @r"
    Organization acme (context dev)
    ├── organization/default  Accepted
    ├── userpool/partners  provided  JwksSecretUnusable
    │   ├── Secret `idp` has no entry `jwks.json`
    │   └── what to do: The entry that `secretRef` refers to cannot be read. The message is the same whether Secret, label or entry is missing. The keys are withdrawn. Create the Secret that the message describes, with label `anon.dev/use: jwks`.
    ├── userpool/users  hosted  KeysPublished
    │   ├── signing key kWd7mLcFrQbJ8Xo-retired ES256  Retiring  created 60d ago, removed in 90d
    │   ├── signing key zJ1h9hPMqTqlQTcLd8TFnGjR ES256  Active  active for 2d, next rotation in 28d
    │   └── sdkclient/web  webapp 6f0c8ad6-4c53-5b3f-9d8f-9c4ad6b1a111  Suspended
    ├── sdkclient/backend  service, role Member  KeyDelivered
    │   ├── API key aaaaaaaaaaaaaaaa  Previous  created 30d ago, expires in 5h
    │   ├── API key bbbbbbbbbbbbbbbb  Current  created 60m ago
    │   └── secret/backend-anon  exists
    ├── sdkclient/new\u001b[2J  Unreadable
    │   ├── this version of the CLI cannot read it
    │   └── what to do: Update kubectl-anon.
    ├── 2 members, 1 suspended
    ├── revocation/leak  Revoked
    │   └── 1 API key of SdkClient `backend`; enforced by 2 of 2 validators
    └── last warnings
        └── 10m ago  sdkclient/backend  KeyReplaced: the key was\u000adeleted
    ");
    assert_eq!(status.unready(), 2);
}

#[test]
fn one_object_with_what_belongs_to_it() {
    let only = |subject: &str| Status::of(&namespace()).only(&super::subject(subject).unwrap());
    insta::assert_snapshot!(rendered(&only("sdkclient/backend").unwrap()), @r"
    Organization acme (context dev)
    ├── sdkclient/backend  service, role Member  KeyDelivered
    │   ├── API key aaaaaaaaaaaaaaaa  Previous  created 30d ago, expires in 5h
    │   ├── API key bbbbbbbbbbbbbbbb  Current  created 60m ago
    │   └── secret/backend-anon  exists
    └── last warnings
        └── 10m ago  sdkclient/backend  KeyReplaced: the key was\u000adeleted
    ");
    insta::assert_snapshot!(rendered(&only("sdkclient/web").unwrap()), @r"
    Organization acme (context dev)
    └── userpool/users  hosted  KeysPublished
        ├── signing key kWd7mLcFrQbJ8Xo-retired ES256  Retiring  created 60d ago, removed in 90d
        ├── signing key zJ1h9hPMqTqlQTcLd8TFnGjR ES256  Active  active for 2d, next rotation in 28d
        └── sdkclient/web  webapp 6f0c8ad6-4c53-5b3f-9d8f-9c4ad6b1a111  Suspended
    ");
    assert!(only("organization").unwrap().organization.is_some());
    assert!(only("sdkclient/other").is_none());
}

#[test]
fn what_may_not_be_read_is_named() {
    let status = Status::of(&Namespace {
        members: Listed::Forbidden,
        secrets: Listed::Forbidden,
        ..namespace()
    });
    let text = rendered(&status);
    assert!(text.contains("secret/backend-anon  you may not list Secrets"), "{text}");
    let end = "Not shown, because you may not list them here: members, secrets\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn for_programs_and_without_values_of_keys() {
    let status = serde_json::to_value(Status::of(&namespace())).unwrap();
    let client = &status["sdkClients"][0];
    assert_eq!(client["name"], "sdkclient/backend");
    assert_eq!(client["secret"], json!({"name": "backend-anon", "exists": true}));
    assert_eq!(client["keys"][0]["expiresAt"], samples::at(5 * 3600));
    assert_eq!(status["userPools"][0]["remedy"].as_str().map(str::is_empty), Some(false));
    assert!(!pretty(&status).contains(&"a".repeat(64)));
}
