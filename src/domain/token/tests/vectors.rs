//! The signatures of the RFCs, and another library as the other side.

use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};

use super::*;
use crate::domain::jwk::Jwk;

fn holds(jwk: &Value, algorithm: Algorithm, token: &str) -> bool {
    let jwk: Jwk = serde_json::from_value(jwk.clone()).unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    jwk.verifying_key(algorithm).unwrap().verifies(input.as_bytes(), &signature)
}

#[test]
fn rfc_7515_a_2_and_a_3_and_rfc_8037_a_4() {
    const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let rsa = json!({"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"});
    let rs256 = format!(
        "eyJhbGciOiJSUzI1NiJ9.{JOE}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    );
    let ec = json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let es256 = format!(
        "eyJhbGciOiJFUzI1NiJ9.{JOE}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    );
    let okp =
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let eddsa = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    for (jwk, algorithm, token) in [
        (&rsa, Algorithm::RS256, rs256.as_str()),
        (&ec, Algorithm::ES256, &es256),
        (&okp, Algorithm::EdDSA, eddsa),
    ] {
        assert!(holds(jwk, algorithm, token), "{algorithm:?}");
        assert!(!holds(jwk, algorithm, &token.replacen("eyJ", "eyK", 1)), "{algorithm:?}");
        // They have no `kid` (and one is no JSON), so as tokens they are refused.
        assert_eq!(UnverifiedToken::parse(token).unwrap_err(), Reason::KeyIdMissing);
    }
    assert!(!holds(&rsa, Algorithm::PS256, &rs256));
}

fn foreign(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    algorithm.as_str().parse().unwrap()
}

#[test]
fn another_library_accepts_our_tokens() {
    for issuer in ISSUERS.iter() {
        let token = sign(&issuer.key, issuer.kid(), &claims()).unwrap();
        let jwk = serde_json::to_value(&issuer.pool.keys[0].jwk).unwrap();
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(jwk).unwrap();
        let mut validation = Validation::new(foreign(issuer.key.algorithm()));
        validation.set_audience(&[client().to_string()]);
        validation.set_issuer(&[ISSUER]);
        let key = DecodingKey::from_jwk(&jwk).unwrap();
        let read = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
        assert_eq!(read.claims, claims());
        assert_eq!(read.header.kid.as_deref(), Some(issuer.kid()));
    }
}

#[test]
fn we_accept_the_tokens_of_another_library() {
    for issuer in ISSUERS.iter() {
        let algorithm = issuer.key.algorithm();
        let der = issuer.key.to_pkcs8().unwrap();
        let key = match algorithm {
            // That library wants PKCS #1, which PKCS #8 wraps in 26 bytes for keys of this size.
            Algorithm::RS256 | Algorithm::PS256 => EncodingKey::from_rsa_der(&der[26..]),
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_der(&der),
            Algorithm::EdDSA => EncodingKey::from_ed_der(&der),
        };
        let mut header = Header::new(foreign(algorithm));
        header.kid = Some(issuer.kid().to_owned());
        let token = jsonwebtoken::encode(&header, &claims(), &key).unwrap();
        assert!(issuer.verify(&token).is_ok(), "{algorithm:?}");
    }
}
