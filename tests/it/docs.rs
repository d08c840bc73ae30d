//! The documentation is true where a test can tell: links lead somewhere, the README shows the
//! example that is tested, every reason is described.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anon_operator::domain::decision::{Class, Reason};
use anon_operator::domain::permission::Operation;
use anon_operator::domain::role::Role;

use crate::generated::{check, root};

/// Every Markdown file of the repository, but for those of dependencies and builds.
fn pages() -> Vec<PathBuf> {
    fn below(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for directory in ["docs", "dev", "charts"] {
        below(&root().join(directory), &mut found);
    }
    let top = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    found.extend(top.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    found
}

/// The targets of `[text](target)`, outside code blocks.
fn links(text: &str) -> Vec<String> {
    let mut code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        code ^= line.trim_start().starts_with("```");
        if code {
            continue;
        }
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        found.extend(targets.map(|(target, _)| target.to_owned()));
    }
    found
}

/// The anchors of a page's headings, as the usual hosting platforms make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept =
                title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').map_or((&*link, None), |(p, a)| (p, Some(a)));
            let target =
                if path.is_empty() { page.clone() } else { page.with_file_name("").join(path) };
            let known = match anchor {
                _ if !target.exists() => false,
                None => true,
                Some(anchor) => anchors(&fs::read_to_string(&target).unwrap()).contains(anchor),
            };
            if !known {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_readme_shows_the_quickstart_as_it_is() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let example = fs::read_to_string(root().join("examples/quickstart.yaml")).unwrap();
    assert!(
        readme.contains(&format!("```yaml\n{example}```\n")),
        "README.md shows another examples/quickstart.yaml: copy the file into its yaml block"
    );
}

/// The table of reasons in docs/validate.md, between its two comments. Named so that `make
/// generate` writes it.
#[test]
fn generated_table_of_reasons() {
    const BEGIN: &str = "<!-- reasons: written by `make generate` -->\n";
    const END: &str = "<!-- end of reasons -->\n";
    let path = root().join("docs/validate.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the comment before the table");
    let (_, after) = rest.split_once(END).expect("the comment after the table");
    let row = |reason: &Reason| {
        let status = match reason.class() {
            Class::BadRequest => 400,
            Class::Unauthorized => 401,
            Class::Unavailable => 503,
        };
        format!("| `{}` | {status} | {} |\n", reason.as_str(), reason.message())
    };
    let rows: String = Reason::ALL.iter().map(row).collect();
    let table = format!("| reason | status | message |\n| --- | --- | --- |\n{rows}");
    check(&path, &format!("{before}{BEGIN}{table}{END}{after}"));
}

#[test]
fn generated_table_of_roles() {
    const BEGIN: &str = "<!-- roles: written by `make generate` -->\n";
    const END: &str = "<!-- end of roles -->\n";
    let path = root().join("docs/api.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the comment before the table");
    let (_, after) = rest.split_once(END).expect("the comment after the table");
    let row = |operation: &Operation| {
        let (method, path) = (operation.method(), operation.path());
        let needs = operation.needs().map_or("anybody", Role::as_str);
        format!("| `{method} {path}` | {needs} | {} |\n", operation.summary())
    };
    let rows: String = Operation::ALL.iter().map(row).collect();
    let table = format!("| operation | least role | to … |\n| --- | --- | --- |\n{rows}");
    check(&path, &format!("{before}{BEGIN}{table}{END}{after}"));
}

#[test]
fn generated_openapi_description() {
    let document = anon_operator::server::openapi();
    let json = serde_json::to_string_pretty(&document).unwrap();
    check(&root().join("docs/openapi.json"), &format!("{json}\n"));
}

#[test]
fn every_class_of_fetch_error_has_its_cure() {
    let page = include_str!("../../docs/remote-key-sets.md");
    for class in anon_operator::domain::fetch_error::FetchError::ALL {
        let name = format!("`{}`", class.as_str());
        let row = page.lines().find(|line| line.starts_with('|') && line.contains(&name));
        assert!(row.is_some(), "{name} is not in docs/remote-key-sets.md");
    }
}
