//! The state of one connection, and when it has to be closed. A connection is in one of four
//! situations, each with a timeout of its own:
//!
//! - its first request has not arrived;
//! - the head of a further request has begun;
//! - requests are in flight: those have timeouts of their own, up to the response, which has to be
//!   read in time. A client that stops reading (HTTP/2 flow control, a full socket buffer) keeps it
//!   in memory, and hyper does not poll the body of a response that it cannot send. So the
//!   deadline belongs to the connection, whatever else the connection does in the meantime;
//! - it is idle.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{Instant, timeout};

use super::held::Held;
use super::wire::Wire;
use super::worker_slot::WorkerSlot;

/// How long a client may take to read a response, counted from its start.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an HTTP/1.1 connection has to be idle before it is closed gracefully. A client that has
/// just opened it, or uses it all the time, may be sending a request just now, and would lose it; this
/// request is answered instead, with `Connection: close`.
const LAST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// What the connections of a listener may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// The maximum number of concurrent connections; further ones are closed. From three quarters
    /// of it, the connections that have been idle longest are closed.
    pub max_connections: usize,
    /// The maximum number of concurrent requests on an HTTP/2 connection.
    pub max_http2_streams: u32,
    /// How long a client may take to send the head of a request. For the first one, the time starts
    /// with the connection.
    pub head_timeout: Duration,
    /// How long a connection may be idle between two requests.
    pub idle_timeout: Duration,
    /// How long to wait for requests in flight at a shutdown.
    pub drain_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_http2_streams: 64,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(2),
            drain_timeout: Duration::from_secs(15),
        }
    }
}

/// How a connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// After the requests in flight.
    Gracefully,
    /// At once.
    Now,
}

/// An open connection. It occupies its place until its last request is done.
#[derive(Debug)]
pub struct Connection {
    state: Mutex<State>,
    /// Notified when another part of the server wants the connection closed.
    wanted: Notify,
    limits: ConnectionLimits,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(limits: ConnectionLimits, place: OwnedSemaphorePermit) -> Arc<Self> {
        let state = Mutex::new(State::new(Instant::now()));
        Arc::new(Self { state, wanted: Notify::new(), limits, _place: place })
    }

    /// Records bytes that the client has sent.
    pub fn received(&self, bytes: &[u8]) {
        let mut state = self.state.lock();
        state.received(bytes, Instant::now());
        self.continue_drain(&state);
    }

    /// Records a request.
    pub fn begin(self: &Arc<Self>) -> Arc<InFlight> {
        let mut state = self.state.lock();
        let number = state.begin();
        self.continue_drain(&state);
        drop(state);
        Arc::new(InFlight { connection: Arc::clone(self), number, slot: OnceLock::new() })
    }

    /// A drain waits for the end of the head that has begun.
    fn continue_drain(&self, state: &State) {
        if state.drain && state.draining_since.is_none() {
            self.wanted.notify_one();
        }
    }

    /// How many responses have been unread for at least `age`.
    pub fn unread_for(&self, age: Duration) -> usize {
        let old = |since: &Instant| since.elapsed() >= age;
        self.state.lock().response_starts().filter(old).count()
    }

    /// Since when the connection has been idle, if it is.
    pub fn idle_since(&self) -> Option<Instant> {
        let state = self.state.lock();
        state.is_idle().then_some(state.idle_since)
    }

    /// Whether the connection is being closed gracefully.
    pub fn is_draining(&self) -> bool {
        self.state.lock().drain
    }

    /// Closes the connection once no head of a request has begun. A request in flight is answered.
    pub fn drain(&self) {
        self.state.lock().drain = true;
        self.wanted.notify_one();
    }

    /// Closes the connection now.
    pub fn abort(&self) {
        self.state.lock().abort = true;
        self.wanted.notify_one();
    }

    /// Waits until the connection has to be closed: first gracefully, as a rule, then at once.
    pub async fn closing(&self) -> Close {
        loop {
            let step = self.state.lock().step(Instant::now(), &self.limits);
            match step {
                Step::Close(close) => return close,
                Step::Wait(time) => drop(timeout(time, self.wanted.notified()).await),
            }
        }
    }
}

/// A request whose response has not been read completely. It has been once this is dropped.
#[derive(Debug)]
pub struct InFlight {
    connection: Arc<Connection>,
    number: u64,
    slot: OnceLock<WorkerSlot>,
}

impl InFlight {
    /// Occupies a place until the response has been sent.
    pub fn occupy(&self, slot: WorkerSlot) {
        // A request has one place.
        let _ = self.slot.set(slot);
    }

    /// Records the start of the response. Says that it is the last one if the connection is about to
    /// be closed: hyper may not have been told yet.
    pub fn respond(self: Arc<Self>, mut response: Response) -> Response<Held<Body, Self>> {
        let mut state = self.connection.state.lock();
        state.respond(self.number, Instant::now());
        if state.is_last {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        drop(state);
        response.map(|body| Held::new(body, self))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.connection.state.lock().end(self.number, Instant::now());
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Wait(Duration),
    Close(Close),
}

#[derive(Debug)]
struct State {
    wire: Wire,
    /// When the head of a request began that has not arrived completely.
    head_since: Option<Instant>,
    /// The numbers of the requests in flight, and when their responses began. Few: with HTTP/1.1
    /// one, with HTTP/2 at most as many as there may be streams.
    in_flight: Vec<(u64, Option<Instant>)>,
    /// The number of requests so far.
    requests: u64,
    /// When the last request in flight ended; before the first one, when the connection was
    /// accepted.
    idle_since: Instant,
    /// Whether the response in flight says that it is the last one.
    is_last: bool,
    /// Whether to close the connection gracefully, and since when that is under way.
    drain: bool,
    draining_since: Option<Instant>,
    abort: bool,
}

impl State {
    fn new(now: Instant) -> Self {
        Self {
            wire: Wire::default(),
            head_since: None,
            in_flight: Vec::new(),
            requests: 0,
            idle_since: now,
            is_last: false,
            drain: false,
            draining_since: None,
            abort: false,
        }
    }

    fn received(&mut self, bytes: &[u8], now: Instant) {
        self.wire.received(bytes);
        // In HTTP/1.1, these bytes belong to the body of the request in flight. (Or to the head of
        // the next one, if the client does not wait for the response. If that head stays
        // incomplete, the connection is treated as idle.)
        if self.wire.is_http1() && !self.in_flight.is_empty() {
            return;
        }
        self.head_since = if self.wire.in_head() { self.head_since.or(Some(now)) } else { None };
    }

    fn begin(&mut self) -> u64 {
        if self.wire.is_http1() {
            self.head_since = None;
        }
        let number = self.requests;
        self.requests += 1;
        self.in_flight.push((number, None));
        number
    }

    fn respond(&mut self, number: u64, now: Instant) {
        self.is_last = self.drain && self.wire.is_http1();
        for (other, since) in &mut self.in_flight {
            if *other == number {
                *since = Some(now);
            }
        }
    }

    fn end(&mut self, number: u64, now: Instant) {
        self.in_flight.retain(|(other, _)| *other != number);
        self.idle_since = now;
    }

    /// When the responses began that have not been read completely.
    fn response_starts(&self) -> impl Iterator<Item = Instant> {
        self.in_flight.iter().filter_map(|(_, since)| *since)
    }

    /// Whether nothing of a request has been received that has not been answered.
    fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.head_since.is_none()
    }

    /// What has to be done about the connection, and when to ask again.
    fn step(&mut self, now: Instant, limits: &ConnectionLimits) -> Step {
        let left = self.deadline(limits).map(|deadline| deadline.saturating_duration_since(now));
        let due = left.is_some_and(|left| left.is_zero());
        let draining = self.draining_since.is_some();
        if self.abort || due && (draining || !self.is_idle()) {
            return Step::Close(Close::Now);
        }
        if !draining && self.head_since.is_none() && (due || self.drain) {
            let quiet = if due { now } else { self.quiet_from(now) };
            if quiet > now {
                return Step::Wait(quiet - now);
            }
            self.draining_since = Some(now);
            self.drain = true;
            return Step::Close(Close::Gracefully);
        }
        // Whatever happens meanwhile sets no deadline that is earlier than this.
        let soon = limits.head_timeout.min(limits.idle_timeout).min(READ_TIMEOUT);
        Step::Wait(left.map_or(soon, |left| left.min(soon)))
    }

    /// From when on the connection can be closed gracefully without losing a request that its client
    /// is likely to send. HTTP/2 tells the client (GOAWAY), and so does a response that is still to
    /// begin. One that began before the drain does not: its client may send another request.
    fn quiet_from(&self, now: Instant) -> Instant {
        // Before the first request, the protocol may be unknown.
        if !self.wire.is_http1() && self.requests > 0 {
            return self.idle_since;
        }
        if self.in_flight.is_empty() {
            return self.idle_since + LAST_REQUEST_GRACE;
        }
        let has_begun = self.response_starts().next().is_some();
        if has_begun && !self.is_last { now + LAST_REQUEST_GRACE } else { now }
    }

    /// When the connection has to be closed if nothing else happens. `None` while requests are
    /// being processed.
    fn deadline(&self, limits: &ConnectionLimits) -> Option<Instant> {
        if !self.in_flight.is_empty() {
            return self.response_starts().min().map(|since| since + READ_TIMEOUT);
        }
        Some(match (self.head_since, self.draining_since) {
            // The time for the first head includes that for the TLS handshake.
            _ if self.requests == 0 => self.idle_since + limits.head_timeout,
            (Some(since), _) => since + limits.head_timeout,
            (None, Some(since)) => since.max(self.idle_since) + limits.head_timeout,
            (None, None) => self.idle_since + limits.idle_timeout,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    fn wait(seconds: u64) -> Step {
        Step::Wait(Duration::from_secs(seconds))
    }

    #[test]
    fn drain_waits_a_second_for_the_first_request() {
        let (start, limits) = (Instant::now(), ConnectionLimits::default());
        let mut state = State::new(start);
        state.drain = true;
        assert_eq!(state.step(start, &limits), wait(1));
        assert_eq!(state.step(start + LAST_REQUEST_GRACE, &limits), Step::Close(Close::Gracefully));
    }

    #[test]
    fn drain_waits_a_second_after_a_response_that_did_not_say_that_it_is_the_last() {
        let (start, limits) = (Instant::now(), ConnectionLimits::default());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        for drained_first in [false, true] {
            let mut state = State::new(start);
            state.received(REQUEST, start);
            let number = state.begin();
            state.drain = drained_first;
            state.respond(number, start);
            state.drain = true;
            assert_eq!(state.is_last, drained_first);
            if drained_first {
                assert_eq!(state.step(at(0), &limits), Step::Close(Close::Gracefully));
                continue;
            }
            assert_eq!(state.step(at(0), &limits), wait(1));
            state.end(number, at(5));
            assert_eq!(state.step(at(5), &limits), wait(1));
            assert_eq!(state.step(at(6), &limits), Step::Close(Close::Gracefully));
        }
    }
}
