//! The network between one operator and the API server, which a test can interrupt: a proxy on
//! loopback.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use super::cluster::{directory, variable};

/// What happens to the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passage {
    Open,
    /// They wait, and nobody is told, as if a switch had lost its power.
    Stalled,
    /// Connections are closed, also new ones.
    Cut,
}

/// The connection of one replica to the API server; interrupted when dropped.
pub struct Link {
    passage: watch::Sender<Passage>,
    kubeconfig: PathBuf,
}

impl Link {
    /// Opens one for this replica.
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
        // Not on the runtime of the test, which blocks when it runs kubectl.
        thread::spawn(move || serve(listener, &server, state));
        Self { passage, kubeconfig: path }
    }

    /// The kubeconfig with which the replica uses it.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone()
    }

    /// Nothing passes any more, and connections stay open.
    pub fn stall(&self) {
        self.passage.send_replace(Passage::Stalled);
    }

    /// Closes every connection.
    pub fn cut(&self) {
        self.passage.send_replace(Passage::Cut);
    }

    /// Everything passes again; what was stalled arrives.
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
        // That the other side has closed the connection does not pass either. What is read after a
        // cut does not pass, even if this task learns of the cut later.
        let open = opens(&mut state).await;
        if !open || count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Waits while it is stalled. Whether it is open then.
async fn opens(state: &mut watch::Receiver<Passage>) -> bool {
    let moved = state.wait_for(|passage| *passage != Passage::Stalled).await;
    moved.is_ok_and(|passage| *passage == Passage::Open)
}
