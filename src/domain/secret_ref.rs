//! A reference to an entry of a Secret.

/// An entry of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretEntry {
    /// Name of the Secret.
    pub secret: String,
    /// Name of the entry.
    pub entry: String,
}
