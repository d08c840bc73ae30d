//! The standard process metrics of Prometheus client libraries (`process_*`), read from
//! `/proc/self` at each scrape. A value that cannot be read is omitted.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::catalog::{self, Description};

/// Clock ticks per second in `/proc` (`USER_HZ`): 100 on every Linux architecture that Rust and
/// Kubernetes support.
const TICKS_PER_SECOND: f64 = 100.0;

/// Collects the metrics of this process.
#[derive(Debug)]
pub struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&stat) {
            let Description { name, help, .. } = catalog::PROCESS_CPU;
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(seconds).encode(metric)?;
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let system = fs::read_to_string("/proc/stat").unwrap_or_default();
        let gauges = [
            (catalog::PROCESS_OPEN_FDS, open_fds()),
            (catalog::PROCESS_MAX_FDS, max_fds(&limits)),
            (catalog::PROCESS_VIRTUAL_MEMORY, memory_bytes(&status, "VmSize:")),
            (catalog::PROCESS_RESIDENT_MEMORY, memory_bytes(&status, "VmRSS:")),
            (catalog::PROCESS_START_TIME, start_seconds(&stat, &system)),
        ];
        for (Description { name, help, .. }, value) in gauges {
            let Some(value) = value else { continue };
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)?;
        }
        Ok(())
    }
}

/// A field of `/proc/self/stat`, numbered as in proc_pid_stat(5). The second field is the name of
/// the program in parentheses, which may contain spaces and parentheses.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS_PER_SECOND)
}

fn start_seconds(stat: &str, system: &str) -> Option<f64> {
    let boot = system.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.trim().parse::<f64>().ok()? + stat_field(stat, 22)? / TICKS_PER_SECOND)
}

/// A line of `/proc/self/status` such as `VmRSS:     1024 kB`.
fn memory_bytes(status: &str, name: &str) -> Option<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes = value.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()?;
    Some(kilobytes * 1024.0)
}

fn open_fds() -> Option<f64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is open for reading the directory.
    u32::try_from(open.saturating_sub(1)).ok().map(f64::from)
}

fn max_fds(limits: &str) -> Option<f64> {
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    limit.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, reason = "these are exact")]

    use super::*;

    #[test]
    fn reads_what_proc_shows() {
        let mut fields: Vec<_> = (0..52).map(|number| number.to_string()).collect();
        fields[1] = "(a) b 7".into();
        fields[13] = "250".into();
        fields[14] = "50".into();
        fields[21] = "1500".into();
        let stat = fields.join(" ").replacen("(a) b 7", "((a) b) 7)", 1);
        assert_eq!(cpu_seconds(&stat), Some(3.0));
        assert_eq!(start_seconds(&stat, "cpu 1 2\nbtime 1000\n"), Some(1015.0));
        assert_eq!(memory_bytes("VmSize:\t  10 kB\nVmRSS:\t    7 kB\n", "VmRSS:"), Some(7168.0));
        let limits =
            "Max processes   5 5 processes\nMax open files            1024    4096   files\n";
        assert_eq!(max_fds(limits), Some(1024.0));
        for text in ["", "x", "VmRSS: much"] {
            assert_eq!(cpu_seconds(text), None);
            assert_eq!(start_seconds(text, text), None);
            assert_eq!(memory_bytes(text, "VmRSS:"), None);
            assert_eq!(max_fds(text), None);
        }
        assert!(open_fds().is_some_and(|open| open > 2.0));
    }
}
