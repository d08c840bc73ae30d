//! Runs an operator and kills it after a number of writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use anon_operator::testing::app;
use anon_operator::testing::config::Config;
use clap::Parser;
use futures::future::{BoxFuture, FutureExt as _};
use http::{Method, Request};
use kube::client::{Body, ClientBuilder};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service};

use super::cluster::{config_of, variable};
use super::operator::PUBLIC_URL;
use super::turn::free_lease;

/// Lets this many writes through. Later writes never return, as if the process had been killed.
/// Writes to Leases and Events always pass and are not counted.
#[derive(Clone)]
struct Fuse {
    left: Arc<AtomicUsize>,
    blown: Arc<Notify>,
}

impl<S> Layer<S> for Fuse {
    type Service = Fused<S>;

    fn layer(&self, inner: S) -> Fused<S> {
        Fused { inner, fuse: self.clone() }
    }
}

#[derive(Clone)]
struct Fused<S> {
    inner: S,
    fuse: Fuse,
}

impl<S> Service<Request<Body>> for Fused<S>
where
    S: Service<Request<Body>, Future: Send + 'static>,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let counts = *request.method() != Method::GET
            && !path.contains("/leases")
            && !path.contains("/events");
        if counts {
            let spent = self
                .fuse
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if spent.is_err() {
                self.fuse.blown.notify_one();
                return std::future::pending().boxed();
            }
        }
        self.inner.call(request).boxed()
    }
}

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    config: Config,
}

/// Runs an operator in this process until it has made `writes` writes and attempts another one,
/// then kills it. Returns whether it attempted that write within 30 s.
pub async fn run_until_dead(writes: usize, flags: &[&str]) -> bool {
    run_until(writes, flags, tokio::time::sleep(Duration::from_secs(30))).await
}

/// Like [`run_until_dead`], but kills the operator when `finished` completes, if it has not
/// attempted that many writes before.
pub async fn run_until(writes: usize, flags: &[&str], finished: impl Future<Output = ()>) -> bool {
    let first = |list: &str| variable(list).split(':').next().unwrap().to_owned();
    let mut kube = config_of(&first("ANON_OPERATOR_KUBECONFIGS")).await;
    kube.default_retry = false;
    let fuse = Fuse { left: Arc::new(AtomicUsize::new(writes)), blown: Arc::default() };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = ClientBuilder::try_from(kube).unwrap().with_layer(&fuse).build();
    let pod = format!("--identity={}", first("ANON_OPERATOR_PODS"));
    let public_url = format!("--public-url={PUBLIC_URL}");
    let mut arguments = vec!["test", "--admin-listen=127.0.0.1:0", &pod, &public_url];
    arguments.extend(flags);
    if !flags.iter().any(|flag| flag.starts_with("--listen=")) {
        arguments.push("--listen=127.0.0.1:0");
    }
    let config = Arguments::parse_from(arguments).config;
    let operator = tokio::spawn(app::run(config, client, CancellationToken::new()));
    let blown = tokio::select! {
        () = fuse.blown.notified() => true,
        () = finished => false,
    };
    operator.abort();
    let _ = operator.await;
    free_lease().await;
    blown
}
