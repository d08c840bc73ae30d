//! `token mint`: signs an appUserIdToken with the user's own private key, offline.

mod key_file;

use anyhow::{anyhow, bail, ensure};
use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Streams, read_input};
use crate::domain::algorithm::Algorithm;
use crate::domain::duration;
use crate::domain::ids::SdkClientId;
use crate::domain::token::{MAX_APP_USER_ID_BYTES, MAX_TOKEN_BYTES, sign};

/// Shown below the options.
pub const EXAMPLES: &str = "\
The token has the claims sub, iat, exp (one hour from now by default) and jti, and those added by
options. Its header has the `kid` of the key, or the key's RFC 7638 thumbprint if it has no `kid`.

Examples:
  # a token for user-123, with the only private key of a file
  kubectl anon token mint --jwks private.json --sub user-123 \\
    --iss https://id.acme.example --aud shop

  # with a key set from a Secret, without writing it to disk
  kubectl get secret idp -o jsonpath='{.data.jwks\\.json}' | base64 -d |
    kubectl anon token mint --jwks - --kid 2026-01 --sub user-123

  # more claims: a value that is valid JSON is used as JSON, any other as a string
  kubectl anon token mint --jwks private.json --sub user-123 \\
    --claim email=ada@acme.example --claim email_verified=true --claim 'roles=[\"buyer\"]'

  # an expired token, for tests
  kubectl anon token mint --jwks private.json --sub user-123 --exp 1700000000

The operator issues the tokens of `hosted` pools: POST /org/appUserIdToken.";

/// Options of `token mint`.
#[derive(Debug, clap::Args)]
pub struct Mint {
    /// File with the private key: a JWK or a JWK Set (RFC 7517), at most 1 MiB; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    jwks: String,

    /// Claim sub: the appUserId, which is the user's id in your own system; 1 to 255 bytes
    #[arg(long, value_name = "ID")]
    sub: String,

    /// kid or RFC 7638 thumbprint of the key to sign with; required if the file has several
    #[arg(long)]
    kid: Option<String>,

    /// Signature algorithm; required only to use PS256 with an RSA key that has no `alg`
    #[arg(long, value_parser = algorithm)]
    alg: Option<Algorithm>,

    /// Claim iss: the issuer of the token
    #[arg(long, value_name = "URL")]
    iss: Option<String>,

    /// Claim aud: an intended recipient of the token; can be repeated
    #[arg(long, value_name = "VALUE")]
    aud: Vec<String>,

    /// Claim sdkClientId: the id of the client that the token is issued for, a UUID
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,

    /// How long the token is valid, such as 90s, 1h or 1h30m
    #[arg(long, value_name = "DURATION", default_value = "1h", conflicts_with = "exp")]
    lifetime: String,

    /// Claim exp: when the token expires, in seconds since 1970-01-01T00:00:00Z
    #[arg(long, value_name = "EPOCH")]
    exp: Option<u32>,

    /// Another claim; can be repeated. A value that is valid JSON is used as JSON, any other as a string
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    claims: Vec<(String, Value)>,
}

/// Claims that have an option of their own, or that no token may have, and what to use instead.
const RESERVED: [(&str, &str); 6] = [
    ("sub", "--sub"),
    ("iss", "--iss"),
    ("aud", "--aud"),
    ("exp", "--exp or --lifetime"),
    ("sdkClientId", "--client-id"),
    ("cnf", "nothing: validators reject tokens that are bound to a key"),
];

/// Prints the token and nothing else on standard output.
pub fn run(args: &Mint, streams: &mut Streams<'_>, now: Timestamp) -> anyhow::Result<()> {
    let claims = claims(args, now)?;
    let file = read_input(&args.jwks, streams.stdin)?;
    let chosen = key_file::choose(&file, args.kid.as_deref(), args.alg)?;
    let token = sign(&chosen.key, &chosen.kid, &claims)?;
    ensure!(
        token.len() <= MAX_TOKEN_BYTES,
        "the token would have {} bytes, and validators reject more than {MAX_TOKEN_BYTES}: remove claims",
        token.len()
    );
    if args.exp.is_some_and(|exp| i64::from(exp) <= now.as_second()) {
        writeln!(
            streams.stderr,
            "note: the token has already expired, because --exp is in the past"
        )?;
    }
    writeln!(streams.stdout, "{token}")?;
    Ok(())
}

fn claims(args: &Mint, now: Timestamp) -> anyhow::Result<Map<String, Value>> {
    ensure!(!args.sub.is_empty(), "--sub is empty: specify the id of the user");
    ensure!(
        args.sub.len() <= MAX_APP_USER_ID_BYTES,
        "--sub has {} bytes, and an appUserId can have at most {MAX_APP_USER_ID_BYTES}",
        args.sub.len()
    );
    let issued_at = now.as_second();
    let mut claims = Map::new();
    claims.insert("sub".to_owned(), args.sub.clone().into());
    claims.insert("iat".to_owned(), issued_at.into());
    claims.insert("exp".to_owned(), expiry(args, issued_at)?.into());
    claims.insert("jti".to_owned(), Uuid::new_v4().to_string().into());
    if let Some(iss) = &args.iss {
        claims.insert("iss".to_owned(), iss.clone().into());
    }
    match args.aud.as_slice() {
        [] => {}
        // RFC 7519 section 4.1.3: a single one is a plain string.
        [one] => drop(claims.insert("aud".to_owned(), one.clone().into())),
        several => drop(claims.insert("aud".to_owned(), several.into())),
    }
    if let Some(id) = &args.client_id {
        ensure!(
            SdkClientId::parse(id).is_some(),
            "--client-id must be a UUID; `kubectl get sdkclients` shows it in the column CLIENT-ID"
        );
        claims.insert("sdkClientId".to_owned(), id.clone().into());
    }
    let mut seen = Vec::new();
    for (name, value) in &args.claims {
        if let Some((_, option)) = RESERVED.iter().find(|(reserved, _)| reserved == name) {
            bail!("--claim cannot set `{name}`; use {option}");
        }
        ensure!(!seen.contains(&name), "--claim sets `{name}` twice");
        seen.push(name);
        claims.insert(name.clone(), value.clone());
    }
    Ok(claims)
}

fn expiry(args: &Mint, issued_at: i64) -> anyhow::Result<i64> {
    if let Some(exp) = args.exp {
        return Ok(exp.into());
    }
    let lifetime = duration::parse(&args.lifetime)
        .filter(|lifetime| lifetime.as_secs() > 0)
        .ok_or_else(|| anyhow!("--lifetime must be a duration of at least 1s in hours, minutes and seconds, such as 90s, 1h or 1h30m"))?;
    let expiry = issued_at.checked_add(lifetime.as_secs());
    expiry
        .filter(|seconds| Timestamp::from_second(*seconds).is_ok())
        .ok_or_else(|| anyhow!("--lifetime ends after the year 9999: choose a shorter one"))
}

/// Parses the name of a signature algorithm.
pub fn algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Algorithm::ALL.iter().map(|alg| alg.as_str()).collect();
        format!("must be one of {}", names.join(", "))
    })
}

/// Reads `NAME=VALUE`.
fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    if name.is_empty() {
        return Err("the name before `=` is empty: must be NAME=VALUE".to_owned());
    }
    let value = match serde_json::from_str(value) {
        Ok(json) => json,
        // Malformed JSON would silently become a string.
        Err(error) if value.starts_with(['{', '[', '"']) => {
            return Err(format!(
                "the value of `{name}` starts like JSON but is not valid JSON: {error}"
            ));
        }
        Err(_) => value.into(),
    };
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::super::tests::run_with;
    use super::*;
    use crate::domain::json::parse_object;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    /// RFC 8037 appendix A.1.
    const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"k","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[expect(clippy::unwrap_in_result, reason = "the error is that of the command")]
    fn mint(more: &[&str]) -> Result<(Value, String), String> {
        let line = [&["token", "mint", "--jwks", "-", "--sub", "u"], more].concat();
        let (token, remarks) = run_with(&line, KEY)?;
        let payload = token.split('.').nth(1).unwrap();
        let payload = URL_SAFE_NO_PAD.decode(payload).unwrap();
        let claims = parse_object(&payload).unwrap();
        Ok((Value::Object(claims.into()), remarks))
    }

    #[test]
    fn token_has_the_requested_claims() {
        let (mut claims, remarks) = mint(&[]).unwrap();
        assert_eq!(remarks, "");
        let jti = claims.as_object_mut().unwrap().remove("jti").unwrap();
        assert_eq!(jti.as_str().unwrap().len(), 36);
        let exp = 1_800_000_000 + 3600;
        assert_eq!(claims, json!({"sub": "u", "iat": 1_800_000_000, "exp": exp}));

        let client = "fb18ec6c-7b4e-5bff-8551-f3fbf9c8f841";
        let line = [
            "--iss=i",
            "--aud=a",
            "--client-id",
            client,
            "--lifetime=1h30m",
            "--claim=n=1",
            "--claim=s=text",
            "--claim=t=\"1\"",
            "--claim=o={\"a\":[true]}",
            "--claim=e=",
            "--claim=q=a=b",
            "--claim=nbf=5",
        ];
        let (claims, _) = mint(&line).unwrap();
        let expected = json!({
            "iss": "i", "aud": "a", "sdkClientId": client, "exp": 1_800_005_400, "n": 1,
            "s": "text", "t": "1", "o": {"a": [true]}, "e": "", "q": "a=b", "nbf": 5
        });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&claims[name], value, "{name}");
        }
        assert_eq!(mint(&["--aud=a", "--aud=b"]).unwrap().0["aud"], json!(["a", "b"]));
    }

    #[test]
    fn mints_an_expired_token_with_a_note() {
        let (claims, remarks) = mint(&["--exp=1700000000"]).unwrap();
        assert_eq!(claims["exp"], 1_700_000_000);
        assert!(remarks.contains("already expired"));
    }

    #[test]
    fn rejects_bad_options_by_name() {
        for (line, text) in [
            (vec!["--lifetime=0s"], "--lifetime"),
            (vec!["--lifetime=1d"], "--lifetime"),
            (vec!["--lifetime=99999999999h"], "--lifetime"),
            (vec!["--lifetime=1h", "--exp=1"], "cannot be used with"),
            (vec!["--client-id=web"], "must be a UUID"),
            (vec!["--claim=sub=x"], "use --sub"),
            (vec!["--claim=exp=1"], "use --exp or --lifetime"),
            (vec!["--claim=a=1", "--claim=a=2"], "sets `a` twice"),
            (vec!["--claim=a"], "NAME=VALUE"),
            (vec!["--claim==1"], "is empty"),
            (vec!["--claim=a={"], "starts like JSON"),
            (vec!["--alg=HS256"], "one of RS256"),
            (vec!["--alg=ES256"], "is for EdDSA"),
        ] {
            let error = mint(&line).unwrap_err();
            assert!(error.contains(text), "{line:?}: {error}");
        }
        let long = format!("--claim=a={}", "x".repeat(MAX_TOKEN_BYTES));
        assert!(mint(&[&long]).unwrap_err().contains("remove claims"));
        for sub in [String::new(), "x".repeat(256)] {
            let line = ["token", "mint", "--jwks=-", "--sub", &sub];
            assert!(run_with(&line, KEY).unwrap_err().contains("--sub"));
        }
    }
}
