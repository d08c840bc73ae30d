//! The network between one operator and the API server: a proxy on loopback that a test can
//! interrupt.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use super::cluster::{directory, variable};

/// What the proxy does with bytes and connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passage {
    Open,
    /// Bytes are held back without any error, as if a switch had lost power.
    Stalled,
    /// Connections are closed, including new ones.
    Cut,
}

/// The connection of one replica to the API server. It is interrupted when this is dropped.
pub struct Link {
    passage: watch::Sender<Passage>,
    kubeconfig: PathBuf,
}

impl Link {
    /// Starts a proxy for this replica.
    pub fn new(replica: usize) -> Self {
        let path =
            variable("ANON_OPERATOR_KUBECONFIGS").split(':').nth(replica).unwrap().to_owned();
        let kubeconfig = fs::read_to_string(path).unwrap();
        let server = kubeconfig.lines().find_map(|line| line.split_once("https://")).unwrap().1;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap();
        let path = directory().join(format!("link-{}.kubeconfig", own.port()));
        fs::write(&path, kubeconfig.replace(server, &own.to_string())).unwrap();

        let passage = watch::Sender::new(Passage::Open);
        let (state, server) = (passage.subscribe(), server.to_owned());
        // The proxy does not use the runtime of the test, which blocks while it runs kubectl.
        thread::spawn(move || serve(listener, &server, state));
        Self { passage, kubeconfig: path }
    }

    /// The kubeconfig with which the replica connects through the proxy.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone()
    }

    /// Stops forwarding bytes, but keeps connections open.
    pub fn stall(&self) {
        self.passage.send_replace(Passage::Stalled);
    }

    /// Closes all connections, including new ones.
    pub fn cut(&self) {
        self.passage.send_replace(Passage::Cut);
    }

    /// Forwards bytes again, including those that were held back.
    pub fn restore(&self) {
        self.passage.send_replace(Passage::Open);
    }
}

/// Forwards connections until the [`Link`] is dropped.
fn serve(listener: TcpListener, server: &str, mut state: watch::Receiver<Passage>) {
    listener.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((inner, _)) = accepted else { continue };
                    tokio::spawn(forward(inner, server.to_owned(), state.clone()));
                }
                changed = state.changed() => if changed.is_err() { return },
            }
        }
    });
}

async fn forward(inner: TcpStream, server: String, state: watch::Receiver<Passage>) {
    let mut cut = state.clone();
    let pass = async {
        let Ok(outer) = TcpStream::connect(server).await else {
            opens(&mut state.clone()).await;
            return;
        };
        let ((from, to), (back_from, back_to)) = (inner.into_split(), outer.into_split());
        tokio::join!(copy(from, back_to, state.clone()), copy(back_from, to, state));
    };
    tokio::select! {
        _ = cut.wait_for(|passage| *passage == Passage::Cut) => {}
        () = pass => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<Passage>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or_default();
        // A stall also holds back the end of a connection. Bytes that are read after a cut are not
        // forwarded, even if this task is notified of the cut later.
        let open = opens(&mut state).await;
        if !open || count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Waits while the proxy is stalled. Returns whether it is open afterwards.
async fn opens(state: &mut watch::Receiver<Passage>) -> bool {
    let moved = state.wait_for(|passage| *passage != Passage::Stalled).await;
    moved.is_ok_and(|passage| *passage == Passage::Open)
}
