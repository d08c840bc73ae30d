//! The composition root: builds every part and starts its tasks.

mod tasks;
mod tls;

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context as _;
use jiff::SignedDuration;
use kube::Client;
use kube::client::ClientBuilder;
use tokio_util::sync::CancellationToken;
use tower::util::MapResponseLayer;
use tracing::{info, warn};

use crate::clock::SystemClock;
use crate::config::{Config, Role};
use crate::controller::{self, Settings};
use crate::index::{Index, IndexSettings, Reader};
use crate::jwks::connect::{Connector, SystemResolver};
use crate::jwks::{AddressFilter, CONNECT_TIMEOUT, FETCH_TIMEOUT, Fetcher, HostFilter, Trust};
use crate::kube_ext::error::naming;
use crate::kube_ext::traced::TracedWrites;
use crate::kube_ext::utf8;
use crate::leader;
use crate::metrics::Metrics;
use crate::replicas::lease::ReplicaLease;
use crate::replicas::tracker::ReplicaTracker;
use crate::server::{
    self, ApiState, ConnectionLimits, EndpointSettings, Listener, PlatformSettings, RequestLimits,
    ValidatorState, VerificationQueue, VerifiedTokens,
};
use crate::watch;
use tasks::{Tasks, all_ended};

/// How long the API server may be silent while nothing changes: two bookmarks, and as much again for a
/// watch that ends and is opened again.
const QUIET_TIME: Duration = Duration::from_mins(3);

/// A client for the API server, from the environment: `KUBECONFIG`, or the Pod's ServiceAccount.
///
/// # Errors
/// There is no usable configuration.
pub async fn client() -> anyhow::Result<Client> {
    let mut config = kube::Config::infer().await.context(
        "cannot connect to the API server: neither KUBECONFIG nor a Pod's ServiceAccount is usable",
    )?;
    // Retries inside the client would continue after the Lease was lost. Our own retries know when
    // to stop.
    config.default_retry = false;
    // Proxy variables in the environment are not meant for the API server.
    config.proxy_url = None;
    // A dead connection must not block a reconciliation permanently. Longer than the 290 s after
    // which the API server ends a watch.
    config.read_timeout = Some(Duration::from_secs(295));
    let naming = naming(&config.cluster_url);
    let builder = ClientBuilder::try_from(config);
    let builder = builder.context("the configuration for the API server is not usable")?;
    let builder = builder.with_layer(&MapResponseLayer::new(utf8::repaired)).with_layer(&naming);
    Ok(builder.with_layer(&TracedWrites).build())
}

/// Runs everything that `config` asks for, until `shutdown` or until a part fails.
///
/// # Errors
/// An address is unavailable, or a part ended unexpectedly.
pub async fn run(
    config: Config,
    client: Client,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    config.check()?;
    if config.max_staleness < QUIET_TIME {
        warn!(
            "--max-staleness is less than {QUIET_TIME:?}: in a quiet cluster, the API server sends less often than that, and meanwhile this replica returns 503"
        );
    }
    let authenticates = config.has(Role::Api) || config.has(Role::Validator);
    let index = Arc::new(Index::new(IndexSettings {
        scope: config.scope(),
        max_jwks_age: SignedDuration::try_from(config.max_jwks_age)?,
        max_staleness: authenticates.then_some(config.max_staleness),
        for_admission: config.has(Role::Webhook),
    }));
    let replicas = Arc::new(ReplicaTracker::new(config.max_staleness));
    let state = ValidatorState {
        reader: Reader::new(Arc::clone(&index)),
        clock: Arc::new(SystemClock),
        metrics: Arc::new(Metrics::default()),
        public_url: config.public_url.as_str().into(),
        settings: Arc::new(endpoint_settings(&config)),
        verified_tokens: Arc::new(VerifiedTokens::new(
            config.token_cache_size.saturating_mul(1 << 20),
        )),
        verification_queue: VerificationQueue::new(available_parallelism()?),
    };
    let fetcher = config.has(Role::Controller).then(|| fetcher(&config)).transpose()?;
    let mut servers = Tasks::new(shutdown);
    // What the servers answer from.
    let mut sources = Tasks::new(CancellationToken::new());
    let lease = authenticates.then(|| ReplicaLease {
        client: client.clone(),
        namespace: config.namespace.clone(),
        identity: config.identity.clone(),
        max_staleness: config.max_staleness,
        applied: Arc::clone(state.reader.applied()),
        refetch_requests: Arc::clone(state.reader.refetch_requests()),
    });

    // The servers listen first, so that a probe can tell "not ready" from "not running".
    let admin = listen(config.admin_listen, "--admin-listen")?;
    let router = server::admin(state.clone());
    let limits = connection_limits(&config, Duration::ZERO);
    let admin = Listener { socket: admin, name: "admin", metrics: Arc::clone(&state.metrics) };
    servers.spawn_with(|stop| async move {
        Ok(server::serve(admin, router.into(), None, stop, limits).await?)
    });
    if authenticates {
        let public = listen(config.listen, "--listen")?;
        let validator = config.has(Role::Validator).then(|| state.clone());
        let api = config
            .has(Role::Api)
            .then(|| ApiState::new(state.clone(), client.clone(), platform(&config, &replicas)));
        let routes = server::routes(validator, api.transpose()?, request_limits(&config));
        let certificate = tls::public_certificate(&mut servers, &config, &state)?;
        let limits = connection_limits(&config, config.drain_timeout);
        let public =
            Listener { socket: public, name: "public", metrics: Arc::clone(&state.metrics) };
        servers.spawn_with(|stop| async move {
            Ok(server::serve(public, routes, certificate, stop, limits).await?)
        });
    }
    if config.has(Role::Webhook) {
        tls::serve_webhook(&mut servers, &config, &client, &state)?;
    }

    let watched = client.clone();
    sources.spawn(async move { Box::pin(watch::run(watched, &index)).await });
    if config.has(Role::Api) || config.has(Role::Controller) {
        let (client, replicas) = (client.clone(), Arc::clone(&replicas));
        let namespace = config.namespace.clone();
        sources.spawn(async move { replicas.watch(client, &namespace).await });
    }
    if let Some(lease) = lease.clone() {
        let reader = state.reader.clone();
        sources.spawn(async move {
            reader.listed().await;
            lease.run(|id| reader.pool(id)).await;
        });
    }
    if let Some(fetcher) = fetcher {
        let (config, client, state) = (config.clone(), client, state);
        servers.spawn_with(|stop| async move {
            Box::pin(control(config, client, state, replicas, fetcher, stop)).await;
            Ok(())
        });
    }

    info!(version = env!("CARGO_PKG_VERSION"), roles = ?config.roles, listen = %config.listen, admin = %config.admin_listen, "started");
    let outcome = all_ended(servers, sources).await;
    // Only now: this replica must be included in propagation until it has answered its last
    // request.
    if let Some(lease) = lease {
        lease.delete().await;
    }
    outcome
}

fn connection_limits(config: &Config, drain_timeout: Duration) -> ConnectionLimits {
    ConnectionLimits {
        max_connections: size(config.max_connections),
        max_http2_streams: config.max_http2_streams,
        idle_timeout: config.idle_timeout,
        drain_timeout,
        ..ConnectionLimits::default()
    }
}

fn request_limits(config: &Config) -> RequestLimits {
    RequestLimits {
        max_in_progress: size(config.max_requests_in_progress),
        max_waiting: size(config.max_requests_waiting),
    }
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn endpoint_settings(config: &Config) -> EndpointSettings {
    EndpointSettings {
        gateway_accepts: config.gateway_accepts.clone(),
        token_review_clients: config.token_review_client.clone(),
    }
}

fn platform(config: &Config, replicas: &Arc<ReplicaTracker>) -> PlatformSettings {
    PlatformSettings {
        identity: config.identity.clone(),
        replicas: Some(Arc::clone(replicas)),
        operator_namespace: config.namespace.clone(),
        proxy_hops: config.trusted_proxy_hops,
        link_url: config.link_url.as_ref().map(|url| url.as_str().to_owned()),
        allow_sign_up: config.allow_sign_up,
        allowed_origins: config.api_allowed_origin.clone(),
    }
}

/// Runs the controllers while this replica leads.
async fn control(
    config: Config,
    client: Client,
    state: ValidatorState,
    replicas: Arc<ReplicaTracker>,
    fetcher: Fetcher,
    stop: CancellationToken,
) {
    let settings = Settings {
        operator_namespace: config.namespace.clone(),
        scope: config.scope(),
        public_url: config.public_url.as_str().to_owned(),
        orphan_grace: config.orphan_grace,
        allow_sign_up: config.allow_sign_up,
        max_jwks_age: config.max_jwks_age,
        webhook_configuration: config.webhook_configuration.clone(),
        fetcher,
    };
    // Two processes with the same Pod name (a restarting container) must not mistake each other for
    // themselves.
    let me = format!("{}_{}", config.identity, uuid::Uuid::new_v4());
    let lead = || {
        let context = controller::Context::new(
            client.clone(),
            settings.clone(),
            Arc::clone(&state.clock),
            Arc::clone(&state.metrics),
            state.reader.clone(),
            Arc::clone(&replicas),
            config.identity.clone(),
        );
        let leading = Leading::start(Arc::clone(&state.metrics));
        async move {
            let _leading = leading;
            Box::pin(controller::run(Arc::new(context))).await;
        }
    };
    Box::pin(leader::campaign(client.clone(), &config.namespace, &me, stop, lead)).await;
}

/// The fetcher of key sets: limited to what the flags allow, and independent of the environment.
fn fetcher(config: &Config) -> anyhow::Result<Fetcher> {
    let (open, closed) = (config.allow_fetch_from.clone(), config.deny_fetch_from.clone());
    let filter = AddressFilter::new(open, closed).context("--allow-fetch-from")?;
    let connector = Connector::new(Arc::new(SystemResolver), filter, CONNECT_TIMEOUT)
        .with_hosts(HostFilter::new(&config.fetch_host));
    Ok(Fetcher::new(connector, Trust::platform(), FETCH_TIMEOUT))
}

/// Sets the leader metric while this replica leads, and resets it however that ends.
struct Leading(Arc<Metrics>);

impl Leading {
    fn start(metrics: Arc<Metrics>) -> Self {
        metrics.leads(true);
        Self(metrics)
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.0.leads(false);
    }
}

fn listen(address: std::net::SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .with_context(|| format!("cannot listen on {address} ({flag})"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
