//! The operator's REST API, authenticated by a session.

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use hyper::Uri;
use zeroize::Zeroizing;

use super::input::read_credential;
use super::server::{Server, TransportArgs};
use super::session_file;

/// The environment variable with a session token.
const SESSION_VARIABLE: &str = "ANON_SESSION_TOKEN";

/// Which API is called, and by whom.
#[derive(Debug, Args)]
pub struct ApiArgs {
    /// Base URL of the operator's REST API; defaults to that of `kubectl anon login`
    #[arg(long, value_name = "URL", env = "ANON_API_URL", help_heading = "Server")]
    server: Option<Uri>,

    /// File with the session token, instead of that of `kubectl anon login`; the variable
    /// ANON_SESSION_TOKEN can have the token, too
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    session_file: Option<String>,

    #[command(flatten)]
    transport: TransportArgs,
}

/// An API, and the session token for it.
pub struct Api {
    /// The server.
    pub server: Server,
    /// Its base URL.
    pub url: Uri,
    /// The session token.
    pub token: Zeroizing<String>,
}

impl ApiArgs {
    /// Whether a session is specified by an option or by the environment, or stored by a login.
    ///
    /// # Errors
    /// The stored session cannot be read.
    pub fn has_session(&self) -> anyhow::Result<bool> {
        let specified = self.session_file.is_some() || variable().is_some();
        Ok(specified || session_file::read()?.is_some())
    }

    /// Finds the session and its server. The token of a login goes to no other server than the one
    /// that issued it.
    ///
    /// # Errors
    /// There is no session, or the server cannot be used.
    pub fn connect(&self) -> anyhow::Result<Api> {
        let specified = match &self.session_file {
            Some(file) => Some(read_credential(file, &mut std::io::empty())?),
            None => variable(),
        };
        if let Some(token) = specified {
            let url = self.server.clone();
            let url = url.context(
                "no server: set ANON_API_URL or --server to the base URL of the REST API",
            )?;
            let server = self.transport.server(&url, self.transport.ca_file())?;
            return Ok(Api { server, url, token });
        }
        let Some(session) = session_file::read()? else {
            bail!(
                "no session: run `kubectl anon login`, or set {SESSION_VARIABLE} or --session-file"
            );
        };
        let url: Uri = session.server.parse().context("the session has no usable server")?;
        ensure!(
            self.server.as_ref().is_none_or(|server| *server == url),
            "the session is for {url}, and its token is not sent to another server: log in there, or leave out --server and ANON_API_URL"
        );
        let ca_file = self.transport.ca_file().or(session.ca_file.as_deref());
        let server = self.transport.server(&url, ca_file)?;
        Ok(Api { server, url, token: session.token })
    }
}

fn variable() -> Option<Zeroizing<String>> {
    let token = std::env::var(SESSION_VARIABLE).unwrap_or_default();
    (!token.is_empty()).then(|| Zeroizing::new(token))
}
