//! The baseline: a bare axum server that answers `GET /` with a small JSON object, started by this
//! program as a process of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::load::SERVER_CORE;
use crate::shared::operator::{free_port, on_core};

/// Serves until it is killed.
pub async fn serve(port: u16) -> anyhow::Result<()> {
    let router = Router::new().route("/", get(|| async { Json(json!({"active": true})) }));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    Ok(axum::serve(listener, router).await?)
}

/// A server process that has nothing to do with a cluster; killed when dropped.
pub struct Server {
    process: Child,
    pub address: SocketAddr,
}

impl Server {
    /// The baseline.
    pub async fn baseline() -> anyhow::Result<Self> {
        let port = free_port()?;
        let program = std::env::current_exe()?;
        let program = program.to_str().context("the path of this program")?;
        Self::start(program, &["--baseline-server".to_owned(), port.to_string()], port).await
    }

    /// Starts a program on the servers' CPU, and waits until it listens.
    pub async fn start(program: &str, arguments: &[String], port: u16) -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let process = on_core(Some(SERVER_CORE), program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let server = Self { process, address };
        let start = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            ensure!(start.elapsed() < Duration::from_secs(20), "{program} does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
