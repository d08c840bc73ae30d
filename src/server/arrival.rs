//! How a request has arrived.

use std::net::SocketAddr;
use std::sync::Arc;

use super::connection::InFlight;
use super::connection_limit::Connections;
use super::worker_slot::WorkerSlot;

/// How a request has arrived, and which place it occupies. In the extensions of each request that
/// has arrived over a connection; one value, because each costs allocations.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The address of the client, or of the last proxy in front.
    pub address: SocketAddr,
    /// The open connections of the listener.
    pub connections: Arc<Connections>,
    /// The request as its connection sees it. Taken out before the handler runs: the handler of a
    /// write outlives the connection.
    pub in_flight: Option<Arc<InFlight>>,
    /// The place of the request. Work that outlives the connection keeps it, because otherwise a
    /// client that disconnects early could start any amount of such work.
    pub slot: Option<WorkerSlot>,
}

impl Arrival {
    /// Occupies a place until the response has been sent.
    pub fn occupy(&mut self, slot: &WorkerSlot) {
        self.slot = Some(slot.clone());
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.occupy(slot.clone());
        }
    }
}
