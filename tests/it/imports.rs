//! No two files of `src` import each other, directly or through others.
//!
//! An import is a `use` declaration, or a path that begins with `crate`, `super`, `self` or the name
//! of a child module. It is followed through re-exports to the file that has the item. Exempt is what
//! a parent (a `mod.rs`, or the file beside the folder of its name) imports from the modules below
//! it: it has to name them anyway, and re-exports what they have. What they import from their parent
//! counts. Tests may import anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

/// The segments of a module's path; none for the root of the crate.
type Module = Vec<String>;

/// A file of `src`.
struct Source {
    path: String,
    /// What its `use` declarations bring into scope: the name, and the absolute path.
    uses: Vec<(String, Module)>,
    /// The absolute path of everything else that it names.
    paths: Vec<Module>,
}

/// Every file of `src`, by its module.
pub struct Sources(BTreeMap<Module, Source>);

impl Sources {
    /// Of paths relative to `src`, and texts.
    pub fn of<'t>(files: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        let files = files.into_iter().filter(|(path, _)| !path.contains("tests"));
        let modules: BTreeMap<Module, _> =
            files.map(|(path, text)| (module_of(path), (path, text))).collect();
        let source = |(module, (path, text)): (&Module, &(&str, &str))| {
            let code = code_of(text);
            let absolute = |path: Module| absolute(module, path, &modules);
            let uses = declarations(&code).into_iter();
            let uses = uses.filter_map(|(name, path)| Some((name, absolute(path)?))).collect();
            let paths = paths(&code).into_iter().filter_map(absolute).collect();
            (module.clone(), Source { path: (*path).to_owned(), uses, paths })
        };
        Self(modules.iter().map(source).collect())
    }

    /// What each file imports, by path.
    pub fn imports(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut imports = BTreeMap::new();
        for (module, source) in self.0.iter().filter(|(module, _)| !module.is_empty()) {
            let named = source.uses.iter().map(|(_, path)| path).chain(&source.paths);
            let targets = named.map(|path| self.resolve(path, 0));
            let targets = targets.filter(|target| !target.starts_with(module));
            let files = targets.filter_map(|target| self.0.get(&target));
            imports.insert(source.path.as_str(), files.map(|file| file.path.as_str()).collect());
        }
        imports
    }

    /// The module of the file that has what `path` names.
    fn resolve(&self, path: &[String], depth: usize) -> Module {
        for length in 0..path.len() {
            if self.0.contains_key(&path[..=length]) {
                continue;
            }
            // No module, so an item of the module before it, or one that is re-exported there.
            let (module, rest) = path.split_at(length);
            let uses = self.0.get(module).map(|source| source.uses.as_slice()).unwrap_or_default();
            return match uses.iter().find(|(name, _)| *name == rest[0]) {
                Some((_, target)) if depth < 8 => {
                    self.resolve(&[target, &rest[1..]].concat(), depth + 1)
                }
                _ => module.to_vec(),
            };
        }
        path.to_vec()
    }

    /// The files that import each other, each with what it imports of the others.
    pub fn cycles(&self) -> Vec<String> {
        let mut imports = self.imports();
        loop {
            let imported: BTreeSet<_> = imports.values().flatten().copied().collect();
            let importing: BTreeSet<_> = imports.keys().copied().collect();
            let before = imports.len();
            // A file that imports nothing, or that nothing imports, is in no cycle.
            imports.retain(|file, of_file| {
                of_file.retain(|other| importing.contains(other));
                imported.contains(file) && !of_file.is_empty()
            });
            if imports.len() == before {
                break;
            }
        }
        imports.iter().map(|(file, others)| format!("{file} imports {others:?}")).collect()
    }
}

fn module_of(path: &str) -> Module {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// The text without comments and without the tests at its end.
fn code_of(text: &str) -> String {
    static TESTS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"#\[cfg\(test\)\]\s*mod ").unwrap());
    static COMMENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)(^|\s)//.*$").unwrap());
    let end = TESTS.find(text).map_or(text.len(), |tests| tests.start());
    COMMENT.replace_all(&text[..end], "").into_owned()
}

fn use_declaration() -> &'static Regex {
    static USE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?m)^\s*(?:pub(?:\([^)]*\))?\s+)?use\s+([^;]+);").unwrap());
    &USE
}

/// The names that the `use` declarations bring into scope, with their paths.
fn declarations(code: &str) -> Vec<(String, Module)> {
    let mut found = Vec::new();
    for declaration in use_declaration().captures_iter(code) {
        expand(&[], &declaration[1], &mut found);
    }
    found
}

/// The paths that a tree such as `a::{b, c::{self, d as e}}` stands for.
fn expand(prefix: &[String], tree: &str, found: &mut Vec<(String, Module)>) {
    let tree = tree.trim();
    if let Some((before, list)) = tree.split_once('{') {
        let segments = before.split("::").map(str::trim).filter(|segment| !segment.is_empty());
        let prefix = [prefix, &segments.map(str::to_owned).collect::<Vec<_>>()].concat();
        let list = list.trim_end();
        let list = list.strip_suffix('}').unwrap_or(list);
        let (mut depth, mut start) = (0_usize, 0);
        for (at, character) in list.char_indices().chain([(list.len(), ',')]) {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    expand(&prefix, &list[start..at], found);
                    start = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    let (path, alias) =
        tree.split_once(" as ").map_or((tree, None), |(path, as_)| (path, Some(as_)));
    let mut path =
        [prefix, &path.split("::").map(|it| it.trim().to_owned()).collect::<Vec<_>>()].concat();
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let last = path.last().cloned().unwrap_or_default();
    if !last.is_empty() {
        found.push((alias.map_or(last, |alias| alias.trim().to_owned()), path));
    }
}

/// The paths outside of `use` declarations.
fn paths(code: &str) -> Vec<Module> {
    static PATH: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b[a-z_]+(::\w+)+").unwrap());
    let code = use_declaration().replace_all(code, "");
    let found = PATH.find_iter(&code);
    found.map(|path| path.as_str().split("::").map(str::to_owned).collect()).collect()
}

/// The path from the root of the crate; `None` if it leads to another crate.
fn absolute<T>(module: &[String], path: Module, modules: &BTreeMap<Module, T>) -> Option<Module> {
    let mut base = module.to_vec();
    let mut rest = path.as_slice();
    match rest.first()?.as_str() {
        "crate" => (base, rest) = (Vec::new(), &rest[1..]),
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|first| first == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        child => {
            base.push(child.to_owned());
            if !modules.contains_key(&base) {
                return None;
            }
            rest = &rest[1..];
        }
    }
    base.extend_from_slice(rest);
    Some(base)
}

#[test]
fn no_file_imports_itself_through_others() {
    let texts = crate::layering::texts();
    let sources = Sources::of(texts.iter().map(|(path, text)| (path.as_str(), text.as_str())));
    let cycles = sources.cycles();
    assert!(cycles.is_empty(), "these import each other:\n{}", cycles.join("\n"));
}

#[test]
fn finds_cycles() {
    let cycles =
        |files: &[(&'static str, &'static str)]| Sources::of(files.iter().copied()).cycles();
    let a = ("x/a.rs", "use super::b::{self, B};");
    for b in [
        "use super::a::A;",
        "use crate::{names, x::{a::A, c}};",
        "fn f() -> super::a::A {}",
        "pub use crate::x::a;",
        "use super::A;",
        "use crate::y::a;",
    ] {
        // Through re-exports, of the item and of the module.
        let reexports = [("x/mod.rs", "mod a;\npub use a::A;"), ("y.rs", "pub use crate::x::a;")];
        let found = cycles(&[&[a, ("x/b.rs", b)], &reexports[..]].concat());
        assert!(found.len() >= 2, "{b}: {found:?}");
    }
    let through_a_third =
        [a, ("x/b.rs", "use super::super::z::Z;"), ("z.rs", "use crate::x::a;"), ("x/mod.rs", "")];
    assert_eq!(cycles(&through_a_third).len(), 3);
}

#[test]
fn accepts_what_is_no_cycle() {
    for files in [
        [("a.rs", "use crate::b;"), ("b.rs", "// use crate::a;\n/// [`crate::a`]\nuse kube::a;")],
        [("a.rs", "use crate::b;"), ("b.rs", "#[cfg(test)]\nmod tests {\n    use crate::a;\n}")],
        [("a/mod.rs", "mod b;\nuse b::B;"), ("a/b.rs", "use super::A;")],
        [("a.rs", "fn f() { b::g() }"), ("b.rs", "use crate::a;")],
    ] {
        assert_eq!(Sources::of(files).cycles(), Vec::<String>::new(), "{files:?}");
    }
}
