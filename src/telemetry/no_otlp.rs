//! In place of `otlp.rs` in a build without the feature `otlp`: there is no exporter.

use axum::http::HeaderMap;
use tracing::Span;
use tracing_subscriber::filter::Targets;

use super::BoxedLayer;

/// There is none.
pub enum Exporter {}

impl Exporter {
    /// Never an exporter.
    #[expect(clippy::unnecessary_wraps, reason = "the signature is that of `otlp.rs`")]
    pub const fn from_environment() -> Result<Option<Self>, String> {
        Ok(None)
    }

    /// Is never called.
    pub fn layer(&self, _: Targets) -> BoxedLayer {
        match *self {}
    }

    /// Is never called.
    pub const fn shut_down(self) {
        match self {}
    }
}

/// Does nothing.
pub const fn set_parent(_: &Span, _: &HeaderMap) {}
