//! Runs the operator as a separate process, with the permissions that the chart grants, and
//! measures its CPU time and memory.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::cpu;

/// How long to wait for further writes after the last expected one.
pub const SETTLE: Duration = Duration::from_secs(2);

/// A running operator.
pub struct Operator {
    process: Child,
    admin_port: u16,
    /// Time from its start until it was ready.
    pub ready_after: Duration,
}

impl Operator {
    /// Starts it, and waits until it is ready and the leader.
    pub async fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        let (listen, admin_port) = (free_port()?, free_port()?);
        let log = fs::File::create(cluster.audit.with_file_name("operator.log"))?;
        let start = Instant::now();
        let process = Command::new(env!("CARGO_BIN_EXE_anon-operator"))
            .args(["run", "--log-level=warn", "--public-url=https://anon.example"])
            .arg(format!("--listen=127.0.0.1:{listen}"))
            .arg(format!("--admin-listen=127.0.0.1:{admin_port}"))
            .env("KUBECONFIG", &cluster.kubeconfig)
            .env("POD_NAME", &cluster.pod)
            .env("POD_NAMESPACE", "anon-system")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start the operator")?;
        let mut operator = Self { process, admin_port, ready_after: Duration::ZERO };
        while operator.get("/readyz").is_none_or(|(status, _)| status != 200) {
            ensure!(
                operator.process.try_wait()?.is_none(),
                "the operator exited, see operator.log"
            );
            ensure!(start.elapsed() < Duration::from_mins(1), "the operator does not become ready");
            sleep(Duration::from_millis(5)).await;
        }
        operator.ready_after = start.elapsed();
        while operator.metric("anon_leader")? < 1.0 {
            ensure!(
                start.elapsed() < Duration::from_mins(1),
                "the operator does not become leader"
            );
            sleep(Duration::from_millis(20)).await;
        }
        Ok(operator)
    }

    /// The sum of a metric over all samples whose labels contain `having`.
    pub fn metric_of(&self, name: &str, having: &str) -> anyhow::Result<f64> {
        let Some((_, text)) = self.get("/metrics") else { bail!("no metrics") };
        let of_name = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
                && line.contains(having)
        };
        let values = text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next());
        Ok(values.filter_map(|value| value.parse::<f64>().ok()).sum())
    }

    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        self.metric_of(name, "")
    }

    /// CPU seconds since its start, user and system.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu::of(self.process.id())
    }

    /// Resident memory in bytes.
    pub fn rss_bytes(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("VmRSS")?;
        Ok(kib.parse::<u64>()? * 1024)
    }

    /// Stops it gracefully, so that the next one becomes leader immediately.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.process.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let start = Instant::now();
        while self.process.try_wait()?.is_none() {
            ensure!(start.elapsed() < Duration::from_secs(30), "the operator does not stop");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Sends a plain HTTP/1.0 request, which blocks: on loopback, the response arrives within a
    /// millisecond.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin_port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        let (head, body) = reply.split_once("\r\n\r\n")?;
        let status = head.split_whitespace().nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // After `stop`, the process has already exited, and this fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
