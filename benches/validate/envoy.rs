//! Envoy with its own jwt_authn filter and a direct response, as a peer.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::Bench;
use crate::baseline::Server;
use crate::load::Requests;
use crate::report::Case;
use crate::rounds::{Measured, Subject, median, of_rounds};
use crate::shared::operator::free_port;
use crate::tokens::{AUDIENCE, ISSUER, Issuer};

/// The tokens that Envoy caches: more than the cached case uses.
const CACHE_SIZE: u32 = 2000;

/// Envoy, with one worker thread.
pub struct Envoy {
    server: Server,
    config: PathBuf,
}

impl Envoy {
    /// Starts the program in `ANON_BENCH_ENVOY` with the keys of the issuer.
    pub async fn start(bench: &Bench, issuer: &Issuer, cached: bool) -> anyhow::Result<Self> {
        let program = std::env::var("ANON_BENCH_ENVOY")
            .context("ANON_BENCH_ENVOY is not set: use `make bench ARGS=--peers`")?;
        let port = free_port()?;
        let config = bench.cluster.directory.join(format!("envoy-{port}.json"));
        fs::write(&config, serde_json::to_vec(&configuration(port, issuer, cached)?)?)?;
        let path = config.to_str().context("the path of Envoy's configuration")?.to_owned();
        let arguments = ["-c", &path, "--concurrency", "1", "--log-level", "error"];
        let arguments: Vec<_> = arguments
            .iter()
            .map(|argument| (*argument).to_owned())
            .chain(["--disable-hot-restart".to_owned()])
            .collect();
        Ok(Self { server: Server::start(&program, &arguments, port).await?, config })
    }

    /// Requests with the tokens, each of them in turn or only once.
    pub fn subject(&self, requests: Requests) -> Subject {
        Subject::server(&self.server, requests)
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.config);
    }
}

/// The result of a peer beside the operator's, of the same rounds.
pub fn case(name: &str, title: &str, operator: &Case, peer: &[Measured]) -> Case {
    let ours = operator.figures.get("requests_per_cpu_second").copied().unwrap_or_default();
    let theirs = median(&peer.iter().map(|round| round.rate).collect::<Vec<_>>());
    of_rounds(name, title, peer)
        .with("operator_to_envoy", ours / theirs)
        .note("in the same rounds as the operator")
}

fn configuration(port: u16, issuer: &Issuer, cached: bool) -> anyhow::Result<Value> {
    let jwks = json!({"keys": [issuer.jwk()?]}).to_string();
    let mut provider = json!({
        "issuer": ISSUER, "audiences": [AUDIENCE], "local_jwks": {"inline_string": jwks},
    });
    if let (true, Some(provider)) = (cached, provider.as_object_mut()) {
        provider.insert("jwt_cache_config".to_owned(), json!({"jwt_cache_size": CACHE_SIZE}));
    }
    let extension = "type.googleapis.com/envoy.extensions.filters";
    let filters = json!([
        {"name": "envoy.filters.http.jwt_authn", "typed_config": {
            "@type": format!("{extension}.http.jwt_authn.v3.JwtAuthentication"),
            "providers": {"bench": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        }},
        {"name": "envoy.filters.http.router", "typed_config": {
            "@type": format!("{extension}.http.router.v3.Router"),
        }},
    ]);
    let route = json!({"match": {"prefix": "/"}, "direct_response": {
        "status": 200, "body": {"inline_string": "{\"active\":true}"},
    }});
    let manager = json!({
        "@type": format!("{extension}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench", "http_filters": filters,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    });
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    Ok(json!({"static_resources": {"listeners": [{
        "name": "bench", "address": address, "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
        }]}],
    }]}}))
}
