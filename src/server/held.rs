//! A body that holds something until it has been sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

/// A body that holds a guard until its last byte has been sent. Each of its buffers holds the guard
/// too, because hyper takes them out of the body long before it can send them.
#[derive(Debug)]
pub struct Held<B, G> {
    body: B,
    guard: Arc<G>,
}

impl<B, G> Held<B, G> {
    /// Holds `guard`.
    pub const fn new(body: B, guard: Arc<G>) -> Self {
        Self { body, guard }
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

    #[tokio::test]
    async fn holds_until_the_last_buffer_is_gone() {
        let (guard, alive) = (Arc::new(()), |guard: &Arc<()>| Arc::strong_count(guard) > 1);
        let mut body = Held::new(Body::from("text"), Arc::clone(&guard));
        let buffer = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(buffer, "text");
        assert!(body.is_end_stream());
        drop(body);
        let part = buffer.slice(..2);
        drop(buffer);
        assert!(alive(&guard));
        drop(part);
        assert!(!alive(&guard));
    }
}
