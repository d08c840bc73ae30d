//! Export of traces.

use std::time::{Duration, Instant};

use anon_operator::testing::crd::SdkClient;
use serde_json::json;
use tokio::time::timeout;

use crate::harness::caller::{Caller, PASSWORD};
use crate::harness::collector::{Collector, attributes, hex};
use crate::harness::operator::Setup;
use crate::harness::{Operator, Space, alone, eventually, http, quick_pool, service};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn exporting(url: &str) -> Setup {
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url),
        ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=p"),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Setup { env, ..Setup::default() }
}

#[tokio::test]
async fn requests_and_reconciliations_are_traced_without_secrets() {
    let _turn = alone().await;
    let collector = Collector::start().await;
    let operator = Operator::launch(exporting(&collector.url)).await;
    let space = Space::new("traces").await;
    space.apply(&quick_pool("users")).await;
    let (web, key) = space.web_and_backend().await;
    let session = Caller::ada(&operator, &space).await.bearer;
    let token =
        operator.minted(&key, &json!({"appUserId": "private-user", "sdkClientId": web})).await;
    operator.gives(&token, Some(&web), "200").await;

    let validate = async |credential: &str, flags: &str| {
        let traceparent = format!("00-{TRACE}-{CALLER}-{flags}");
        let bearer = format!("Bearer {credential}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("x-anon-sdk-client-id", &web),
            ("traceparent", &traceparent),
            ("tracestate", "vendor=private-state"),
            ("baggage", "user=private-baggage"),
        ];
        http::post(&operator.url("/v1/validate"), &headers, &json!({})).await.unwrap().verdict()
    };
    assert_eq!(validate(&token, "01").await, "200");
    assert_eq!(validate("private-junk", "01").await, "401 credential_unrecognized");
    // This caller does not want a trace.
    assert_eq!(validate(&key, "00").await, "200");
    assert!(operator.stop().await.success());

    let spans = collector.spans();
    let named = |name: &'static str| spans.iter().filter(move |it| it.name == name);
    let theirs = |name: &'static str| named(name).filter(|it| hex(&it.trace_id) == TRACE);
    let mut results = Vec::new();
    for request in theirs("POST validate") {
        assert_eq!(hex(&request.parent_span_id), CALLER);
        let child = theirs("authenticate").find(|it| it.parent_span_id == request.span_id).unwrap();
        let request = attributes(&request.attributes);
        assert_eq!(request["anon.endpoint"], "validate");
        results.push((
            request["http.response.status_code"].clone(),
            request["anon.result"].clone(),
            attributes(&child.attributes)["anon.result"].clone(),
        ));
    }
    results.sort();
    let expected = [("200", "ok", "valid"), ("401", "rejected", "credential_unrecognized")];
    assert_eq!(results, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));

    let reconciliation = named("reconcile SdkClient").find(|it| {
        let attributes = attributes(&it.attributes);
        attributes["anon.name"] == "backend" && attributes["k8s.namespace.name"] == space.name
    });
    let reconciliation = reconciliation.expect("the client was reconciled");
    let of_it = |name| named(name).any(|it| it.parent_span_id == reconciliation.span_id);
    let names: Vec<_> = spans.iter().map(|it| it.name.as_str()).collect();
    assert!(of_it("POST secrets") && of_it("PUT sdkclients"), "{names:?}");
    assert!(named("authenticate").all(|it| !it.parent_span_id.is_empty()), "{names:?}");
    // The Leases are written outside of everything that is traced.
    assert_eq!(spans.iter().find(|it| it.name.contains("lease")), None);
    let resources = collector.resources();
    assert!(resources.iter().all(|it| it["service.name"] == "anon-operator"), "{resources:?}");
    assert!(resources.iter().all(|it| it["k8s.pod.name"] == "p"), "{resources:?}");

    let bytes = collector.bytes();
    let text = String::from_utf8_lossy(&bytes);
    let email = format!("ada@{}.example", space.name);
    for secret in [&key, &token, &session, PASSWORD, &email, "private-"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn an_absent_collector_delays_nothing() {
    let _turn = alone().await;
    // It accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let space = Space::new("absent").await;
    space.apply(&service("backend", "Member", "key")).await;
    for url in ["http://127.0.0.1:9", &silent_url] {
        let launched = Instant::now();
        let operator = Operator::launch(exporting(url)).await;
        space.ready::<SdkClient>("backend").await;
        let key = space.api_key("key").await;
        operator.gives(&key, None, "200").await;
        // More than the queue takes. Half the timeout of an export, which frees no place before.
        for _ in 0..3000 {
            let answer = timeout(Duration::from_secs(5), operator.validate(&key, None)).await;
            assert_eq!(answer.expect("an answer").verdict(), "200");
        }
        let lines = || {
            let log = std::fs::read_to_string(&operator.log).unwrap();
            log.matches("failed to export traces").count()
        };
        if url != silent_url {
            eventually("it is logged", async || if lines() > 0 { Ok(()) } else { Err("no line") })
                .await;
            let minutes = launched.elapsed().as_secs() / 60;
            let lines = u64::try_from(lines()).unwrap();
            assert!(lines <= 1 + minutes, "{lines} in {minutes} m: {}", operator.log_tail());
        }
        let start = Instant::now();
        assert!(operator.stop().await.success());
        // The queue is full: without a limit, its four exports would take 40 s.
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn unusable_variables_do_not_stop_the_operator() {
    let _turn = alone().await;
    let mut setup = exporting("not a URL");
    let operator = Operator::launch(setup).await;
    assert!(
        operator.log_tail().contains("the OTEL_* variables are unusable"),
        "{}",
        operator.log_tail()
    );
    drop(operator);
    setup = exporting("http://127.0.0.1:4317");
    setup.env.push(("OTEL_EXPORTER_OTLP_PROTOCOL".to_owned(), "grpc".to_owned()));
    let operator = Operator::launch(setup).await;
    assert!(operator.log_tail().contains("must be http/protobuf"), "{}", operator.log_tail());
}
