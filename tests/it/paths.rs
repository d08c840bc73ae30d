//! Source paths and modules that documentation and comments name exist.
//!
//! Checked are Markdown pages (except the changelog, which speaks of the past) and the comments of
//! Rust files: words in backticks that are a path (`folder/name`, with or without `.rs`) or an item
//! of one of our modules (`module::name`), and every `.rs` and `.md` file, in backticks or not. A
//! path may be given from the root of the repository, from `src/`, or from any folder above the file,
//! as long as it is the end of a real path.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use crate::generated::root;

/// Words with a slash that are no paths of ours. Groups such as `anon.dev/use` need no entry.
const NOT_PATHS: [&str; 11] = [
    "action/anon.dev/UserPool/rotate",
    "http/protobuf",
    "kind/name",
    "namespace/Kind/name",
    "namespace/name",
    "namespace/pool",
    "oauth2client/reports",
    "plugins/anon.yaml",
    "resource/subresource",
    "sdkclient/backend",
    "userpool/users",
];

/// What follows the slash in a subresource of the API, such as `members/status`.
const SUBRESOURCES: [&str; 4] = ["status", "finalizers", "token", "scale"];

/// A file that names others.
struct Text {
    path: String,
    /// Line numbers and what is prose in them.
    lines: Vec<(usize, String)>,
}

/// Every file of the repository, and every folder, relative to its root.
struct Tree(BTreeSet<String>);

impl Tree {
    fn read() -> Self {
        let mut paths = BTreeSet::new();
        walk(root(), &mut paths);
        Self(paths)
    }

    fn ending_in(&self, extension: &str) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str).filter(move |path| path.ends_with(extension))
    }

    /// Whether `path` is a file, a folder or a module, or the end of the path of one. Segments in
    /// capitals, such as `KIND.rs`, stand for any name.
    fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/').trim_start_matches("../").trim_start_matches("./");
        if self.0.contains(path) {
            return true;
        }
        let pattern = placeholders().replace_all(&regex::escape(path), "[^/]+").into_owned();
        let pattern = pattern.replace(r"\*", "[^/]*").replace(r"\{", "(").replace(r"\}", ")");
        let pattern = pattern.replace(',', "|");
        let pattern = Regex::new(&format!("(^|/){pattern}(\\.rs)?$")).unwrap();
        self.0.iter().any(|known| pattern.is_match(known))
    }

    /// The files of the modules whose path ends with `segments`, of any crate here.
    fn modules(&self, segments: &[&str]) -> Vec<String> {
        let name = segments.join("/");
        let ends = [format!("/{name}.rs"), format!("/{name}/mod.rs")];
        let found = self.ending_in(".rs").filter(|path| ends.iter().any(|end| path.ends_with(end)));
        found.map(|path| fs::read_to_string(root().join(path)).unwrap()).collect()
    }
}

fn walk(folder: &Path, paths: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        if [".git", "target", "node_modules"].iter().any(|name| path.ends_with(name)) {
            continue;
        }
        if path.is_dir() {
            walk(&path, paths);
        }
        paths.insert(relative);
    }
}

fn placeholders() -> &'static Regex {
    static PLACEHOLDERS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(KIND|NAME|FILE)\b").unwrap());
    &PLACEHOLDERS
}

/// Markdown as it is; of Rust only the comments.
fn texts(tree: &Tree) -> Vec<Text> {
    let mut texts = Vec::new();
    for path in tree.ending_in(".md").chain(tree.ending_in(".rs")) {
        // The history, and the words with which this test explains itself.
        if matches!(path, "CHANGELOG.md" | "tests/it/paths.rs") {
            continue;
        }
        let content = fs::read_to_string(root().join(path)).unwrap();
        let numbered = (1..).zip(content.lines());
        let lines = if Path::new(path).extension().is_some_and(|extension| extension == "rs") {
            let comments = numbered.filter_map(|(number, line)| {
                let comment = line.trim_start().strip_prefix("//")?;
                Some((number, comment.trim_start_matches(['/', '!']).to_owned()))
            });
            comments.collect()
        } else {
            numbered.map(|(number, line)| (number, line.to_owned())).collect()
        };
        texts.push(Text { path: path.to_owned(), lines });
    }
    texts
}

/// Whether a word in backticks claims to be a path of this repository.
fn is_path(word: &str) -> bool {
    static PATH: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^[\w.{},*-]+(/[\w.{},*-]+)*/?$").unwrap());
    let Some((first, rest)) = word.split_once('/') else {
        return false;
    };
    // A group, a host or a network: `anon.dev/use`, `10.0.0.0/8`.
    let domain = first.trim_start_matches('.').contains('.');
    let media_type = matches!(first, "application" | "text");
    let built = first == "target";
    if domain || media_type || built || SUBRESOURCES.contains(&rest) || NOT_PATHS.contains(&word) {
        return false;
    }
    PATH.is_match(word)
}

/// Whether `module::item` exists; also if its first segment is no module of ours.
fn item_exists(tree: &Tree, word: &str) -> bool {
    let word = word.trim_end_matches("()");
    let ours = word.starts_with("crate::");
    let segments: Vec<_> =
        word.split("::").filter(|it| !matches!(*it, "crate" | "super" | "self")).collect();
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
        return true;
    };
    if !tree.modules(&segments).is_empty() {
        return true;
    }
    if !ours && tree.modules(&[first]).is_empty() {
        return true;
    }
    // `module::item`, `module::Type::member`; at the root `crate::item`.
    let defined = Regex::new(&format!(
        r"(?m)\b(fn|struct|enum|union|const|static|trait|type|mod|macro_rules!)\s+{last}\b|pub use [^;]*\b{last}\b|^\s+{last}\b\s*[,({{=]"
    ));
    let defined = defined.unwrap();
    (1..segments.len())
        .flat_map(|length| tree.modules(&segments[..length]))
        .any(|module| defined.is_match(&module))
}

/// What `text` names that does not exist.
fn missing(tree: &Tree, text: &Text) -> Vec<String> {
    static QUOTED: LazyLock<Regex> = LazyLock::new(|| Regex::new("`([^`]+)`").unwrap());
    static ITEM: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^[a-z_][a-z0-9_]*(::\w+)+(\(\))?$").unwrap());
    static FILE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(^|[^\w/.:-])([\w.-][\w./-]*\.(rs|md))\b").unwrap());
    let mut found = Vec::new();
    for (number, line) in &text.lines {
        let mut wrong = BTreeSet::new();
        for quoted in QUOTED.captures_iter(line) {
            // `dev/cluster up`: a command and its arguments.
            let Some(word) = quoted[1].split_whitespace().next() else {
                continue;
            };
            let exists = if ITEM.is_match(word) {
                item_exists(tree, word)
            } else {
                !is_path(word) || tree.has(word)
            };
            if !exists {
                wrong.insert(word.to_owned());
            }
        }
        for file in FILE.captures_iter(line) {
            if !tree.has(&file[2]) {
                wrong.insert(file[2].to_owned());
            }
        }
        found.extend(wrong.iter().map(|word| format!("{}:{number}: {word}", text.path)));
    }
    found
}

#[test]
fn named_paths_and_modules_exist() {
    let tree = Tree::read();
    let missing: Vec<_> = texts(&tree).iter().flat_map(|text| missing(&tree, text)).collect();
    assert!(
        missing.is_empty(),
        "no such file or module (if it is no path of ours: NOT_PATHS in tests/it/paths.rs):\n{}",
        missing.join("\n")
    );
}

#[test]
fn finds_missing_paths_and_modules() {
    let tree = Tree::read();
    let check = |line: &str| {
        let text = Text { path: "docs/x.md".to_owned(), lines: vec![(1, line.to_owned())] };
        missing(&tree, &text)
    };
    for line in [
        "see `controller/no_such_file`",
        "see `no_such_folder/`",
        "see src/no_such_file.rs",
        "(reference/no_such_page.md)",
        "`src/no_such_folder/KIND.rs`",
        "`domain::no_such_module`",
        "`domain::token::no_such_function()`",
        "`crate::no_such_module`",
    ] {
        assert_eq!(check(line).len(), 1, "{line}");
    }
    for line in [
        "`src/domain/`, `domain/token.rs`, `src/crd/KIND.rs`, `tests/{it,cluster}/main.rs`",
        "`dev/cluster up --no-operator`",
        "[text](../README.md#installing)",
        "`members/status`, `anon.dev/use`, `application/json`, `/v1/validate`, `10.0.0.0/8`",
        "`domain::token::UnverifiedToken`, `std::fs::read()`, `Kind::Member`",
    ] {
        assert_eq!(check(line), Vec::<String>::new(), "{line}");
    }
}
