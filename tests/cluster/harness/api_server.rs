//! Kills and restarts the process of the API server, and compacts its etcd.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::net::TcpStream;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use http::Request;
use serde_json::{Value, json};

use super::cluster::{admin, directory};
use super::operator::{end_of, spawn_from_lasting_thread};
use super::wait::{eventually, expect};

/// The API server after `kill -9`. A drop restarts it, because other tests need it.
pub struct Killed {
    program: Vec<OsString>,
    environment: Vec<OsString>,
}

/// Kills the API server.
pub async fn kill() -> Killed {
    let pid = pid().expect("the API server runs");
    let read = |file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap();
        let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
        parts.map(|part| OsString::from_vec(part.to_vec())).collect()
    };
    let killed = Killed { program: read("cmdline"), environment: read("environ") };
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    // Wait for the port to close. The environment in /proc disappears at once, but the sockets
    // close only with the last thread, and until then a new process could not listen on the port.
    let address = format!("{}:{}", killed.flag("--bind-address="), killed.flag("--secure-port="));
    eventually("the API server is dead", async || {
        expect(TcpStream::connect(&address).is_err(), format!("{address} is open"))
    })
    .await;
    killed
}

/// The pid of the process that has the launcher's mark in its environment: see dev/lib/process.sh.
fn pid() -> Option<String> {
    let mark = format!("ANON_DEV_PROCESS=apiserver@{}", directory().display());
    let processes = fs::read_dir("/proc").unwrap();
    let mut pids = processes.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    pids.find(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    })
}

impl Killed {
    /// Starts the API server, restarts it whenever it exits, and waits until it is ready.
    pub async fn start(self) {
        let client = admin().await;
        eventually("the API server is ready", async || {
            self.run();
            let ready = Request::get("/readyz").body(Vec::new()).unwrap();
            let answer = client.request_text(ready).await;
            answer.map_err(|error| format!("{error}; the end of its log:\n{}", end_of(&log())))
        })
        .await;
    }

    /// Compacts etcd, which removes the history of every object.
    pub fn compact(&self) {
        let range = self.etcd("range", &json!({"key": "AA=="}));
        let revision = &range["header"]["revision"];
        self.etcd("compaction", &json!({"revision": revision, "physical": true}));
    }

    /// Calls a method of etcd's JSON gateway.
    fn etcd(&self, method: &str, body: &Value) -> Value {
        let server = self.flag("--etcd-servers=");
        let file = |name: &str| directory().join("pki").join(name);
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail-with-body", "--noproxy", "*"])
            .args(["--data", &body.to_string(), &format!("{server}/v3/kv/{method}")])
            .arg("--cacert")
            .arg(file("ca.crt"))
            .arg("--cert")
            .arg(file("admin.crt"))
            .arg("--key")
            .arg(file("admin.key"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The value of the API server's flag that starts with `prefix`.
    fn flag(&self, prefix: &str) -> &str {
        let mut flags = self.program.iter().map(|flag| flag.to_str().unwrap());
        flags.find_map(|flag| flag.strip_prefix(prefix)).unwrap()
    }

    /// Starts the API server unless it is running.
    fn run(&self) {
        if pid().is_some() {
            return;
        }
        let log = OpenOptions::new().append(true).open(log()).unwrap();
        let variable = |text: &OsString| {
            let text = text.to_str().unwrap();
            let (name, value) = text.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        // Start it as the launcher does. The environment has the launcher's mark, by which the
        // launcher finds the process to terminate it.
        let mut command = Command::new("setsid");
        command
            .args(&self.program)
            .env_clear()
            .envs(self.environment.iter().map(variable))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        drop(spawn_from_lasting_thread(command));
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.run();
    }
}

fn log() -> PathBuf {
    directory().join("apiserver.log")
}
