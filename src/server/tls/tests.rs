use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::routing::get;
use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::Clock;
use crate::server::ConnectionLimits;
use crate::server::listen::{Listener, serve};

const DAY: i64 = 24 * 60 * 60;

/// A clock that is set.
struct Set(AtomicI64);

impl Clock for Set {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

struct World {
    clock: Arc<Set>,
    metrics: Arc<Metrics>,
    certificate: Arc<Certificate>,
}

impl World {
    fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (clock, metrics) =
            (Arc::new(Set(AtomicI64::new(100 * DAY))), Arc::<Metrics>::default());
        let certificate = Certificate::new("public", clock.clone(), Arc::clone(&metrics));
        Self { clock, metrics, certificate }
    }

    /// Whether the offered pair is in use now.
    fn takes(&self, pair: &PemPair) -> bool {
        self.certificate.offer(Ok(copy(pair)));
        self.certificate.state.lock().served.as_ref().unwrap().pair == *pair
    }

    fn count(&self, outcome: &str) -> u64 {
        let name =
            format!("anon_tls_certificates_total{{listener=\"public\",outcome=\"{outcome}\"}} ");
        let text = self.metrics.expose().unwrap();
        text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |it| it.parse().unwrap())
    }
}

fn copy(pair: &PemPair) -> PemPair {
    PemPair { certificate: pair.certificate.clone(), key: pair.key.clone() }
}

/// A pair for `x` that is valid from one day to the other.
fn pair(from: i32, to: i32) -> PemPair {
    let first = rcgen::date_time_ymd(1970, 1, 1);
    let length = rcgen::date_time_ymd(1970, 1, 2) - first;
    let day = |day: i32| first + length * day;
    let mut parameters = rcgen::CertificateParams::new(["x".to_owned()]).unwrap();
    (parameters.not_before, parameters.not_after) = (day(from), day(to));
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    PemPair {
        certificate: certificate.pem().into_bytes(),
        key: Zeroizing::new(key.serialize_pem().into_bytes()),
    }
}

#[test]
fn unusable_pair_is_counted_once_and_the_previous_one_remains_in_use() {
    let world = World::new();
    let (first, second) = (pair(99, 200), pair(99, 300));
    assert!(world.certificate.acceptor().is_none());
    assert!(world.takes(&first));
    let half = |pem: &[u8]| pem[..pem.len() / 2].to_vec();
    let bad = [
        PemPair { certificate: half(&second.certificate), ..copy(&second) },
        PemPair { key: Zeroizing::new(half(&second.key)), ..copy(&second) },
        PemPair { certificate: Vec::new(), ..copy(&second) },
        PemPair { key: Zeroizing::default(), ..copy(&second) },
        // The files were swapped between the two reads.
        PemPair { key: first.key.clone(), ..copy(&second) },
        // Expired, and not valid yet.
        pair(50, 99),
        pair(101, 300),
    ];
    for (index, bad) in (1..).zip(&bad) {
        for _ in 0..3 {
            assert!(!world.takes(bad), "{index}");
        }
        let problem = world.certificate.problem().unwrap();
        assert!(!problem.contains("PRIVATE"), "{problem}");
        assert_eq!(world.count("rejected"), index, "{problem}");
    }
    assert!(world.takes(&first) && world.certificate.problem().is_none());
    assert!(world.takes(&second));
    assert_eq!((world.count("loaded"), world.count("rejected")), (2, 7));
    let text = world.metrics.expose().unwrap();
    let expiry = format!(
        "anon_tls_certificate_expiry_timestamp_seconds{{listener=\"public\"}} {}",
        300 * DAY
    );
    assert!(text.contains(&expiry), "{text}");
}

#[test]
fn pair_that_becomes_valid_while_it_is_offered_is_taken() {
    let world = World::new();
    let (first, early) = (pair(99, 200), pair(101, 300));
    assert!(world.takes(&first) && !world.takes(&early));
    world.clock.0.store(101 * DAY, Ordering::Relaxed);
    assert!(world.takes(&early));
}

#[test]
fn expired_pair_is_used_only_if_there_is_no_better_one() {
    let world = World::new();
    let (older, newer, valid) = (pair(1, 98), pair(1, 99), pair(1, 200));
    assert!(world.takes(&newer), "better than none");
    assert!(!world.takes(&older));
    assert!(world.takes(&valid) && !world.takes(&newer));
    world.clock.0.store(250 * DAY, Ordering::Relaxed);
    assert!(!world.takes(&newer));
    assert!(world.takes(&pair(1, 249)));
}

/// A connection, its first response, and the certificate that it got.
async fn get_over(
    address: SocketAddr,
    trusted: &[&PemPair],
    protocol: &[u8],
) -> (TlsStream<TcpStream>, String) {
    let mut roots = rustls::RootCertStore::empty();
    for pair in trusted {
        roots.add(CertificateDer::from_pem_slice(&pair.certificate).unwrap()).unwrap();
    }
    let verifier = WebPkiServerVerifier::builder(Arc::new(roots)).build().unwrap();
    let mut config = ClientConfig::builder().with_webpki_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = connector.connect(ServerName::try_from("x").unwrap(), stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
    if protocol == b"h2" {
        // The preface, and the settings of the server as the answer (RFC 9113 section 3.4).
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head[3], 4);
        return (stream, String::new());
    }
    let response = request(&mut stream).await;
    (stream, response)
}

async fn request(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut text = String::new();
    while !text.ends_with("\r\n\r\nok") {
        text.push(char::from(stream.read_u8().await.unwrap()));
    }
    text
}

fn served(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Certificates in real time: those of [`World`] would have expired for the client.
#[tokio::test]
async fn listener_serves_http1_and_http2_and_changes_its_certificate() {
    let world = World::new();
    let (first, second) = (pair(99, 40_000), pair(98, 40_000));
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    let listener = Listener { socket, name: "public", metrics: Arc::clone(&world.metrics) };
    let router = Router::new().route("/", get(|| async { "ok" }));
    let (tls, stop) = (Arc::clone(&world.certificate), CancellationToken::new());
    let server = tokio::spawn(serve(
        listener,
        router.into(),
        Some(tls),
        stop.clone(),
        ConnectionLimits::default(),
    ));

    // Without a certificate yet.
    let mut closed = TcpStream::connect(address).await.unwrap();
    let end = closed.read(&mut [0]).await;
    assert!(!matches!(end, Ok(read) if read > 0));

    assert!(world.takes(&first));
    let (mut old, _) = get_over(address, &[&first], b"http/1.1").await;
    get_over(address, &[&first], b"h2").await;
    assert!(world.takes(&second));
    assert!(request(&mut old).await.starts_with("HTTP/1.1 200"), "an open connection continues");
    let (new, response) = get_over(address, &[&second], b"http/1.1").await;
    assert!(response.starts_with("HTTP/1.1 200"));
    assert_ne!(served(&old), served(&new));
    stop.cancel();
    server.await.unwrap().unwrap();
}

/// As the kubelet updates a Secret volume: the files are links into a directory that is a link
/// itself, which is replaced.
#[tokio::test(start_paused = true)]
async fn follows_files_whose_directory_is_swapped() {
    let world = World::new();
    let volume = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
    let put = |name: &str, pair: &PemPair| {
        let directory = volume.join(name);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("tls.crt"), &pair.certificate).unwrap();
        fs::write(directory.join("tls.key"), &pair.key).unwrap();
        let link = volume.join("new");
        std::os::unix::fs::symlink(name, &link).unwrap();
        fs::rename(link, volume.join("..data")).unwrap();
    };
    let (first, second) = (pair(99, 200), pair(99, 200));
    put("1", &first);
    for name in ["tls.crt", "tls.key"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), volume.join(name)).unwrap();
    }
    let files = TlsFiles { cert: volume.join("tls.crt"), key: volume.join("tls.key") };
    let certificate = Arc::clone(&world.certificate);
    let task = tokio::spawn(async move { files.follow(&certificate).await });
    let serves = async |pair: &PemPair| {
        tokio::time::sleep(2 * READ_INTERVAL).await;
        world.certificate.state.lock().served.as_ref().unwrap().pair == *pair
    };
    assert!(serves(&first).await);
    put("2", &second);
    assert!(serves(&second).await);
    fs::remove_dir_all(&volume).unwrap();
    assert!(serves(&second).await);
    assert!(world.certificate.problem().unwrap().contains("tls.crt"));
    task.abort();
}
