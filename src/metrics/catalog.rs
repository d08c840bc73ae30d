//! The description of every metric, once: for its registration, and for the table in
//! docs/operations.md.

use prometheus_client::metrics::MetricType;

/// The description of a metric.
#[derive(Debug)]
pub struct Description {
    /// The name as it is exposed; that of a counter without `_total`.
    pub name: &'static str,
    /// The type.
    pub type_: MetricType,
    /// The names of the labels.
    pub labels: &'static [&'static str],
    /// Who exposes it.
    pub exposed_by: ExposedBy,
    /// What it is, with its unit and the values of its labels. In Markdown, without a final period.
    pub help: &'static str,
}

/// Which replicas have a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExposedBy {
    /// All of them.
    EveryReplica,
    /// Those with the role `api`.
    Api,
    /// The leader. Counters remain after it no longer leads.
    Leader,
}

impl Description {
    /// The name of its samples, without the suffixes of histograms.
    #[must_use]
    pub fn exposed_name(&self) -> String {
        let suffix = match self.type_ {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            _ => "",
        };
        format!("{}{suffix}", self.name)
    }

    /// The text of [`Self::help`] without links.
    #[must_use]
    pub fn plain_help(&self) -> String {
        let mut parts = self.help.split("](");
        let mut plain = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            plain.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
        }
        plain.replace('[', "")
    }
}

impl ExposedBy {
    /// In the documentation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EveryReplica => "every replica",
            Self::Api => "replicas with the role `api`",
            Self::Leader => "the leader",
        }
    }
}

macro_rules! catalog {
    ($($constant:ident = $name:literal, $type_:ident, [$($label:literal),*], $exposed_by:ident, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Description = Description {
                name: $name,
                type_: MetricType::$type_,
                labels: &[$($label),*],
                exposed_by: ExposedBy::$exposed_by,
                help: $help,
            };
        )*

        /// Every metric.
        pub const ALL: &[&Description] = &[$(&$constant),*];
    };
}

catalog! {
    REQUESTS = "anon_requests", Counter, ["endpoint", "result"], EveryReplica,
        "Requests by endpoint and result. Endpoints: `validate` (`/v1/validate`, `/v1/introspect` and `/v1/tokenreview`), `auth` (gateways), `ext_authz` (Envoy over gRPC), `documents` (public documents: key sets, discovery, clients), `org` (the REST API, `/link/url`, `/v1/explain` and `/openapi.json`), `admission` (the admission webhook) and `other` (unknown paths). Results: `ok` (status below 400), `rejected` (401 and 403), `client_error` (other 4xx), `rate_limited` (429), `unavailable` (503) and `error` (other 5xx)";
    REQUEST_DURATION = "anon_request_duration_seconds", Histogram, ["endpoint", "result"], EveryReplica,
        "Duration of a request from its head to the start of its response, including the wait for its body and for a place; buckets from 0.1 ms to 5 s. `_count` is `anon_requests_total`";
    REQUESTS_IN_PROGRESS = "anon_requests_in_progress", Gauge, ["part"], EveryReplica,
        "Requests that occupy a place, until their response has been sent, by part of the server: `validator`, `api`, `other` and `admission`. The maximum is `--max-requests-in-progress`, and 64 for `admission`";
    REQUESTS_WAITING = "anon_requests_waiting", Gauge, ["part"], EveryReplica,
        "Requests that wait for a place, by part of the server. The maximum is `--max-requests-waiting`, and 256 for `admission`; further requests get 503";
    CONNECTIONS = "anon_connections", Gauge, ["listener"], EveryReplica,
        "Open connections by listener: `public` (`--listen`), `admin` and `webhook`. The maximum is `--max-connections` for each";
    VERDICTS = "anon_verdicts", Counter, ["endpoint", "verdict"], EveryReplica,
        "Authentications by [endpoint](../README.md#http-endpoints) and result: `active`, or the [reason](validate.md#response-for-an-invalid-credential) for the rejection. The endpoints are those in the first column of the table there";
    VERIFICATIONS_WAITING = "anon_verifications_waiting", Gauge, [], EveryReplica,
        "Tokens that wait for the verification of their signature. At most 512: further ones get 503 with the reason `overloaded`";
    SIGNATURE_VERIFICATIONS = "anon_signature_verifications", Counter, [], EveryReplica,
        "Verifications of token signatures; a token without `kid` counts once for each key that it was checked against";
    TOKEN_CACHE_HITS = "anon_token_cache_hits", Counter, [], EveryReplica,
        "appUserIdTokens that were found in the cache of valid tokens (`--token-cache-size`)";
    TOKEN_CACHE_MISSES = "anon_token_cache_misses", Counter, [], EveryReplica,
        "appUserIdTokens that were not found in the cache";
    LOGINS = "anon_logins", Counter, ["result"], Api,
        "Logins by result: `ok`, `rejected` (wrong credentials), `client_error`, `rate_limited`, `unavailable` and `error`";
    TOKENS_ISSUED = "anon_tokens_issued", Counter, [], Api,
        "Tokens that were issued at `/org/appUserIdToken`";
    RATE_LIMITED = "anon_rate_limited", Counter, ["limit"], Api,
        "Requests that exceeded a rate limit, by limit: `login_email`, `login_peer`, `sign_up_email`, `sign_up_peer`, `member` and `organization`";
    INDEX_OBJECTS = "anon_index_objects", Gauge, ["kind"], EveryReplica,
        "Objects that the replica serves";
    INDEX_AGE = "anon_index_age_seconds", Gauge, ["kind"], EveryReplica,
        "How long the replica has received nothing from the API server about this kind, in seconds. The API server sends something about every minute. The replica answers from what it knew by then, until `--max-staleness`. Not exposed before the kind has been listed";
    ADMISSION_REVIEWS = "anon_admission_reviews", Counter, ["kind", "verdict"], EveryReplica,
        "Reviews of the [admission webhook](admission.md) by kind and verdict: `allowed`, `warned`, `rejected`, or `unchecked` because the replica had not listed all objects, had lost contact with the API server, or could not read the object; those are allowed";
    TLS_CERTIFICATES = "anon_tls_certificates", Counter, ["listener", "outcome"], EveryReplica,
        "Certificates for TLS that were read for a listener (`public` or `webhook`), by outcome: `loaded`, or `rejected` because the pair is unreadable, does not belong together or is not valid now; the previous one remains in use, and the log has the reason";
    TLS_CERTIFICATE_EXPIRY = "anon_tls_certificate_expiry_timestamp_seconds", Gauge, ["listener"], EveryReplica,
        "When the certificate that the listener uses expires, in seconds since 1970";
    LEADER = "anon_leader", Gauge, [], EveryReplica,
        "1 on the leader, 0 on the other replicas";
    OBJECTS = "anon_objects", Gauge, ["kind", "ready"], Leader,
        "Objects by kind and their condition `Ready`: `true` or `false`. Without a condition, an object is not ready";
    API_KEYS_EXPIRING = "anon_api_keys_expiring", Gauge, [], Leader,
        "Clients whose last API key expires within 7 days: it has no successor";
    OLDEST_SIGNING_KEY = "anon_signing_key_oldest_active_timestamp_seconds", Gauge, [], Leader,
        "When the oldest Active key of the hosted pools started signing, in seconds since 1970; 0 if there is none";
    RECONCILES = "anon_reconciles", Counter, ["kind", "outcome"], Leader,
        "Reconciliations by outcome: `ok`; `invalid` (a spec); `unreadable` (written by a newer version); `blocked` (see [conditions.md](conditions.md)); `conflict` (another writer was faster: harmless); `forbidden`, `api`, `transport` (the API server rejected the request, failed, or did not respond); `record_keys` (see [above](#backup-and-restore)); `incomplete`, `internal`";
    RECONCILE_DURATION = "anon_reconcile_duration_seconds", Histogram, ["kind"], Leader,
        "Duration of a reconciliation; buckets from 1 ms to 8 s";
    SIGNING_KEY_TRANSITIONS = "anon_signing_key_transitions", Counter, ["transition"], Leader,
        "Signing key transitions: `published`, `activated`, `retired`, `gone`, `discarded`, `revoked`";
    SWEPT_SECRETS = "anon_swept_secrets", Counter, ["kind"], Leader,
        "Orphaned Secrets that were deleted because their owner no longer exists: `signing-keys`, `password-hash`, `api-key`";
    KEY_SET_FETCHES = "anon_key_set_fetches", Counter, ["trigger", "outcome"], Leader,
        "Fetches of remote key sets by trigger, `refresh` or `asked` (a token named an unknown key), and outcome, `fetched`, `unchanged`, or the [error class](remote-key-sets.md#failed-fetches)";
    OLDEST_KEY_SET = "anon_key_set_oldest_fetch_timestamp_seconds", Gauge, [], Leader,
        "When the oldest of the remote key sets was fetched, in seconds since 1970; 0 if there is none";
    BUILD_INFO = "anon_build", Info, ["version", "revision"], EveryReplica,
        "The version of the operator, and the commit that it was built from if the build recorded one (`ANON_REVISION`); always 1";
    PROCESS_RESIDENT_MEMORY = "process_resident_memory_bytes", Gauge, [], EveryReplica,
        "Resident memory (RSS), which the memory limit of the container applies to";
    PROCESS_VIRTUAL_MEMORY = "process_virtual_memory_bytes", Gauge, [], EveryReplica,
        "Virtual memory";
    PROCESS_CPU = "process_cpu_seconds", Counter, [], EveryReplica,
        "User and system CPU time";
    PROCESS_OPEN_FDS = "process_open_fds", Gauge, [], EveryReplica,
        "Open file descriptors; each connection is one";
    PROCESS_MAX_FDS = "process_max_fds", Gauge, [], EveryReplica,
        "The limit on open file descriptors";
    PROCESS_START_TIME = "process_start_time_seconds", Gauge, [], EveryReplica,
        "When the process started, in seconds since 1970";
}
