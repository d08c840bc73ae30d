//! The fields of log lines, from which `make generate` writes the table in docs/operations.md. A test
//! compares them with the source. The same thing has the same name in every line.

/// A field.
#[derive(Clone, Copy, Debug)]
pub struct LogField {
    /// Its name.
    pub name: &'static str,
    /// Its type in JSON.
    pub type_: &'static str,
    /// What it contains, in Markdown.
    pub meaning: &'static str,
}

const fn string(name: &'static str, meaning: &'static str) -> LogField {
    LogField { name, type_: "string", meaning }
}

const fn number(name: &'static str, meaning: &'static str) -> LogField {
    LogField { name, type_: "number", meaning }
}

/// Every field, besides those that are part of every line.
pub const FIELDS: &[LogField] = &[
    string("kind", "kind of the object that the line is about"),
    string("namespace", "its namespace"),
    string("name", "its name; always together with `kind` and `namespace`"),
    string(
        "reason",
        "with `ready`: the reason of its condition `Ready`; otherwise that of an Event ([conditions.md](conditions.md))",
    ),
    LogField { name: "ready", type_: "boolean", meaning: "whether it is ready" },
    string(
        "error",
        "what has failed, for people; with `audit`, the name of the error in the response",
    ),
    number("retry_in_ms", "milliseconds until it is retried"),
    number("failures", "consecutive failures, or failures since the last line about them"),
    string(
        "class",
        "why a key set could not be fetched ([remote-key-sets.md](remote-key-sets.md#failed-fetches))",
    ),
    string("url", "URL of a key set, without its query"),
    string("component", "type of Secret that is deleted once its owner no longer exists"),
    string("lease", "Lease `anon-validator-<pod>` of a replica"),
    string("pod", "Pod of a replica"),
    string("identity", "new leader: its Pod and a random id"),
    string("pool", "id of a UserPool"),
    number("objects", "number of objects that were listed"),
    string("listener", "listener that the certificate is for: `public` or `webhook`"),
    string("expires", "time at which the certificate expires"),
    string("configuration", "ValidatingWebhookConfiguration"),
    number("cas", "number of CAs in it"),
    string("hosts", "names in the certificate of the webhook"),
    number("ignored", "number of unusable CA certificates of the platform"),
    string("version", "version of the operator"),
    string("roles", "roles of the process"),
    string("listen", "address of `--listen`"),
    string("admin", "address of `--admin-listen`"),
    string("audit", "operation of the REST API that was requested ([api.md](api.md#audit))"),
    number("status", "status of its response"),
    string("request", "in `span`, for every request to the REST API: its `X-Request-Id`"),
    string("operation", "in `span`: the operation"),
    string("organization", "in `span`: id of the organization"),
    string("caller", "in `span`: type and id of the caller"),
    string("role", "in `span`: role of the caller"),
    string("object", "in `span`: id of the object of the request"),
];
