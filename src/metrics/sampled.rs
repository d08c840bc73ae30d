//! Gauges that are computed when they are exposed, by the part of the process that knows them.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;

use super::catalog::{self, Description};

/// A value, and those of its labels.
pub type Sample = (Vec<&'static str>, i64);

/// A number of something as the value of a gauge.
#[must_use]
pub fn value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What computes the values of a gauge.
struct Source {
    gauge: &'static str,
    /// Distinguishes the sources of the same gauge.
    name: &'static str,
    read: Arc<dyn Fn() -> Vec<Sample> + Send + Sync>,
}

/// The gauges that are computed when they are exposed.
#[derive(Clone, Default)]
pub struct Sampled(Arc<Mutex<Vec<Source>>>);

impl Sampled {
    /// Sets one source of a gauge. It replaces the source of the same name.
    pub fn set(
        &self,
        gauge: &Description,
        name: &'static str,
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        self.remove(gauge, name);
        self.0.lock().push(Source { gauge: gauge.name, name, read: Arc::new(read) });
    }

    /// Removes a source.
    pub fn remove(&self, gauge: &Description, name: &'static str) {
        self.0.lock().retain(|source| (source.gauge, source.name) != (gauge.name, name));
    }

    /// The values of a gauge. Not computed under the lock.
    fn samples(&self, gauge: &Description) -> Vec<Sample> {
        let sources = self.0.lock();
        let of_gauge = sources.iter().filter(|source| source.gauge == gauge.name);
        let reads: Vec<_> = of_gauge.map(|source| Arc::clone(&source.read)).collect();
        drop(sources);
        reads.iter().flat_map(|read| read()).collect()
    }
}

impl fmt::Debug for Sampled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampled").finish_non_exhaustive()
    }
}

impl Collector for Sampled {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for gauge in catalog::ALL {
            let samples = self.samples(gauge);
            if samples.is_empty() {
                continue;
            }
            let mut metric =
                encoder.encode_descriptor(gauge.name, gauge.help, None, gauge.type_)?;
            for (values, value) in samples {
                let labels: Vec<_> = gauge.labels.iter().copied().zip(values).collect();
                if labels.is_empty() {
                    metric.encode_gauge(&value)?;
                } else {
                    ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}
