//! The baseline: a bare axum server that answers `GET /` with a small JSON object over the operator's
//! listener, started by this program as a process of its own. It also answers `POST /v1/validate`
//! with an object as large as the operator's, without looking at the request: nothing that answers
//! over axum can be faster.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anon_operator::testing::server;
use anyhow::{Context as _, ensure};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::ValueEnum as _;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::load::SERVER_CORE;
use crate::shared::operator::{free_port, on_core};

/// About the size of the operator's response to a token of the benchmark.
const VERDICT_BYTES: usize = 600;

/// Who accepts the connections of a bare axum server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Listener {
    /// axum.
    Axum,
    /// The operator, with its limits and timeouts.
    Operator,
}

/// Serves until it is killed.
pub async fn serve(port: u16, by: Listener) -> anyhow::Result<()> {
    let large = json!({"active": true, "claims": "c".repeat(VERDICT_BYTES)});
    let router = Router::new()
        .route("/", get(|| async { Json(json!({"active": true})) }))
        .route("/v1/validate", post(async move || Json(&large).into_response()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    match by {
        Listener::Axum => axum::serve(listener, router).await?,
        Listener::Operator => {
            let (socket, limits) = (listener.into_std()?, server::ConnectionLimits::default());
            let listener = server::Listener { socket, name: "baseline", metrics: Arc::default() };
            server::serve(listener, router.into(), None, CancellationToken::new(), limits).await?;
        }
    }
    Ok(())
}

/// A server process that has nothing to do with a cluster; killed when dropped.
pub struct Server {
    process: Child,
    pub address: SocketAddr,
}

impl Server {
    /// A bare axum server. The baseline is that whose connections the operator's listener accepts.
    pub async fn bare(by: Listener) -> anyhow::Result<Self> {
        let port = free_port()?;
        let program = std::env::current_exe()?;
        let program = program.to_str().context("the path of this program")?;
        let by = by.to_possible_value().context("the name of the listener")?;
        let flags = [format!("--baseline-server={port}"), format!("--listener={}", by.get_name())];
        Self::start(program, &flags, port).await
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
