//! X.509 certificates (RFC 5280), and how long they are valid. rustls checks the certificate of a
//! peer, and nobody checks the one that a server presents: its own.

use jiff::Timestamp;
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

/// A certificate chain and its private key as they were read, in PEM.
#[derive(PartialEq, Eq)]
pub struct PemPair {
    /// The certificate chain, beginning with the certificate of the server.
    pub certificate: Vec<u8>,
    /// The private key.
    pub key: Zeroizing<Vec<u8>>,
}

/// The period in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its beginning.
    pub not_before: Timestamp,
    /// Its end.
    pub not_after: Timestamp,
}

impl Validity {
    /// The validity of a certificate in DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = parse_x509_certificate(der).ok()?;
        let validity = certificate.validity();
        Some(Self {
            not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
            not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
        })
    }

    /// Whether the certificate is valid at `now`.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_validity_of_a_certificate_and_of_nothing_else() {
        let mut parameters = rcgen::CertificateParams::new(["x".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let certificate = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let validity = Validity::of(certificate.der()).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(validity.not_before, at("2026-01-01T00:00:00Z"));
        assert_eq!(validity.not_after, at("2026-04-01T00:00:00Z"));
        for (now, valid) in [
            ("2025-12-31T23:59:59Z", false),
            ("2026-01-01T00:00:00Z", true),
            ("2026-04-01T00:00:00Z", true),
            ("2026-04-01T00:00:01Z", false),
        ] {
            assert_eq!(validity.contains(at(now)), valid, "{now}");
        }
        assert_eq!(Validity::of(b""), None);
        assert_eq!(Validity::of(&certificate.der()[..20]), None);
    }
}
