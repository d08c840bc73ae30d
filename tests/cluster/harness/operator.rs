//! One process of the operator, in the place of one of the chart's Pods.

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

/// What every operator here is told that it is reached by. One for all, because it is stored.
pub const PUBLIC_URL: &str = "https://anon.example.test/base";

/// The hosts that may be asked for key sets: none that is looked up outside of this machine.
const LOCAL_HOSTS: &str = "localhost,127.0.0.1,[::1],[::ffff:7f00:1],169.254.169.254";

/// A running operator; killed when dropped.
pub struct Operator {
    child: Child,
    http: u16,
    admin: u16,
    pub log: PathBuf,
}

/// How to start one.
#[derive(Default)]
pub struct Setup {
    /// Which of the Deployment's Pods it stands for.
    pub replica: usize,
    /// More flags.
    pub flags: Vec<String>,
    /// More environment variables.
    pub env: Vec<(String, String)>,
    /// Another kubeconfig than that of the Pod.
    pub kubeconfig: Option<PathBuf>,
    /// Another public URL than [`PUBLIC_URL`].
    pub public_url: Option<String>,
    /// A port to speak TLS on, with the certificate of the API server.
    pub tls: Option<u16>,
}

impl Operator {
    /// Starts one with these flags and waits until it is ready.
    pub async fn start(flags: &[&str]) -> Self {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Self::launch(Setup { flags, ..Setup::default() }).await
    }

    /// Starts one and waits until it is ready.
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

    /// Starts one and waits only until it answers at all.
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
        // As for the launcher: another one than that of this build.
        let binary = std::env::var("ANON_OPERATOR_BIN")
            .unwrap_or_else(|_| env!("CARGO_BIN_EXE_anon-operator").to_owned());
        // The operator must not outlive the tests, however these end.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", &binary, "run"])
            .arg(format!("--listen=127.0.0.1:{http}"))
            .arg(format!("--admin-listen=127.0.0.1:{admin}"))
            .arg(format!("--public-url={public_url}"))
            .arg("--log-level=info,anon_operator=debug")
            // Nothing is looked up outside of this machine, whatever the manifests of tests name.
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

    /// A URL that is served to the world.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    /// A URL of health and metrics.
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.admin)
    }

    /// Where it listens.
    pub fn address(&self) -> (&'static str, u16) {
        ("127.0.0.1", self.http)
    }

    /// Asks whether a credential counts.
    pub async fn validate(&self, credential: &str, client: Option<&str>) -> Reply {
        let bearer = format!("Bearer {credential}");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(client.map(|client| ("x-anon-sdk-client-id", client)));
        http::post(&self.url("/v1/validate"), &headers, &json!({})).await.unwrap()
    }

    /// Waits until it gives this verdict, which may be some milliseconds after what leads to it.
    pub async fn gives(&self, credential: &str, client: Option<&str>, verdict: &str) {
        eventually(&format!("the verdict is {verdict}"), async || {
            let now = self.validate(credential, client).await.verdict();
            expect(now == verdict, now)
        })
        .await;
    }

    /// A token. Ready in status is some milliseconds ahead of this replica's index: until then it
    /// says 503 or does not know the key, as a client that asks again would see.
    pub async fn minted(&self, key: &str, body: &Value) -> String {
        eventually("a token is minted", async || {
            let reply = self.mint(key, body).await;
            if reply.status == 200 { Ok(minted(&reply)) } else { Err(reply.verdict()) }
        })
        .await
    }

    /// Asks for a token.
    pub async fn mint(&self, key: &str, body: &Value) -> Reply {
        let bearer = format!("Bearer {key}");
        let url = self.url("/org/appUserIdToken");
        http::post(&url, &[("authorization", &bearer)], body).await.unwrap()
    }

    /// Whether the process lives.
    pub fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Any signal.
    pub fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.child.id().to_string());
        assert!(Command::new("kill").args([&signal, &pid]).status().unwrap().success());
    }

    /// SIGSTOP. Returns when no thread runs any more: on a busy machine, the others go on until the
    /// first one has received the signal.
    pub async fn pause(&self) {
        self.signal("STOP");
        let threads = format!("/proc/{}/task", self.child.id());
        eventually("every thread has stopped", async || {
            let stats = fs::read_dir(&threads).unwrap().map(|thread| {
                fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default()
            });
            // After the name, which is in parentheses.
            let is_running = |stat: &String| stat.contains(") ") && !stat.contains(") T ");
            let running = stats.filter(is_running).count();
            if running == 0 { Ok(()) } else { Err(format!("{running} run")) }
        })
        .await;
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the operator ends", || {
            let status = self.child.try_wait().unwrap();
            async move { status.ok_or("it runs") }
        })
        .await
    }

    /// SIGTERM, and its exit status.
    pub async fn stop(mut self) -> ExitStatus {
        self.terminate();
        self.ended().await
    }

    /// The end of its log.
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

/// Spawns from a thread that never ends: the death signal comes with the death of the *thread*
/// that spawned, and the thread of a test dies with the test.
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

/// Below the range that outgoing connections take their ports from.
pub fn free_port() -> u16 {
    loop {
        let random = u16::try_from(uuid::Uuid::new_v4().as_u128() % 12_000).unwrap();
        let port = 20_000 + random;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Writes a status as the operator's account would, by impersonating it: what an administrator
/// could still do. A merge patch.
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
