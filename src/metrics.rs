//! Metrics in the OpenMetrics text format, at `/metrics` of the admin listener. Labels are kinds
//! and reasons, never names of objects or people.
//!
//! [`catalog`] describes each metric. What requests count is found beforehand and not for each
//! request: [`requests`], and the verdicts here. Gauges that something else knows are computed when
//! they are exposed: [`sampled`].

pub mod catalog;
mod process;
pub mod requests;
pub mod sampled;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use crate::domain::reason::Reason;
use catalog::Description;
use requests::{EndpointRequests, RequestResult, Requests};
use sampled::{Sample, Sampled};

/// The commit that this program was built from, if the build recorded it.
const REVISION: Option<&str> = option_env!("ANON_REVISION");

/// The names of the endpoints that authenticate.
pub const ENDPOINTS: [&str; 9] = [
    "validate",
    "auth",
    "ext_authz",
    "introspect_caller",
    "introspect",
    "token_review",
    "explain",
    "org",
    "link",
];

/// A kind and the outcome of a reconciliation.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    kind: &'static str,
    outcome: &'static str,
}

/// A kind of object.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

/// An endpoint and its result.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Verdict {
    endpoint: &'static str,
    verdict: &'static str,
}

/// The result of a login.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Login {
    result: &'static str,
}

/// A rate limit.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RateLimit {
    limit: &'static str,
}

/// The trigger and the outcome of a fetch.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Fetch {
    trigger: &'static str,
    outcome: &'static str,
}

/// A kind and the verdict of the admission webhook.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AdmissionReview {
    kind: &'static str,
    verdict: &'static str,
}

/// A listener and what became of a certificate that was read for it.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CertificateRead {
    listener: &'static str,
    outcome: &'static str,
}

/// A change of a signing key.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Transition {
    transition: &'static str,
}

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    sampled: Sampled,
    /// By endpoint, the counter of accepted credentials, and those of the reasons in their order.
    verdicts: [(Counter, Vec<Counter>); ENDPOINTS.len()],
    signature_verifications: Counter,
    logins: Family<Login, Counter>,
    tokens_issued: Counter,
    rate_limited: Family<RateLimit, Counter>,
    reconciles: Family<Outcome, Counter>,
    reconcile_seconds: Family<OfKind, Histogram>,
    token_cache_hits: Counter,
    token_cache_misses: Counter,
    swept: Family<OfKind, Counter>,
    signing_keys: Family<Transition, Counter>,
    admission_reviews: Family<AdmissionReview, Counter>,
    certificates: Family<CertificateRead, Counter>,
    leader: Gauge,
    key_set_fetches: Family<Fetch, Counter>,
    key_set_oldest: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let verdicts = Family::<Verdict, Counter>::default();
        let counter = |endpoint, verdict| {
            Counter::clone(&verdicts.get_or_create(&Verdict { endpoint, verdict }))
        };
        let verdicts_of = |endpoint| {
            let reasons = Reason::ALL.iter().map(|reason| counter(endpoint, reason.as_str()));
            (counter(endpoint, "active"), reasons.collect())
        };
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Requests::default(),
            sampled: Sampled::default(),
            verdicts: ENDPOINTS.map(verdicts_of),
            signature_verifications: Counter::default(),
            logins: Family::default(),
            tokens_issued: Counter::default(),
            rate_limited: Family::default(),
            reconciles: Family::default(),
            // 1 ms to about 8 s.
            reconcile_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 14))
            }),
            token_cache_hits: Counter::default(),
            token_cache_misses: Counter::default(),
            swept: Family::default(),
            signing_keys: Family::default(),
            admission_reviews: Family::default(),
            certificates: Family::default(),
            leader: Gauge::default(),
            key_set_fetches: Family::default(),
            key_set_oldest: Gauge::default(),
        };
        for result in RequestResult::ALL {
            drop(metrics.logins.get_or_create(&Login { result: result.as_str() }));
        }
        let registry = &mut metrics.registry;
        register(registry, &catalog::VERDICTS, verdicts);
        register(
            registry,
            &catalog::SIGNATURE_VERIFICATIONS,
            metrics.signature_verifications.clone(),
        );
        register(registry, &catalog::TOKEN_CACHE_HITS, metrics.token_cache_hits.clone());
        register(registry, &catalog::TOKEN_CACHE_MISSES, metrics.token_cache_misses.clone());
        register(registry, &catalog::LOGINS, metrics.logins.clone());
        register(registry, &catalog::TOKENS_ISSUED, metrics.tokens_issued.clone());
        register(registry, &catalog::RATE_LIMITED, metrics.rate_limited.clone());
        register(registry, &catalog::RECONCILES, metrics.reconciles.clone());
        register(registry, &catalog::RECONCILE_DURATION, metrics.reconcile_seconds.clone());
        register(registry, &catalog::SWEPT_SECRETS, metrics.swept.clone());
        register(registry, &catalog::SIGNING_KEY_TRANSITIONS, metrics.signing_keys.clone());
        register(registry, &catalog::ADMISSION_REVIEWS, metrics.admission_reviews.clone());
        register(registry, &catalog::TLS_CERTIFICATES, metrics.certificates.clone());
        register(registry, &catalog::LEADER, metrics.leader.clone());
        register(registry, &catalog::KEY_SET_FETCHES, metrics.key_set_fetches.clone());
        register(registry, &catalog::OLDEST_KEY_SET, metrics.key_set_oldest.clone());
        let version = env!("CARGO_PKG_VERSION");
        let build = [("version", version), ("revision", REVISION.unwrap_or("unknown"))];
        register(registry, &catalog::BUILD_INFO, Info::new(build));
        registry.register_collector(Box::new(metrics.requests.clone()));
        registry.register_collector(Box::new(metrics.sampled.clone()));
        registry.register_collector(Box::new(process::Process));
        metrics
    }
}

fn register(registry: &mut Registry, description: &Description, metric: impl Metric) {
    registry.register(description.name, description.plain_help(), metric);
}

impl Metrics {
    /// The requests of an endpoint, which are exposed from now on.
    #[must_use]
    pub fn requests(&self, endpoint: &'static str) -> Arc<EndpointRequests> {
        self.requests.of(endpoint)
    }

    /// Sets one source of a gauge that is computed when it is exposed, by name. Several sources of
    /// a gauge differ in their labels.
    pub fn sample(
        &self,
        gauge: &Description,
        source: &'static str,
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        self.sampled.set(gauge, source, read);
    }

    /// Removes a source of a gauge.
    pub fn remove_sample(&self, gauge: &Description, source: &'static str) {
        self.sampled.remove(gauge, source);
    }

    /// Counts an authentication at one of [`ENDPOINTS`]: that the credential was accepted, or why
    /// it was not.
    pub fn verdict(&self, endpoint: &str, verdict: Result<(), Reason>) {
        let index = ENDPOINTS.iter().position(|known| *known == endpoint);
        let Some((active, reasons)) = index.and_then(|index| self.verdicts.get(index)) else {
            return;
        };
        let counter = match verdict {
            Ok(()) => Some(active),
            Err(reason) => reasons.get(reason as usize),
        };
        if let Some(counter) = counter {
            counter.inc();
        }
    }

    /// Counts verifications of the signature of a token.
    pub fn signatures_verified(&self, count: u64) {
        self.signature_verifications.inc_by(count);
    }

    /// Counts a lookup in the cache of valid tokens.
    pub fn token_cache(&self, hit: bool) {
        let counter = if hit { &self.token_cache_hits } else { &self.token_cache_misses };
        counter.inc();
    }

    /// Counts a login, by the status of its response.
    pub fn login(&self, status: u16) {
        let result = RequestResult::of(status).as_str();
        self.logins.get_or_create(&Login { result }).inc();
    }

    /// Counts a token that was issued.
    pub fn token_issued(&self) {
        self.tokens_issued.inc();
    }

    /// Counts a request that exceeded a rate limit.
    pub fn rate_limited(&self, limit: &'static str) {
        self.rate_limited.get_or_create(&RateLimit { limit }).inc();
    }

    /// Counts a reconciliation and its duration.
    pub fn reconciled(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        self.reconciles.get_or_create(&Outcome { kind, outcome }).inc();
        self.reconcile_seconds.get_or_create(&OfKind { kind }).observe(took.as_secs_f64());
    }

    /// Counts a garbage-collected Secret.
    pub fn swept(&self, kind: &'static str) {
        self.swept.get_or_create(&OfKind { kind }).inc();
    }

    /// Counts a change of a signing key.
    pub fn signing_key(&self, transition: &'static str) {
        self.signing_keys.get_or_create(&Transition { transition }).inc();
    }

    /// Counts a review of the admission webhook.
    pub fn admission_reviewed(&self, kind: &'static str, verdict: &'static str) {
        self.admission_reviews.get_or_create(&AdmissionReview { kind, verdict }).inc();
    }

    /// Counts a certificate that was read for a listener.
    pub fn certificate_read(&self, listener: &'static str, outcome: &'static str) {
        self.certificates.get_or_create(&CertificateRead { listener, outcome }).inc();
    }

    /// Sets whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// Counts a fetch of a remote key set.
    pub fn fetched(&self, trigger: &'static str, outcome: &'static str) {
        self.key_set_fetches.get_or_create(&Fetch { trigger, outcome }).inc();
    }

    /// Sets when the oldest of the remote key sets was fetched.
    pub fn oldest_key_set(&self, fetched_at: Option<i64>) {
        self.key_set_oldest.set(fetched_at.unwrap_or(0));
    }

    /// The exposition.
    ///
    /// # Errors
    /// Never in practice: formatting into a `String` does not fail.
    pub fn expose(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}
