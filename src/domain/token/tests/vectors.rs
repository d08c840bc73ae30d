//! Signatures of the RFCs, and interoperability with another library.

use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};

use super::*;
use crate::domain::jwk::Jwk;
use crate::domain::jwks_parser::{Expected, JwkSet};

fn holds(jwk: &Value, algorithm: impl Into<VerifyingAlgorithm>, token: &str) -> bool {
    let jwk: Jwk = serde_json::from_value(jwk.clone()).unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    jwk.verifying_key(algorithm).unwrap().verify(input.as_bytes(), &signature).is_ok()
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
        assert_eq!(UnverifiedToken::parse(token).unwrap().key_name().0, None);
    }
    assert!(!holds(&rsa, Algorithm::PS256, &rs256));
}

/// Created with OpenSSL 3.0: `openssl dgst -sha384 -sign`, for PSS with `rsa_pss_saltlen:digest`,
/// as RFC 7518 section 3.5 requires.
#[test]
fn signatures_of_openssl() {
    let rsa = json!({"kty": "RSA", "e": "AQAB", "n": "okMNA5RcUGQJPX53faTZH8u8bsV5XScDgGHIP31DcecBPjZroV92fND8z7u_AK1C1uBXxogEiIFyR05t2hlMOU2Coex02jt7_Zcm_Kvjt_gu9LvrxeBHlGfUyYoK3kid60r9FshX6dP7c5rzOExxcSSArZGV2-RKe9rA7oK38ta41PeBglvsYHifRCIV40_s0xGTOT8LFjTVkXycd-1P7Kv618KaHFC8Bb7348sJyy02nkmPTwX19ozBilMeqTrOhCKmAzruQIFrYbfbgUVE8xdICVJLgSVGArc6ls9X_NcwlfLDVsdC3nixW6nLyVEb6X46cs4M4xEcZQaoxHaNuw"});
    let tokens = [
        (
            VerifyingAlgorithm::RS384,
            "eyJhbGciOiJSUzM4NCJ9.eyJpc3MiOiJqb2UifQ.BNPs9WITa9Pn90mswR_3A_Lto_ceYmqBVWIBH1xir910FwYWFEL2IU-dWx9zLL9ozKUFkbqF1ELcWQPRNN8bzW6oULmAlg_o7cu7T7EQJRhUultv0xhig2xXv4Ygcbbjap46bdBPBDYV8eaTk0P7Igyg0OEoFr-3R7xSL7btrTJ9h7xyNILcQJRm2SplnQ4aR0SOYbiLR129VjxzGkAIFRlUtHFMyEhLwDRxWBD8-BcUt5CbUlYOEu5cAxbkQF4ECUJHg8N27-RPRqHygeOThEWZ5tSWC7_eFb_zLAnBR5BgxEOi78WjhvaijHDzxJiTDxQTiWkUGmkdtfRK760HBw",
        ),
        (
            VerifyingAlgorithm::RS512,
            "eyJhbGciOiJSUzUxMiJ9.eyJpc3MiOiJqb2UifQ.GXG3b5duvkLhQr46qj_6-oc5obnVhxza8Q-C8LJglG3nb0s7e5kjkW6mdFP-ZSeI6TlhZX0gTniFiO33unQLYR7KWQEP8frDXoyVjcUNjfvMFYHr1WM5hj6to2cvQtU5Teb6hJURYUokINrd9L5YmnSYL7sF3lKHcx5AgfEKh6lwYjOlj_eB0GkYUmFcDmGFpOo_UnBS8wcNJhpo55OnKQZu369KZQvw_dX8gq7HqB6b6AKiTZ5He-Nol851B918R0JymoqCnhOLt3M2lDiTQikzYd713upDqlVtzHku5Er9MerswH2fvpNU4hQuLlk4Hh3isD6dGRgL4WzTWG9b8Q",
        ),
        (
            VerifyingAlgorithm::PS384,
            "eyJhbGciOiJQUzM4NCJ9.eyJpc3MiOiJqb2UifQ.GW5YQw0PfHFyUCHIPqLA-KhrYwGgra7e6--9rM2tGlDEehCD_-u1dhxwDCuJSbqUTULYi6wa18DkAMvgWqWydYdHn8UL-dQKGrQiL9JD4rWI3CZm45eHf_sXQ9ECVUYnuzv_9SEBsmwXsLulvV3hrQA6Z7EcFjZR3p35WguoET-fUxHtFJQbKyoVj3WlhqWZSstHBpnTa9PUzbQPOX4oaFiCxBGt8p28N2BjEEAepJeUdJtzT5u6MApsBgSDYzixupeqaLv0wighCMNRuj9UPMyulmcwkyqUP1usrhiXBbCYBn62CjHhqllN2gDVC5-gtrSPnJADp45Yattv93kGfw",
        ),
        (
            VerifyingAlgorithm::PS512,
            "eyJhbGciOiJQUzUxMiJ9.eyJpc3MiOiJqb2UifQ.QFObT-NFxM5elWu749XT915I4OcCkecrA1oKRQ4GIOLuUeZUulc5-S0ZpP-XERct8KgSDLFZjKNTBbBendz9G2NbaYayBLXweL3sl9Xhe-jklCMKSJqSWoWaLdJy46qkwuLCH8ouWGUooEyRHj5QeEdLK-34MHn50n6fbI5ZphKtPq1qpdgRvAC9CuF8REmQ_P0X4gEsb2i8D7cewWByKKd7k5sCI4c0EW59Pr7SfI4UCqA2Q4ENEu8CxRMH2r1w0SSWE93wWuaeqQiaY1yhW_OzmIcqxgBonO-xUwRERinyOwdUSF_q9IMjYOpUAGUr-jP6AOFw6O4ljhMuIDXAWg",
        ),
    ];
    for (algorithm, token) in tokens {
        for other in VerifyingAlgorithm::ALL.into_iter().filter(|other| other.is_rsa()) {
            assert_eq!(holds(&rsa, other, token), other == algorithm, "{other:?}: {token}");
        }
    }
}

/// The algorithms that are only used for verification.
#[test]
fn tokens_of_another_library_with_longer_hashes() {
    let rs256 = issuer(Algorithm::RS256);
    let der = rs256.key.to_pkcs8().unwrap();
    let key = EncodingKey::from_rsa_der(&der[26..]);
    for algorithm in VerifyingAlgorithm::ALL.into_iter().filter(|algorithm| algorithm.is_rsa()) {
        let mut pool = rs256.pool.clone();
        pool.keys[0].verifying = pool.keys[0].jwk.verifying_key(algorithm).unwrap();
        for signed in VerifyingAlgorithm::ALL.into_iter().filter(|algorithm| algorithm.is_rsa()) {
            let mut header = Header::new(foreign(signed));
            header.kid = Some(rs256.kid().to_owned());
            let token = jsonwebtoken::encode(&header, &claims(), &key).unwrap();
            let refused = (signed != algorithm).then_some(Reason::AlgorithmMismatch);
            assert_eq!(verify_at(&pool, &token, NOW).err(), refused, "{signed:?} {algorithm:?}");
        }
    }
}

/// RFC 9864 section 2.2: `Ed25519` is another name of what RFC 8037 names `EdDSA`.
#[test]
fn either_name_of_eddsa_in_token_and_key() {
    let eddsa = issuer(Algorithm::EdDSA);
    for (in_token, in_key) in [
        ("Ed25519", Some("EdDSA")),
        ("EdDSA", Some("Ed25519")),
        ("Ed25519", Some("Ed25519")),
        ("Ed25519", None),
    ] {
        let mut jwk = serde_json::to_value(eddsa.key.public_jwk()).unwrap();
        jwk["alg"] = json!(in_key);
        if in_key.is_none() {
            jwk.as_object_mut().unwrap().remove("alg");
        }
        let algorithms = [VerifyingAlgorithm::EdDSA];
        let expected = Expected { private_keys: false, algorithms: &algorithms };
        let set = json!({"keys": [jwk]}).to_string();
        let key = JwkSet::parse(set.as_bytes(), expected).unwrap().keys.remove(0);
        // Published as EdDSA, which every library reads.
        assert_eq!(key.jwk, eddsa.pool.keys[0].jwk);
        let mut pool = eddsa.pool.clone();
        pool.keys[0].verifying = key.verifying;
        let token = eddsa.token(|header, _| header["alg"] = json!(in_token));
        assert!(verify_at(&pool, &token, NOW).is_ok(), "{in_token} {in_key:?}");
    }
    let es256 = issuer(Algorithm::ES256);
    let token = es256.token(|header, _| header["alg"] = json!("Ed25519"));
    assert_eq!(es256.verify(&token).unwrap_err(), Reason::AlgorithmMismatch);
}

fn foreign(algorithm: impl Into<VerifyingAlgorithm>) -> jsonwebtoken::Algorithm {
    algorithm.into().as_str().parse().unwrap()
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
            // That library expects PKCS #1. For keys of this size, PKCS #8 prepends 26 bytes to it.
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
