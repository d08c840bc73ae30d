//! The custom resource definitions: what the real server accepts and refuses.

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::harness::kubectl::{kubectl, kubectl_with};
use crate::harness::{
    Space, member, organization, pool, pool_with, quick_pool, service, service_of, webapp, with,
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

/// No message is a regular expression, which is how the API server answers what violates a pattern.
/// The fraction of a time is the exception: no rule can check it.
fn assert_in_words(error: &str) {
    let others = error.replace("should match '^[^.]+([.][0-9]{1,9}([^0-9].*)?)?$'", "");
    assert!(!others.contains("should match"), "{error}");
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

/// CEL rules are not explained, so the words have to say that a union is one.
#[tokio::test]
async fn kubectl_explains_that_a_union_is_one() {
    for (at, one_of) in [
        ("sdkclient.spec", "Exactly one of `webapp` and `service` is set"),
        ("sdkclient.spec.service", "exactly one of `delivery` and `hashes`"),
        ("userpool.spec", "`hosted`, `provided`, `jwks`, `oidc` and `inline` is set"),
        ("member.spec", "exactly one of `user` and `serviceAccount`"),
        ("revocation.spec", "Exactly one of `userPool`, `sdkClient` and `member`"),
    ] {
        let said = kubectl(&["explain", at]).stdout;
        let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(one_of), "{at}: {said}");
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
            "tokenLifetime": {"max": "4464h"},
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
async fn warns_of_rotation_requests_without_effect() {
    let space = Space::new("hints").await;
    let hashes = json!({"hashes": []});
    let jwks = json!({
        "apiVersion": "anon.dev/v1beta1", "kind": "UserPool", "metadata": {"name": "remote"},
        "spec": {"audiences": ["shop"], "jwks": {"url": "https://id.example/jwks"}},
    });
    let cases = [
        (webapp("web", "users"), "no API key"),
        (
            with(service("ci", "Member", "key"), "/spec/service/apiKey", hashes),
            "generated elsewhere",
        ),
        (jwks, "only the signing keys of hosted pools"),
        (service("backend", "Member", "key"), ""),
        (quick_pool("users"), ""),
    ];
    for (manifest, hint) in cases {
        let asked = with(manifest, "/metadata/annotations", json!({"anon.dev/rotate": "now"}));
        let arguments = ["create", "--dry-run=server", "-n", &space.name, "-f", "-"];
        let said = kubectl_with(&arguments, &asked.to_string());
        assert!(said.success, "{said:?}");
        assert_eq!(said.stderr.contains("has no effect"), !hint.is_empty(), "{said:?}");
        assert!(said.stderr.contains(hint), "{said:?}");
    }
}

#[tokio::test]
async fn a_null_variant_is_one_error() {
    let space = Space::new("null").await;
    let client = json!({
        "apiVersion": "anon.dev/v1beta1", "kind": "SdkClient", "metadata": {"name": "c"},
        "spec": {"webapp": null},
    });
    for (manifest, variants) in [
        (with(quick_pool("users"), "/spec/hosted", Value::Null), "exactly one of"),
        (client, "exactly one of"),
        (
            with(service("b", "Member", "k"), "/spec/service/apiKey/delivery", Value::Null),
            "exactly one of",
        ),
    ] {
        let error = create(&space, &manifest).await.unwrap_err();
        // The display of an error ends with the Status that it came in.
        let (message, _status) = error.split_once(" (Status").unwrap();
        assert!(message.contains(variants), "{message}");
        assert_eq!(message.matches("Invalid value").count(), 1, "{message}");
    }
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
        pool("users", json!({"tokenLifetime": {"max": "24h"}})),
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
    let duration = "there is no unit for days";
    let object_name = "must be the name of an object, such as";
    for (manifest, text) in [
        (quick_pool(&"x".repeat(53)), names),
        (webapp(&"x".repeat(53), "users"), names),
        (member(&"x".repeat(53), "Member", account()), names),
        (webapp("web", &"x".repeat(53)), "spec.webapp.userPoolRef.name: Too long"),
        (organization("other", json!({})), "must be named `default`"),
        (
            organization("default", json!({"logoUrl": "javascript:alert(1)"})),
            "an http or https URL",
        ),
        // Unions: none, both, null.
        (with(quick_pool("p"), "/spec", json!({})), "write `hosted: {}`"),
        (pool("p", Value::Null), "write `hosted: {}`"),
        (with(webapp("w", "p"), "/spec", json!({})), one_arm),
        (with(webapp("w", "p"), "/spec/service", backend()["spec"]["service"].clone()), one_arm),
        (with(backend(), "/spec/service/apiKey", json!({})), "set exactly one of `delivery`"),
        (kubernetes(json!({})), "set exactly one of `user` ("),
        (
            kubernetes(json!({"user": "a", "serviceAccount": {"name": "b"}})),
            "set exactly one of `user` (",
        ),
        // Values.
        (pool("p", json!({"algorithm": "none"})), "Unsupported value: \"none\""),
        (pool("p", json!({"deletionPolicy": "delete"})), "Unsupported value: \"delete\""),
        (member("ada", "Owner", account()), "Unsupported value: \"Owner\""),
        (service("backend", "Admin", "key"), "never delivered into a Secret"),
        (secret("users.signing-keys"), "reserved for the operator"),
        (secret("anon-operator.record-keys"), "reserved for the operator"),
        (secret("ada.password-hash"), "reserved for the operator"),
        (secret("Key"), object_name),
        (secret(&"x".repeat(254)), "Too long"),
        (kubernetes(json!({"user": "system:admin"})), "`system:` users cannot be members"),
        (with(ada(), "/spec/email", json!("nobody")), "must be an e-mail address"),
        // Durations.
        (lifetime("2h", "1h"), "must not be longer than"),
        (lifetime("59s", "1h"), "at least `60s`"),
        (lifetime("1h", "8785h"), "at most `8784h`"),
        (lifetime("1d", "30h"), duration),
        (lifetime("1h", "-2h"), duration),
        (lifetime("1h", ""), duration),
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
        // One mistake, one message: rules that compute with a field hold until it can be parsed.
        assert!(!error.contains("type conversion"), "{error}");
        assert_in_words(&error);
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
    let jwks = |text: &str| pool_with("p", json!({"inline": {"jwks": text}, "anyAudience": true}));
    let provider = json!({
        "x5c": ["MIIC"], "x5t": "dGVzdA", "x5t#S256": "dGVzdA", "x5u": "https://id.example/cert",
        "issuer": "https://id.example", "exp": 1_900_000_000, "iat": 1, "nbf": 1, "d": null,
    });
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
        inline(provider),
        jwks(r#"{"keys": [{"kty": "OKP", "kid": "d", "d": null, "more": {"n": "p"}}]}"#),
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
        (oidc(&[("oidc/refreshInterval", json!("59s"))]), "from `1m` to `24h`"),
        (oidc(&[("oidc/refreshInterval", json!("25h"))]), "from `1m` to `24h`"),
        (oidc(&[("oidc/refreshInterval", json!(""))]), "no unit for days"),
        (inline(json!({"false": "AAAA"})), "write `\"n\":` in quotes, or use `inline.jwks`"),
        (inline(json!({"true": "AAAA"})), "write `\"y\":` in quotes, or use `inline.jwks`"),
        (inline(json!({"x5t": "x".repeat(129)})), "Too long"),
        (jwks(&" ".repeat(65537)), "Too long"),
        (
            with(jwks("{}"), "/spec/inline/keys", json!([{"kty": "RSA"}])),
            "set exactly one of `keys`",
        ),
        (pool_with("p", json!({"inline": {}, "anyAudience": true})), "set exactly one of `keys`"),
        (inline(json!({"kty": "oct"})), "kty must be"),
        (with(inline(json!({})), "/spec/inline/keys", json!([])), "at least 1 items"),
        // Claims.
        (oidc(&[("audiences", Value::Null)]), "list in `audiences` the `aud` values"),
        (
            with(url("https://a"), "/spec/anyAudience", json!(false)),
            "list in `audiences` the `aud` values",
        ),
        (oidc(&[("anyAudience", json!(true))]), "are mutually exclusive"),
        (oidc(&[("issuers", json!(["https://id.example/"]))]), "is `oidc.issuer`"),
        (oidc(&[("leeway", json!("301s"))]), "at most `5m`"),
        (oidc(&[("leeway", json!("-1s"))]), "no unit for days"),
        (oidc(&[("idClaim", json!(""))]), "at least 1 chars"),
        (oidc(&[("idClaim", json!("/a~2"))]), "must be a JSON Pointer"),
        (required("/"), "must be a JSON Pointer"),
        (oidc(&[("requiredClaims", json!([{"claim": "x", "values": []}]))]), "at least 1 items"),
        (oidc(&[("algorithms", json!(["none"]))]), "Unsupported value: \"none\""),
        (oidc(&[("algorithms", json!(["RS256", "RS256"]))]), "Duplicate value"),
        (with(quick_pool("p"), "/spec/idClaim", json!("email")), "of a hosted pool itself: remove"),
        (
            with(quick_pool("p"), "/spec/algorithms", json!(["ES256"])),
            "of a hosted pool itself: remove",
        ),
    ] {
        let refused = create(&space, &manifest).await;
        let error = refused.expect_err(&manifest.to_string());
        assert!(error.contains(text), "expected `{text}`\n{error}\n{manifest}");
        assert_in_words(&error);
    }
}

/// By name, in a list and in a text; the error does not repeat any part of the key.
#[tokio::test]
async fn private_members_are_refused_and_not_echoed() {
    let space = Space::new("private").await;
    let secret = "c2VjcmV0LXBhcnQtb2YtYS1rZXk";
    let pool = |inline: Value| pool_with("p", json!({"inline": inline, "anyAudience": true}));
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        let mut key = json!({"kty": "oct", "n": secret, "e": "AQAB", "kid": "k"});
        key[member] =
            if member == "oth" { json!([{"r": secret, "d": secret}]) } else { json!(secret) };
        let text = json!({"keys": [key]}).to_string();
        let spaced = text.replacen(&format!("\"{member}\":"), &format!("\"{member}\" :\n "), 1);
        for (inline, at) in [
            (json!({"keys": [key]}), "spec.inline.keys[0]: Forbidden"),
            (json!({"jwks": text}), "spec.inline.jwks: Forbidden"),
            (json!({"jwks": spaced}), "spec.inline.jwks: Forbidden"),
        ] {
            let error = create(&space, &pool(inline)).await.unwrap_err();
            assert!(error.contains(at), "{member}: {error}");
            assert!(error.contains("replace the key"), "{member}: {error}");
            assert!(!error.contains("c2VjcmV0"), "{member}: {error}");
        }
    }
    let long = json!({"kty": "RSA", "d": secret.repeat(100)});
    let error = create(&space, &pool(json!({"keys": [long]}))).await.unwrap_err();
    assert!(error.contains("Too long") && !error.contains("c2VjcmV0"), "{error}");
}

#[tokio::test]
async fn each_rule_of_services_and_their_keys() {
    let space = Space::new("rules").await;
    let sha256 = "6cfb9ed0778cd7e8c35a7321dd84df7f6e8b21e5b87ce2e631df784026c8f607";
    let key = |more: Value| {
        let mut key = json!({"id": &sha256[..16], "sha256": sha256});
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let service = json!({"role": "Admin", "apiKey": {"hashes": [key]}});
        with(service_of(json!({})), "/spec/service", service)
    };
    let rotation = |rotation: Value, lifetime: Value| {
        service_of(json!({"rotation": rotation, "lifetime": lifetime}))
    };
    let labels = |labels: Value| service_of(json!({"labels": labels}));
    let annotations = |annotations: Value| service_of(json!({"annotations": annotations}));
    let names = |names: Value| service_of(json!({"keyNames": names}));

    for manifest in [
        key(
            json!({"createdAt": "2026-01-01T00:00:00Z", "expiresAt": "9999-12-29T23:59:59.123456789+14:00"}),
        ),
        rotation(json!({"interval": "60s"}), json!("120s")),
        rotation(json!({"interval": "2h"}), json!("3h")),
        rotation(json!({"interval": "720h", "overlap": "168h"}), json!("888h")),
        rotation(json!({"interval": "720h", "overlap": "0s"}), json!("720h")),
        labels(json!({"team": "", "example.com/team": "A_b.c-1"})),
        annotations(json!({"example.com/a_B.c": "whatever this is"})),
        names(json!({"apiKey": ".env", "clientId": "a.b_c-D"})),
    ] {
        create(&space, &manifest).await.unwrap_or_else(|error| panic!("{error}\n{manifest}"));
    }

    let readable = "must be an RFC 3339 time before 9999-12-30";
    let lifetime = "at least rotation.interval plus rotation.overlap";
    let name = "a name must be valid in Kubernetes";
    for (manifest, text) in [
        // What we could not read would be served nowhere, and hold up what comes after it.
        (key(json!({"expiresAt": "9999-12-31T23:59:59Z"})), readable),
        (key(json!({"createdAt": "9999-12-30T00:00:00Z"})), readable),
        (key(json!({"expiresAt": "2030-01-01"})), "expiresAt"),
        (key(json!({"expiresAt": "2027-01-01T00:00:00.1234567891Z"})), "expiresAt"),
        (key(json!({"expiresAt": "2027-01-01T00:00:00ZTjunk"})), "expiresAt"),
        (key(json!({"expiresAt": "2027-01-01T00:00:00+99:99"})), "expiresAt"),
        (key(json!({"expiresAt": "never"})), "expiresAt"),
        (key(json!({"id": "0000000000000000"})), "the first 16 digits of sha256"),
        (key(json!({"id": "6CFB9ED0778CD7E8"})), "must be the id of an API key"),
        (key(json!({"sha256": "6CFB"})), "must be a SHA-256 hash"),
        // Rotation. An overlap that is not said is an hour.
        (rotation(json!({"interval": "59s"}), Value::Null), "at least `60s`"),
        (rotation(json!({"interval": "30d"}), Value::Null), "no unit for days"),
        (rotation(json!({"interval": "1h", "overlap": "1m30"}), json!("1w")), "no unit for days"),
        (rotation(json!({"interval": "2h"}), json!("2h")), lifetime),
        (rotation(json!({"interval": "2h"}), json!("2h59m59s")), lifetime),
        (rotation(json!({"interval": "10m"}), json!("19m59s")), lifetime),
        (rotation(json!({"interval": "2h", "overlap": "2h1s"}), Value::Null), "not longer than"),
        (rotation(json!({"interval": "720h", "overlap": "169h"}), Value::Null), "at most `168h`"),
        (service_of(json!({"lifetime": "59s"})), "at least `60s`"),
        // What the API server would refuse of the Secret, or a GitOps tool would prune it for.
        (labels(json!({"team": "hello world"})), "a label value, such as"),
        (labels(json!({"a b": "x"})), name),
        (labels(json!({"x".repeat(64): "x"})), name),
        (labels(json!({"kapp.k14s.io/app": "1"})), "are reserved"),
        (annotations(json!({"/x": "x"})), name),
        (annotations(json!({"objectset.rio.cattle.io/hash": "x"})), "are reserved"),
        (annotations(json!({"argocd.argoproj.io/tracking-id": "x"})), "are reserved"),
        // Nor may a tool copy the key into another namespace because a client says so.
        (annotations(json!({"kubed.appscode.com/sync": ""})), "are reserved"),
        (annotations(json!({"replicator.v1.mittwald.de/replicate-to": "*"})), "are reserved"),
        (
            annotations(json!({"reflector.v1.k8s.emberstack.com/reflection-auto-enabled": "true"})),
            "are reserved",
        ),
        (labels(json!({"clustersecret.io/x": "y"})), "are reserved"),
        (annotations(json!({"sealedsecrets.bitnami.com/managed": "true"})), "are reserved"),
        (names(json!({"apiKey": ".."})), "must be a key of a Secret's data"),
        (names(json!({"apiKey": "x", "clientId": "x"})), "must be four different keys"),
    ] {
        let refused = create(&space, &manifest).await;
        let error = refused.expect_err(&manifest.to_string());
        assert!(error.contains(text), "expected `{text}`\n{error}\n{manifest}");
        assert_in_words(&error);
    }
}

#[tokio::test]
async fn each_rule_of_webapps_organizations_and_revocations() {
    let space = Space::new("rules").await;
    let web = |field: &str, value: Value| {
        with(webapp("web", "users"), &format!("/spec/webapp/{field}"), value)
    };
    let redirects = |url: &str| web("redirectUrls", json!([url]));
    let session = |session: Value| organization("default", json!({"session": session}));
    let revocation = |spec: Value| {
        json!({"apiVersion": "anon.dev/v1beta1", "kind": "Revocation",
            "metadata": {"name": "leak"}, "spec": spec})
    };
    let of_pool = |field: &str, value: Value| {
        revocation(json!({"userPool": {"name": "users", field: value}}))
    };
    let (now, never) = ("2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z");
    let member_secret = |name: &str| {
        let member = member("ada", "Member", Value::Null);
        with(member, "/spec/passwordSecretRef", json!({"name": name, "key": "password"}))
    };

    for manifest in [
        redirects("https://shop.example/back?x=1"),
        redirects("com.example.app://back"),
        web("allowedOrigins", json!(["https://shop.example", "chrome-extension://abc"])),
        web("chromeExtensionId", json!("abcdefghijklmnopabcdefghijklmnop")),
        session(json!({"lifetime": "1h", "maxPerMember": 1})),
        of_pool("keysCreatedBefore", json!(now)),
        revocation(json!({"member": {"name": "ada", "sessionsCreatedBefore": now}})),
        member_secret("a.b-c"),
    ] {
        create(&space, &manifest).await.unwrap_or_else(|error| panic!("{error}\n{manifest}"));
    }

    let readable = "must be an RFC 3339 time before 9999-12-30";
    let (object_name, one_of) = ("must be the name of an object, such as", "exactly one of");
    let (origin, redirect) = ("must be a browser origin", "must be an absolute URL");
    for (manifest, text) in [
        (redirects("javascript://%0aalert(1)"), "must lead to a website or an app"),
        (redirects("data://text/html,x"), "must lead to a website or an app"),
        (redirects("JavaScript://x"), redirect),
        (redirects("/back"), redirect),
        (redirects("https://shop.example/#x"), redirect),
        (redirects("https://shop.example/ x"), redirect),
        (web("allowedOrigins", json!(["*"])), origin),
        // The element of a list is named.
        (web("allowedOrigins", json!(["https://a", "b"])), "spec.webapp.allowedOrigins[1]"),
        (web("allowedOrigins", json!(["https://shop.example/"])), origin),
        (web("chromeExtensionId", json!("abc")), "32 letters from `a` to `p`"),
        (web("logoUrl", json!("data:x")), "an http or https URL"),
        (web("logoUrl", json!("https://a b")), "an http or https URL"),
        (with(webapp("web", "users"), "/spec/clientId", json!("web")), "a lower-case UUID"),
        (with(webapp("web", "users"), "/spec/clientId", json!("")), "a lower-case UUID"),
        // A name that is not valid would be looked up in vain, or somewhere else.
        (web("userPoolRef/name", json!("our users")), object_name),
        (web("userPoolRef/name", json!("users?x")), object_name),
        (web("userPoolRef/name", json!("users/status")), object_name),
        (web("userPoolRef/name", json!("..")), object_name),
        (member_secret("my secret"), object_name),
        (member("ada", "Member", json!({"serviceAccount": {"name": "CI_bot"}})), object_name),
        (session(json!({"lifetime": "1s"})), "lifetime"),
        (session(json!({"maxPerMember": 0})), "maxPerMember"),
        (of_pool("keysCreatedBefore", json!(never)), readable),
        (of_pool("tokensIssuedBefore", json!(never)), readable),
        (revocation(json!({"member": {"name": "ada", "sessionsCreatedBefore": never}})), readable),
        (revocation(json!({"sdkClient": {"name": "b", "keysCreatedBefore": never}})), readable),
        (with(of_pool("keysCreatedBefore", json!(now)), "/spec/expiresAt", json!(never)), readable),
        (of_pool("keyIds", Value::Null), "specify what to revoke"),
        (
            revocation(json!({"sdkClient": {"name": "b", "keyIds": ["6CFB9ED0778CD7E8"]}})),
            "must be the id of an API key",
        ),
        (revocation(json!({})), one_of),
        (revocation(json!({"userPool": {"name": "Users", "keyIds": ["k"]}})), object_name),
    ] {
        let refused = create(&space, &manifest).await;
        let error = refused.expect_err(&manifest.to_string());
        assert!(error.contains(text), "expected `{text}`\n{error}\n{manifest}");
        assert_in_words(&error);
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

    let mut chosen = web["spec"].clone();
    chosen["clientId"] = json!("6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111");
    let hashes = json!({"service": {"role": "Member", "apiKey": {"hashes": []}}});
    let made_elsewhere = with(service("elsewhere", "Member", "x"), "/spec", hashes.clone());
    space.apply(&made_elsewhere).await;
    let arm = "a pool cannot change between `hosted`, `provided`";
    let keys = "cannot change between `delivery` and `hashes`";
    let type_ = "cannot change between `webapp` and `service`";
    for (object, spec, text) in [
        (&quick, hosted(json!({"rotation": {"interval": "70h"}})), "one 60th of tokenLifetime.max"),
        (&quick, json!({}), "write `hosted: {}`"),
        (&quick, theirs, arm),
        (&pool, hosted(json!({})), arm),
        (&pool, json!({"oidc": {"issuer": "https://id.example"}, "audiences": ["api"]}), arm),
        (&web, backend["spec"].clone(), type_),
        (&backend, web["spec"].clone(), type_),
        (&web, json!({}), "set exactly one of"),
        (&web, chosen, "clientId is immutable"),
        (&backend, hashes, keys),
        (&made_elsewhere, backend["spec"].clone(), keys),
    ] {
        let error = replace(&space, object, &spec).await.expect_err(&spec.to_string());
        assert!(error.contains(text), "expected `{text}`\n{error}\n{spec}");
    }
}
