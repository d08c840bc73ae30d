//! Metrics in the OpenMetrics text format, at `/metrics` of the admin listener. Labels are kinds
//! and reasons, never names of objects or people.

mod process;

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

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

/// The trigger and the outcome of a fetch.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Fetch {
    trigger: &'static str,
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
    /// Without our prefix.
    process: Registry,
    reconciles: Family<Outcome, Counter>,
    reconcile_seconds: Family<OfKind, Histogram>,
    verdicts: Family<Verdict, Counter>,
    signature_verifications: Counter,
    token_cache_hits: Counter,
    token_cache_misses: Counter,
    swept: Family<OfKind, Counter>,
    signing_keys: Family<Transition, Counter>,
    index_objects: Family<OfKind, Gauge>,
    leader: Gauge,
    key_set_fetches: Family<Fetch, Counter>,
    key_set_oldest: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("anon"),
            process: Registry::default(),
            reconciles: Family::default(),
            // 1 ms to about 8 s.
            reconcile_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 14))
            }),
            verdicts: Family::default(),
            signature_verifications: Counter::default(),
            token_cache_hits: Counter::default(),
            token_cache_misses: Counter::default(),
            swept: Family::default(),
            signing_keys: Family::default(),
            index_objects: Family::default(),
            leader: Gauge::default(),
            key_set_fetches: Family::default(),
            key_set_oldest: Gauge::default(),
        };
        metrics.process.register_collector(Box::new(process::Process));
        let registry = &mut metrics.registry;
        registry.register(
            "reconciles",
            "Reconciliations by kind and outcome (ok, invalid, blocked, unreadable, or the class of the error)",
            metrics.reconciles.clone(),
        );
        registry.register(
            "reconcile_duration_seconds",
            "Duration of a reconciliation",
            metrics.reconcile_seconds.clone(),
        );
        registry.register(
            "verdicts",
            "Authentications by endpoint and result: active, or the reason for the rejection",
            metrics.verdicts.clone(),
        );
        registry.register(
            "signature_verifications",
            "Verifications of token signatures; a token without `kid` counts once for each key that it was checked against",
            metrics.signature_verifications.clone(),
        );
        registry.register(
            "token_cache_hits",
            "Valid appUserIdTokens that were found in the cache",
            metrics.token_cache_hits.clone(),
        );
        registry.register(
            "token_cache_misses",
            "appUserIdTokens that were not found in the cache",
            metrics.token_cache_misses.clone(),
        );
        registry.register(
            "swept_secrets",
            "Secrets garbage-collected because their owner was deleted",
            metrics.swept.clone(),
        );
        registry.register(
            "signing_key_transitions",
            "Signing key transitions: published, activated, retired, gone, discarded, revoked",
            metrics.signing_keys.clone(),
        );
        registry.register(
            "index_objects",
            "Objects in this replica's index",
            metrics.index_objects.clone(),
        );
        registry.register(
            "leader",
            "1 while this replica holds the leader's Lease",
            metrics.leader.clone(),
        );
        registry.register(
            "key_set_fetches",
            "Fetches of remote key sets by trigger (refresh, or asked: a token named a key that is not in the set) and outcome (fetched, unchanged, or the class of the error)",
            metrics.key_set_fetches.clone(),
        );
        registry.register(
            "key_set_oldest_fetch_timestamp_seconds",
            "When the oldest of the remote key sets was fetched, in seconds since the epoch; 0 without any",
            metrics.key_set_oldest.clone(),
        );
        metrics
    }
}

impl Metrics {
    /// Counts a reconciliation and its duration.
    pub fn reconciled(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        self.reconciles.get_or_create(&Outcome { kind, outcome }).inc();
        self.reconcile_seconds.get_or_create(&OfKind { kind }).observe(took.as_secs_f64());
    }

    /// Counts an authentication.
    pub fn verdict(&self, endpoint: &'static str, verdict: &'static str) {
        self.verdicts.get_or_create(&Verdict { endpoint, verdict }).inc();
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

    /// Counts a garbage-collected Secret.
    pub fn swept(&self, kind: &'static str) {
        self.swept.get_or_create(&OfKind { kind }).inc();
    }

    /// Counts a change of a signing key.
    pub fn signing_key(&self, transition: &'static str) {
        self.signing_keys.get_or_create(&Transition { transition }).inc();
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

    /// The exposition, with the current sizes of the index.
    ///
    /// # Errors
    /// Never in practice: formatting into a `String` does not fail.
    pub fn expose(
        &self,
        index: impl IntoIterator<Item = (&'static str, usize)>,
    ) -> Result<String, std::fmt::Error> {
        for (kind, size) in index {
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            self.index_objects.get_or_create(&OfKind { kind }).set(size);
        }
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &self.process)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}
