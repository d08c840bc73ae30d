//! What `anon-operator run` can be told: flags, each with an environment variable.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use crate::domain;
use crate::telemetry::LogFormat;

/// Flags of `anon-operator run`.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// What this process does; several, separated by commas
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        env = "ANON_ROLES",
        default_value = "controller,api,validator"
    )]
    pub roles: Vec<Role>,

    /// Where the roles api and validator listen
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "ANON_LISTEN",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,

    /// Where /livez, /readyz and /metrics are served
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "ANON_ADMIN_LISTEN",
        default_value = "127.0.0.1:9090"
    )]
    pub admin_listen: SocketAddr,

    /// How the outside reaches --listen; part of every issuer and JWKS URL, never taken from a
    /// request
    #[arg(long, value_name = "URL", env = "ANON_PUBLIC_URL")]
    pub public_url: PublicUrl,

    /// PEM file with the certificate chain for --listen, read again when it changes; without it
    /// --listen speaks plain HTTP
    #[arg(long, value_name = "FILE", env = "ANON_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with the private key of --tls-cert
    #[arg(long, value_name = "FILE", env = "ANON_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Lets anybody make an organization, with a namespace of its own, at `POST /org/organization`
    #[arg(long, env = "ANON_ALLOW_SIGN_UP")]
    pub allow_sign_up: bool,

    /// How many proxies stand in front of --listen, each of which adds to X-Forwarded-For: so the
    /// rate limits of logins and sign-ups know whom they are for
    #[arg(long, value_name = "NUMBER", env = "ANON_TRUSTED_PROXY_HOPS", default_value_t = 0)]
    pub trusted_proxy_hops: usize,

    /// Where Link is: the begin of the URLs that `GET /link/url` makes
    #[arg(long, value_name = "URL", env = "ANON_LINK_URL")]
    pub link_url: Option<PublicUrl>,

    /// The operator's own namespace: signing keys and the leader's Lease live there
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = "anon-system")]
    pub namespace: String,

    /// Name of this replica, unique among all
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "anon-operator")]
    pub identity: String,

    /// How long a Secret is kept whose owner is gone
    #[arg(long, value_name = "DURATION", env = "ANON_ORPHAN_GRACE", default_value = "1h", value_parser = duration)]
    pub orphan_grace: Duration,

    /// How long a replica answers without having heard of the cluster; then it answers 503, and a
    /// little later it no longer counts where every replica has to know something
    #[arg(long, value_name = "DURATION", env = "ANON_MAX_STALENESS", default_value = "1h", value_parser = duration)]
    pub max_staleness: Duration,

    /// A host that key sets of user pools may be fetched from, such as id.example.com, or
    /// *.example.com for all below it; may be repeated; any host if none is named
    #[arg(long, value_name = "NAME", env = "ANON_FETCH_HOST", value_delimiter = ',')]
    pub fetch_host: Vec<String>,

    /// A network that is closed by default, such as 10.20.0.0/16, whose addresses key sets of user
    /// pools may be fetched from; may be repeated
    #[arg(long, value_name = "CIDR", env = "ANON_ALLOW_FETCH_FROM", value_delimiter = ',')]
    pub allow_fetch_from: Vec<IpNet>,

    /// A network whose addresses no key set is fetched from, such as public addresses that the
    /// cluster uses itself; may be repeated
    #[arg(long, value_name = "CIDR", env = "ANON_DENY_FETCH_FROM", value_delimiter = ',')]
    pub deny_fetch_from: Vec<IpNet>,

    /// How old the fetched key set of a user pool may become while its host cannot be reached; after
    /// that its tokens are answered with 503. At least a minute; sets are fetched four times in it
    #[arg(long, value_name = "DURATION", env = "ANON_MAX_JWKS_AGE", default_value = "24h", value_parser = a_minute_or_more)]
    pub max_jwks_age: Duration,

    /// How long requests in flight may take when the process is asked to stop
    #[arg(long, value_name = "DURATION", env = "ANON_DRAIN_TIMEOUT", default_value = "15s", value_parser = duration)]
    pub drain_timeout: Duration,

    /// Form of the log lines on standard error
    #[arg(long, value_enum, env = "ANON_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,

    /// Which log lines, such as `info` or `info,anon_operator::controller=debug`
    #[arg(long, value_name = "FILTER", env = "ANON_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Reconciles the custom resources, as leader.
    Controller,
    /// Serves the REST API under /org.
    Api,
    /// Serves the doors that validate credentials, and the public key sets.
    Validator,
}

impl Config {
    /// Whether this process has the role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

/// An absolute http or https URL without query, fragment or trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The URL, without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            "must be an absolute URL such as `https://anon.example.com`, without user, query or fragment".to_owned()
        };
        let url = text.trim_end_matches('/');
        let uri: axum::http::Uri = url.parse().map_err(|_| bad())?;
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        let authority = uri.authority().is_some_and(|it| !it.as_str().contains('@'));
        if !scheme || !authority || uri.query().is_some() || text.contains('#') {
            return Err(bad());
        }
        Ok(Self(url.to_owned()))
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    domain::duration::parse(text)
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "must be a duration such as `1h`, `90s` or `1h30m`".to_owned())
}

fn a_minute_or_more(text: &str) -> Result<Duration, String> {
    duration(text)
        .ok()
        .filter(|duration| *duration >= Duration::from_mins(1))
        .ok_or_else(|| "must be a duration of at least a minute, such as `24h`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_urls() {
        for (text, url) in [
            ("https://anon.example.com", "https://anon.example.com"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("https://example.com/anon/", "https://example.com/anon"),
        ] {
            assert_eq!(text.parse::<PublicUrl>().unwrap().as_str(), url);
        }
        for text in [
            "",
            "anon.example.com",
            "ftp://a",
            "https://",
            "https://u@a",
            "https://a?b",
            "https://a#b",
            "/x",
        ] {
            assert!(text.parse::<PublicUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        for text in ["", "1", "-1h", "1 week", "1d"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(a_minute_or_more("60s").is_ok() && a_minute_or_more("59s").is_err());
    }
}
