//! The binary `kubectl-anon`, as people run it. Its tokens are verified by a library that is not
//! ours.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

/// RFC 7517 appendix A.2: one key for encryption, one that signs RS256.
fn rfc7517_a2() -> Value {
    json!({"keys": [
        {
            "kty": "EC", "crv": "P-256", "use": "enc", "kid": "1",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
            "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"
        },
        {
            "kty": "RSA", "alg": "RS256", "kid": "2011-04-29", "e": "AQAB",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
            "d": "X4cTteJY_gn4FYPsXB8rdXix5vwsg1FLN5E3EaG6RJoVH-HLLKD9M7dx5oo7GURknchnrRweUkC7hT5fJLM0WbFAKNLWY2vv7B6NqXSzUvxT0_YSfqijwp3RTzlBaCxWp4doFk5N2o8Gy_nHNKroADIkJ46pRUohsXywbReAdYaMwFs9tv8d_cPVY3i07a3t8MN6TNwm0dSawm9v47UiCl3Sk5ZiG7xojPLu4sbg1U2jx4IBTNBznbJSzFHK66jT8bgkuqsk0GjskDJk19Z4qwjwbsnn4j2WBii3RL-Us2lGVkY8fkFzme1z0HbIkfz0Y6mqnOYtqc0X4jfcKoAC8Q",
            "p": "83i-7IvMGXoMXCskv73TKr8637FiO7Z27zv8oj6pbWUQyLPQBQxtPVnwD20R-60eTDmD2ujnMt5PoqMrm8RfmNhVWDtjjMmCMjOpSXicFHj7XOuVIYQyqVWlWEh6dN36GVZYk93N8Bc9vY41xy8B9RzzOGVQzXvNEvn7O0nVbfs",
            "q": "3dfOR9cuYq-0S-mkFLzgItgMEfFzB2q3hWehMuG0oCuqnb3vobLyumqjVZQO1dIrdwgTnCdpYzBcOfW5r370AFXjiWft_NGEiovonizhKpo9VVS78TzFgxkIdrecRezsZ-1kYd_s1qDbxtkDEgfAITAG9LUnADun4vIcb6yelxk",
            "dp": "G4sPXkc6Ya9y8oJW9_ILj4xuppu0lzi_H7VTkS8xj5SdX3coE0oimYwxIi2emTAue0UOa5dpgFGyBJ4c8tQ2VF402XRugKDTP8akYhFo5tAA77Qe_NmtuYZc3C3m3I24G2GvR5sSDxUyAN2zq8Lfn9EUms6rY3Ob8YeiKkTiBj0",
            "dq": "s9lAH9fggBsoFR8Oac2R_E2gw282rT2kGOAhvIllETE1efrA6huUUvMfBcMpn8lqeW6vzznYY5SSQF7pMdC_agI3nG8Ibp1BUb0JUiraRNqUfLhcQb_d9GF4Dh7e74WbRsobRonujTYN1xCaP6TO61jvWrX-L18txXw494Q_cgk",
            "qi": "GyM_p6JrXySiz1toFgKbWV-JdI3jQ4ypu9rbMWx3rQJBfmt0FoYzgUIZEVFEcOqwemRN81zoDAaa-Bk0KWNGDjJHZDdDmFhW3AN7lI-puxk_mHZGJ11rxyR8O55XLSe3SPmRfKwZI6yU24ZxvQKFYItdldUKGzO6Ia6zTKhAVRU"
        }
    ]})
}

/// RFC 7515 appendix A.3.1.
fn p256() -> Value {
    json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
    })
}

/// RFC 6979 appendix A.2.6.
fn p384() -> Value {
    let base64url = |hex: &str| {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        URL_SAFE_NO_PAD.encode((0..hex.len()).step_by(2).map(byte).collect::<Vec<_>>())
    };
    json!({
        "kty": "EC", "crv": "P-384", "alg": "ES384", "kid": "384",
        "d": base64url("6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5"),
        "x": base64url("EC3A4E415B4E19A4568618029F427FA5DA9A8BC4AE92E02E06AAE5286B300C64DEF8F0EA9055866064A254515480BC13"),
        "y": base64url("8015D9B72D7D57244EA8EF9AC0C621896708A59367F9DFB9F54CA84B3F1C9DB1288B231C3AE0D4FE7344FD2533264720")
    })
}

/// RFC 8037 appendix A.1.
fn ed25519() -> Value {
    json!({
        "kty": "OKP", "crv": "Ed25519",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    })
}

fn kubectl_anon(arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-anon"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

/// What a run that must succeed printed.
fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a run that must fail said; it must have printed nothing else.
fn failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).unwrap()
}

const MINT: [&str; 8] = [
    "token",
    "mint",
    "--jwks",
    "-",
    "--sub=user-123",
    "--iss=https://id.acme.example",
    "--aud=shop",
    "--claim=admin=true",
];

/// Mints with `jwks` and verifies with `key` by jsonwebtoken.
fn mint_and_verify(jwks: &Value, more: &[&str], key: &Value, algorithm: Algorithm) {
    let output = kubectl_anon(&[&MINT, more].concat(), &jwks.to_string());
    let token = stdout(&output);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let token = token.strip_suffix('\n').unwrap();

    let jwk: Jwk = serde_json::from_value(key.clone()).unwrap();
    let decoding = DecodingKey::from_jwk(&jwk).unwrap();
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&["shop"]);
    validation.set_issuer(&["https://id.acme.example"]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let verified = jsonwebtoken::decode::<Value>(token, &decoding, &validation).unwrap();
    assert_eq!(verified.claims["sub"], "user-123");
    assert_eq!(verified.claims["admin"], true);
    let kid = verified.header.kid.unwrap();
    let thumbprint = jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap();
    assert_eq!(kid, key["kid"].as_str().unwrap_or(&thumbprint));
}

#[test]
fn minted_tokens_are_verified_by_another_library() {
    let rsa = &rfc7517_a2()["keys"][1];
    mint_and_verify(&rfc7517_a2(), &[], rsa, Algorithm::RS256);
    mint_and_verify(&rfc7517_a2(), &["--kid=2011-04-29", "--alg=RS256"], rsa, Algorithm::RS256);
    mint_and_verify(&p256(), &[], &p256(), Algorithm::ES256);
    mint_and_verify(&p384(), &["--lifetime=90s"], &p384(), Algorithm::ES384);
    mint_and_verify(&ed25519(), &["--alg=EdDSA"], &ed25519(), Algorithm::EdDSA);
    let all = json!({"keys": [rsa, p256(), p384(), ed25519()]});
    mint_and_verify(&all, &["--kid=384"], &p384(), Algorithm::ES384);
}

#[test]
fn a_generated_key_set_is_private_and_signs() {
    let directory = std::env::temp_dir().join(format!("anon-jwks-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&directory).unwrap();
    for (alg, algorithm) in
        [("RS256", Algorithm::RS256), ("ES256", Algorithm::ES256), ("EdDSA", Algorithm::EdDSA)]
    {
        let file = directory.join(alg);
        let line = ["jwks", "generate", "--alg", alg, "--out", file.to_str().unwrap()];
        let public: Value = serde_json::from_str(&stdout(&kubectl_anon(&line, ""))).unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let private: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let private_part = private["keys"][0]["d"].as_str().unwrap();
        assert!(!public.to_string().contains(private_part));
        mint_and_verify(&private, &[], &public["keys"][0], algorithm);
        let said = failure(&kubectl_anon(&line, ""));
        assert!(said.contains("must be a new file"), "{said}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn an_rsa_key_without_alg_signs_ps256_on_request() {
    let mut rsa = rfc7517_a2()["keys"][1].clone();
    rsa.as_object_mut().unwrap().remove("alg");
    mint_and_verify(&rsa, &[], &rsa, Algorithm::RS256);
    mint_and_verify(&rsa, &["--alg=PS256"], &rsa, Algorithm::PS256);
}

#[test]
fn what_cannot_sign_is_refused_without_a_word_of_the_key() {
    let mut public = ed25519();
    public.as_object_mut().unwrap().remove("d");
    let two = json!({"keys": [p384(), ed25519()]});
    for (file, text) in [
        (public.to_string(), "no key in the file has a private part"),
        (two.to_string(), "if they share it: key 1 (kid \"384\"), key 2 (kid \"kPrK_qmx"),
        (format!("{} {}", ed25519(), ed25519()), "as JSON: trailing characters"),
        ("junk".to_owned(), "as JSON: expected value"),
        (String::new(), "is empty"),
    ] {
        let said = failure(&kubectl_anon(&MINT, &file));
        assert!(said.starts_with("kubectl-anon: ") && said.contains(text), "{said}");
        assert!(!said.contains("nWGxne_9"), "{said}");
    }
    let line = ["token", "mint", "--jwks=/does/not/exist.json", "--sub=u"];
    let said = failure(&kubectl_anon(&line, ""));
    assert!(said.contains("/does/not/exist.json") && said.contains("No such file"), "{said}");
}

#[test]
fn what_was_minted_can_be_inspected() {
    let token = stdout(&kubectl_anon(&MINT, &ed25519().to_string()));
    let output = kubectl_anon(&["token", "inspect", "-o", "json"], &token);
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(found["claims"]["sub"], "user-123");
    assert_eq!(found["expired"], false);
    assert_eq!(found["refusedBecause"], Value::Null);
    assert!(String::from_utf8(output.stderr).unwrap().contains("not verified"));
    let text = stdout(&kubectl_anon(&["token", "inspect"], &format!("Bearer {token}")));
    assert!(text.contains("(in 59m") || text.contains("(in 1h0m"), "{text}");
}

#[test]
fn nobody_reads_the_output_and_nothing_panics() {
    for line in [
        &["completions", "bash"][..],
        &["version"],
        &["--help"],
        &["token", "inspect", "/dev/null"],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-anon"))
            .args(line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code().is_some_and(|code| code <= 1), "{line:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn help_teaches_with_examples() {
    for command in ["mint", "inspect"] {
        let help = stdout(&kubectl_anon(&["token", command, "--help"], ""));
        assert!(help.contains("Examples:") && help.contains("Usage: kubectl anon token"), "{help}");
    }
}

#[test]
fn usage_errors_and_failures_have_different_exit_codes() {
    for (line, code) in [
        (&["status", "pod/x"][..], 2),
        (&["suspend", "userpool/users"], 2),
        (&["no-such-command"], 2),
        (&["token", "inspect", "/no/such/file"], 1),
        (&["revoke", "sessions", "sdkclient/x"], 2),
        (&["rotate", "member/x"], 2),
        (&["revoke", "user", "u", "--pool=users", "--wait"], 2),
        (&["version"], 0),
    ] {
        let output = kubectl_anon(line, "");
        assert_eq!(output.status.code(), Some(code), "{line:?}: {output:?}");
    }
    let help = stdout(&kubectl_anon(&["--help"], ""));
    assert!(help.contains("Exit codes:") && help.contains("3  the answer is no"), "{help}");
}

#[test]
fn manual_pages_for_every_command() {
    let directory = std::env::temp_dir().join(format!("anon-man-{}", uuid::Uuid::new_v4()));
    let line = ["man", "--output-dir", directory.to_str().unwrap()];
    stdout(&kubectl_anon(&line, ""));
    let page = std::fs::read_to_string(directory.join("kubectl-anon-status.1")).unwrap();
    assert!(directory.join("kubectl-anon-token-mint.1").exists());
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(page.contains(".TH") && page.contains("exit\\-code"), "{page}");
}

/// kubectl runs the program by this name, with the words after `kubectl anon`.
#[test]
fn completes_kubectl_anon_under_another_name() {
    let directory = std::env::temp_dir().join(format!("anon-bin-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&directory).unwrap();
    let program = directory.join("kubectl_complete-anon");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kubectl-anon"), &program).unwrap();
    let output = Command::new(&program).args(["get", "k"]).output().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let said = stdout(&output);
    assert!(said.starts_with("keys\tList signing keys") && said.ends_with("\n:4\n"), "{said}");
}

#[test]
fn a_discovery_document_is_fetched_only_on_request() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let line = ["import", "oidc", &issuer, "--audience", "shop", "--name", "acme"];
    listener.set_nonblocking(true).unwrap();
    let manifest = stdout(&kubectl_anon(&line, ""));
    assert!(manifest.contains(&format!("issuer: {issuer}")), "{manifest}");
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);

    listener.set_nonblocking(false).unwrap();
    let document =
        json!({"issuer": issuer, "jwks_uri": "https://keys.acme.example/jwks"}).to_string();
    let server = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let length = connection.read(&mut request).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", document.len());
        connection.write_all((head + &document).as_bytes()).unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let output = kubectl_anon(&[&line[..], &["--fetch"]].concat(), "");
    let request = server.join().unwrap();
    assert!(request.starts_with("GET /.well-known/openid-configuration "), "{request}");
    assert_eq!(stdout(&output), manifest);
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(notes.contains("connect to keys.acme.example"), "{notes}");
}
