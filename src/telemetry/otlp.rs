//! Export of traces by OTLP over HTTP, as the variables of the OpenTelemetry specification
//! configure it (docs/configuration.md). It has a thread and a runtime of its own, and a queue that
//! drops what it has no room for, so a collector that is slow or away delays nothing.

use std::env;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::http::HeaderMap;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanContext, TraceContextExt as _, TraceState, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::{Builder, Runtime};
use tracing::{Span, warn};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;

use super::BoxedLayer;

/// The name of the service, unless the environment specifies one.
const SERVICE: &str = "anon-operator";
/// How long one export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end of the process may wait for the last export.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// At most one line about failed exports in this time.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// A running exporter.
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Starts the exporter that the environment configures; `None` if it configures none.
    ///
    /// # Errors
    /// A variable is unusable; for people.
    pub fn from_environment() -> Result<Option<Self>, String> {
        let endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        let is_off = is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none");
        if is_off || !endpoints.into_iter().any(|name| variable(name).is_some()) {
            return Ok(None);
        }
        for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
            if variable(name).is_some_and(|protocol| protocol != "http/protobuf") {
                return Err(format!("{name} must be http/protobuf"));
            }
        }
        let client = CollectorClient::new().map_err(|error| error.to_string())?;
        let exporter = SpanExporter::builder().with_http().with_http_client(client).build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource())
            .with_batch_exporter(exporter.map_err(|error| error.to_string())?)
            .build();
        Ok(Some(Self(provider)))
    }

    /// The layer that turns spans into those of OpenTelemetry, and nothing else than those that
    /// `spans` lets through.
    pub fn layer(&self, spans: Targets) -> BoxedLayer {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(spans)
            .boxed()
    }

    /// Exports what is queued, for at most [`SHUTDOWN_TIMEOUT`].
    pub fn shut_down(self) {
        if self.0.shutdown_with_timeout(SHUTDOWN_TIMEOUT).is_err() {
            warn!("the last traces were not exported in time");
        }
    }
}

/// Makes the span a child of the one that the header `traceparent` specifies
/// (<https://www.w3.org/TR/trace-context/>). `tracestate` is for the caller's own services and may
/// contain anything, so it is not passed on.
pub fn set_parent(span: &Span, headers: &HeaderMap) {
    let extractor = HeaderExtractor(headers);
    let sent = TraceContextPropagator::new().extract_with_context(&Context::new(), &extractor);
    let sent = sent.span().span_context().clone();
    if sent.is_valid() {
        let (trace, parent, flags) = (sent.trace_id(), sent.span_id(), sent.trace_flags());
        let sent = SpanContext::new(trace, parent, flags, true, TraceState::NONE);
        // It fails only if the span has no OpenTelemetry data, and then it is not exported.
        let _ = span.set_parent(Context::new().with_remote_span_context(sent));
    }
}

/// A variable of the environment, unless it is empty, which the specification treats as unset.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn is(name: &str, expected: &str) -> bool {
    variable(name).is_some_and(|value| value.eq_ignore_ascii_case(expected))
}

/// What the spans are about.
fn resource() -> Resource {
    let resource = Resource::builder_empty()
        .with_service_name(SERVICE)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_detector(Box::new(EnvResourceDetector::new()));
    match variable("OTEL_SERVICE_NAME") {
        Some(name) => resource.with_service_name(name).build(),
        None => resource.build(),
    }
}

/// Sends batches for the thread of the exporter, which has no runtime.
#[derive(Debug)]
struct CollectorClient {
    runtime: Runtime,
    client: HyperClient<HttpsConnector<HttpConnector>>,
    failures: Mutex<Failures>,
}

impl CollectorClient {
    fn new() -> Result<Self, Box<dyn Error>> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        Ok(Self {
            // A worker of its own notices between two exports that the collector has closed an idle
            // connection.
            runtime: Builder::new_multi_thread().worker_threads(1).enable_all().build()?,
            client: HyperClient::new(connector.enable_http1().build(), EXPORT_TIMEOUT, None),
            failures: Mutex::default(),
        })
    }
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.runtime.block_on(self.client.send_bytes(request));
        let failure = match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(response.status().to_string()),
            Err(error) => Some(with_causes(error.as_ref())),
        };
        if let Some(error) = failure
            && let Some(failures) = self.failures.lock().count(Instant::now())
        {
            warn!(
                error,
                failures,
                "failed to export traces; those that do not fit into the queue are dropped"
            );
        }
        sent
    }
}

/// Failed exports since the last line about them.
#[derive(Debug, Default)]
struct Failures {
    logged: Option<Instant>,
    count: u64,
}

impl Failures {
    /// Counts a failure, and returns how many there were if a line is due.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        if self.logged.is_some_and(|logged| now.duration_since(logged) < LOG_INTERVAL) {
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

/// The text of an error and of its causes. hyper's own text does not contain them.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_logged_once_in_an_interval() {
        let mut failures = Failures::default();
        let start = Instant::now();
        assert_eq!(failures.count(start), Some(1));
        assert_eq!(failures.count(start + LOG_INTERVAL / 2), None);
        assert_eq!(failures.count(start + LOG_INTERVAL), Some(2));
        assert_eq!(failures.count(start + LOG_INTERVAL), None);
    }
}
