//! What is logged while a test listens.

use std::io::{Result, Write};
use std::sync::{Arc, Once};

use parking_lot::Mutex;
use serde_json::Value;
use tracing::Level;
use tracing::subscriber::DefaultGuard;

/// The log of this thread, from now on.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Listens to everything, for as long as the guard lives.
    pub fn listen() -> (Self, DefaultGuard) {
        // While there is one subscriber only, tracing asks the thread that first comes by a line of
        // code whether anybody wants it, for all threads and for good. A thread without a subscriber
        // would say no: so each has one.
        static EVERYWHERE: Once = Once::new();
        EVERYWHERE.call_once(|| {
            let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
        });
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_max_level(Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        (log, guard)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }

    /// The audit lines.
    pub fn audit(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &Value| line.get("audit").is_some()).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.lock().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
