//! The commands and flags of `kubectl anon` in README.md, docs/ and examples/ exist.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::LazyLock;

use regex::Regex;

use crate::docs::files;
use crate::generated::root;

/// A call in a code span, or in a code block: up to what ends a command in a shell.
static CALL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)(?:`|^[ \t]*(?:[^`\n]*[|(] ?)?(?:\$ )?)kubectl[ -]anon ([^`|)#;>…\n]*)")
        .unwrap()
});

/// The arguments of each call in a page, such as `token inspect --token-file FILE`.
fn calls(page: &str) -> BTreeSet<Vec<String>> {
    let page = page.replace("\\\n", " ");
    let words = |call: &str| call.split_whitespace().map(str::to_owned).collect();
    CALL.captures_iter(&page).map(|call| words(&call[1])).collect()
}

/// Why a call would be a usage error, as far as `--help` of its command tells.
fn error(call: &[String]) -> Option<String> {
    let is_command = |word: &&String| word.chars().all(|it| it.is_ascii_lowercase() || it == '-');
    let commands = call.iter().take_while(is_command).take_while(|word| !word.starts_with('-'));
    let mut program = Command::new(env!("CARGO_BIN_EXE_kubectl-anon"));
    let said = program.args(commands).arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&said.stdout);
    if !said.status.success() {
        return Some(String::from_utf8_lossy(&said.stderr).into_owned());
    }
    let flags = call.iter().filter(|word| word.starts_with("--"));
    let names = flags.map(|flag| flag.split('=').next().unwrap());
    let known: BTreeSet<_> = help.split(|it: char| !it.is_alphanumeric() && it != '-').collect();
    let unknown: Vec<_> = names.filter(|name| !known.contains(name)).collect();
    (!unknown.is_empty()).then(|| format!("it has no {unknown:?}"))
}

#[test]
fn commands_and_flags_of_kubectl_anon_in_pages_exist() {
    let pages = ["docs", "examples"].map(|folder| files(&root().join(folder), "md")).concat();
    let mut count = 0;
    for page in pages.into_iter().chain([root().join("README.md")]) {
        for call in calls(&fs::read_to_string(&page).unwrap()) {
            let error = error(&call);
            assert!(error.is_none(), "{}: {call:?}: {}", page.display(), error.unwrap());
            count += 1;
        }
    }
    assert!(count > 10, "{count} calls");
}

#[test]
fn calls_are_found_in_spans_and_blocks() {
    let page = "Call `kubectl anon key id`, or\n\n    printf x | kubectl anon token inspect \\\n      --json  # why\n\nWith kubectl anon you can\n";
    let expected = [vec!["key", "id"], vec!["token", "inspect", "--json"]];
    assert_eq!(
        calls(page),
        expected.map(|call| call.into_iter().map(str::to_owned).collect()).into()
    );
}
