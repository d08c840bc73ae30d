//! The private JWK of a generated key, for people who store their keys themselves.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use x509_parser::asn1_rs::{Any, FromDer as _};
use zeroize::Zeroizing;

use super::{PrivateJwk, SigningError, SigningKey};
use crate::domain::algorithm::Algorithm;

impl SigningKey {
    /// The key with its private members, and the RFC 7638 thumbprint as `kid`.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn private_jwk(&self) -> Result<PrivateJwk, SigningError> {
        let der = self.to_pkcs8()?;
        let mut jwk = PrivateJwk { public: self.public_jwk(), ..PrivateJwk::default() };
        self.export(&der, &mut jwk).ok_or(SigningError::Failed)?;
        Ok(jwk)
    }

    /// Copies the private members from the PKCS #8 form. `None` if that has another form than
    /// RFC 5208 section 5 and the RFC of the key type specify.
    fn export(&self, der: &[u8], jwk: &mut PrivateJwk) -> Option<()> {
        let [info] = elements(der)?.try_into().ok()?;
        let key = *elements(info)?.get(2)?;
        let [inner] = elements(key)?.try_into().ok()?;
        match self.algorithm() {
            // RFC 8017 appendix A.1.2; RFC 7518 section 6.3.2 uses the same numbers without sign.
            Algorithm::RS256 | Algorithm::PS256 => {
                let [_version, _n, _e, d, p, q, dp, dq, qi] = elements(inner)?.try_into().ok()?;
                [jwk.d, jwk.p, jwk.q, jwk.dp, jwk.dq, jwk.qi] =
                    [d, p, q, dp, dq, qi].map(|number| Some(encoded(unsigned(number))));
            }
            // RFC 5915 section 3: the second element, in full length.
            Algorithm::ES256 | Algorithm::ES384 => jwk.d = Some(encoded(elements(inner)?.get(1)?)),
            // RFC 8410 section 7.
            Algorithm::EdDSA => jwk.d = Some(encoded(inner)),
        }
        Some(())
    }
}

/// The contents of consecutive DER elements.
fn elements(mut der: &[u8]) -> Option<Vec<&[u8]>> {
    let mut contents = Vec::new();
    while !der.is_empty() {
        let (rest, element) = Any::from_der(der).ok()?;
        contents.push(element.data);
        der = rest;
    }
    Some(contents)
}

/// A positive DER integer without the octet that only carries its sign.
fn unsigned(integer: &[u8]) -> &[u8] {
    integer.strip_prefix(&[0]).unwrap_or(integer)
}

fn encoded(octets: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(URL_SAFE_NO_PAD.encode(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_keys_are_the_same_when_they_are_read_again() {
        for algorithm in Algorithm::ALL {
            let key = SigningKey::generate(algorithm).unwrap();
            let text = serde_json::to_string(&key.private_jwk().unwrap()).unwrap();
            let read: PrivateJwk = serde_json::from_str(&text).unwrap();
            let again = SigningKey::from_jwk(&read).unwrap();
            assert_eq!(again.algorithm(), algorithm);
            assert_eq!(again.public_jwk(), key.public_jwk());
            let private = serde_json::from_str::<serde_json::Value>(&text).unwrap();
            assert_eq!(private.get("qi").is_some(), private["kty"] == "RSA", "{algorithm:?}");
        }
    }
}
