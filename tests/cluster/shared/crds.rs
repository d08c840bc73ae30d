//! The custom resource definitions: what the real server accepts and refuses.

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::harness::kubectl::kubectl;
use crate::harness::{
    Space, member, organization, pool, pool_with, quick_pool, service, webapp, with,
};

fn api(space: &Space, manifest: &Value) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("anon.dev", "v1beta1", manifest["kind"].as_str().unwrap());
    Api::namespaced_with(space.client.clone(), &space.name, &ApiResource::from_gvk(&kind))
}

/// A dry run: what the server would store, or why it would not.
async fn create(space: &Space, manifest: &Value) -> Result<Value, String> {
    let object: DynamicObject = serde_json::from_value(manifest.clone()).unwrap();
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    let made = api(space, manifest).create(&parameters, &object).await;
    made.map(|made| serde_json::to_value(made).unwrap()).map_err(|error| error.to_string())
}

/// A dry run of replacing the spec of what is there.
async fn replace(space: &Space, manifest: &Value, spec: &Value) -> Result<(), String> {
    let parameters = PatchParams { dry_run: true, ..PatchParams::default() };
    let name = manifest["metadata"]["name"].as_str().unwrap();
    let patch = Patch::<()>::Json(
        serde_json::from_value(json!([{"op": "replace", "path": "/spec", "value": spec}])).unwrap(),
    );
    let patched = api(space, manifest).patch(name, &parameters, &patch).await;
    patched.map(|_| ()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn they_apply_without_a_warning() {
    let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    let said =
        kubectl(&["apply", "--server-side", "--dry-run=server", "--force-conflicts", "-f", crds]);
    assert!(said.success && said.stderr.is_empty(), "{said:?}");
    assert_eq!(said.stdout.lines().count(), 5, "{said:?}");
}

#[tokio::test]
async fn kubectl_explains_them() {
    let said = kubectl(&["explain", "userpool.spec.hosted"]);
    assert!(said.stdout.contains("algorithm") && said.stdout.contains("RFC 7518"), "{said:?}");
    for kind in ["anonorg", "anonmember", "anonpool", "anonclient", "anon"] {
        let said = kubectl(&["get", kind, "--all-namespaces"]);
        assert!(said.success, "{said:?}");
    }
}

#[tokio::test]
async fn defaults_are_filled_in() {
    let space = Space::new("defaults").await;
    let pool = create(&space, &pool("users", json!({}))).await.unwrap();
    assert_eq!(
        pool["spec"],
        json!({"hosted": {
            "algorithm": "RS256", "deletionPolicy": "Retain",
            "tokenLifetime": {"default": "4380h", "max": "4464h"},
        }})
    );
    // First sight costs no write: the server itself says that nobody has looked yet.
    assert_eq!(pool["status"]["conditions"][0]["status"], "Unknown");
    let client = create(&space, &service("backend", "Member", "key")).await.unwrap();
    assert_eq!(client["spec"]["service"]["apiKey"]["delivery"]["deletionPolicy"], "Delete");
    // A null is what is left out, for us and for the server.
    let odd = with(quick_pool("users"), "/spec/displayName", Value::Null);
    assert!(create(&space, &odd).await.unwrap()["spec"].get("displayName").is_none());
}

#[tokio::test]
async fn each_rule_accepts_and_refuses() {
    let space = Space::new("rules").await;
    let account = || json!({"serviceAccount": {"name": "ci"}});
    let ada = || member("ada", "Member", account());
    let backend = || service("backend", "Member", "key");
    let text = |length: usize| json!("x".repeat(length));
    let lifetime = |default: &str, max: &str| {
        pool("users", json!({"tokenLifetime": {"default": default, "max": max}}))
    };
    let audiences = |values: Value| with(quick_pool("users"), "/spec/audiences", values);
    let secret = |name: &str| service("backend", "Member", name);
    let kubernetes = |value: Value| member("ada", "Member", value);

    for manifest in [
        quick_pool(&"x".repeat(52)),
        webapp(&"x".repeat(52), &"x".repeat(52)),
        member(&"x".repeat(52), "ReadOnly", account()),
        organization("default", json!({"logoUrl": "https://acme.example/logo.svg"})),
        with(quick_pool("users"), "/spec/description", text(1024)),
        audiences(json!(["a", "b"])),
        lifetime("60s", "60s"),
        lifetime("1h30m", "8784h"),
        secret(&"x".repeat(253)),
        secret("a.signing-keys.b"),
        kubernetes(json!({"user": "ada"})),
        ada(),
        backend(),
    ] {
        create(&space, &manifest).await.unwrap_or_else(|error| panic!("{error}\n{manifest}"));
    }

    let names = "at most 52 characters";
    let one_arm = "set exactly one of `webapp`";
    let duration = "should match";
    for (manifest, text) in [
        (quick_pool(&"x".repeat(53)), names),
        (webapp(&"x".repeat(53), "users"), names),
        (member(&"x".repeat(53), "Member", account()), names),
        (webapp("web", &"x".repeat(53)), "spec.webapp.userPoolRef.name: Too long"),
        (organization("other", json!({})), "must be named `default`"),
        (organization("default", json!({"logoUrl": "javascript:alert(1)"})), duration),
        // Unions: none, both, null.
        (with(quick_pool("p"), "/spec", json!({})), "say `hosted: {}`"),
        (pool("p", Value::Null), "say `hosted: {}`"),
        (with(webapp("w", "p"), "/spec", json!({})), one_arm),
        (with(webapp("w", "p"), "/spec/service", backend()["spec"]["service"].clone()), one_arm),
        (with(backend(), "/spec/service/apiKey", json!({})), "set exactly one of `delivery`"),
        (kubernetes(json!({})), "exactly one of `user` and `serviceAccount`"),
        (
            kubernetes(json!({"user": "a", "serviceAccount": {"name": "b"}})),
            "exactly one of `user` and `serviceAccount`",
        ),
        // Values.
        (pool("p", json!({"algorithm": "none"})), "Unsupported value: \"none\""),
        (pool("p", json!({"deletionPolicy": "delete"})), "Unsupported value: \"delete\""),
        (member("ada", "Owner", account()), "Unsupported value: \"Owner\""),
        (service("backend", "Admin", "key"), "never delivered into a Secret"),
        (secret("users.signing-keys"), "reserved for the operator"),
        (secret("ada.password-hash"), "reserved for the operator"),
        (secret("Key"), duration),
        (secret(&"x".repeat(254)), "Too long"),
        (kubernetes(json!({"user": "system:admin"})), "`system:` users cannot be members"),
        (with(ada(), "/spec/email", json!("nobody")), duration),
        // Durations.
        (lifetime("2h", "1h"), "must not be longer than"),
        (lifetime("59s", "1h"), "at least 60s"),
        (lifetime("1h", "8785h"), "at most 8784h"),
        (lifetime("1d", "30h"), duration),
        (lifetime("1h", "-2h"), duration),
        (lifetime("1h", ""), "a duration such as"),
        (lifetime("1.5h", "2h"), duration),
        (lifetime("1000000h", "1000000h"), duration),
        // Bounds.
        (with(quick_pool("p"), "/spec/description", text(1025)), "Too long"),
        (with(quick_pool("p"), "/spec/displayName", json!("")), "at least 1 chars"),
        (audiences(json!(["a", "a"])), "Duplicate value: \"a\""),
        (audiences(json!([])), "at least 1 items"),
        (audiences((0..17).map(|n| n.to_string()).collect()), "at most 16 items"),
    ] {
        let refused = create(&space, &manifest).await;
        let error = refused.expect_err(&manifest.to_string());
        assert!(error.contains(text), "expected `{text}`\n{error}\n{manifest}");
    }
}

#[tokio::test]
async fn each_rule_of_pools_that_are_not_hosted() {
    let space = Space::new("rules").await;
    let oidc = |more: &[(&str, Value)]| {
        let spec = json!({"oidc": {"issuer": "https://id.example/"}, "audiences": ["api"]});
        more.iter().fold(pool_with("theirs", spec), |pool, (at, value)| {
            with(pool, &format!("/spec/{at}"), value.clone())
        })
    };
    let url = |url: &str| pool_with("p", json!({"jwks": {"url": url}, "anyAudience": true}));
    let inline = |key: Value| {
        let mut public = json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"});
        public.as_object_mut().unwrap().extend(key.as_object().unwrap().clone());
        pool_with("p", json!({"inline": {"keys": [public]}, "audiences": ["api"]}))
    };
    let required =
        |claim: &str| oidc(&[("requiredClaims", json!([{"claim": claim, "values": ["x"]}]))]);
    let provided = json!({"provided": {"secretRef": {"name": "s", "key": "jwks.json"}}});

    for manifest in [
        pool_with("p", provided.clone()),
        with(pool_with("p", provided), "/spec/anyAudience", json!(true)),
        oidc(&[("oidc/refreshInterval", json!("1m")), ("leeway", json!("0s"))]),
        oidc(&[("oidc/refreshInterval", json!("24h")), ("leeway", json!("300s"))]),
        oidc(&[("idClaim", json!("https://acme.example/id"))]),
        oidc(&[("idClaim", json!("/a~1b/0/"))]),
        oidc(&[("anyAudience", json!(false))]),
        oidc(&[("algorithms", json!(["RS512", "PS384", "ES256"]))]),
        oidc(&[("oidc/caRef", json!({"name": "ca", "key": "ca.crt"}))]),
        required("/realm_access/roles"),
        url("https://id.example"),
        url("https://id.example:8443/a/b?c=d@e"),
        url("https://[2001:db8::1]/jwks"),
        inline(json!({"kid": "k", "key_ops": ["verify"], "use": "sig", "alg": "EdDSA"})),
    ] {
        create(&space, &manifest).await.unwrap_or_else(|error| panic!("{error}\n{manifest}"));
    }

    let (arm, https) = ("set exactly one of `hosted`", "must be an https URL");
    for (manifest, text) in [
        (oidc(&[("hosted", json!({}))]), arm),
        (oidc(&[("oidc", Value::Null)]), arm),
        // Sources.
        (url("http://id.example/jwks"), https),
        (url("HTTPS://id.example"), https),
        (url("https://"), https),
        (url("https:///jwks"), https),
        (url("https://user@id.example/jwks"), https),
        (url("https://id.example/jwks#x"), https),
        (url("https://id.example/a b"), https),
        (url(" https://id.example"), https),
        (url("file:///etc/passwd"), https),
        (url(&format!("https://id.example/{}", "x".repeat(1024))), "Too long"),
        (oidc(&[("oidc/issuer", json!("https://id.example/?a"))]), https),
        (oidc(&[("oidc/refreshInterval", json!("59s"))]), "from 1m to 24h"),
        (oidc(&[("oidc/refreshInterval", json!("25h"))]), "from 1m to 24h"),
        (oidc(&[("oidc/refreshInterval", json!(""))]), "a duration such as"),
        (inline(json!({"d": "AAAA"})), "this is a private key"),
        (inline(json!({"kty": "oct"})), "kty must be"),
        (with(inline(json!({})), "/spec/inline/keys", json!([])), "at least 1 items"),
        // Claims.
        (oidc(&[("audiences", Value::Null)]), "name the `audiences`"),
        (with(url("https://a"), "/spec/anyAudience", json!(false)), "name the `audiences`"),
        (oidc(&[("anyAudience", json!(true))]), "exclude each other"),
        (oidc(&[("issuers", json!(["https://id.example/"]))]), "is `oidc.issuer`"),
        (oidc(&[("leeway", json!("301s"))]), "at most 5m"),
        (oidc(&[("leeway", json!("-1s"))]), "should match"),
        (oidc(&[("idClaim", json!(""))]), "at least 1 chars"),
        (oidc(&[("idClaim", json!("/a~2"))]), "must be a JSON Pointer"),
        (required("/"), "must be a JSON Pointer"),
        (oidc(&[("requiredClaims", json!([{"claim": "x", "values": []}]))]), "at least 1 items"),
        (oidc(&[("algorithms", json!(["none"]))]), "Unsupported value: \"none\""),
        (oidc(&[("algorithms", json!(["RS256", "RS256"]))]), "Duplicate value"),
        (with(quick_pool("p"), "/spec/idClaim", json!("email")), "of a hosted pool: leave out"),
        (
            with(quick_pool("p"), "/spec/algorithms", json!(["ES256"])),
            "of a hosted pool: leave out",
        ),
    ] {
        let refused = create(&space, &manifest).await;
        let error = refused.expect_err(&manifest.to_string());
        assert!(error.contains(text), "expected `{text}`\n{error}\n{manifest}");
    }
}

#[tokio::test]
async fn each_rule_about_changes_accepts_and_refuses() {
    let space = Space::new("changes").await;
    let (plain, quick) = (pool("plain", json!({})), quick_pool("quick"));
    let (web, backend) = (webapp("web", "users"), service("backend", "Member", "key"));
    space.apply_all(&[plain.clone(), quick.clone(), web.clone(), backend.clone()]).await;
    let hosted = |hosted: Value| json!({"hosted": hosted});
    let theirs = json!({"jwks": {"url": "https://id.example/jwks"}, "audiences": ["api"]});
    let pool = pool_with("theirs", theirs.clone());
    space.apply(&pool).await;

    for (object, spec) in [
        (&plain, hosted(json!({"algorithm": "RS256", "deletionPolicy": "Delete"}))),
        (&quick, hosted(json!({"algorithm": "ES256", "tokenLifetime": {"default": "1h"}}))),
        (&quick, hosted(json!({"algorithm": "EdDSA", "rotation": {"interval": "80h"}}))),
        (&web, json!({"webapp": {"userPoolRef": {"name": "others"}}, "suspended": true})),
        (&backend, service("backend", "ReadOnly", "other")["spec"].clone()),
        (&pool, json!({"jwks": {"url": "https://other.example"}, "anyAudience": true})),
    ] {
        replace(&space, object, &spec).await.unwrap();
    }

    let arm = "a pool cannot change between `hosted`, `provided`";
    let type_ = "cannot change between `webapp` and `service`";
    for (object, spec, text) in [
        (&quick, hosted(json!({"rotation": {"interval": "70h"}})), "a 60th of tokenLifetime.max"),
        (&quick, json!({}), "say `hosted: {}`"),
        (&quick, theirs, arm),
        (&pool, hosted(json!({})), arm),
        (&pool, json!({"oidc": {"issuer": "https://id.example"}, "audiences": ["api"]}), arm),
        (&web, backend["spec"].clone(), type_),
        (&backend, web["spec"].clone(), type_),
        (&web, json!({}), "set exactly one of"),
    ] {
        let error = replace(&space, object, &spec).await.expect_err(&spec.to_string());
        assert!(error.contains(text), "expected `{text}`\n{error}\n{spec}");
    }
}
