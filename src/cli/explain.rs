//! `token explain`: shows why the operator accepts or rejects a credential.

use std::fmt::Write as _;
use std::io::Read;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Limited};
use hyper::{Request, StatusCode, Uri, header};
use kube::client::Body;
use kube::{Client, Config};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::output::{Format, printable};
use super::{Streams, read_input};

/// The environment variable with the session token.
const SESSION_VARIABLE: &str = "ANON_SESSION_TOKEN";
/// The maximum size of a response, in bytes.
const MAX_RESPONSE: usize = 64 * 1024;

/// Help text below the options.
pub const EXAMPLES: &str = "\
The operator verifies the credential and shows every step. That requires the session token of an
Admin of the organization, in the environment variable ANON_SESSION_TOKEN or in a file. The credential
is read from a file or from standard input, because arguments are recorded in the history of the
shell.

Examples:
  # log in, and ask about the token in a file
  export ANON_API_URL=https://anon.example.com
  export ANON_SESSION_TOKEN=$(curl -s \"$ANON_API_URL/org/login\" -d @login.json | jq -r .token)
  kubectl anon token explain --sdk-client \"$WEB\" token.jwt

  # the step that failed, for a script
  kubectl anon token explain -o json < token.jwt | jq '.steps[] | select(.result == \"fail\")'";

/// Options of `token explain`.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// File with the credential; `-` or no argument reads standard input
    #[arg(default_value = "-", hide_default_value = true)]
    file: String,

    /// Base URL of the operator's REST API
    #[arg(long, value_name = "URL", env = "ANON_API_URL")]
    server: Uri,

    /// clientId that an appUserIdToken is validated for; defaults to the token's own, or to the
    /// organization's default client
    #[arg(long, value_name = "CLIENT_ID")]
    sdk_client: Option<String>,

    /// File with the session token of an Admin, instead of the variable ANON_SESSION_TOKEN
    #[arg(long, value_name = "FILE")]
    session_file: Option<String>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// Prints the explanation.
pub async fn run(args: &Explain, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let session = session(args)?;
    let credential = text(&args.file, streams.stdin)?;
    let explained = ask(args, &session, &credential).await?;
    args.output.print(streams.stdout, &explained, || table(&explained))
}

fn session(args: &Explain) -> anyhow::Result<Zeroizing<String>> {
    if let Some(file) = &args.session_file {
        return text(file, &mut std::io::empty());
    }
    let session = std::env::var(SESSION_VARIABLE).unwrap_or_default();
    if session.is_empty() {
        bail!(
            "no session token: set {SESSION_VARIABLE} or --session-file; POST /org/login creates one"
        );
    }
    Ok(Zeroizing::new(session))
}

fn text(file: &str, stdin: &mut dyn Read) -> anyhow::Result<Zeroizing<String>> {
    let bytes = read_input(file, stdin)?;
    let text = std::str::from_utf8(&bytes).ok().map(str::trim).filter(|text| !text.is_empty());
    let text = text.with_context(|| format!("`{file}` contains no credential"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Sends the request. Redirects are not followed, so the session token goes to no other server.
async fn ask(args: &Explain, session: &str, credential: &str) -> anyhow::Result<Value> {
    // The same TLS provider as in the operator.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut config = Config::new(args.server.clone());
    config.default_retry = false;
    let client = Client::try_from(config).context("--server is not a usable URL")?;
    let mut bearer = header::HeaderValue::try_from(format!("Bearer {session}"))
        .context("the session token contains characters that no token has")?;
    bearer.set_sensitive(true);
    let mut body = json!({ "token": credential });
    if let (Some(client), Some(body)) = (&args.sdk_client, body.as_object_mut()) {
        body.insert("sdkClientId".to_owned(), json!(client));
    }
    let request = Request::post("/v1/explain")
        .header(header::AUTHORIZATION, bearer)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string().into_bytes()))?;
    let response = client.send(request).await;
    let response = response.with_context(|| format!("cannot reach {}", args.server))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_RESPONSE).collect().await;
    let body = body.map_err(|_| anyhow::anyhow!("the response cannot be read"))?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status != StatusCode::OK {
        let message = body.get("message").and_then(Value::as_str).unwrap_or("not an operator?");
        bail!("{} responds with {status}: {}", args.server, printable(message));
    }
    Ok(body)
}

/// The explanation for people: the verdict, and a line for each step.
fn table(explained: &Value) -> String {
    let member = |value: &Value, name: &str| {
        printable(value.get(name).and_then(Value::as_str).unwrap_or_default())
    };
    let mut text = format!("verdict: {}", member(explained, "verdict"));
    if explained.get("reason").is_some() {
        let _ = write!(text, " ({})", member(explained, "reason"));
    }
    text.push_str("\n\n");
    for step in explained.get("steps").and_then(Value::as_array).into_iter().flatten() {
        let result = match member(step, "result").as_str() {
            "pass" => "pass",
            "fail" => "FAIL",
            _ => "not reached",
        };
        let (name, message) = (member(step, "name"), member(step, "message"));
        let _ = writeln!(text, "{result:<11}  {name:<16}  {message}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explanations_are_tables() {
        let explained = json!({
            "verdict": "invalid", "reason": "token_expired", "steps": [
                { "name": "format", "result": "pass", "message": "a JWT" },
                { "name": "dates", "result": "fail", "message": "the token has \u{1b}[2Jexpired" },
                { "name": "senderConstraint", "result": "notReached", "message": "no `cnf`" },
            ],
        });
        let expected = "\
verdict: invalid (token_expired)

pass         format            a JWT
FAIL         dates             the token has \\u001b[2Jexpired
not reached  senderConstraint  no `cnf`
";
        assert_eq!(table(&explained), expected);
        assert_eq!(table(&json!({ "verdict": "valid" })), "verdict: valid\n\n");
    }
}
