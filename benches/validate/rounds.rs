//! Compares a server with the baseline, in rounds that alternate between them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;

use crate::baseline::Server;
use crate::load::{self, Load, Requests};
use crate::report::Case;
use crate::shared::cpu;
use crate::shared::operator::{Operator, rss_of};

/// The connections of every case that does not specify another number.
pub const CONNECTIONS: usize = 64;

/// How long and how often to measure.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    pub count: usize,
    /// How long each measurement of a round takes.
    pub duration: Duration,
}

/// A server and the requests to it.
#[derive(Clone)]
pub struct Subject {
    pid: u32,
    address: SocketAddr,
    requests: Arc<Requests>,
    connections: usize,
}

impl Subject {
    pub fn new(operator: &Operator, requests: Requests) -> Self {
        Self::of(operator.pid(), operator.address(), requests)
    }

    pub fn server(server: &Server, requests: Requests) -> Self {
        Self::of(server.pid(), server.address, requests)
    }

    fn of(pid: u32, address: SocketAddr, requests: Requests) -> Self {
        Self { pid, address, requests: Arc::new(requests), connections: CONNECTIONS }
    }

    /// The same requests to another server.
    pub fn at(&self, server: &Server) -> Self {
        Self { pid: server.pid(), address: server.address, ..self.clone() }
    }

    /// Other requests to the same server.
    pub fn sending(&self, requests: Requests) -> Self {
        Self { requests: Arc::new(requests), ..self.clone() }
    }

    pub fn connections(self, connections: usize) -> Self {
        Self { connections, ..self }
    }

    /// Measures it once.
    pub async fn measure(&self, duration: Duration) -> anyhow::Result<Measured> {
        let before = cpu::of(self.pid)?;
        let load = Load::full(self.address, self.connections, &self.requests);
        let outcome = load::run(vec![load], duration).await?.pop().unwrap_or_default();
        let seconds = cpu::of(self.pid)? - before;
        let (responses, failures) = (outcome.responses(), outcome.failures);
        ensure!(responses > 0, "none of the requests succeeded, {failures} failed");
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let rate = responses as f64 / seconds.max(0.01);
        let (p50, p99) = (outcome.quantile(0.5), outcome.quantile(0.99));
        Ok(Measured { rate, p50, p99, failures })
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// Requests per second of the server's CPU time.
    pub rate: f64,
    /// Milliseconds.
    pub p50: f64,
    /// Milliseconds.
    pub p99: f64,
    /// Requests with another response than the expected one. They are not part of the rate, though
    /// the server has spent CPU time on them.
    pub failures: usize,
}

/// What the cases are compared with: a bare axum server, and a request without a credential to the
/// same operator.
pub struct Comparison<'a> {
    pub rounds: Rounds,
    pub baseline: &'a Subject,
    pub stack: Subject,
}

impl Comparison<'_> {
    /// Measures one case.
    pub async fn case(&self, name: &str, title: &str, subject: &Subject) -> anyhow::Result<Case> {
        let (case, _) = self.with_peer(name, title, subject, None).await?;
        Ok(case)
    }

    /// Measures a case and, in the same rounds, another server with the same requests.
    pub async fn with_peer(
        &self,
        name: &str,
        title: &str,
        subject: &Subject,
        peer: Option<&Subject>,
    ) -> anyhow::Result<(Case, Vec<Measured>)> {
        eprintln!("measuring {title}");
        let (mut cases, mut peers) = (Vec::new(), Vec::new());
        let (mut ratios, mut stack_ratios) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds.count {
            let duration = self.rounds.duration;
            let baseline = self.baseline.measure(duration).await?;
            let stack = self.stack.measure(duration).await?;
            let case = subject.measure(duration).await?;
            ratios.push(case.rate / baseline.rate);
            stack_ratios.push(case.rate / stack.rate);
            cases.push(case);
            if let Some(peer) = peer {
                peers.push(peer.measure(duration).await?);
            }
        }
        let each: Vec<_> = ratios.iter().map(|ratio| format!("{ratio:.3}")).collect();
        let case = of_rounds(name, title, &cases)
            .with("ratio", median(&ratios))
            .with("ratio_stack", median(&stack_ratios))
            .with_bytes("rss_bytes", rss_of(subject.pid)?)
            .note(format!("ratio of each round: {}", each.join(", ")));
        Ok((case, peers))
    }
}

/// A case with the medians of the rounds.
pub fn of_rounds(name: &str, title: &str, rounds: &[Measured]) -> Case {
    let of = |field: fn(&Measured) -> f64| median(&rounds.iter().map(field).collect::<Vec<_>>());
    let failures: usize = rounds.iter().map(|round| round.failures).sum();
    let case = Case::new(name, title);
    let case = if failures == 0 { case } else { case.note(format!("{failures} requests failed")) };
    case.with("requests_per_cpu_second", of(|round| round.rate))
        .with("p50_ms", of(|round| round.p50))
        .with("p99_ms", of(|round| round.p99))
}

pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
