//! The chart: clean, and rendered with the defaults and with each value changed. That it works is
//! what every other test here shows, for each runs under what it installs.

use std::process::Command;

use crate::harness::kubectl::kubectl_with;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/anon-operator");

fn helm(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("helm").args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn render(set: &str) -> String {
    let arguments = ["template", "anon-operator", CHART, "--namespace=anon-system", "--set", set];
    let (success, text) = helm(&arguments);
    assert!(success, "{set}: {text}");
    text
}

#[test]
fn it_is_clean() {
    let (success, text) = helm(&["lint", "--strict", CHART]);
    assert!(success, "{text}");
}

#[test]
fn what_it_renders_is_accepted() {
    for set in ["replicas=3", "publicUrl=https://anon.example.com", "crds.install=false"] {
        // The Namespace exists, and server-side apply does not mind what the release owns.
        let arguments =
            ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"];
        let said = kubectl_with(&arguments, &render(set));
        assert!(said.success, "{set}: {said:?}");
        assert!(!said.stderr.contains("Warning"), "{set}: {said:?}");
    }
}

#[test]
fn values_reach_what_they_are_for() {
    assert!(render("publicUrl=https://anon.example.com").contains("https://anon.example.com"));
    assert!(render("publicUrl=").contains("http://anon-operator.anon-system.svc:8080"));
    assert!(render("orphanGrace=2h").contains("2h"));
    assert!(render("api.linkUrl=https://link.example").contains("--link-url=https://link.example"));
    assert!(render("api.trustedProxyHops=2").contains("--trusted-proxy-hops=2"));
    // Nobody gets rights over Namespaces who has not asked for them.
    for (allowed, set) in [(true, "api.allowSignUp=true"), (false, "api.allowSignUp=false")] {
        let rendered = render(set);
        let rules = rendered.matches("resources: [namespaces]").count();
        assert_eq!(rules, if allowed { 3 } else { 1 });
        assert_eq!(rendered.contains("--allow-sign-up"), allowed);
        assert_eq!(rendered.contains("name: anon-operator-sign-up"), allowed);
    }
    let opened = render("remoteKeySets.allowFrom={10.20.0.0/16,fd12::/16}");
    assert!(opened.contains("- --allow-fetch-from=10.20.0.0/16\n"), "{opened}");
    assert!(opened.contains("- --allow-fetch-from=fd12::/16\n"), "{opened}");
    let hosts = render("remoteKeySets.hosts={id.example.com,*.auth0.com}");
    assert!(hosts.contains(r#"- "--fetch-host=*.auth0.com""#), "{hosts}");
    assert!(render("remoteKeySets.denyFrom={8.0.0.0/8}").contains("--deny-fetch-from=8.0.0.0/8"));
    assert!(render("remoteKeySets.maxAge=2h").contains("--max-jwks-age=2h"));
    assert!(!render("crds.install=false").contains("CustomResourceDefinition"));
    assert!(!render("userRoles.aggregate=false").contains("aggregate-to-"));
}

#[test]
fn a_value_that_does_not_exist_is_refused_by_name() {
    for wrong in [
        "replica=3",
        "replicas=many",
        "publicUrl=nonsense",
        "log.level=%%%",
        "remoteKeySets.allowFrom={all}",
    ] {
        let arguments = ["template", "anon-operator", CHART, "--set", wrong];
        let (success, text) = helm(&arguments);
        let name = wrong.split(['=', '.']).next().unwrap();
        assert!(!success && text.contains(name), "{wrong}: {text}");
    }
}
