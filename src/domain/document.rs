//! A document that is encoded once and sent to many.

use bytes::Bytes;
use serde::Serialize;

use super::digest::short_hex;

/// JSON, and a tag of its content. A clone shares the bytes.
#[derive(Clone, Debug)]
pub struct Document {
    /// The JSON text.
    pub json: Bytes,
    /// Hex digits that are others for another text.
    pub tag: String,
}

impl Document {
    /// Encodes `content`.
    ///
    /// # Errors
    /// It cannot be JSON.
    pub fn of(content: &impl Serialize) -> serde_json::Result<Self> {
        let json = serde_json::to_vec(content)?;
        Ok(Self { tag: short_hex(&json, 16), json: json.into() })
    }
}
