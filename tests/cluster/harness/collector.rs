//! A trace collector that receives OTLP over HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::TcpListener;

/// A running collector.
pub struct Collector {
    pub url: String,
    received: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    /// Starts a collector on loopback.
    pub async fn start() -> Self {
        let received = Arc::<Mutex<Vec<Bytes>>>::default();
        let store = async |State(received): State<Arc<Mutex<Vec<Bytes>>>>, body: Bytes| {
            received.lock().push(body);
        };
        let router = Router::new().route("/v1/traces", post(store));
        let router = router.with_state(Arc::clone(&received));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { url, received }
    }

    /// All bytes received so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.received.lock().concat()
    }

    /// The resource attributes, which describe the processes that sent spans.
    pub fn resources(&self) -> Vec<BTreeMap<String, String>> {
        let resources = self.requests().into_iter().flat_map(|it| it.resource_spans);
        resources.map(|it| attributes(&it.resource.unwrap_or_default().attributes)).collect()
    }

    /// All spans received so far.
    pub fn spans(&self) -> Vec<Span> {
        let resources = self.requests().into_iter().flat_map(|it| it.resource_spans);
        resources.flat_map(|it| it.scope_spans).flat_map(|it| it.spans).collect()
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let received = self.received.lock();
        received.iter().map(|it| ExportTraceServiceRequest::decode(it.clone()).unwrap()).collect()
    }
}

/// Converts attributes to text, by key.
pub fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &KeyValue| match value.value.as_ref().and_then(|it| it.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|it| (it.key.clone(), text(it))).collect()
}

/// The id of a trace or span in lower-case hex.
pub fn hex(id: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(id)
}
