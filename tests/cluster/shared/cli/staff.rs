//! Commands of staff, and manifests of other systems.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::Value;

use super::input::kubectl_anon_with;
use crate::harness::company::{Company, PASSWORD};
use crate::harness::kubectl::kubectl_with;
use crate::harness::{Space, shared};

/// A configuration directory of a test's own.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_logs_in_and_out() {
    let operator = shared().await;
    let company = Company::found(&operator, "cli-staff").await;
    let n = company.space.name.as_str();
    let home = Home::new(&format!("{n}-home"));
    let config = home.0.to_str().unwrap();
    let run = async |arguments: &[&str], input: &str| {
        kubectl_anon_with(arguments, input, &[("XDG_CONFIG_HOME", config)]).await
    };
    let server = operator.url("");
    let email = company.email("Admin");
    let login = ["login", "--server", &server, "--email", &email, "--password-stdin"];

    let failed = run(&login, "wrong").await;
    assert!(failed.code == 1 && failed.stderr.contains("401"), "{failed:?}");
    let session = home.0.join("anon/session");
    assert!(!session.exists());
    let remote =
        ["login", "--server", "http://anon.example.test", "--email", &email, "--password-stdin"];
    let refused = run(&remote, PASSWORD).await;
    assert!(refused.stderr.contains("unencrypted"), "{refused:?}");

    let ended = run(&login, &format!("{PASSWORD}\n")).await;
    assert!(ended.code == 0 && ended.stdout.is_empty(), "{ended:?}");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&session), mode(session.parent().unwrap())), (0o600, 0o700));
    let stored: Value = serde_json::from_slice(&fs::read(&session).unwrap()).unwrap();
    let token = stored["token"].as_str().unwrap().to_owned();
    assert!(!ended.stderr.contains(&token));

    let me = run(&["whoami", "-o", "json"], "").await.json();
    assert_eq!(me["caller"]["role"], "Admin");
    assert_eq!(me["caller"]["organizationId"], company.organization.as_str());
    // The token goes to no other server.
    let other = run(&["whoami", "--server", "http://127.0.0.1:1"], "").await;
    assert!(other.code == 1 && other.stderr.contains("not sent to another server"), "{other:?}");
    let explained = run(&["token", "explain"], &company.key).await.ok();
    assert!(explained.starts_with("verdict: valid"), "{explained}");

    let cluster = run(&["whoami", "--cluster", "-n", n, "-o", "json"], "").await.json();
    assert_eq!((&cluster["role"], &cluster["namespace"]), (&"Admin".into(), &n.into()));
    let nobody = ["whoami", "--cluster", "-n", n, "--as", "nobody", "-o", "json"];
    let nobody = run(&nobody, "").await.json();
    assert_eq!((&nobody["role"], &nobody["user"]["name"]), (&Value::Null, &"nobody".into()));

    // Others can read it: it is not used, but can be ended.
    fs::set_permissions(&session, fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = run(&["whoami"], "").await;
    assert!(exposed.code == 1 && exposed.stderr.contains("others can read"), "{exposed:?}");
    run(&["logout"], "").await.ok();
    assert!(!session.exists());
    operator.gives(&token, None, "401 session_unknown").await;
    let again = run(&["logout"], "").await;
    assert!(again.code == 0 && again.stderr.contains("no session"), "{again:?}");

    let printed = [&login[..], &["--print-token"]].concat();
    let printed = run(&printed, PASSWORD).await.ok();
    operator.gives(printed.trim(), None, "200").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_manifests_are_accepted() {
    let _operator = shared().await;
    let space = Space::new("cli-import").await;
    let n = space.name.as_str();
    let accepted = |manifests: &str| {
        let applied = kubectl_with(&["apply", "--dry-run=server", "-f", "-"], manifests);
        assert!(applied.success, "{applied:?}\n{manifests}");
        applied.stdout.lines().count()
    };
    let maester = "
apiVersion: hydra.ory.sh/v1alpha1
kind: OAuth2Client
metadata: {name: reports}
spec: {grantTypes: [client_credentials], scope: read, secretName: reports}
";
    let ended = kubectl_anon_with(&["import", "maester", "-n", n], maester, &[]).await;
    assert!(
        ended.stderr.contains("oauth2client/reports spec.scope: not carried over"),
        "{ended:?}"
    );
    assert_eq!(accepted(&ended.ok()), 1);

    let secret = format!(
        "
apiVersion: v1
kind: Secret
metadata: {{name: friend, namespace: {n}, labels: {{group: friends}}}}
stringData: {{api_key: ndyBzreUzF4zqDQsqSPMHkRhriEOtcRx}}
"
    );
    assert!(kubectl_with(&["apply", "-f", "-"], &secret).success);
    let line = ["import", "authorino", "--from-cluster", "-n", n, "--selector", "group=friends"];
    let ended = kubectl_anon_with(&line, "", &[]).await;
    assert!(ended.stderr.contains("secret/friend data.api_key"), "{ended:?}");
    assert_eq!(accepted(&ended.ok()), 1);

    let line = ["import", "oidc", "https://id.example.test", "--audience", "shop", "-n", n];
    assert_eq!(accepted(&kubectl_anon_with(&line, "", &[]).await.ok()), 1);

    let responses = r#"
        {"id": "o", "name": "Acme", "members": []}
        {"resource": "Member", "items": [{"name": "Ada", "email": "ada@acme.example", "role": "Admin"}]}
        {"resource": "UserPool", "items": [{"id": "p", "name": "Users", "description": "", "hosted": true}]}
        {"resource": "SdkClient", "items": [
            {"id": "6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111", "name": "Web", "appUserPoolId": "p"},
            {"id": "5b8cf8a1-9dd1-4a51-8a4e-3a4c0f5f0f11", "name": "Backend"}
        ]}"#;
    let ended = kubectl_anon_with(&["import", "organization", "-n", n], responses, &[]).await;
    assert!(ended.stderr.contains("member/ada password"), "{ended:?}");
    assert_eq!(accepted(&ended.ok()), 6);
}
