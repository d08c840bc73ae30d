//! Imports point down only (docs/architecture.md has the picture).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module of `src/` may import from the crate, besides itself.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let leaves = ["config", "clock", "metrics", "telemetry", "names", "kube_error", "kube_ext"];
    let with_leaves = |modules: &[&'static str]| [modules, &leaves].concat();
    BTreeMap::from([
        ("domain", vec![]),
        ("clock", vec![]),
        ("names", vec!["domain"]),
        ("metrics", vec![]),
        ("kube_error", vec![]),
        // The kinds only in its tests.
        ("kube_ext", vec!["names", "crd"]),
        ("telemetry", vec![]),
        ("shutdown", vec![]),
        ("cli", vec!["crd", "domain", "clock", "names", "kube_error"]),
        ("config", vec!["telemetry", "domain"]),
        ("crd", vec!["domain"]),
        ("validate", vec!["crd", "domain", "names"]),
        ("replicas", with_leaves(&["crd", "domain"])),
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

#[test]
fn imports_point_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for path in sources(&src) {
        let relative = path.strip_prefix(&src).unwrap();
        let module = module_of(relative);
        if matches!(module.as_str(), "lib" | "main" | "bin") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        found.extend(
            violations(&module, &text).into_iter().map(|v| format!("{}: {v}", relative.display())),
        );
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
