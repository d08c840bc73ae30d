//! The MAC of the key record in a delivery Secret.
//!
//! Anyone who can edit Secrets in an organization's namespace can write such a record, and the
//! hashes of other organizations' keys are public. The MAC proves that the operator wrote this
//! record for this client and this Secret, so neither a forged nor a copied record is accepted.

use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::credential::RandomFailed;

/// Length of a key in bytes: that of the hash (RFC 2104 section 3).
const KEY_LENGTH: usize = 32;
/// Separates these MACs from any other use of the keys.
const CONTEXT: &str = "anon.dev/keys v1";

/// The client and Secret of a record.
#[derive(Clone, Copy)]
pub struct Subject<'s> {
    /// The client's id.
    pub client_id: &'s str,
    /// The namespace of client and Secret.
    pub namespace: &'s str,
    /// Name of the Secret.
    pub secret: &'s str,
}

/// The key with which a MAC is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// The key for new MACs.
    Current,
    /// The key before it.
    Previous,
}

/// The keys of the MACs. No `Debug`, no `Display`.
pub struct RecordKeys {
    current: hmac::Key,
    previous: Option<hmac::Key>,
}

impl RecordKeys {
    /// Creates the keys, which must have 32 bytes; `None` if one has another length.
    #[must_use]
    pub fn new(current: &[u8], previous: Option<&[u8]>) -> Option<Self> {
        let key = |bytes: &[u8]| {
            (bytes.len() == KEY_LENGTH).then(|| hmac::Key::new(hmac::HMAC_SHA256, bytes))
        };
        let previous = match previous {
            Some(bytes) => Some(key(bytes)?),
            None => None,
        };
        Some(Self { current: key(current)?, previous })
    }

    /// Generates a new key.
    ///
    /// # Errors
    /// The random generator failed.
    pub fn generate() -> Result<Zeroizing<Vec<u8>>, RandomFailed> {
        let mut bytes = Zeroizing::new(vec![0; KEY_LENGTH]);
        rand::fill(&mut bytes).map_err(|_| RandomFailed)?;
        Ok(bytes)
    }

    /// The MAC of a record, in base64.
    #[must_use]
    pub fn sign(&self, subject: Subject<'_>, record: &str) -> String {
        STANDARD.encode(hmac::sign(&self.current, &message(subject, record)))
    }

    /// The key with which this is a valid MAC of the record, if any.
    #[must_use]
    pub fn verify(&self, subject: Subject<'_>, record: &str, mac: &str) -> Option<SignedBy> {
        let mac = STANDARD.decode(mac).ok()?;
        let message = message(subject, record);
        let by = |key: &hmac::Key| hmac::verify(key, &message, &mac).is_ok();
        if by(&self.current) {
            return Some(SignedBy::Current);
        }
        self.previous.as_ref().is_some_and(by).then_some(SignedBy::Previous)
    }
}

/// Each part is preceded by its length, so that different subjects and records give different
/// bytes.
fn message(subject: Subject<'_>, record: &str) -> Vec<u8> {
    let mut message = Vec::new();
    for part in [CONTEXT, subject.client_id, subject.namespace, subject.secret, record] {
        // A usize has at most 64 bits.
        message.extend((part.len() as u64).to_be_bytes());
        message.extend(part.as_bytes());
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: Subject<'static> =
        Subject { client_id: "id", namespace: "acme", secret: "backend" };

    fn keys(current: u8, previous: Option<u8>) -> RecordKeys {
        let previous = previous.map(|byte| [byte; KEY_LENGTH]);
        RecordKeys::new(&[current; KEY_LENGTH], previous.as_ref().map(<[u8; KEY_LENGTH]>::as_slice))
            .unwrap()
    }

    #[test]
    fn a_mac_is_of_one_record_client_and_secret() {
        let keys = keys(1, None);
        let mac = keys.sign(SUBJECT, "[]");
        assert_eq!(keys.verify(SUBJECT, "[]", &mac), Some(SignedBy::Current));
        assert_eq!(keys.verify(SUBJECT, "[{}]", &mac), None);
        for other in [
            Subject { client_id: "ie", ..SUBJECT },
            Subject { namespace: "globex", ..SUBJECT },
            Subject { secret: "other", ..SUBJECT },
            // The same text, divided differently.
            Subject { client_id: "ida", namespace: "cme", ..SUBJECT },
            Subject { namespace: "acmeb", secret: "ackend", ..SUBJECT },
        ] {
            assert_eq!(keys.verify(other, "[]", &mac), None);
        }
        for junk in ["", "=", "AAAA", mac.trim_end_matches('='), &format!("{mac}A")] {
            assert_eq!(keys.verify(SUBJECT, "[]", junk), None, "{junk}");
        }
    }

    #[test]
    fn a_mac_of_the_previous_key_stays_valid_until_that_key_is_gone() {
        let mac = keys(1, None).sign(SUBJECT, "[]");
        assert_eq!(keys(2, Some(1)).verify(SUBJECT, "[]", &mac), Some(SignedBy::Previous));
        assert_ne!(keys(2, Some(1)).sign(SUBJECT, "[]"), mac, "the current key signs");
        assert_eq!(keys(2, None).verify(SUBJECT, "[]", &mac), None);
    }

    #[test]
    fn keys_have_one_length() {
        for length in [0, 31, 33] {
            assert!(RecordKeys::new(&vec![1; length], None).is_none());
            assert!(RecordKeys::new(&[1; KEY_LENGTH], Some(&vec![1; length])).is_none());
        }
        let [one, other] = [RecordKeys::generate().unwrap(), RecordKeys::generate().unwrap()];
        assert!(RecordKeys::new(&one, Some(&other)).is_some());
        assert_ne!(one, other);
    }

    /// As Python's `hmac` computes it.
    #[test]
    fn the_mac_is_hmac_sha256_over_length_prefixed_parts() {
        let text = b"\0\0\0\0\0\0\0\x10anon.dev/keys v1\0\0\0\0\0\0\0\x02id\0\0\0\0\0\0\0\x04acme\0\0\0\0\0\0\0\x07backend\0\0\0\0\0\0\0\x02[]";
        assert_eq!(message(SUBJECT, "[]"), text);
        assert_eq!(
            keys(1, None).sign(SUBJECT, "[]"),
            "lsWwONheEHXb2CSsMdCrXxcPSssBRAAz0yPU69Sx9mE="
        );
    }
}
