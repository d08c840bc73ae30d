//! Short digests, for names and fingerprints derived from a text.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};

/// The first `bytes` bytes of the SHA-256 of `data`, as lower-case hex digits.
#[must_use]
pub fn short_hex(data: &[u8], bytes: usize) -> String {
    let hash = digest(&SHA256, data);
    hash.as_ref().iter().take(bytes).fold(String::new(), |mut hex, byte| {
        // Writing to a String does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::short_hex;

    #[test]
    fn of_nothing() {
        assert_eq!(short_hex(b"", 4), "e3b0c442");
        assert_eq!(short_hex(b"", 99).len(), 64);
    }
}
