//! `kubectl-anon` as a process, on the real cluster.

mod changing;
mod reading;

use std::process::{Command, Stdio};

use anon_operator::testing::crd::{Member, SdkClient, UserPool};
use serde_json::{Value, json};

use crate::harness::{Space, member, organization, quick_pool, service, webapp};

/// How the program ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Standard output of a command that must succeed.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// The same, as JSON.
    pub fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// Runs `kubectl-anon` with the kubeconfig of the administrator.
pub async fn kubectl_anon(arguments: &[&str]) -> Ended {
    run(env!("CARGO_BIN_EXE_kubectl-anon"), arguments).await
}

/// Runs a program off the threads of the test.
async fn run(program: &str, arguments: &[&str]) -> Ended {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended {
        code: output.status.code().unwrap(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// An organization with one of everything, all of it ready.
pub async fn acme() -> Space {
    let space = Space::new("cli").await;
    let email = format!("ada@{}.example", space.name);
    let mut ada = member("ada", "Member", json!({"user": "ada"}));
    ada["spec"]["email"] = json!(email);
    space
        .apply_all(&[
            organization("default", json!({"displayName": "Acme"})),
            quick_pool("users"),
            webapp("web", "users"),
            service("backend", "Member", "backend-anon"),
            ada,
        ])
        .await;
    space.ready::<UserPool>("users").await;
    space.ready::<SdkClient>("web").await;
    space.ready::<SdkClient>("backend").await;
    space.ready::<Member>("ada").await;
    space
}
