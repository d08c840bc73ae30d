//! `token mint`: signs an appUserIdToken with a private key of one's own, offline.

use anyhow::{anyhow, bail, ensure};
use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Streams, jwks, read_input};
use crate::domain::algorithm::Algorithm;
use crate::domain::duration;
use crate::domain::ids::SdkClientId;
use crate::domain::token::{MAX_APP_USER_ID_BYTES, MAX_TOKEN_BYTES, sign};

/// Shown below the options.
pub const EXAMPLES: &str = "\
The token has the claims sub, iat, exp (in an hour, unless told otherwise) and jti, and those that
options add. Its header names the key by `kid`: the key's own, else its RFC 7638 thumbprint.

Examples:
  # a token for user-123, with the only private key of a file
  kubectl anon token mint --jwks private.json --sub user-123 \\
    --iss https://id.acme.example --aud shop

  # the set is kept in a Secret; no copy touches the disk
  kubectl get secret idp -o jsonpath='{.data.jwks\\.json}' | base64 -d |
    kubectl anon token mint --jwks - --kid 2026-01 --sub user-123

  # more claims: JSON where it is JSON, else a string
  kubectl anon token mint --jwks private.json --sub user-123 \\
    --claim email=ada@acme.example --claim email_verified=true --claim 'roles=[\"buyer\"]'

  # a token that has expired already, to test with
  kubectl anon token mint --jwks private.json --sub user-123 --exp 1700000000

For a pool whose keys the operator keeps (`hosted`), tokens come from POST /org/appUserIdToken.";

/// Options of `token mint`.
#[derive(Debug, clap::Args)]
pub struct Mint {
    /// File with the private key: a JWK, or a JWKS with one (RFC 7517); `-` is standard input
    #[arg(long, value_name = "FILE")]
    jwks: String,

    /// Whom the token is for: the appUserId, which is the id of the user in your own system
    #[arg(long, value_name = "ID")]
    sub: String,

    /// The key to sign with, by its kid or RFC 7638 thumbprint; needed if the file has several
    #[arg(long)]
    kid: Option<String>,

    /// The algorithm: needed only for PS256 with an RSA key that does not say so itself
    #[arg(long, value_parser = algorithm)]
    alg: Option<Algorithm>,

    /// Claim iss: who issues the token
    #[arg(long, value_name = "URL")]
    iss: Option<String>,

    /// Claim aud: who the token is meant for; may be repeated
    #[arg(long, value_name = "VALUE")]
    aud: Vec<String>,

    /// Claim sdkClientId: the client that the token is made for
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,

    /// How long the token lives, such as 1h, 90s or 1h30m
    #[arg(long, value_name = "DURATION", default_value = "1h", conflicts_with = "exp")]
    lifetime: String,

    /// Claim exp: when the token expires, in seconds since 1970
    #[arg(long, value_name = "EPOCH")]
    exp: Option<u32>,

    /// Another claim; may be repeated. A value that is JSON is taken as JSON, any other as a string
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    claims: Vec<(String, Value)>,
}

/// Claims that have an option of their own, or for which no value would be sound.
const RESERVED: [(&str, &str); 6] = [
    ("sub", "--sub"),
    ("iss", "--iss"),
    ("aud", "--aud"),
    ("exp", "--exp or --lifetime"),
    ("sdkClientId", "--client-id"),
    ("cnf", "nothing: validators refuse tokens that are bound to a key"),
];

/// Prints the token and nothing else on standard output.
pub fn run(args: &Mint, streams: &mut Streams<'_>, now: Timestamp) -> anyhow::Result<()> {
    let claims = claims(args, now)?;
    let file = read_input(&args.jwks, streams.stdin)?;
    let chosen = jwks::choose(&file, args.kid.as_deref(), args.alg)?;
    let token = sign(&chosen.key, &chosen.kid, &claims)?;
    ensure!(
        token.len() <= MAX_TOKEN_BYTES,
        "the token would have {} bytes, and validators refuse more than {MAX_TOKEN_BYTES}: leave out claims",
        token.len()
    );
    if args.exp.is_some_and(|exp| i64::from(exp) <= now.as_second()) {
        writeln!(streams.stderr, "note: the token has expired already, as --exp asks")?;
    }
    writeln!(streams.stdout, "{token}")?;
    Ok(())
}

fn claims(args: &Mint, now: Timestamp) -> anyhow::Result<Map<String, Value>> {
    ensure!(!args.sub.is_empty(), "--sub is empty: name the user");
    ensure!(
        args.sub.len() <= MAX_APP_USER_ID_BYTES,
        "--sub has {} bytes, and an appUserId has at most {MAX_APP_USER_ID_BYTES}",
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
            "--client-id must be a UUID: `kubectl get sdkclients` shows it in the column CLIENT-ID"
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
        .ok_or_else(|| anyhow!("--lifetime must be a duration such as 1h, 90s or 1h30m"))?;
    let expiry = issued_at.checked_add(lifetime.as_secs());
    expiry
        .filter(|seconds| Timestamp::from_second(*seconds).is_ok())
        .ok_or_else(|| anyhow!("--lifetime ends after the year 9999"))
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Algorithm::ALL.iter().map(|alg| alg.as_str()).collect();
        format!("one of {}", names.join(", "))
    })
}

/// Reads `NAME=VALUE`.
fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    if name.is_empty() {
        return Err("the name before `=` is empty".to_owned());
    }
    let value = match serde_json::from_str(value) {
        Ok(json) => json,
        // Broken JSON would silently become a string.
        Err(error) if value.starts_with(['{', '[', '"']) => {
            return Err(format!("`{name}` begins like JSON and is not: {error}"));
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
        let claims = parse_object(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        Ok((Value::Object(claims), remarks))
    }

    #[test]
    fn claims_are_those_that_were_asked_for() {
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
    fn an_expired_token_is_minted_and_said() {
        let (claims, remarks) = mint(&["--exp=1700000000"]).unwrap();
        assert_eq!(claims["exp"], 1_700_000_000);
        assert!(remarks.contains("expired already"));
    }

    #[test]
    fn bad_options_are_named() {
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
            (vec!["--claim=a={"], "begins like JSON"),
            (vec!["--alg=HS256"], "one of RS256"),
            (vec!["--alg=ES256"], "is for EdDSA"),
        ] {
            let error = mint(&line).unwrap_err();
            assert!(error.contains(text), "{line:?}: {error}");
        }
        let long = format!("--claim=a={}", "x".repeat(MAX_TOKEN_BYTES));
        assert!(mint(&[&long]).unwrap_err().contains("leave out claims"));
        for sub in [String::new(), "x".repeat(256)] {
            let line = ["token", "mint", "--jwks=-", "--sub", &sub];
            assert!(run_with(&line, KEY).unwrap_err().contains("--sub"));
        }
    }
}
