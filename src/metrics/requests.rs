//! Requests by endpoint and result. A request costs two atomic additions: the counters of an
//! endpoint are found when its routes are created, and the number of requests is that of the
//! histogram.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;

use super::catalog::{Description, REQUEST_DURATION, REQUESTS};

/// The upper bounds of the buckets, in microseconds.
const BOUNDS: [u32; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 250_000, 1_000_000, 5_000_000];

/// The result of a request, by the status of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestResult {
    /// Below 400.
    Ok,
    /// 401 and 403: the credential is invalid or does not suffice.
    Rejected,
    /// Another 4xx: the request is malformed or cannot be fulfilled.
    ClientError,
    /// 429.
    RateLimited,
    /// 503: the result is currently unknown, or the server is overloaded.
    Unavailable,
    /// Another 5xx.
    Error,
}

impl RequestResult {
    /// Every result, in the order of their declaration.
    pub const ALL: [Self; 6] = [
        Self::Ok,
        Self::Rejected,
        Self::ClientError,
        Self::RateLimited,
        Self::Unavailable,
        Self::Error,
    ];

    /// The result that a status stands for.
    #[must_use]
    pub const fn of(status: u16) -> Self {
        match status {
            0..400 => Self::Ok,
            401 | 403 => Self::Rejected,
            429 => Self::RateLimited,
            400..500 => Self::ClientError,
            503 => Self::Unavailable,
            _ => Self::Error,
        }
    }

    /// The value of the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Rejected => "rejected",
            Self::ClientError => "client_error",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Error => "error",
        }
    }
}

/// The requests of one endpoint.
#[derive(Debug)]
pub struct EndpointRequests {
    endpoint: &'static str,
    results: [Durations; RequestResult::ALL.len()],
}

impl EndpointRequests {
    fn new(endpoint: &'static str) -> Self {
        Self { endpoint, results: std::array::from_fn(|_| Durations::default()) }
    }

    /// The value of the label `endpoint`.
    pub const fn endpoint(&self) -> &'static str {
        self.endpoint
    }

    /// Counts a request.
    pub fn record(&self, status: u16, took: Duration) {
        // There is one for each result.
        if let Some(durations) = self.results.get(RequestResult::of(status) as usize) {
            durations.observe(took);
        }
    }
}

/// A histogram without a lock.
#[derive(Debug, Default)]
struct Durations {
    /// One for each bound, and one for what is longer.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    total_nanoseconds: AtomicU64,
}

impl Durations {
    fn observe(&self, took: Duration) {
        let shorter = |bound: &u32| took <= Duration::from_micros(u64::from(*bound));
        let index = BOUNDS.iter().position(shorter).unwrap_or(BOUNDS.len());
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.total_nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// The upper bound of each bucket in seconds, and what it contains.
    fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS.iter().map(|bound| f64::from(*bound) / 1e6).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        bounds.zip(counts).collect()
    }

    fn seconds(&self) -> f64 {
        Duration::from_nanos(self.total_nanoseconds.load(Ordering::Relaxed)).as_secs_f64()
    }
}

/// The requests of all endpoints.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<Mutex<Vec<Arc<EndpointRequests>>>>);

impl Requests {
    /// The requests of an endpoint. From now on, it is exposed.
    pub fn of(&self, endpoint: &'static str) -> Arc<EndpointRequests> {
        let mut endpoints = self.0.lock();
        let known = endpoints.iter().find(|known| known.endpoint == endpoint).map(Arc::clone);
        known.unwrap_or_else(|| {
            let new = Arc::new(EndpointRequests::new(endpoint));
            endpoints.push(Arc::clone(&new));
            new
        })
    }
}

/// The labels of a value.
type Labels = [(&'static str, &'static str); 2];

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let endpoints = self.0.lock().clone();
        let mut series: Vec<(Labels, &Durations)> = Vec::new();
        for requests in &endpoints {
            for (result, durations) in RequestResult::ALL.iter().zip(&requests.results) {
                let labels = [("endpoint", requests.endpoint), ("result", result.as_str())];
                series.push((labels, durations));
            }
        }
        let Description { name, help, type_, .. } = REQUESTS;
        let mut counters = encoder.encode_descriptor(name, help, None, type_)?;
        for (labels, durations) in &series {
            let count: u64 = durations.buckets().iter().map(|(_, count)| count).sum();
            ConstCounter::new(count).encode(counters.encode_family(labels)?)?;
        }
        let Description { name, help, type_, .. } = REQUEST_DURATION;
        let mut histograms = encoder.encode_descriptor(name, help, None, type_)?;
        for (labels, durations) in &series {
            let buckets = durations.buckets();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let mut histogram = histograms.encode_family(labels)?;
            histogram.encode_histogram::<Labels>(durations.seconds(), count, &buckets, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_their_declaration() {
        for (index, result) in RequestResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, index);
        }
        for (status, result) in [
            (200, "ok"),
            (304, "ok"),
            (400, "client_error"),
            (401, "rejected"),
            (403, "rejected"),
            (404, "client_error"),
            (429, "rate_limited"),
            (500, "error"),
            (503, "unavailable"),
        ] {
            assert_eq!(RequestResult::of(status).as_str(), result, "{status}");
        }
    }

    #[test]
    fn durations_are_in_the_bucket_below_their_bound() {
        let durations = Durations::default();
        for micros in [0, 100, 101, 5_000_000, 5_000_001] {
            durations.observe(Duration::from_micros(micros));
        }
        let counts: Vec<_> = durations.buckets().into_iter().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert!((durations.seconds() - 10.000_202).abs() < 1e-9);
    }

    #[test]
    fn requests_of_an_endpoint_are_counted_together() {
        let requests = Requests::default();
        requests.of("a").record(200, Duration::ZERO);
        requests.of("a").record(200, Duration::ZERO);
        let ok = &requests.of("a").results[0];
        assert_eq!(ok.buckets()[0].1, 2);
    }
}
