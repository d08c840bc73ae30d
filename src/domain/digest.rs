//! Short digests, for names and fingerprints derived from a text.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;

/// The first `bytes` bytes of the SHA-256 of `data`, as lower-case hex digits.
#[must_use]
pub fn short_hex(data: &[u8], bytes: usize) -> String {
    let hash = digest(&SHA256, data);
    let all = hash.as_ref();
    HEXLOWER.encode(all.get(..bytes).unwrap_or(all))
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
