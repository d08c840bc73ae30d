//! kube-apiserver as a consumer of what we publish: with `--authentication-config` it logs a user
//! in with a token of a hosted pool.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use anon_operator::testing::crd::UserPool;
use serde_json::{Value, json};

use crate::harness::cluster::{directory, minor_version};
use crate::harness::kubectl::{Said, kubectl};
use crate::harness::operator::{Setup, free_port, spawn_from_lasting_thread};
use crate::harness::signing::{active, ask_to_rotate, finish_rotation, next_is_known};
use crate::harness::{Operator, Space, alone, eventually, pool, with};

const AUDIENCE: &str = "kubernetes";

/// A second API server of the same cluster; killed when dropped.
struct ApiServer {
    child: Child,
    port: u16,
}

impl ApiServer {
    /// As the first one was started, but with this authentication configuration.
    fn start(configuration: &Value) -> Self {
        let directory = directory();
        let file = directory.join("authentication.json");
        fs::write(&file, configuration.to_string()).unwrap();
        let port = free_port();
        let first = first_arguments();
        let own = ["--secure-port=", "--audit-log-path=", "--audit-policy-file="];
        let kept = |argument: &&String| !own.iter().any(|own| argument.starts_with(own));
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .args(first.iter().filter(kept))
            .arg(format!("--secure-port={port}"))
            .arg(format!("--authentication-config={}", file.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.join("authentication.log")).unwrap());
        Self { child: spawn_from_lasting_thread(command), port }
    }

    /// Who the holder of this token is.
    fn who_am_i(&self, token: &str) -> Said {
        let server = format!("--server=https://127.0.0.1:{}", self.port);
        let ca = format!("--certificate-authority={}/pki/ca.crt", directory().display());
        let token = format!("--token={token}");
        kubectl(&["--kubeconfig=/dev/null", &server, &ca, &token, "auth", "whoami", "-o", "json"])
    }

    async fn knows(&self, token: &str, username: &str) {
        eventually("the API server logs the user in", async || {
            let said = self.who_am_i(token);
            let user: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
            if user["status"]["userInfo"]["username"] == username {
                Ok(())
            } else {
                Err(format!("{said:?}"))
            }
        })
        .await;
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command line of this cluster's API server.
fn first_arguments() -> Vec<String> {
    let certificate = directory().join("pki/server.crt").display().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|it| fs::read_to_string(it.path().join("cmdline")).ok());
    let mut servers = lines
        .map(|line| line.split_terminator('\0').map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| line.first().is_some_and(|program| program.ends_with("/kube-apiserver")))
        .filter(|line| line.iter().any(|argument| argument.ends_with(&certificate)));
    servers.next().expect("an API server")
}

#[tokio::test]
async fn kube_apiserver_logs_a_user_in() {
    let _turn = alone().await;
    let tls = free_port();
    let public_url = Some(format!("https://127.0.0.1:{tls}"));
    let leader =
        Operator::launch(Setup { public_url: public_url.clone(), ..Setup::default() }).await;
    let flags = vec!["--roles=validator".to_owned()];
    let public = Setup { replica: 1, flags, public_url, tls: Some(tls), ..Setup::default() };
    let _public = Operator::launch(public).await;

    let space = Space::new("kubernetes").await;
    for name in ["users", "others"] {
        let pool = pool(name, json!({"algorithm": "ES256"}));
        space.apply(&with(pool, "/spec/audiences", json!([AUDIENCE]))).await;
    }
    let key = space.backend().await;
    let mint = async |pool: &str| {
        let id = space.ready::<UserPool>(pool).await.status.unwrap().id.unwrap();
        leader.minted(&key, &json!({"appUserId": "ada", "userPoolId": id})).await
    };
    let (users, others) = (mint("users").await, mint("others").await);
    let issuer = space.ready::<UserPool>("users").await.status.unwrap().issuer.unwrap();
    // It keeps a set for as long as we allow, and does not ask for a key that it does not know
    // meanwhile: that is why the next key is published ahead.
    ask_to_rotate(&space, "users", "now").await;
    next_is_known(&space, "users").await;
    let version = if minor_version().await < 34 { "v1beta1" } else { "v1" };
    let server = ApiServer::start(&json!({
        "apiVersion": format!("apiserver.config.k8s.io/{version}"),
        "kind": "AuthenticationConfiguration",
        "jwt": [{
            "issuer": {
                "url": issuer, "audiences": [AUDIENCE],
                "certificateAuthority": fs::read_to_string(directory().join("pki/ca.crt")).unwrap(),
            },
            "claimMappings": {"username": {"claim": "sub", "prefix": "acme:"}},
        }],
    }));
    server.knows(&users, "acme:ada").await;
    let refused = server.who_am_i(&others);
    assert!(!refused.success && refused.stderr.contains("Unauthorized"), "{refused:?}");

    let first = active(&space, "users").await;
    finish_rotation(&space, "users").await;
    let rotated = eventually("the new key signs", async || {
        let token = mint("users").await;
        let header = jsonwebtoken::decode_header(&token).unwrap();
        if header.kid.as_ref() == Some(&first) { Err("the old one does") } else { Ok(token) }
    })
    .await;
    server.knows(&rotated, "acme:ada").await;
    server.knows(&users, "acme:ada").await;
}
