//! An operator process that takes the place of one of the chart's Pods.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, mpsc};
use std::{fs, thread};

use serde_json::{Value, json};

use super::Space;
use super::cluster::{directory, operator_namespace, operator_user, variable};
use super::http::{self, Reply};
use super::kubectl::kubectl;
use super::tokens::minted;
use super::wait::{eventually, expect};

/// The public URL of every operator in these tests. All use the same one, because objects store it.
pub const PUBLIC_URL: &str = "https://anon.example.test/base";

/// The hosts from which key sets may be fetched: none of them is looked up outside of this machine.
const LOCAL_HOSTS: &str = "localhost,127.0.0.1,[::1],[::ffff:7f00:1],169.254.169.254";

/// A running operator. It is killed when this is dropped.
pub struct Operator {
    child: Child,
    http: u16,
    admin: u16,
    pub log: PathBuf,
}

/// How to start an operator.
#[derive(Default)]
pub struct Setup {
    /// The index of the Deployment's Pod whose place the process takes.
    pub replica: usize,
    /// Additional flags.
    pub flags: Vec<String>,
    /// Additional environment variables.
    pub env: Vec<(String, String)>,
    /// A kubeconfig to use instead of the Pod's.
    pub kubeconfig: Option<PathBuf>,
    /// A public URL to use instead of [`PUBLIC_URL`].
    pub public_url: Option<String>,
    /// A port on which to serve TLS, with the certificate of the API server.
    pub tls: Option<u16>,
}

impl Operator {
    /// Starts an operator with these flags and waits until it is ready.
    pub async fn start(flags: &[&str]) -> Self {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Self::launch(Setup { flags, ..Setup::default() }).await
    }

    /// Starts an operator and waits until it is ready.
    pub async fn launch(setup: Setup) -> Self {
        let mut operator = Self::launch_unready(&setup).await;
        eventually("the operator is ready", || {
            assert!(operator.running(), "the operator ended:\n{}", operator.log_tail());
            let url = operator.admin_url("/readyz");
            async move {
                let reply = http::get(&url).await?;
                expect(reply.status == 200, reply.status)
            }
        })
        .await;
        operator
    }

    /// Starts an operator and waits only until it responds to requests.
    pub async fn launch_unready(setup: &Setup) -> Self {
        loop {
            let mut operator = Self::spawn(setup);
            let is_alive = eventually("the operator is alive", || {
                let (running, url) = (operator.running(), operator.admin_url("/livez"));
                async move { if running { http::get(&url).await.map(|_| true) } else { Ok(false) } }
            })
            .await;
            if is_alive {
                return operator;
            }
            // Another process may have taken a port since it was chosen.
            let log = operator.log_tail();
            let is_taken = setup.tls.is_none() && log.contains("Address already in use");
            assert!(is_taken, "the operator ended:\n{log}");
        }
    }

    fn spawn(setup: &Setup) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let log = directory().join(format!("test-operator-{number}.log"));
        let (http, admin) = (setup.tls.unwrap_or_else(free_port), free_port());
        let public_url = setup.public_url.as_deref().unwrap_or(PUBLIC_URL);
        let replica = |list: &str| variable(list).split(':').nth(setup.replica).unwrap().to_owned();
        let kubeconfig =
            setup.kubeconfig.clone().unwrap_or_else(|| replica("ANON_OPERATOR_KUBECONFIGS").into());
        // As for the launcher, this variable selects a binary other than that of this build.
        let binary = std::env::var("ANON_OPERATOR_BIN")
            .unwrap_or_else(|_| env!("CARGO_BIN_EXE_anon-operator").to_owned());
        // The operator must not outlive the tests, however they end.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", &binary, "run"])
            .arg(format!("--listen=127.0.0.1:{http}"))
            .arg(format!("--admin-listen=127.0.0.1:{admin}"))
            .arg(format!("--public-url={public_url}"))
            .arg("--log-level=info,anon_operator=debug")
            // No host is looked up outside of this machine, whatever hosts the manifests of tests
            // specify.
            .arg(format!("--fetch-host={LOCAL_HOSTS}"))
            .args(&setup.flags)
            .env("KUBECONFIG", kubeconfig)
            .env("POD_NAME", replica("ANON_OPERATOR_PODS"))
            .env("POD_NAMESPACE", operator_namespace())
            .envs(setup.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap());
        if setup.tls.is_some() {
            let file = |name: &str| directory().join("pki").join(name);
            command.arg("--tls-cert").arg(file("server.crt"));
            command.arg("--tls-key").arg(file("server.key"));
        }
        Self { child: spawn_from_lasting_thread(command), http, admin, log }
    }

    /// A URL on the public port.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    /// A URL on the admin port, for health and metrics.
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.admin)
    }

    /// The host and the port on which the operator listens.
    pub fn address(&self) -> (&'static str, u16) {
        ("127.0.0.1", self.http)
    }

    /// Validates a credential.
    pub async fn validate(&self, credential: &str, client: Option<&str>) -> Reply {
        let bearer = format!("Bearer {credential}");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(client.map(|client| ("x-anon-sdk-client-id", client)));
        http::post(&self.url("/v1/validate"), &headers, &json!({})).await.unwrap()
    }

    /// Waits until validation returns this verdict, which may take some milliseconds after the
    /// change that causes it.
    pub async fn gives(&self, credential: &str, client: Option<&str>, verdict: &str) {
        eventually(&format!("the verdict is {verdict}"), async || {
            let now = self.validate(credential, client).await.verdict();
            expect(now == verdict, now)
        })
        .await;
    }

    /// Issues a token, with retries as a client would do. Status is Ready some milliseconds before
    /// this replica's index is up to date; until then the replica answers 503 or does not know the
    /// key.
    pub async fn minted(&self, key: &str, body: &Value) -> String {
        eventually("a token is minted", async || {
            let reply = self.mint(key, body).await;
            if reply.status == 200 { Ok(minted(&reply)) } else { Err(reply.verdict()) }
        })
        .await
    }

    /// Requests a token.
    pub async fn mint(&self, key: &str, body: &Value) -> Reply {
        let bearer = format!("Bearer {key}");
        let url = self.url("/org/appUserIdToken");
        http::post(&url, &[("authorization", &bearer)], body).await.unwrap()
    }

    /// Whether the process is running.
    pub fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Kills the process, as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and does not wait.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// The process id of the operator.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the signal with this name.
    pub fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.child.id().to_string());
        assert!(Command::new("kill").args([&signal, &pid]).status().unwrap().success());
    }

    /// Sends SIGSTOP and waits until no thread is running. On a busy machine, the other threads
    /// continue until the first one has received the signal.
    pub async fn pause(&self) {
        self.signal("STOP");
        let threads = format!("/proc/{}/task", self.child.id());
        eventually("every thread has stopped", async || {
            let stats = fs::read_dir(&threads).unwrap().map(|thread| {
                fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default()
            });
            // The state follows the name, which is in parentheses.
            let is_running = |stat: &String| stat.contains(") ") && !stat.contains(") T ");
            let running = stats.filter(is_running).count();
            if running == 0 { Ok(()) } else { Err(format!("{running} run")) }
        })
        .await;
    }

    /// Waits until the process exits.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the operator ends", || {
            let status = self.child.try_wait().unwrap();
            async move { status.ok_or("it runs") }
        })
        .await
    }

    /// Sends SIGTERM and returns the exit status.
    pub async fn stop(mut self) -> ExitStatus {
        self.terminate();
        self.ended().await
    }

    /// The last lines of the operator's log.
    pub fn log_tail(&self) -> String {
        end_of(&self.log)
    }
}

/// The last lines of a log.
pub fn end_of(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the end of {} ---\n{}", self.log.display(), self.log_tail());
        }
    }
}

/// Spawns a process from a thread that never ends. A parent-death signal is sent when the *thread*
/// that spawned the process ends, and the thread of a test ends with the test.
pub fn spawn_from_lasting_thread(command: Command) -> Child {
    type Job = (Command, mpsc::Sender<Child>);
    static SPAWNER: LazyLock<Mutex<mpsc::Sender<Job>>> = LazyLock::new(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in jobs {
                reply.send(command.spawn().unwrap()).unwrap();
            }
        });
        Mutex::new(sender)
    });
    let (reply, child) = mpsc::channel();
    SPAWNER.lock().unwrap().send((command, reply)).unwrap();
    child.recv().unwrap()
}

/// A free port below the range from which outgoing connections take their ports.
pub fn free_port() -> u16 {
    loop {
        let random = u16::try_from(uuid::Uuid::new_v4().as_u128() % 12_000).unwrap();
        let port = 20_000 + random;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Applies a merge patch to a status and impersonates the operator's ServiceAccount to do so, as an
/// administrator still could.
pub fn operator_patches_status(space: &Space, kind: &str, name: &str, patch: &Value) {
    let (user, patch) = (operator_user(), patch.to_string());
    let said = kubectl(&[
        "patch",
        kind,
        name,
        "--namespace",
        &space.name,
        "--subresource=status",
        "--type=merge",
        "--as",
        &user,
        "--patch",
        &patch,
    ]);
    assert!(said.success, "{said:?}");
}
