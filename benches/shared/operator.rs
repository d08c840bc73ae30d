//! Runs the operator as a separate process, with the permissions that the chart grants, and
//! measures its CPU time and memory.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::time::sleep;

use super::cluster::Cluster;
use super::cpu;

/// How long to wait for further writes after the last expected one.
pub const SETTLE: Duration = Duration::from_secs(2);

/// How an operator is started.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// Which replica of the chart it is.
    pub replica: usize,
    /// The CPU that it may use; any if `None`.
    pub core: Option<usize>,
    /// Further flags of `anon-operator run`.
    pub flags: Vec<String>,
}

impl Launch {
    /// A process that only validates.
    pub fn validator(core: Option<usize>) -> Self {
        Self { core, flags: vec!["--roles=validator".to_owned()], ..Self::default() }
    }

    fn may_lead(&self) -> bool {
        !self.flags.iter().any(|flag| flag.starts_with("--roles=")) && self.replica == 0
    }
}

/// How long an operator with very many objects may take to become ready.
const READY_TIMEOUT: Duration = Duration::from_mins(5);

/// A running operator.
pub struct Operator {
    process: Child,
    port: u16,
    admin_port: u16,
    /// Time from its start until it was ready.
    pub ready_after: Duration,
}

impl Operator {
    /// Starts it, and waits until it is ready and the leader.
    pub async fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        Self::launch(cluster, &Launch::default()).await
    }

    /// Starts it, and waits until it is ready. The first replica then waits until it is the leader,
    /// if it has the role of a controller.
    pub async fn launch(cluster: &Cluster, launch: &Launch) -> anyhow::Result<Self> {
        let (port, admin_port) = (free_port()?, free_port()?);
        let identity = cluster.identities.get(launch.replica).context("no such replica")?;
        let log = format!("operator-{}.log", launch.replica);
        let log = fs::File::create(cluster.audit.with_file_name(log))?;
        let start = Instant::now();
        let process = on_core(launch.core, env!("CARGO_BIN_EXE_anon-operator"))
            .args(["run", "--log-level=warn", "--public-url=https://anon.example"])
            .arg(format!("--listen=127.0.0.1:{port}"))
            .arg(format!("--admin-listen=127.0.0.1:{admin_port}"))
            .args(&launch.flags)
            .env("KUBECONFIG", &identity.kubeconfig)
            .env("POD_NAME", &identity.pod)
            .env("POD_NAMESPACE", "anon-system")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start the operator")?;
        let mut operator = Self { process, port, admin_port, ready_after: Duration::ZERO };
        while operator.get("/readyz").is_none_or(|(status, _)| status != 200) {
            ensure!(
                operator.process.try_wait()?.is_none(),
                "the operator exited, see operator-{}.log",
                launch.replica
            );
            ensure!(start.elapsed() < READY_TIMEOUT, "the operator does not become ready");
            sleep(Duration::from_millis(5)).await;
        }
        operator.ready_after = start.elapsed();
        while launch.may_lead() && operator.metric("anon_leader")? < 1.0 {
            ensure!(start.elapsed() < READY_TIMEOUT, "the operator does not become leader");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(operator)
    }

    /// The address of its endpoints.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
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
        rss_of(self.process.id())
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

/// A command with priority, on one CPU if that is given. It needs root for the priority; without
/// it, `nice` says so and runs the program all the same.
pub fn on_core(core: Option<usize>, program: &str) -> Command {
    let Some(core) = core else {
        return Command::new(program);
    };
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).args(["nice", "-n", "-19", program]);
    command
}

/// Resident memory of a process in bytes.
pub fn rss_of(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("VmRSS")?;
    Ok(kib.parse::<u64>()? * 1024)
}

/// A port of 127.0.0.1 that nothing listens on.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
