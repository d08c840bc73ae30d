//! The open connections of a listener, and their maximum number. Connections that are idle, or that
//! leave responses unread, are closed when others need what they occupy.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::connection::{Connection, ConnectionLimits};

/// How long a response may stay unread while requests wait for the place that it occupies.
const UNREAD_GRACE: Duration = Duration::from_secs(1);
/// How long a connection may be idle while there are too many: a connection that has just been
/// opened is about to be used.
const IDLE_GRACE: Duration = Duration::from_secs(1);
/// The minimum time between two forced closes, so that the first one can free its places.
const CLOSE_INTERVAL: Duration = Duration::from_millis(20);

/// The open connections.
#[derive(Debug)]
pub struct Connections {
    limits: ConnectionLimits,
    places: Arc<Semaphore>,
    /// Those that have been closed are removed at the next look at all of them.
    open: Mutex<Vec<Weak<Connection>>>,
    /// The time of the last search for a connection to close.
    looked_at: Mutex<Option<Instant>>,
}

impl Connections {
    /// No connections yet.
    pub fn new(limits: ConnectionLimits) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(limits.max_connections));
        Arc::new(Self { limits, places, open: Mutex::default(), looked_at: Mutex::default() })
    }

    /// The limits.
    pub fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }

    /// The number of open connections.
    pub fn count(&self) -> usize {
        self.limits.max_connections.saturating_sub(self.places.available_permits())
    }

    /// Adds a connection, if there is a place for it.
    pub fn open(&self) -> Option<Arc<Connection>> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let connection = Connection::new(self.limits, place);
        self.open.lock().push(Arc::downgrade(&connection));
        Some(connection)
    }

    /// Closes the connections that have been idle longest, as many as exceed three quarters of the
    /// maximum.
    pub fn make_room(&self) {
        let mut open = self.all();
        open.retain(|connection| !connection.is_draining());
        let surplus = open.len().saturating_sub(self.limits.max_connections / 4 * 3);
        if surplus == 0 {
            return;
        }
        let mut idle = Vec::new();
        for connection in &open {
            if let Some(since) = connection.idle_since().filter(|it| it.elapsed() >= IDLE_GRACE) {
                idle.push((since, connection));
            }
        }
        idle.sort_by_key(|(since, _)| *since);
        for (_, connection) in idle.iter().take(surplus) {
            connection.drain();
        }
    }

    /// Closes all connections after their requests in flight.
    pub fn drain(&self) {
        for connection in self.all() {
            connection.drain();
        }
    }

    /// Closes the connection with the most responses that have been unread for longer than a grace
    /// period, if there is one. Called while a request waits for a place that they occupy.
    pub fn end_the_slowest(&self) {
        let now = Instant::now();
        let mut looked_at = self.looked_at.lock();
        if looked_at.is_some_and(|last| now.saturating_duration_since(last) < CLOSE_INTERVAL) {
            return;
        }
        *looked_at = Some(now);
        drop(looked_at);
        let open = self.all();
        let slowest = open.iter().max_by_key(|connection| connection.unread_for(UNREAD_GRACE));
        if let Some(slowest) = slowest.filter(|slowest| slowest.unread_for(UNREAD_GRACE) > 0) {
            slowest.abort();
        }
    }

    fn all(&self) -> Vec<Arc<Connection>> {
        let mut open = self.open.lock();
        open.retain(|connection| connection.strong_count() > 0);
        open.iter().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(max_connections: usize) -> Arc<Connections> {
        Connections::new(ConnectionLimits { max_connections, ..ConnectionLimits::default() })
    }

    #[tokio::test]
    async fn a_connection_has_its_place_until_its_last_request_ends() {
        let connections = limited(2);
        let (first, second) = (connections.open().unwrap(), connections.open().unwrap());
        assert!(connections.open().is_none());
        let in_flight = first.begin();
        drop(first);
        assert!(connections.open().is_none());
        drop(in_flight);
        let third = connections.open().unwrap();
        assert!(connections.open().is_none());
        drop((second, third));
        assert!(connections.all().is_empty());
    }
}
