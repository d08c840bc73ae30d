//! `token validate`: asks the validator whether a credential is valid.

use anyhow::{Context as _, bail};
use hyper::{Method, Uri};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Streams;
use super::exit::End;
use super::input::read_credential;
use super::output::Format;
use super::server::{Response, TransportArgs};

/// Help text below the options.
pub const EXAMPLES: &str = "\
The validator needs no session; it is reachable inside the cluster only, so forward its port:
  kubectl port-forward -n anon-system service/anon-operator-validator 8080

Exit code: 0 if the credential is valid, 3 if it is not, 1 if that cannot be determined.

Examples:
  # a token, for the client that the user came through
  export ANON_VALIDATOR_URL=http://127.0.0.1:8080
  kubectl anon token validate --sdk-client \"$WEB\" token.jwt

  # an API key, from a Secret
  kubectl get secret backend-anon -n acme -o jsonpath='{.data.apiKey}' | base64 -d |
    kubectl anon token validate";

/// Options of `token validate`.
#[derive(Debug, clap::Args)]
pub struct Validate {
    /// File with the credential; `-` or no argument reads standard input
    #[arg(default_value = "-", hide_default_value = true)]
    file: String,

    /// clientId that an appUserIdToken is validated for; required for such a token
    #[arg(long, value_name = "CLIENT_ID")]
    sdk_client: Option<String>,

    /// Id of the organization that the credential must belong to
    #[arg(long, value_name = "ID")]
    organization: Option<String>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,

    /// Base URL of the validator
    #[arg(long, value_name = "URL", env = "ANON_VALIDATOR_URL", help_heading = "Server")]
    server: Uri,

    #[command(flatten)]
    transport: TransportArgs,
}

/// What a failure means for anyone who has to decide.
const UNKNOWN: &str = "cannot tell whether the credential is valid, so do not accept it";

/// What the validator knows about a credential.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Valid(String),
    Rejected(String),
}

/// Prints the verdict.
pub async fn run(args: &Validate, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let server = args.transport.server(&args.server, args.transport.ca_file())?;
    let credential = read_credential(&args.file, streams.stdin)?;
    let mut body = json!({});
    if let Some(members) = body.as_object_mut() {
        let fields = [("sdkClientId", &args.sdk_client), ("organizationId", &args.organization)];
        for (name, value) in fields {
            if let Some(value) = value {
                members.insert(name.to_owned(), json!(value));
            }
        }
    }
    let body = Zeroizing::new(serde_json::to_vec(&body)?);
    let sent = server.send(Method::POST, "/v1/validate", Some(&credential), Some(body));
    let response = sent.await.context(UNKNOWN)?;
    let verdict = verdict(&response).context(UNKNOWN)?;
    let text = match &verdict {
        Verdict::Valid(text) | Verdict::Rejected(text) => format!("{text}\n"),
    };
    args.output.print(streams.stdout, &response.body, || text)?;
    match verdict {
        Verdict::Valid(_) => Ok(()),
        Verdict::Rejected(_) => Err(End::No("the credential is not valid".to_owned()).into()),
    }
}

/// Interprets a response. Anything but a verdict is an error: a proxy, or a wrong URL, must not look
/// like a rejection.
fn verdict(response: &Response) -> anyhow::Result<Verdict> {
    let active = response.body.get("active").and_then(Value::as_bool);
    match (response.status.as_u16(), active) {
        (200, Some(true)) => Ok(Verdict::Valid(holder(response))),
        (401, Some(false)) => Ok(Verdict::Rejected(format!(
            "rejected: {} ({})",
            response.message(),
            response.text("reason")
        ))),
        _ => bail!("{}: {}", response.status, response.message()),
    }
}

/// The holder of the credential.
fn holder(response: &Response) -> String {
    let text = |name| response.text(name);
    let until = match text("expiresAt") {
        end if end.is_empty() => String::new(),
        end => format!(", until {end}"),
    };
    match text("principal").as_str() {
        "appUser" => {
            format!("valid: user {} of UserPool {}{until}", text("appUserId"), text("userPoolId"))
        }
        "apiKey" => format!(
            "valid: API key {} of SdkClient {}, role {}{until}",
            text("keyId"),
            text("sdkClientId"),
            text("role")
        ),
        "member" => {
            format!("valid: session of Member {}, role {}{until}", text("memberId"), text("role"))
        }
        other => format!("valid: {other}{until}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;

    #[expect(clippy::unwrap_in_result, reason = "the error is that of the command")]
    fn of(status: u16, body: Value) -> Result<Verdict, String> {
        let status = StatusCode::from_u16(status).unwrap();
        verdict(&Response { status, body }).map_err(|error| error.to_string())
    }

    #[test]
    fn only_a_verdict_is_a_verdict() {
        let user = json!({
            "active": true, "principal": "appUser", "appUserId": "u\u{1b}1", "userPoolId": "p",
            "expiresAt": "2027-01-01T00:00:00Z",
        });
        let text = r"valid: user u\u001b1 of UserPool p, until 2027-01-01T00:00:00Z";
        assert_eq!(of(200, user.clone()), Ok(Verdict::Valid(text.into())));
        let key = json!({
            "active": true, "principal": "apiKey", "keyId": "k", "sdkClientId": "c", "role": "Member",
        });
        let text = "valid: API key k of SdkClient c, role Member";
        assert_eq!(of(200, key), Ok(Verdict::Valid(text.into())));
        let rejected =
            json!({"active": false, "reason": "token_expired", "message": "it has expired"});
        let text = "rejected: it has expired (token_expired)";
        assert_eq!(of(401, rejected.clone()), Ok(Verdict::Rejected(text.into())));
        for (status, body) in [
            (200, rejected.clone()),
            (401, user.clone()),
            (503, rejected),
            (401, json!({"message": "of a proxy"})),
            (401, Value::Null),
            (200, Value::Null),
            (302, user),
        ] {
            assert!(of(status, body.clone()).is_err(), "{status} {body}");
        }
    }
}
