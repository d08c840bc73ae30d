//! `token inspect`: decodes credentials without verifying them.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::Streams;
use super::input::read_credential;
use super::output::{self, Format};
use crate::domain::credential::{ApiKey, ApiKeys, Scheme as _, SessionTokens};
use crate::domain::json::parse_object;
use crate::domain::token::UnverifiedToken;

/// Help text below the options.
pub const EXAMPLES: &str = "\
Nothing is verified: anyone can create a token with this content. POST /v1/validate verifies a
credential, as `kubectl anon token validate` does. The credential is read from a file or from
standard input, because arguments are visible to other processes.

Examples:
  # the header and the claims of a token
  kubectl anon token inspect token.jwt

  # the id of the ApiKey in a Secret, to compare with `kubectl get sdkclients -o yaml`
  kubectl get secret backend-anon -n acme -o jsonpath='{.data.apiKey}' | base64 -d |
    kubectl anon token inspect

  # one claim, for a script
  kubectl anon token inspect -o json < token | jq -r .claims.sub";

/// Options of `token inspect`.
#[derive(Debug, clap::Args)]
pub struct Inspect {
    /// File with the token or API key; `-` or no argument reads standard input
    #[arg(default_value = "-", hide_default_value = true)]
    file: String,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// Prints the decoded credential.
pub fn run(args: &Inspect, streams: &mut Streams<'_>, now: Timestamp) -> anyhow::Result<()> {
    let credential = read_credential(&args.file, streams.stdin)?;
    let found = Credential::read(&credential)?;
    args.output.print(streams.stdout, &found.json(now), || found.text(now))?;
    writeln!(streams.stderr, "{}", found.note())?;
    Ok(())
}

/// The claims of a JWT, unverified.
///
/// # Errors
/// It is not a JWT. The message contains nothing of it.
pub fn claims(token: &str) -> anyhow::Result<Map<String, Value>> {
    Ok(Jwt::read(token)?.claims)
}

/// A decoded credential.
enum Credential {
    Jwt(Jwt),
    /// A well-formed API key, by its id.
    ApiKey {
        id: String,
    },
    SessionToken,
}

/// The parts of a JWT.
struct Jwt {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signature_bytes: usize,
    /// Why validators reject it before they look for a key.
    rejection: Option<crate::domain::reason::Reason>,
}

/// The claims that are times (RFC 7519 section 4.1, OpenID Connect Core section 2).
const TIMES: [&str; 4] = ["iat", "nbf", "exp", "auth_time"];

impl Credential {
    fn read(credential: &str) -> anyhow::Result<Self> {
        if credential.starts_with(ApiKeys::PREFIX) {
            let Some(key) = ApiKey::parse(credential) else { bail!(api_key_error(credential)) };
            return Ok(Self::ApiKey { id: key.hash().id() });
        }
        if credential.starts_with(SessionTokens::PREFIX) {
            return Ok(Self::SessionToken);
        }
        Jwt::read(credential).map(Self::Jwt)
    }

    fn note(&self) -> &'static str {
        match self {
            Self::Jwt(_) => {
                "note: decoded, not verified: anyone can create this. POST /v1/validate verifies it"
            }
            Self::ApiKey { .. } => {
                "note: only the format was checked. POST /v1/validate tells whether the key is valid"
            }
            Self::SessionToken => "note: only the prefix was checked",
        }
    }

    fn json(&self, now: Timestamp) -> Value {
        match self {
            Self::Jwt(jwt) => jwt.json(now),
            Self::ApiKey { id } => json!({"type": "apiKey", "wellFormed": true, "keyId": id}),
            Self::SessionToken => json!({"type": "sessionToken"}),
        }
    }

    fn text(&self, now: Timestamp) -> String {
        match self {
            Self::Jwt(jwt) => jwt.text(now),
            Self::ApiKey { id } => {
                format!(
                    "API key of a service SdkClient\nformat  valid, checksum included\nkey id  {id}\n"
                )
            }
            Self::SessionToken => "session token of a Member\n".to_owned(),
        }
    }
}

impl Jwt {
    fn read(token: &str) -> anyhow::Result<Self> {
        let parts: Vec<_> = token.split('.').collect();
        let (header, payload, signature) = match parts.as_slice() {
            [header, payload, signature] => (*header, *payload, *signature),
            [_, _, _, _, _] => bail!(
                "this is an encrypted JWT (JWE, five parts): only the holder of its key can read it, and validators accept only signed JWTs"
            ),
            other => bail!(
                "neither a JWT nor an API key: a JWT has three parts separated by dots, this has {}",
                other.len()
            ),
        };
        Ok(Self {
            header: part("header", header)?,
            claims: part("payload", payload)?,
            signature_bytes: decode("signature", signature)?.len(),
            rejection: UnverifiedToken::parse(token).err(),
        })
    }

    fn times(&self) -> Vec<(&'static str, Timestamp)> {
        let time = |name: &'static str| {
            let seconds = self.claims.get(name)?.as_f64()?.floor();
            let range = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
            #[expect(clippy::cast_possible_truncation, reason = "saturates, then out of range")]
            let seconds = Some(seconds as i64).filter(|seconds| range.contains(seconds))?;
            Some((name, Timestamp::from_second(seconds).ok()?))
        };
        TIMES.into_iter().filter_map(time).collect()
    }

    /// Whether it is past `exp`, without leeway; `None` without a readable `exp`.
    fn expired(&self, now: Timestamp) -> Option<bool> {
        let times = self.times();
        times.into_iter().find(|(name, _)| *name == "exp").map(|(_, exp)| exp <= now)
    }

    fn json(&self, now: Timestamp) -> Value {
        let times: Map<_, _> = self
            .times()
            .into_iter()
            .map(|(name, time)| (name.to_owned(), time.to_string().into()))
            .collect();
        let rejection = self
            .rejection
            .map(|reason| json!({"reason": reason.as_str(), "message": reason.message()}));
        json!({
            "type": "jwt",
            "verified": false,
            "header": self.header,
            "claims": self.claims,
            "times": times,
            "expired": self.expired(now),
            "signatureBytes": self.signature_bytes,
            "refusedBecause": rejection,
        })
    }

    fn text(&self, now: Timestamp) -> String {
        let mut text = String::from("JWT, not verified\n\n");
        let header = output::pretty(&Value::Object(self.header.clone()));
        let claims = output::pretty(&Value::Object(self.claims.clone()));
        // Writing into a String cannot fail.
        let _ = writeln!(text, "header\n{header}\n\nclaims\n{claims}\n\ntimes");
        for (name, time) in self.times() {
            let _ = writeln!(text, "  {name:<9}  {time}  ({})", relative(name, time, now));
        }
        if !self.claims.contains_key("exp") {
            text.push_str("  exp        missing: validators reject a token that never expires\n");
        } else if self.expired(now).is_none() {
            text.push_str("  exp        not a valid time\n");
        }
        let _ = writeln!(text, "\nsignature  {} bytes, not checked", self.signature_bytes);
        if self.header.get("kid").is_none_or(Value::is_null) {
            text.push_str("kid        missing: hosted pools and pools with many keys reject it\n");
        }
        if let Some(reason) = self.rejection {
            let _ = writeln!(text, "rejected   by every validator: {}", reason.message());
        }
        text
    }
}

fn relative(name: &str, time: Timestamp, now: Timestamp) -> String {
    let distance = time.duration_since(now);
    let length = rounded(distance.abs());
    match (name, time <= now) {
        ("exp", true) => format!("expired {length} ago"),
        (_, true) => format!("{length} ago"),
        (_, false) => format!("in {length}"),
    }
}

/// A duration in its two largest units.
fn rounded(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h{minutes}m"),
        (days, hours, ..) => format!("{days}d{hours}h"),
    }
}

fn decode(name: &str, part: &str) -> anyhow::Result<Vec<u8>> {
    // The decoder's own message would quote a byte of the credential.
    let bytes = URL_SAFE_NO_PAD.decode(part).ok();
    bytes.with_context(|| {
        format!("not a JWT: its {name} is not base64url without padding (RFC 7515)")
    })
}

fn part(name: &str, part: &str) -> anyhow::Result<Map<String, Value>> {
    let bytes = decode(name, part)?;
    parse_object(&bytes).map(Map::from).map_err(|error| {
        anyhow::anyhow!(
            "not a JWT that validators accept: its {name} is not a JSON object without duplicate members: {error}"
        )
    })
}

/// What is wrong with a string that starts like an API key. Reveals only its length.
fn api_key_error(credential: &str) -> String {
    // 11 characters of prefix, 43 of random value, 6 of checksum.
    let length = credential.chars().count();
    if !credential.chars().all(|char| char.is_ascii_alphanumeric() || char == '_') {
        "not a valid API key: it contains a character other than letters, digits and `_`; copy it again".to_owned()
    } else if length != 60 {
        format!("not a valid API key: it has {length} characters instead of 60; copy all of it")
    } else {
        "not a valid API key: its checksum is wrong, so at least one character is; copy it again"
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::run_with;
    use super::*;

    /// RFC 7515 appendix A.2: RS256, exp 2011-03-22T18:43:00Z. The signature is left out.
    const RFC7515: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.AAAA";

    fn inspect(credential: &str) -> Result<(String, String), String> {
        run_with(&["token", "inspect"], credential)
    }

    fn inspect_json(credential: &str) -> Value {
        let (text, _) = run_with(&["token", "inspect", "-o", "json"], credential).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn jwt(header: &str, payload: &str) -> String {
        format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn decodes_a_jwt_without_verifying_it() {
        let (text, remarks) = inspect(RFC7515).unwrap();
        assert!(
            text.contains(r#""iss": "joe""#) && text.contains("2011-03-22T18:43:00Z"),
            "{text}"
        );
        assert!(text.contains("expired 5777d13h ago"), "{text}");
        assert!(text.contains("kid        missing"), "{text}");
        assert!(remarks.contains("not verified"));

        let json = inspect_json(&format!("  Bearer {RFC7515}\n"));
        assert_eq!(json["verified"], false);
        assert_eq!(json["header"]["alg"], "RS256");
        assert_eq!(json["times"]["exp"], "2011-03-22T18:43:00Z");
        assert_eq!(json["expired"], true);
        assert_eq!(json["signatureBytes"], 3);
        assert_eq!(json["refusedBecause"], Value::Null);

        let symmetric = jwt(r#"{"alg":"HS256","kid":"k"}"#, r#"{"exp":1}"#);
        let reason = &inspect_json(&symmetric)["refusedBecause"]["reason"];
        assert_eq!(reason, "algorithm_unsupported");
        let (text, _) = inspect(&symmetric).unwrap();
        assert!(text.contains("rejected   by every validator"), "{text}");
        assert!(!text.contains("kid        missing"), "{text}");
    }

    #[test]
    fn tolerates_malformed_times() {
        for (exp, expired) in
            [("1800000001", Some(false)), ("1.5", Some(true)), ("1e300", None), ("\"x\"", None)]
        {
            let token = jwt(r#"{"alg":"ES256","kid":"k"}"#, &format!(r#"{{"exp":{exp}}}"#));
            let json = inspect_json(&token);
            assert_eq!(json["expired"].as_bool(), expired, "{exp}");
            assert_eq!(json["refusedBecause"], Value::Null);
        }
        let (text, _) = inspect(&jwt(r#"{"alg":"ES256","kid":"k"}"#, "{}")).unwrap();
        assert!(text.contains("never expires"), "{text}");
    }

    #[test]
    fn identifies_an_api_key_without_showing_it() {
        let key = ApiKey::generate().unwrap();
        let plain = key.expose();
        let (text, remarks) = inspect(plain).unwrap();
        assert!(text.contains(&key.hash().id()) && !text.contains(plain), "{text}");
        assert!(remarks.contains("only the format"));
        assert_eq!(inspect_json(plain)["keyId"], key.hash().id());

        let swapped = plain.chars().rev().collect::<String>();
        let (head, tail) = plain.split_at(30);
        for (bad, text) in [
            (head.to_owned(), "30 characters instead of 60"),
            (format!("{head}-{tail}"), "other than letters, digits"),
            (format!("{}{}", ApiKeys::PREFIX, "a".repeat(49)), "checksum"),
            (swapped, "neither a JWT nor an API key"),
        ] {
            let error = inspect(&bad).unwrap_err();
            assert!(error.contains(text) && !error.contains(&bad), "{error}");
        }
        assert_eq!(inspect_json("ory_st_x")["type"], "sessionToken");
    }

    #[test]
    fn rejects_what_is_no_credential() {
        for (bad, text) in [
            (String::new(), "no credential"),
            ("a.b".into(), "three parts"),
            ("a.b.c.d.e".into(), "JWE"),
            ("=.a.b".into(), "header is not base64url"),
            (jwt("[]", "{}"), "header is not a JSON object"),
            (jwt("{}", r#"{"a":1,"a":2}"#), "duplicate member"),
        ] {
            let error = inspect(&bad).unwrap_err();
            assert!(error.contains(text), "{bad}: {error}");
        }
    }
}
