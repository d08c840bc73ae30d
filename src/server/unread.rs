//! Responses that the client has not read completely. A client that stops reading (HTTP/2 flow
//! control, a full socket buffer) keeps them in memory, and hyper does not poll the body of a
//! response that it cannot send. So the deadline belongs to the connection: it is closed when one
//! of its responses has been unread for too long, whatever else the connection does in the
//! meantime.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use futures::task::AtomicWaker;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a client may take to read a response, counted from its start.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The responses of one connection that have not been read completely.
#[derive(Debug, Default)]
pub struct Unread {
    begun: Mutex<Begun>,
    /// Whether the connection has to be closed.
    doomed: AtomicBool,
    /// Wakes the task of the connection.
    connection: AtomicWaker,
}

#[derive(Debug, Default)]
struct Begun {
    next: u64,
    /// Oldest first.
    times: BTreeMap<u64, Instant>,
}

/// A response that has not been read completely. It has been once this is dropped.
#[derive(Debug)]
pub struct Reading {
    unread: Arc<Unread>,
    number: u64,
}

impl Unread {
    /// Records the start of a response.
    pub fn begin(self: &Arc<Self>) -> Reading {
        let mut begun = self.begun.lock();
        let number = begun.next;
        begun.next = number.wrapping_add(1);
        begun.times.insert(number, Instant::now());
        Reading { unread: Arc::clone(self), number }
    }

    /// How many responses have been unread for at least `age`.
    pub fn older_than(&self, age: Duration) -> usize {
        let now = Instant::now();
        let old = |since: &&Instant| now.saturating_duration_since(**since) >= age;
        self.begun.lock().times.values().take_while(old).count()
    }

    /// Closes the connection.
    pub fn end(&self) {
        self.doomed.store(true, Ordering::Release);
        self.connection.wake();
    }

    fn oldest(&self) -> Option<Instant> {
        self.begun.lock().times.first_key_value().map(|(_, since)| *since)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.unread.begun.lock().times.remove(&self.number);
    }
}

/// The stream of a connection. It fails once the connection has to be closed.
pub struct Timed<I> {
    stream: I,
    unread: Arc<Unread>,
    timer: Pin<Box<Sleep>>,
}

impl<I> Timed<I> {
    /// Watches the responses on `stream`.
    pub fn new(stream: I, unread: Arc<Unread>) -> Self {
        Self { stream, unread, timer: Box::pin(tokio::time::sleep(READ_TIMEOUT)) }
    }

    /// Fails if the connection has to be closed. The calling task is woken when that changes. No
    /// timer is needed while nothing is unread: this task polls the stream again to send the next
    /// response.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        self.unread.connection.register(context.waker());
        if self.unread.doomed.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let Some(oldest) = self.unread.oldest() else { return Ok(()) };
        let end = oldest + READ_TIMEOUT;
        if self.timer.deadline() != end {
            self.timer.as_mut().reset(end);
        }
        match self.timer.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Timed<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Timed<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A body that holds a guard until its last byte has been sent. Each of its buffers holds the guard
/// too, because hyper takes them out of the body long before it can send them.
#[derive(Debug)]
pub struct Held<B, G> {
    body: B,
    guard: Arc<G>,
}

impl<B, G> Held<B, G> {
    /// Holds `guard`.
    pub fn new(body: B, guard: G) -> Self {
        Self { body, guard: Arc::new(guard) }
    }
}

impl<B, G> HttpBody for Held<B, G>
where
    B: HttpBody<Data = Bytes> + Unpin,
    G: Send + Sync + 'static,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let guard = || Arc::clone(&self.guard);
        let held = |data| Bytes::from_owner(Buffer { data, _guard: guard() });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(held))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Buffer<G> {
    data: Bytes,
    _guard: Arc<G>,
}

impl<G> AsRef<[u8]> for Buffer<G> {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_response_is_unread_until_its_last_buffer_is_gone() {
        let unread = Arc::<Unread>::default();
        let mut body = Held::new(Body::from("text"), unread.begin());
        let buffer = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(buffer, "text");
        assert!(body.is_end_stream());
        drop(body);
        assert_eq!(unread.older_than(Duration::ZERO), 1);
        let part = buffer.slice(..2);
        drop(buffer);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let newer = unread.begin();
        assert_eq!(unread.older_than(Duration::from_secs(1)), 1);
        drop(part);
        assert_eq!(unread.older_than(Duration::ZERO), 1);
        drop(newer);
        assert_eq!(unread.older_than(Duration::ZERO), 0);
    }
}
