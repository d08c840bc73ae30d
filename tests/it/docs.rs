//! The documentation is true where a test can tell: links lead somewhere, the README shows the
//! example that is tested, every reason is described.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anon_operator::testing::config::Config;
use anon_operator::testing::crd::reasons::{
    ConditionType, Documentation, EventReason, ExtraReason, ReadyReason,
};
use anon_operator::testing::domain::fetch_error::FetchError;
use anon_operator::testing::domain::operation::Operation;
use anon_operator::testing::domain::reason::{Class, Reason};
use anon_operator::testing::domain::role::Role;
use anon_operator::testing::metrics::catalog::Description;
use anon_operator::testing::metrics::{Metrics, catalog};
use anon_operator::testing::server::endpoints::{ENDPOINTS, Endpoint};
use clap::{Arg, Args as _, Command};

use crate::generated::{check, root};

/// The files with this extension in a directory and below it.
pub fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| !path.ends_with("target") && !path.ends_with("node_modules"))
        .flat_map(|path| if path.is_dir() { files(&path, extension) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|it| it == extension))
        .collect()
}

/// Every Markdown file of the repository, but for those of dependencies and builds.
fn pages() -> Vec<PathBuf> {
    let below =
        ["docs", "dev", "charts", "examples"].map(|directory| files(&root().join(directory), "md"));
    let top = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let top = top.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    below.into_iter().flatten().chain(top).collect()
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

/// Compares, or writes, the table between the two comments `name: written by …` and `end of name`.
pub fn check_table(page: &str, name: &str, table: &str) {
    let (begin, end) = (
        format!("<!-- {name}: written by `make generate` -->\n"),
        format!("<!-- end of {name} -->\n"),
    );
    let path = root().join(page);
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(&begin).expect("the comment before the table");
    let (_, after) = rest.split_once(&end).expect("the comment after the table");
    check(&path, &format!("{before}{begin}{table}{end}{after}"));
}

/// Named, like those below, so that `make generate` writes it.
#[test]
fn generated_table_of_reasons() {
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
    check_table("docs/validate.md", "reasons", &table);
}

#[test]
fn generated_table_of_roles() {
    let row = |operation: &Operation| {
        let (method, path) = (operation.method(), operation.path());
        let needs = operation.needs().map_or("anyone", Role::as_str);
        format!("| `{method} {path}` | {needs} | {} |\n", operation.summary())
    };
    let rows: String = Operation::ALL.iter().map(row).collect();
    let table = format!("| operation | minimum role | description |\n| --- | --- | --- |\n{rows}");
    check_table("docs/api.md", "roles", &table);
}

#[test]
fn generated_table_of_endpoints() {
    let row = |endpoint: &&Endpoint| {
        let accepts = endpoint.accepts.documentation();
        let waits = endpoint
            .waits_for_missing_key
            .map_or_else(String::new, |wait| format!("{} s", wait.as_secs_f64()));
        let (name, serves, client) = (endpoint.name, endpoint.serves, endpoint.client_from);
        format!("| `{name}` | {serves} | {accepts} | {client} | {waits} |\n")
    };
    let rows: String = ENDPOINTS.iter().map(row).collect();
    let head = "| endpoint | authenticates | accepts | client of an appUserIdToken | waits for a missing key |";
    let table = format!("{head}\n| --- | --- | --- | --- | --- |\n{rows}");
    check_table("README.md", "endpoints", &table);
}

/// The flags of `anon-operator run`.
fn flags() -> Vec<Arg> {
    Config::augment_args(Command::new("run")).get_arguments().cloned().collect()
}

#[test]
fn generated_table_of_flags() {
    let row = |flag: &Arg| {
        let name = flag.get_long().unwrap();
        let variable = flag.get_env().unwrap().to_string_lossy();
        let default = match flag.get_default_values().first() {
            Some(value) => format!("`{}`", value.to_string_lossy()),
            None if flag.is_required_set() => "required".to_owned(),
            None => String::new(),
        };
        let help = flag.get_help().unwrap().to_string();
        format!("| `--{name}` | `{variable}` | {default} | {help} |\n")
    };
    let rows: String = flags().iter().map(row).collect();
    let table =
        format!("| flag | variable | default | description |\n| --- | --- | --- | --- |\n{rows}");
    check_table("docs/configuration.md", "flags", &table);
}

#[test]
fn generated_reference_of_the_command_line() {
    check(&root().join("docs/cli-reference.md"), &anon_operator::testing::cli::reference());
}

/// Each command is in the guide, too.
#[test]
fn the_guide_describes_every_command() {
    let guide = include_str!("../../docs/cli.md");
    let reference = anon_operator::testing::cli::reference();
    let commands = reference.lines().filter_map(|line| line.strip_prefix("## "));
    // `kubectl anon get` and others are only the beginning of a command.
    let groups =
        ["", " token", " key", " keys", " get"].map(|group| format!("kubectl anon{group}"));
    for command in commands.filter(|command| !groups.iter().any(|group| group == command)) {
        // In tables, without the name of the program.
        let short = command.replace("kubectl anon ", "`");
        let named = guide.contains(command) || guide.contains(&short);
        assert!(named, "`{command}` is not in docs/cli.md");
    }
}

#[test]
fn it_is_said_what_the_chart_sets_each_flag_to() {
    let page = include_str!("../../docs/configuration.md");
    let (_, chart) = page.split_once("<!-- end of flags -->").unwrap();
    for flag in flags() {
        let name = format!("`--{}`", flag.get_long().unwrap());
        let row = chart.lines().find(|line| line.starts_with('|') && line.contains(&name));
        assert!(row.is_some(), "{name} is not in the second table of docs/configuration.md");
    }
}

#[test]
fn generated_openapi_description() {
    let document = anon_operator::testing::server::openapi_document();
    let json = serde_json::to_string_pretty(&document).unwrap();
    check(&root().join("docs/openapi.json"), &format!("{json}\n"));
}

#[test]
fn every_class_of_fetch_error_has_its_cure() {
    let page = include_str!("../../docs/remote-key-sets.md");
    for class in FetchError::ALL {
        let name = format!("`{}`", class.as_str());
        let row = page.lines().find(|line| line.starts_with('|') && line.contains(&name));
        assert!(row.is_some(), "{name} is not in docs/remote-key-sets.md");
    }
}

/// An item of a list, in lines of at most 100 characters. Its text continues after a colon.
fn item(head: &str, text: &str) -> String {
    let (first, rest) = text.split_at(1);
    let mut lines = vec![format!("- {head}:")];
    for word in format!("{}{rest}", first.to_lowercase()).split(' ') {
        match lines.last_mut().unwrap() {
            line if line.chars().count() + 1 + word.chars().count() <= 100 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("  {word}")),
        }
    }
    lines.join("\n") + "\n"
}

/// The property of a name and its scope, in parentheses.
fn qualified(name: &str, property: &str, place: &Documentation) -> String {
    let parts: Vec<_> = [property, place.scope].into_iter().filter(|it| !it.is_empty()).collect();
    format!("**`{name}`** ({})", parts.join("; "))
}

#[test]
fn generated_lists_of_conditions_and_events() {
    const PAGE: &str = "docs/conditions.md";
    let types = ConditionType::ALL.iter().flat_map(|it| {
        let item = |place| item(&qualified(it.as_str(), "", place), place.text);
        it.documentation().iter().map(item)
    });
    check_table(PAGE, "condition types", &types.collect::<String>());
    let mut of_ready = BTreeMap::<_, String>::new();
    for reason in ReadyReason::ALL {
        let state = format!("{:?}", reason.state());
        for place in reason.documentation() {
            let head = qualified(reason.as_str(), &state, place);
            for kind in place.kinds {
                of_ready.entry(kind).or_default().push_str(&item(&head, place.text));
            }
        }
    }
    for (kind, list) in of_ready {
        check_table(PAGE, &format!("reasons of {kind}"), &list);
    }
    let other = ExtraReason::ALL.iter().flat_map(|it| {
        let head = format!("**`{}`**, `{}`", it.condition().as_str(), it.as_str());
        it.documentation().iter().map(move |place| item(&head, place.text))
    });
    check_table(PAGE, "other reasons", &other.collect::<String>());
    let events = EventReason::ALL.iter().flat_map(|it| {
        let type_ = format!("{:?}", it.type_());
        let item = move |place| item(&qualified(it.as_str(), &type_, place), place.text);
        it.documentation().iter().map(item)
    });
    check_table(PAGE, "events", &events.collect::<String>());
}

#[test]
fn every_class_of_fetch_error_is_a_reason() {
    let page = include_str!("../../docs/conditions.md");
    for class in FetchError::ALL {
        let name = format!("`{}`", class.as_str());
        assert!(page.contains(&name), "{name} is not in docs/conditions.md");
    }
}

/// The compiler does not report an unused variant of a public enum.
#[test]
fn every_reason_of_a_condition_or_an_event_is_used() {
    let code = files(&root().join("src"), "rs").into_iter().map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        text.split("#[cfg(test)]").next().unwrap().to_owned()
    });
    let code: String = code.collect();
    let ready = ReadyReason::ALL.iter().map(|it| format!("ReadyReason::{it:?}"));
    let extra = ExtraReason::ALL.iter().map(|it| format!("ExtraReason::{it:?}"));
    let event = EventReason::ALL.iter().map(|it| format!("EventReason::{it:?}"));
    let words: BTreeSet<_> = code.split(|c: char| !c.is_alphanumeric() && c != ':').collect();
    let unused: Vec<_> =
        ready.chain(extra).chain(event).filter(|it| !words.contains(it.as_str())).collect();
    assert!(unused.is_empty(), "nothing uses {unused:?}");
}

#[test]
fn generated_list_of_metrics() {
    const PAGE: &str = "docs/operations.md";
    let row = |metric: &&Description| {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, type_) = (metric.exposed_name(), metric.type_.as_str());
        format!("| `{name}` | {type_} | {} | {} |\n", labels.join(", "), metric.exposed_by.as_str())
    };
    let rows: String = catalog::ALL.iter().map(row).collect();
    let table =
        format!("| metric | type | labels | exposed by |\n| --- | --- | --- | --- |\n{rows}");
    check_table(PAGE, "metrics", &table);
    let describe = |metric: &&Description| {
        item(&format!("**`{}`**", metric.exposed_name()), &format!("{}.", metric.help))
    };
    let list: String = catalog::ALL.iter().map(describe).collect();
    check_table(PAGE, "descriptions of metrics", &list);
}

/// The catalog, from which the list in docs/operations.md is generated, and the exposition contain
/// the same metrics.
#[test]
fn every_metric_is_described_and_no_other() {
    let metrics = Metrics::default();
    // A family without a value is not in the exposition.
    drop(metrics.requests("validate"));
    metrics.rate_limited("member");
    metrics.reconciled("UserPool", "ok", Duration::ZERO);
    metrics.swept("api-key");
    metrics.signing_key("published");
    metrics.fetched("refresh", "fetched");
    metrics.certificate_read("public", "loaded");
    metrics.admission_reviewed("Member", "allowed");
    for gauge in [
        catalog::REQUESTS_IN_PROGRESS,
        catalog::REQUESTS_WAITING,
        catalog::VERIFICATIONS_WAITING,
        catalog::CONNECTIONS,
        catalog::INDEX_OBJECTS,
        catalog::INDEX_AGE,
        catalog::OBJECTS,
        catalog::API_KEYS_EXPIRING,
        catalog::OLDEST_SIGNING_KEY,
        catalog::TLS_CERTIFICATE_EXPIRY,
    ] {
        let values = gauge.labels.to_vec();
        metrics.sample(&gauge, "test", move || vec![(values.clone(), 1)]);
    }
    let text = metrics.expose().unwrap();
    let exposed: BTreeSet<_> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(str::to_owned).collect();
    let described = catalog::ALL.iter().map(|it| format!("{} {}", it.name, it.type_.as_str()));
    assert_eq!(described.collect::<BTreeSet<_>>(), exposed);
    for metric in catalog::ALL {
        let name = metric.exposed_name();
        let sample = text.lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| {
            panic!("{name} is not in\n{text}");
        });
        for label in metric.labels {
            assert!(sample.contains(&format!("{label}=\"")), "{label}: {sample}");
        }
    }
}
