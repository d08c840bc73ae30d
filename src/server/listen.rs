//! The accept loop: [`serve`] is the only place that listens. hyper speaks HTTP on each connection;
//! [`Connection`] decides when the connection has to be closed.

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::IntoResponse as _;
use futures::FutureExt as _;
use futures::future::Either;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;

use super::arrival::Arrival;
use super::connection::{Close, Connection, ConnectionLimits};
use super::connection_limit::Connections;
use super::host;
use super::shortcut::Routes;
use super::tls::Certificate;
use crate::metrics::sampled::value;
use crate::metrics::{Metrics, catalog};

/// The maximum size of a request head, in bytes: a token of 16 KiB and as much again.
const MAX_HEAD: u32 = 32 * 1024;
/// The HTTP/2 flow control window, in bytes: how much of request bodies a connection may send
/// ahead, and how much of a response is buffered for sending.
const WINDOW: u32 = 64 * 1024;
/// How often idle connections are closed if too many connections are open.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);
/// The pause after a connection that could not be accepted: the process is probably out of file
/// descriptors, and would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What to listen on.
#[derive(Debug)]
pub struct Listener {
    /// The socket, which does not block.
    pub socket: TcpListener,
    /// Its name in the metrics.
    pub name: &'static str,
    /// Where its connections are counted.
    pub metrics: Arc<Metrics>,
}

/// Serves `routes` on `listener` until `shutdown`, then waits for requests in flight. With `tls`,
/// each connection uses the certificate that is in use when it is accepted.
///
/// # Errors
/// The listener is unusable.
pub async fn serve(
    listener: Listener,
    routes: Routes,
    tls: Option<Arc<Certificate>>,
    shutdown: CancellationToken,
    limits: ConnectionLimits,
) -> io::Result<()> {
    let Listener { socket, name, metrics } = listener;
    let listener = tokio::net::TcpListener::from_std(socket)?;
    let server = Server::new(routes, limits);
    let connections = Arc::clone(&server.connections);
    metrics.sample(&catalog::CONNECTIONS, name, move || {
        vec![(vec![name], value(connections.count()))]
    });
    server.run(listener, tls.as_deref(), shutdown).await;
    Ok(())
}

/// What the connections of a listener share.
struct Server {
    routes: Routes,
    http: auto::Builder<TokioExecutor>,
    connections: Arc<Connections>,
}

impl Server {
    fn new(routes: Routes, limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            routes,
            http: http(limits.max_http2_streams),
            connections: Connections::new(limits),
        })
    }

    async fn run(
        self: &Arc<Self>,
        listener: tokio::net::TcpListener,
        tls: Option<&Certificate>,
        shutdown: CancellationToken,
    ) {
        let mut tasks = JoinSet::new();
        let mut room = interval(ROOM_INTERVAL);
        loop {
            tokio::select! {
                accepted = accept(&listener) => {
                    let Ok((stream, address)) = accepted else {
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    };
                    // Without a place, and without a certificate yet, the connection is closed.
                    let tls = tls.map(Certificate::acceptor);
                    if matches!(tls, Some(None)) {
                        continue;
                    }
                    let Some(connection) = self.connections.open() else { continue };
                    let tls = tls.flatten();
                    let server = Arc::clone(self);
                    tasks.spawn(async move { server.accept(stream, address, tls, connection).await });
                }
                _ = room.tick() => self.connections.make_room(),
                Some(_) = tasks.join_next() => {}
                () = shutdown.cancelled() => break,
            }
        }
        // New connections are refused from here on.
        drop(listener);
        self.connections.drain();
        let ended = async { while tasks.join_next().await.is_some() {} };
        let _ = timeout(self.connections.limits().drain_timeout, ended).await;
        tasks.shutdown().await;
    }

    /// Serves one connection.
    async fn accept<S>(
        &self,
        stream: S,
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        connection: Arc<Connection>,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Some(tls) = tls else { return self.speak(stream, address, connection).await };
        tokio::select! {
            handshake = tls.accept(stream) => if let Ok(stream) = handshake {
                self.speak(stream, address, connection).await;
            },
            _ = connection.closing() => {}
        }
    }

    /// Speaks HTTP until the connection ends or has to be closed.
    async fn speak<S>(&self, stream: S, address: SocketAddr, connection: Arc<Connection>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let reader = Arc::clone(&connection);
        let stream = InspectReader::new(stream, move |bytes| reader.received(bytes));
        let (routes, requests) = (self.routes.clone(), Arc::clone(&connection));
        let connections = Arc::clone(&self.connections);
        let service = service_fn(move |request: Request<Incoming>| {
            let in_flight = requests.begin();
            let response = if host::is_unambiguous(&request) {
                let arrival = Arrival {
                    address,
                    connections: Arc::clone(&connections),
                    in_flight: Some(Arc::clone(&in_flight)),
                    slot: None,
                };
                Either::Left(routes.handle(request, Some(arrival)))
            } else {
                Either::Right(ready(host::rejection().into_response()))
            };
            // Not an async block, in which the future would be twice: each stream of HTTP/2 has one.
            response.map(move |response| Ok::<_, Infallible>(in_flight.respond(response)))
        });
        let http = self.http.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(http);
        loop {
            tokio::select! {
                // First, so that a request that has been received is seen before the connection is
                // judged idle.
                biased;
                _ = http.as_mut() => return,
                close = connection.closing() => match close {
                    // In HTTP/1.1, closes an idle connection, or says `Connection: close` in the
                    // response in progress. In HTTP/2, sends GOAWAY.
                    Close::Gracefully => http.as_mut().graceful_shutdown(),
                    Close::Now => return,
                }
            }
        }
    }
}

/// The next connection. Its responses are sent without waiting for acknowledgements: those of HTTP/2
/// consist of several parts, and clients acknowledge a part up to 40 ms late.
async fn accept(listener: &tokio::net::TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = listener.accept().await?;
    // It fails if the connection is broken already, which is noticed soon enough.
    let _ = stream.set_nodelay(true);
    Ok((stream, address))
}

/// Limits the cost of a connection before a request is complete.
fn http(max_streams: u32) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // hyper's timeout for a head also runs between requests, when a connection may be idle for much
    // longer. `Connection` has a timeout for each.
    builder.http1().header_read_timeout(None).max_buf_size(MAX_HEAD as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(max_streams)
        .max_header_list_size(MAX_HEAD)
        .max_send_buf_size(WINDOW as usize)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(Some(Duration::from_secs(30)));
    builder
}

#[cfg(test)]
mod tests;
