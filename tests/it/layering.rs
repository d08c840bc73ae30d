//! Imports point down only (docs/architecture.md has the picture).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::imports::Sources;

/// What each module of `src/` may import from the crate, besides itself.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let leaves = ["config", "clock", "metrics", "telemetry", "names", "kube_ext"];
    let with_leaves = |modules: &[&'static str]| [modules, &leaves].concat();
    BTreeMap::from([
        ("domain", vec![]),
        ("clock", vec![]),
        ("names", vec!["domain"]),
        ("metrics", vec!["domain"]),
        // The kinds only in its tests.
        ("kube_ext", vec!["names", "crd", "domain", "telemetry"]),
        ("telemetry", vec![]),
        ("shutdown", vec![]),
        ("cli", vec!["crd", "domain", "clock", "names", "kube_ext"]),
        ("config", vec!["telemetry", "domain"]),
        ("crd", vec!["domain"]),
        ("validate", vec!["crd", "domain", "names"]),
        // Specs only in its tests.
        ("replicas", with_leaves(&["validate", "crd", "domain"])),
        ("index", with_leaves(&["replicas", "validate", "crd", "domain"])),
        ("watch", with_leaves(&["index", "crd", "domain"])),
        ("jwks", with_leaves(&["domain"])),
        ("leader", with_leaves(&[])),
        ("controller", with_leaves(&["index", "replicas", "jwks", "validate", "crd", "domain"])),
        ("server", with_leaves(&["index", "replicas", "validate", "crd", "domain"])),
        (
            "app",
            with_leaves(&[
                "server",
                "controller",
                "leader",
                "watch",
                "index",
                "replicas",
                "jwks",
                "validate",
                "crd",
                "domain",
            ]),
        ),
    ])
}

/// What a module must not know: the domain is pure, and the index has no client.
const FORBIDDEN: [(&str, &[&str]); 2] = [
    ("domain", &["kube", "k8s_openapi", "axum", "tokio", "tracing"]),
    ("index", &["kube::Client", "kube::api", "kube::runtime"]),
];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn module_of(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Every module that follows `crate::` in the text, in whatever position.
fn imports(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for after in code.split("crate::").skip(1) {
        let list = after.strip_prefix('{').and_then(|list| list.split_once('}'));
        let names = list.map_or(after, |(list, _)| list);
        let names: Vec<_> = if list.is_some() { names.split(',').collect() } else { vec![names] };
        let word = |name: &str| {
            name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
        };
        found.extend(names.into_iter().map(word).filter(|name| !name.is_empty()));
    }
    found
}

fn violations(module: &str, text: &str) -> Vec<String> {
    let allowed = allowed();
    let Some(may) = allowed.get(module) else {
        return vec![format!("module `{module}` has no place in the layering")];
    };
    let upward = imports(text)
        .into_iter()
        .filter(|import| import != module && !may.contains(&import.as_str()))
        .map(|import| format!("`{module}` must not import `{import}`"));
    let forbidden = FORBIDDEN.iter().filter(|(of, _)| *of == module);
    let known = forbidden.flat_map(|(_, names)| *names).filter(|name| {
        text.contains(&format!("use {name}")) || text.contains(&format!("{name}::"))
    });
    upward.chain(known.map(|name| format!("`{module}` must not know `{name}`"))).collect()
}

/// What the files import from others above them, through whatever path.
fn upward(sources: &Sources) -> Vec<String> {
    let allowed = allowed();
    let mut found = Vec::new();
    for (file, imported) in sources.imports() {
        let module = module_of(Path::new(file));
        for other in imported {
            let of_other = module_of(Path::new(other));
            let may =
                allowed.get(module.as_str()).is_some_and(|may| may.contains(&of_other.as_str()));
            if module != of_other && !may {
                found.push(format!("{file} must not import {other}"));
            }
        }
    }
    found
}

/// The path, relative to `src`, and the text of every file of the library.
pub fn texts() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&src).into_iter().map(|path| {
        let relative = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        (relative, fs::read_to_string(&path).unwrap())
    });
    files
        .filter(|(path, _)| {
            !["main.rs", "testing.rs"].contains(&path.as_str()) && !path.starts_with("bin/")
        })
        .collect()
}

#[test]
fn imports_point_down() {
    let texts = texts();
    let mut found =
        upward(&Sources::of(texts.iter().map(|(path, text)| (path.as_str(), text.as_str()))));
    for (path, text) in texts.iter().filter(|(path, _)| path != "lib.rs") {
        let violations = violations(&module_of(Path::new(path)), text);
        found.extend(violations.into_iter().map(|violation| format!("{path}: {violation}")));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_upward_import_is_noticed() {
    assert_eq!(violations("index", "use crate::server::ApiError;").len(), 1);
    assert_eq!(violations("domain", "use crate::{crd, domain};").len(), 1);
    assert_eq!(violations("domain", "fn f() { crate::index::x() }").len(), 1);
    assert_eq!(violations("domain", "use kube::Client;").len(), 1);
    assert_eq!(violations("index", "use kube::Client;").len(), 1);
    assert_eq!(violations("replicas", "use crate::index::Reader;").len(), 1);
    assert_eq!(violations("new_module", "").len(), 1);
    assert!(violations("index", "use crate::domain::ids;\n// crate::server").is_empty());
}

#[test]
fn an_upward_import_through_a_relative_path_is_noticed() {
    let upward = |text| {
        upward(&Sources::of([
            ("index/mod.rs", "mod store;"),
            ("index/store.rs", text),
            ("server/mod.rs", "pub use crate::leader::lead;"),
            ("leader.rs", ""),
            ("names.rs", "pub use crate::server::Door;"),
        ]))
    };
    for text in [
        "use super::super::server::Door;",
        "fn f() { super::super::server::open() }",
        "use crate::names::Door;",
    ] {
        let found = upward(text);
        assert!(
            found.contains(&"index/store.rs must not import server/mod.rs".to_owned()),
            "{found:?}"
        );
    }
    let found = upward("use super::super::server::lead;");
    assert!(found.contains(&"index/store.rs must not import leader.rs".to_owned()), "{found:?}");
}

/// What only the REST API may use: a client for the API server, and everything that is read with it.
const API_ONLY: [&str; 5] = ["kube::", "k8s_openapi", "kube_ext", "ApiState", "super::org"];

/// Endpoints and public documents answer from the index alone. So a process with the role
/// `validator` needs no right on Secrets.
#[test]
fn validators_have_no_client_for_the_api_server() {
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server");
    let mut checked = 0;
    for path in sources(&server) {
        let relative = path.strip_prefix(&server).unwrap();
        // `state.rs` and `mod.rs` put the two states together.
        let composes = matches!(relative.to_str(), Some("state.rs" | "mod.rs"));
        if composes || relative.starts_with("org") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n");
        let found: Vec<_> = API_ONLY.iter().filter(|name| code.contains(**name)).collect();
        assert!(found.is_empty(), "{}: {found:?}", relative.display());
        checked += 1;
    }
    assert!(checked > 10, "{checked}");
    // An endpoint that is declared elsewhere would not be in the table of README.md.
    for path in sources(&server).iter().filter(|path| !path.ends_with("endpoints/mod.rs")) {
        let text = fs::read_to_string(path).unwrap();
        assert!(!text.contains(": Endpoint ="), "{}", path.display());
    }
    let state = fs::read_to_string(server.join("state.rs")).unwrap();
    let (_, rest) = state.split_once("pub struct ValidatorState {").unwrap();
    let (fields, _) = rest.split_once("\n}").unwrap();
    let names =
        fields.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next());
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            "reader",
            "clock",
            "metrics",
            "public_url",
            "settings",
            "verified_tokens",
            "verification_queue"
        ]
    );
}

/// Where an `Api` may be one of a bare type, and why no object of others can disturb anything there.
const BARE: [(&str, &str); 4] = [
    ("kube_ext/", "where it is done"),
    ("server/org/login.rs", "a TokenReview is stored nowhere"),
    ("cli/", "for one person, who sees what is wrong"),
    ("watch/namespaces.rs", "the few fields of a Namespace that are read are strings"),
];

/// `Api<` of something else than the types of `kube_ext`, which read each object by itself.
fn bare_apis(text: &str) -> Vec<&str> {
    const TOLERANT: [&str; 5] = ["Tolerant<", "Guarded<", "GuardedMeta<", "LeaseMeta>", "K>"];
    const METADATA: [&str; 3] = [".get_metadata", ".list_metadata", ".patch_metadata"];
    let (code, _) = text.split_once("#[cfg(test)]").unwrap_or((text, ""));
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .filter(|line| {
            let line = line.replace("Api::<", "Api<");
            let mut types = line.split("Api<").skip(1);
            types.any(|type_| !TOLERANT.iter().any(|tolerant| type_.starts_with(tolerant)))
                || METADATA.iter().any(|call| line.contains(call))
        })
        .collect()
}

#[test]
fn objects_are_read_each_by_itself() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for path in sources(&src) {
        let relative = path.strip_prefix(&src).unwrap().display().to_string();
        if BARE.iter().any(|(exempt, _)| relative.starts_with(exempt)) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        found.extend(bare_apis(&text).into_iter().map(|line| format!("{relative}: {line}")));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_bare_api_is_noticed() {
    assert_eq!(bare_apis("let api: Api<Secret> = Api::all(client);").len(), 1);
    assert_eq!(bare_apis("let api = Api::<PartialObjectMeta<Secret>>::all(client);").len(), 1);
    assert_eq!(bare_apis("api.get_metadata(name)").len(), 1);
    assert!(bare_apis("let api: Api<Tolerant<Secret>> = Api::all(client);").is_empty());
}
