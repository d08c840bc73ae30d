//! Issues a certificate for the webhook, by a CA of its own. The CA's private key is dropped at
//! once: nobody, not even the operator, can issue a second certificate that the API server trusts
//! for the webhook.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use zeroize::Zeroizing;

use crate::domain::certificate::Validity;

/// How long a certificate is valid, and its CA with it.
const LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);
/// How long before its end a certificate is replaced. A leader may be missing for that long.
const RENEWAL: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How far the clocks of other machines may be behind.
const SKEW: SignedDuration = SignedDuration::from_hours(24);

/// A certificate, its private key and its CA, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate of the CA.
    pub ca: Vec<u8>,
    /// The certificate of the server.
    pub certificate: Vec<u8>,
    /// The private key of the server.
    pub key: Zeroizing<Vec<u8>>,
}

/// Issues a certificate for these DNS names or IP addresses.
///
/// # Errors
/// A host is not a valid name, or the random generator failed.
pub fn issue(hosts: &[String], now: Timestamp) -> Result<Issued, rcgen::Error> {
    // The beginning of the day, in UTC.
    let day = |at: Timestamp| {
        let date = at.to_zoned(TimeZone::UTC).date();
        let part = |number: i8| u8::try_from(number).unwrap_or(1);
        date_time_ymd(date.year().into(), part(date.month()), part(date.day()))
    };
    let mut ca = CertificateParams::default();
    (ca.not_before, ca.not_after) = (day(now - SKEW), day(now + LIFETIME));
    // Distinguishes it from its predecessors in the bundle.
    let name = format!("anon-operator webhook {}", uuid::Uuid::new_v4());
    ca.distinguished_name.push(DnType::CommonName, name);
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];

    let mut server = CertificateParams::new(hosts)?;
    (server.not_before, server.not_after) = (ca.not_before, ca.not_after);
    server.distinguished_name.push(DnType::CommonName, "anon-operator webhook");
    server.use_authority_key_identifier_extension = true;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];

    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &ca)?;
    Ok(Issued {
        ca: ca.pem().into_bytes(),
        certificate: certificate.pem().into_bytes(),
        key: Zeroizing::new(key.serialize_pem().into_bytes()),
    })
}

impl Issued {
    /// The certificate of the CA, in DER.
    pub fn ca(&self) -> Option<CertificateDer<'static>> {
        CertificateDer::from_pem_slice(&self.ca).ok()
    }

    /// Whether the pair is whole, valid now and for these hosts. Anything else comes from another
    /// owner, or from an earlier configuration.
    pub fn is_usable(&self, hosts: &[String], now: Timestamp) -> bool {
        let Ok(certificate) = CertificateDer::from_pem_slice(&self.certificate) else {
            return false;
        };
        let is_valid = Validity::of(&certificate).is_some_and(|it| it.contains(now));
        let Ok(parsed) = ParsedCertificate::try_from(&certificate) else { return false };
        let covers = |host: &String| {
            ServerName::try_from(host.as_str())
                .is_ok_and(|host| verify_server_name(&parsed, &host).is_ok())
        };
        is_valid && self.ca().is_some() && self.has_key_of(&certificate) && hosts.iter().all(covers)
    }

    fn has_key_of(&self, certificate: &CertificateDer<'_>) -> bool {
        let key = std::str::from_utf8(&self.key).ok().and_then(|key| KeyPair::from_pem(key).ok());
        let parsed = x509_parser::parse_x509_certificate(certificate).ok();
        let public = parsed.map(|(_, it)| it.public_key().subject_public_key.data.to_vec());
        key.zip(public).is_some_and(|(key, public)| key.public_key_raw() == public)
    }

    /// Whether it is time for the next certificate.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let certificate = CertificateDer::from_pem_slice(&self.certificate).ok();
        let validity = certificate.and_then(|it| Validity::of(&it));
        validity.is_none_or(|it| it.not_after - RENEWAL <= now)
    }
}
