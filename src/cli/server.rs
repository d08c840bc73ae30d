//! Requests to the operator's own HTTP endpoints.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use http_body_util::{BodyExt as _, Limited};
use hyper::{Method, Request, StatusCode, Uri, header};
use kube::client::Body;
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use zeroize::Zeroizing;

use super::output;

/// The maximum size of a response, in bytes.
const MAX_RESPONSE: usize = 1024 * 1024;

/// How the operator's server is reached.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct TransportArgs {
    /// File with the CA certificates (PEM) that verify the server, instead of those of the system
    #[arg(long, value_name = "FILE", env = "ANON_CA_FILE")]
    ca_file: Option<PathBuf>,

    /// Allow http:// to a server on another machine, which sends credentials unencrypted
    #[arg(long)]
    insecure_http: bool,
}

/// A server that requests are sent to.
pub struct Server {
    client: Client,
    url: Uri,
}

/// A response: its status, and its body if that is JSON, otherwise null.
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// The body.
    pub body: Value,
}

impl TransportArgs {
    /// The file with CA certificates, if it is set.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// Prepares requests to `url`, verified with `ca_file` instead of the CAs of the system if it is
    /// set. Redirects are not followed, so that credentials go to no other server.
    ///
    /// # Errors
    /// The URL or the file cannot be used.
    pub fn server(&self, url: &Uri, ca_file: Option<&Path>) -> anyhow::Result<Server> {
        let host = url.host().filter(|host| !host.is_empty());
        let host = host.with_context(|| format!("`{url}` is not a URL with a host"))?;
        match url.scheme_str() {
            Some("https") => {}
            Some("http") => ensure!(
                self.insecure_http || is_loopback(host),
                "credentials would be sent to {url} unencrypted: use https://, or --insecure-http if the network is trusted"
            ),
            _ => bail!("`{url}` must begin with https:// or http://"),
        }
        // The same TLS provider as in the operator.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut config = Config::new(url.clone());
        config.default_retry = false;
        config.root_cert = ca_file.map(certificates).transpose()?;
        let client = Client::try_from(config);
        let client = client.with_context(|| format!("`{url}` is not a usable URL"))?;
        Ok(Server { client, url: url.clone() })
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn certificates(path: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let pem = std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = read.unwrap_or_default();
    ensure!(!certificates.is_empty(), "`{}` contains no certificate in PEM", path.display());
    Ok(certificates.iter().map(|certificate| certificate.to_vec()).collect())
}

impl Server {
    /// Sends a request with a JSON body, authenticated by `bearer`.
    ///
    /// # Errors
    /// There is no response.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        bearer: Option<&str>,
        body: Option<Zeroizing<Vec<u8>>>,
    ) -> anyhow::Result<Response> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(bearer) = bearer {
            let mut value = header::HeaderValue::try_from(format!("Bearer {bearer}"))
                .context("the credential contains characters that no credential has")?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(|body| body.to_vec()).unwrap_or_default();
        let response = self.client.send(request.body(Body::from(body))?).await;
        let response = response.with_context(|| format!("cannot reach {}", self.url))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_RESPONSE).collect().await;
        let body = body.map_err(|_| {
            anyhow::anyhow!("the response of {} is incomplete or larger than 1 MiB", self.url)
        })?;
        Ok(Response { status, body: serde_json::from_slice(&body.to_bytes()).unwrap_or_default() })
    }

    /// Sends a request that must succeed, and returns the body of the response.
    ///
    /// # Errors
    /// There is no response, or one that reports an error.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        bearer: Option<&str>,
        body: Option<Zeroizing<Vec<u8>>>,
    ) -> anyhow::Result<Value> {
        let response = self.send(method, path, bearer, body).await?;
        if !response.status.is_success() {
            bail!("{} responds with {}: {}", self.url, response.status, response.message());
        }
        Ok(response.body)
    }
}

impl Response {
    /// A text of the body, without what could control a terminal.
    pub fn text(&self, name: &str) -> String {
        output::printable(self.body.get(name).and_then(Value::as_str).unwrap_or_default())
    }

    /// The message of an error.
    pub fn message(&self) -> String {
        let message = self.text("message");
        if message.is_empty() {
            "not an operator? Check the URL of the server".to_owned()
        } else {
            message
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn credentials_are_not_sent_unencrypted_to_another_machine() {
        let check = |url: &str, insecure_http| {
            let arguments = TransportArgs { ca_file: None, insecure_http };
            arguments.server(&url.parse().unwrap(), None).map(|_| ()).map_err(|it| it.to_string())
        };
        for url in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1/base"] {
            assert_eq!(check(url, false), Ok(()), "{url}");
        }
        for url in ["http://anon.example.com", "http://127.0.0.1.example.com", "http://10.0.0.1"] {
            assert!(check(url, false).unwrap_err().contains("unencrypted"), "{url}");
            assert_eq!(check(url, true), Ok(()), "{url}");
        }
        assert_eq!(check("https://anon.example.com", false), Ok(()));
        for url in ["ftp://anon.example.com", "anon.example.com", "/org"] {
            assert!(check(url, true).is_err(), "{url}");
        }
    }
}
