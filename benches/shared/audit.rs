//! Counts the requests of an account in the API server's audit log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;

use serde::Deserialize;

/// A position in the log.
pub struct Mark(u64);

/// Numbers of requests of an account.
#[derive(Debug, Default)]
pub struct Requests {
    /// Successful writes, by verb and resource; without Leases, which every replica renews.
    pub writes: BTreeMap<String, usize>,
    /// Rejected writes, by verb, resource and status.
    pub rejected: BTreeMap<String, usize>,
    /// Reads and watches, by verb and resource.
    pub reads: BTreeMap<String, usize>,
}

impl Requests {
    pub fn write_count(&self) -> usize {
        self.writes.values().sum()
    }

    /// A line of text for the report.
    pub fn text(&self) -> String {
        let list = |label: &str, counts: &BTreeMap<String, usize>| {
            let each: Vec<_> =
                counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
            if each.is_empty() { String::new() } else { format!("{label}: {}; ", each.join(", ")) }
        };
        let text = list("writes", &self.writes)
            + &list("rejected", &self.rejected)
            + &list("reads", &self.reads);
        text.trim_end_matches("; ").to_owned()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Status,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
struct Object {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

/// The current end of the log.
pub fn mark(log: &Path) -> anyhow::Result<Mark> {
    Ok(Mark(std::fs::metadata(log)?.len()))
}

/// The requests of `user` since then.
pub fn since(log: &Path, mark: &Mark, user: &str) -> anyhow::Result<Requests> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(mark.0))?;
    let mut requests = Requests::default();
    for line in BufReader::new(file).lines() {
        // The last line may be incomplete.
        let Ok(event) = serde_json::from_str::<Event>(&line?) else { continue };
        if event.user.username != user || event.object_ref.resource == "leases" {
            continue;
        }
        let Object { resource, subresource } = &event.object_ref;
        let slash = if subresource.is_empty() { "" } else { "/" };
        let what = format!("{} {resource}{slash}{subresource}", event.verb);
        let reading = matches!(event.verb.as_str(), "get" | "list" | "watch");
        let rejected = event.response_status.code >= 400;
        let (counts, what) = match (reading, rejected) {
            (true, _) => (&mut requests.reads, what),
            (false, false) => (&mut requests.writes, what),
            (false, true) => {
                (&mut requests.rejected, format!("{what} ({})", event.response_status.code))
            }
        };
        *counts.entry(what).or_default() += 1;
    }
    Ok(requests)
}
