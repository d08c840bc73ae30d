//! `token explain`: shows why the operator accepts or rejects a credential.

use std::fmt::Write as _;

use hyper::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Streams;
use super::api::ApiArgs;
use super::input::read_credential;
use super::output::{Format, printable};

/// Help text below the options.
pub const EXAMPLES: &str = "\
The operator verifies the credential and shows every step. That requires the session of an Admin of
the organization. The credential is read from a file or from standard input, because arguments are
visible to other processes.

Examples:
  # log in, and ask about the token in a file
  kubectl anon login --server https://anon.example.com --email ada@acme.example
  kubectl anon token explain --sdk-client \"$WEB\" token.jwt

  # the step that failed, for a script
  kubectl anon token explain -o json < token.jwt | jq '.steps[] | select(.result == \"fail\")'";

/// Options of `token explain`.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// File with the credential; `-` or no argument reads standard input
    #[arg(default_value = "-", hide_default_value = true)]
    file: String,

    /// clientId that an appUserIdToken is validated for; defaults to the token's own, or to the
    /// organization's default client
    #[arg(long, value_name = "CLIENT_ID")]
    sdk_client: Option<String>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,

    #[command(flatten)]
    api: ApiArgs,
}

/// Prints the explanation.
pub async fn run(args: &Explain, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let api = args.api.connect()?;
    let credential = read_credential(&args.file, streams.stdin)?;
    let mut body = json!({ "token": credential.as_str() });
    if let (Some(client), Some(body)) = (&args.sdk_client, body.as_object_mut()) {
        body.insert("sdkClientId".to_owned(), json!(client));
    }
    let body = Zeroizing::new(serde_json::to_vec(&body)?);
    let explained =
        api.server.call(Method::POST, "/v1/explain", Some(&api.token), Some(body)).await?;
    args.output.print(streams.stdout, &explained, || table(&explained))
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
