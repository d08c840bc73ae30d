//! A JSON document that is encoded once and served to many clients.

use std::sync::Arc;

use serde::Serialize;

use super::digest::short_hex;

/// A JSON text with an entity tag. A clone shares the bytes.
#[derive(Clone, Debug)]
pub struct Document {
    /// The JSON text.
    pub json: Arc<[u8]>,
    /// A prefix of the text's SHA-256 in hexadecimal digits, used as its ETag.
    pub tag: String,
}

impl Document {
    /// Encodes `content`.
    ///
    /// # Errors
    /// `content` cannot be serialized as JSON.
    pub fn of(content: &impl Serialize) -> serde_json::Result<Self> {
        let json = serde_json::to_vec(content)?;
        Ok(Self { tag: short_hex(&json, 16), json: json.into() })
    }
}
