//! The process of the API server, and its etcd: what befalls a control plane.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStringExt as _;
use std::process::{Command, Stdio};

use http::Request;
use serde_json::{Value, json};

use super::cluster::{admin, directory};
use super::operator::spawn_from_lasting_thread;
use super::wait::{eventually, expect};

/// The API server after `kill -9`; started again when dropped, because other tests need it.
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
    eventually("the API server is dead", async || expect(self::pid().is_none(), "it runs")).await;
    killed
}

/// The process with the mark of the launcher: see dev/lib/process.sh.
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
    /// Starts it again, and waits until it is ready.
    pub async fn start(self) {
        drop(self);
        let client = admin().await;
        eventually("the API server is ready", async || {
            client.request_text(Request::get("/readyz").body(Vec::new()).unwrap()).await.map(drop)
        })
        .await;
    }

    /// Removes the history of every object from etcd.
    pub fn compact(&self) {
        let range = self.etcd("range", &json!({"key": "AA=="}));
        let revision = &range["header"]["revision"];
        self.etcd("compaction", &json!({"revision": revision, "physical": true}));
    }

    /// A call of etcd's JSON gateway.
    fn etcd(&self, method: &str, body: &Value) -> Value {
        let mut flags = self.program.iter().map(|flag| flag.to_str().unwrap());
        let server = flags.find_map(|flag| flag.strip_prefix("--etcd-servers=")).unwrap();
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
}

impl Drop for Killed {
    fn drop(&mut self) {
        let log = OpenOptions::new().append(true).open(directory().join("apiserver.log")).unwrap();
        let variable = |text: &OsString| {
            let text = text.to_str().unwrap();
            let (name, value) = text.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        // As the launcher starts it; its mark is how the launcher finds it in the end.
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
