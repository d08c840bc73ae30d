//! What an account wrote, as the API server has it in its audit log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;

use serde::Deserialize;

/// Where the log ended at some time.
pub struct Mark(u64);

/// How often an account did what.
#[derive(Debug, Default)]
pub struct Requests {
    /// Successful writes, by verb and resource; without Leases, which every replica renews.
    pub writes: BTreeMap<String, usize>,
    /// Writes that were refused, by verb, resource and status.
    pub refused: BTreeMap<String, usize>,
    /// Reads and watches, by verb and resource.
    pub reads: BTreeMap<String, usize>,
}

impl Requests {
    pub fn write_count(&self) -> usize {
        self.writes.values().sum()
    }

    /// For people.
    pub fn text(&self) -> String {
        let list = |what: &str, counts: &BTreeMap<String, usize>| {
            let each: Vec<_> =
                counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
            if each.is_empty() { String::new() } else { format!("{what}: {}; ", each.join(", ")) }
        };
        let text = list("writes", &self.writes)
            + &list("refused", &self.refused)
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

/// The end of the log now.
pub fn mark(log: &Path) -> anyhow::Result<Mark> {
    Ok(Mark(std::fs::metadata(log)?.len()))
}

/// What `user` asked for since then.
pub fn since(log: &Path, mark: &Mark, user: &str) -> anyhow::Result<Requests> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(mark.0))?;
    let mut requests = Requests::default();
    for line in BufReader::new(file).lines() {
        // The last line may be half written.
        let Ok(event) = serde_json::from_str::<Event>(&line?) else { continue };
        if event.user.username != user || event.object_ref.resource == "leases" {
            continue;
        }
        let Object { resource, subresource } = &event.object_ref;
        let slash = if subresource.is_empty() { "" } else { "/" };
        let what = format!("{} {resource}{slash}{subresource}", event.verb);
        let reading = matches!(event.verb.as_str(), "get" | "list" | "watch");
        let refused = event.response_status.code >= 400;
        let (counts, what) = match (reading, refused) {
            (true, _) => (&mut requests.reads, what),
            (false, false) => (&mut requests.writes, what),
            (false, true) => {
                (&mut requests.refused, format!("{what} ({})", event.response_status.code))
            }
        };
        *counts.entry(what).or_default() += 1;
    }
    Ok(requests)
}
