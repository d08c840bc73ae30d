//! `login` and `logout`: a session of a Member at the REST API.

use std::io::Read;

use anyhow::{Context as _, bail, ensure};
use hyper::{Method, StatusCode, Uri};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::input::{read_credential, read_input};
use super::server::TransportArgs;
use super::session_file::{self, Session};
use super::{Streams, output};

/// Help text below the options of `login`.
pub const EXAMPLES: &str = "\
The session token is stored in $XDG_CONFIG_HOME/anon/session (~/.config/anon/session), a file that only
you can read. `kubectl anon logout` ends the session.

Examples:
  # the password is read from the terminal
  kubectl anon login --server https://anon.example.com --email ada@acme.example

  # the password is read from a file
  kubectl anon login --email ada@acme.example --password-stdin < password

  # with a Kubernetes identity
  kubectl create token ci -n acme --audience anon-operator > token
  kubectl anon login --kubernetes-token-file token";

/// Options of `login`.
#[derive(Debug, clap::Args)]
pub struct Login {
    /// Base URL of the operator's REST API
    #[arg(long, value_name = "URL", env = "ANON_API_URL")]
    server: Uri,

    /// E-mail address of the Member; you are asked for it if it is missing
    #[arg(long, value_name = "ADDRESS", conflicts_with = "kubernetes_token_file")]
    email: Option<String>,

    /// Read the password from standard input instead of the terminal
    #[arg(long, requires = "email")]
    password_stdin: bool,

    /// Log in with the Kubernetes token in this file, `-` for standard input; its audience is
    /// anon-operator
    #[arg(long, value_name = "FILE")]
    kubernetes_token_file: Option<String>,

    /// Id of the organization; required for a member of several
    #[arg(long, value_name = "ID")]
    organization: Option<String>,

    /// Also print the session token on standard output
    #[arg(long)]
    print_token: bool,

    #[command(flatten)]
    transport: TransportArgs,
}

/// Options of `logout`.
#[derive(Debug, clap::Args)]
pub struct Logout {
    /// Only delete the stored token, without ending the session at the server
    #[arg(long, conflicts_with = "all")]
    local: bool,

    /// End all sessions of the member
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    transport: TransportArgs,
}

/// The body of `POST /org/login`. No `Debug`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes_token: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<&'a str>,
}

/// Begins a session and stores its token.
pub async fn login(args: &Login, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let ca_file = args.transport.ca_file();
    let server = args.transport.server(&args.server, ca_file)?;
    let body = Zeroizing::new(serde_json::to_vec(&body(args, streams)?)?);
    let reply = server.call(Method::POST, "/org/login", None, Some(body)).await?;
    let token = reply.get("token").and_then(Value::as_str);
    let token = token.with_context(|| {
        format!("{} responds without a session token: is it the operator's REST API?", args.server)
    })?;
    let token = Zeroizing::new(token.to_owned());
    let absolute = |path: &std::path::Path| std::path::absolute(path);
    let session = Session {
        server: args.server.to_string(),
        ca_file: ca_file.map(absolute).transpose()?,
        token: token.clone(),
    };
    let path = session_file::write(&session)?;
    let organization = reply.get("organizationId").and_then(Value::as_str).unwrap_or_default();
    writeln!(
        streams.stderr,
        "logged in to {}, organization {}; the session is stored in `{}`",
        args.server,
        output::printable(organization),
        path.display()
    )?;
    if args.print_token {
        writeln!(streams.stdout, "{}", token.as_str())?;
    }
    Ok(())
}

fn body<'a>(args: &'a Login, streams: &mut Streams<'_>) -> anyhow::Result<Body<'a>> {
    let organization_id = args.organization.as_deref();
    if let Some(file) = &args.kubernetes_token_file {
        let kubernetes_token = Some(read_credential(file, streams.stdin)?);
        return Ok(Body { email: None, password: None, kubernetes_token, organization_id });
    }
    let email = if let Some(email) = &args.email {
        email.clone()
    } else {
        write!(streams.stderr, "E-mail address: ")?;
        streams.stderr.flush()?;
        line(streams.stdin)?
    };
    ensure!(!email.is_empty(), "no e-mail address: set --email");
    let password = if args.password_stdin {
        password(&read_input("-", streams.stdin)?)?
    } else {
        // From the terminal itself, without echo, even if standard input is something else.
        let asked = rpassword::prompt_password("Password: ");
        Zeroizing::new(
            asked.context("there is no terminal to ask for the password: use --password-stdin")?,
        )
    };
    ensure!(!password.is_empty(), "the password is empty");
    Ok(Body {
        email: Some(email),
        password: Some(password),
        kubernetes_token: None,
        organization_id,
    })
}

/// A password without the line break that files and `echo` end with.
fn password(input: &[u8]) -> anyhow::Result<Zeroizing<String>> {
    let text = std::str::from_utf8(input).ok().context("the password is not UTF-8 text")?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(Zeroizing::new(text.strip_suffix('\r').unwrap_or(text).to_owned()))
}

/// The next line, and nothing of the following ones.
fn line(stdin: &mut dyn Read) -> anyhow::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < 1024 && stdin.read(&mut byte)? == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    let line = String::from_utf8(line).ok().context("the e-mail address is not UTF-8 text")?;
    Ok(line.trim().to_owned())
}

/// Ends the session, and deletes its token. The token is kept if the server cannot be asked, so that
/// the command can be repeated.
pub async fn logout(args: &Logout, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    if args.local {
        session_file::delete()?;
        writeln!(
            streams.stderr,
            "the stored token was deleted; the session remains valid until it expires"
        )?;
        return Ok(());
    }
    let Some(session) = session_file::read_exposed()? else {
        writeln!(streams.stderr, "there is no session")?;
        return Ok(());
    };
    let url: Uri = session.server.parse().context("the session has no usable server")?;
    let ca_file = args.transport.ca_file().or(session.ca_file.as_deref());
    let server = args.transport.server(&url, ca_file)?;
    let path = if args.all { "/org/logout/all" } else { "/org/logout" };
    let sent = server.send(Method::POST, path, Some(&session.token), None);
    let response = sent.await.context(
        "the session was not ended; `kubectl anon logout --local` deletes only the stored token",
    )?;
    // 401: it has ended already.
    let ended = response.status.is_success() || response.status == StatusCode::UNAUTHORIZED;
    if !ended {
        bail!("{url} has not ended the session ({}): {}", response.status, response.message());
    }
    session_file::delete()?;
    writeln!(streams.stderr, "logged out of {url}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_lose_one_line_break_and_nothing_else() {
        for (input, expected) in
            [("a b", "a b"), (" a \n", " a "), ("a\r\n", "a"), ("a\n\n", "a\n"), ("", "")]
        {
            assert_eq!(password(input.as_bytes()).unwrap().as_str(), expected, "{input:?}");
        }
        assert!(password(&[0xff]).is_err());
    }

    #[test]
    fn a_line_leaves_the_rest_to_be_read() {
        let mut input = &b"ada@acme.example\r\nsecret\n"[..];
        assert_eq!(line(&mut input).unwrap(), "ada@acme.example");
        assert_eq!(input, b"secret\n");
    }
}
