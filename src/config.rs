//! The flags of `anon-operator run`, each with an environment variable.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::RangedI64ValueParser;
use clap::{Args, ValueEnum};
use ipnet::IpNet;

use crate::domain;
use crate::domain::client::Origin;
use crate::domain::credential_type::CredentialType;
use crate::domain::ids::SdkClientId;
use crate::domain::scope::Scope;
use crate::telemetry::{self, LogFormat};

/// Flags of `anon-operator run`.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Roles of this process, separated by commas
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        env = "ANON_ROLES",
        default_value = "controller,api,validator"
    )]
    pub roles: Vec<Role>,

    /// Address for the REST API (role api) and the validation endpoints (role validator)
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "ANON_LISTEN",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,

    /// Address for /livez, /readyz and /metrics
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "ANON_ADMIN_LISTEN",
        default_value = "127.0.0.1:9090"
    )]
    pub admin_listen: SocketAddr,

    /// Public base URL of --listen, used in every issuer and JWKS URL; never derived from a request
    #[arg(long, value_name = "URL", env = "ANON_PUBLIC_URL")]
    pub public_url: PublicUrl,

    /// PEM file with the certificate chain for --listen, reloaded when it changes; if unset, --listen
    /// serves plain HTTP
    #[arg(long, value_name = "FILE", env = "ANON_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with the private key of --tls-cert
    #[arg(long, value_name = "FILE", env = "ANON_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Address for the admission webhook (role webhook), which always serves TLS
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "ANON_WEBHOOK_LISTEN",
        default_value = "127.0.0.1:8443"
    )]
    pub webhook_listen: SocketAddr,

    /// PEM file with the certificate chain for --webhook-listen, reloaded when it changes; if unset,
    /// the certificate that the leader issues (--webhook-configuration)
    #[arg(long, value_name = "FILE", env = "ANON_WEBHOOK_TLS_CERT", requires = "webhook_tls_key")]
    pub webhook_tls_cert: Option<PathBuf>,

    /// PEM file with the private key of --webhook-tls-cert
    #[arg(long, value_name = "FILE", env = "ANON_WEBHOOK_TLS_KEY", requires = "webhook_tls_cert")]
    pub webhook_tls_key: Option<PathBuf>,

    /// ValidatingWebhookConfiguration for which the leader issues a certificate and sets the CA
    /// (role controller); if unset, it does neither, and something like cert-manager has to
    #[arg(long, value_name = "NAME", env = "ANON_WEBHOOK_CONFIGURATION")]
    pub webhook_configuration: Option<String>,

    /// Types of credential that the endpoints for gateways accept, separated by commas: appUserIdToken,
    /// apiKey, sessionToken; API keys and sessions must belong to the organization of the gateway's
    /// client
    #[arg(
        long,
        value_name = "TYPES",
        env = "ANON_GATEWAY_ACCEPTS",
        value_delimiter = ',',
        default_value = "appUserIdToken",
        value_parser = credential_type
    )]
    pub gateway_accepts: Vec<CredentialType>,

    /// clientId for which `POST /v1/tokenreview/{clientId}` authenticates end users as Kubernetes
    /// users `anon:...`; can be repeated; if unset, the endpoint is not served
    #[arg(
        long,
        value_name = "CLIENT_ID",
        env = "ANON_TOKEN_REVIEW_CLIENT",
        value_delimiter = ',',
        value_parser = client_id
    )]
    pub token_review_client: Vec<SdkClientId>,

    /// Let anyone create an organization, with a namespace of its own, at `POST /org/organization`
    #[arg(long, env = "ANON_ALLOW_SIGN_UP")]
    pub allow_sign_up: bool,

    /// Number of proxies in front of --listen that append to X-Forwarded-For; determines the client
    /// address for the rate limits of logins and sign-ups
    #[arg(long, value_name = "NUMBER", env = "ANON_TRUSTED_PROXY_HOPS", default_value_t = 0)]
    pub trusted_proxy_hops: usize,

    /// Origin of web pages that may use the API under /org from a browser (CORS): scheme, host and
    /// port, compared exactly; can be repeated; if unset, none
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "ANON_API_ALLOWED_ORIGIN",
        value_delimiter = ',',
        value_parser = origin
    )]
    pub api_allowed_origin: Vec<Origin>,

    /// Base URL of Link, the web page on which end users connect their accounts at other services;
    /// `GET /link/url` builds its URLs from it, and is not served if unset
    #[arg(long, value_name = "URL", env = "ANON_LINK_URL")]
    pub link_url: Option<PublicUrl>,

    /// The operator's own namespace, which holds the signing keys and the leader's Lease
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = "anon-system")]
    pub namespace: String,

    /// Namespace to watch instead of the whole cluster: the account then needs Roles in it and no
    /// ClusterRole; can be repeated; excludes --allow-sign-up
    #[arg(long, value_name = "NAMESPACE", env = "ANON_WATCH_NAMESPACE", value_delimiter = ',')]
    pub watch_namespace: Vec<String>,

    /// Name of this replica, unique among all replicas: the name of its Pod
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "anon-operator")]
    pub identity: String,

    /// How long a Secret is retained after its owner was deleted, such as 30m or 1h
    #[arg(long, value_name = "DURATION", env = "ANON_ORPHAN_GRACE", default_value = "1h", value_parser = duration)]
    pub orphan_grace: Duration,

    /// How long a replica keeps answering without updates from the API server, 3m or more; after that
    /// it returns 503, and a minute later it is excluded from propagation checks
    #[arg(long, value_name = "DURATION", env = "ANON_MAX_STALENESS", default_value = "1h", value_parser = duration)]
    pub max_staleness: Duration,

    /// Host from which key sets of user pools may be fetched, such as id.example.com, or *.example.com
    /// for all its subdomains; can be repeated; if unset, any host
    #[arg(long, value_name = "NAME", env = "ANON_FETCH_HOST", value_delimiter = ',')]
    pub fetch_host: Vec<String>,

    /// Network from which key sets of user pools may be fetched although it is not public, such as
    /// 10.20.0.0/16; can be repeated
    #[arg(long, value_name = "CIDR", env = "ANON_ALLOW_FETCH_FROM", value_delimiter = ',')]
    pub allow_fetch_from: Vec<IpNet>,

    /// Network from which no key set is fetched, such as public addresses of the cluster itself; can
    /// be repeated
    #[arg(long, value_name = "CIDR", env = "ANON_DENY_FETCH_FROM", value_delimiter = ',')]
    pub deny_fetch_from: Vec<IpNet>,

    /// Maximum age of a fetched key set, at least 1m; tokens of a pool whose key set is older get 503.
    /// Key sets are refreshed at least four times within it
    #[arg(long, value_name = "DURATION", env = "ANON_MAX_JWKS_AGE", default_value = "24h", value_parser = at_least_a_minute)]
    pub max_jwks_age: Duration,

    /// Memory for the cache of valid appUserIdTokens, in MiB: a token in it is not verified again
    /// until something that it depends on changes. A token takes about 1 KB; 0 turns the cache off
    #[arg(long, value_name = "MIB", env = "ANON_TOKEN_CACHE_SIZE", default_value_t = 32)]
    pub token_cache_size: usize,

    /// How long a connection may be idle between two requests, from 10s to 24h; set it higher than
    /// the idle timeout of the proxy or load balancer in front of --listen
    #[arg(long, value_name = "DURATION", env = "ANON_IDLE_TIMEOUT", default_value = "120s", value_parser = idle_timeout)]
    pub idle_timeout: Duration,

    /// Maximum number of connections, from 16 to 1000000, for each listener. Further ones are closed;
    /// above three quarters of it, so are those that have been idle longest. Each takes a file
    /// descriptor
    #[arg(long, value_name = "NUMBER", env = "ANON_MAX_CONNECTIONS", default_value = "4096", value_parser = count(16..=1_000_000))]
    pub max_connections: u32,

    /// Maximum number of requests that are processed concurrently, from 1 to 1000000, separately for
    /// validation and the REST API
    #[arg(long, value_name = "NUMBER", env = "ANON_MAX_REQUESTS_IN_PROGRESS", default_value = "1024", value_parser = count(1..=1_000_000))]
    pub max_requests_in_progress: u32,

    /// Maximum number of further requests that wait for a place, from 0 to 1000000, separately for
    /// validation and the REST API; requests beyond it get 503 with Retry-After
    #[arg(long, value_name = "NUMBER", env = "ANON_MAX_REQUESTS_WAITING", default_value = "4096", value_parser = count(0..=1_000_000))]
    pub max_requests_waiting: u32,

    /// Maximum number of concurrent requests on one HTTP/2 connection, from 1 to 1000
    #[arg(long, value_name = "NUMBER", env = "ANON_MAX_HTTP2_STREAMS", default_value = "64", value_parser = count(1..=1000))]
    pub max_http2_streams: u32,

    /// How long to wait for requests in flight when the process is asked to stop, such as 15s
    #[arg(long, value_name = "DURATION", env = "ANON_DRAIN_TIMEOUT", default_value = "15s", value_parser = duration)]
    pub drain_timeout: Duration,

    /// Format of the log lines on standard error
    #[arg(long, value_enum, env = "ANON_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,

    /// Log level or filter, such as `info` or `info,anon_operator::controller=debug`
    #[arg(long, value_name = "FILTER", env = "ANON_LOG_LEVEL", default_value = "info", value_parser = telemetry::filter)]
    pub log_level: String,
}

/// A role of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Reconciles the custom resources, on the leader.
    Controller,
    /// Serves the REST API under /org.
    Api,
    /// Serves the endpoints that validate credentials, and the public key sets.
    Validator,
    /// Serves the admission webhook.
    Webhook,
}

impl Config {
    /// Whether this process has the role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Checks what depends on more than one flag.
    ///
    /// # Errors
    /// Two flags exclude each other.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.allow_sign_up || self.scope() == Scope::CLUSTER,
            "--allow-sign-up and --watch-namespace exclude each other: a sign-up creates a namespace"
        );
        Ok(())
    }

    /// The namespaces that this process watches.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope::new(self.watch_namespace.clone())
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
            "must be an absolute http or https URL without user, query and fragment, such as `https://anon.example.com`".to_owned()
        };
        let url = text.trim_end_matches('/');
        let uri: axum::http::Uri = url.parse().map_err(|_| bad())?;
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        let authority = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if !scheme || !authority || uri.query().is_some() || text.contains('#') {
            return Err(bad());
        }
        Ok(Self(url.to_owned()))
    }
}

/// One origin. `*` would let every page use the API, and `null` is the origin of pages that any site
/// can create, such as sandboxed frames.
fn origin(text: &str) -> Result<Origin, String> {
    let allowed = |char: char| char.is_ascii_alphanumeric() || ".-:[]".contains(char);
    let host = ["https://", "http://", "chrome-extension://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .filter(|host| !host.is_empty() && host.chars().all(allowed));
    host.map(|_| Origin::new(text)).ok_or_else(|| {
        "must be one origin (scheme, host and optional port, no path, no `*`), such as `https://console.example.com`".to_owned()
    })
}

fn credential_type(text: &str) -> Result<CredentialType, String> {
    let error = || "must be `appUserIdToken`, `apiKey` or `sessionToken`".to_owned();
    CredentialType::parse(text).ok_or_else(error)
}

fn client_id(text: &str) -> Result<SdkClientId, String> {
    SdkClientId::parse(text).ok_or_else(|| "must be a clientId, which is a UUID".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    domain::duration::parse(text).and_then(|duration| Duration::try_from(duration).ok()).ok_or_else(
        || {
            "must be a duration in hours, minutes and seconds, such as `1h`, `90s` or `1h30m`"
                .to_owned()
        },
    )
}

/// At least as long as the head of a request may take: a shorter time would end before it.
fn idle_timeout(text: &str) -> Result<Duration, String> {
    let range = Duration::from_secs(10)..=Duration::from_hours(24);
    duration(text).ok().filter(|duration| range.contains(duration)).ok_or_else(|| {
        "must be a duration from 10s to 24h in hours, minutes and seconds, such as `120s`"
            .to_owned()
    })
}

fn count(range: RangeInclusive<i64>) -> RangedI64ValueParser<u32> {
    RangedI64ValueParser::new().range(range)
}

fn at_least_a_minute(text: &str) -> Result<Duration, String> {
    duration(text).ok().filter(|duration| *duration >= Duration::from_mins(1)).ok_or_else(|| {
        "must be a duration of at least 1m in hours, minutes and seconds, such as `24h`".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Arguments {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn sign_up_needs_the_whole_cluster() {
        let accepts = |flags: &[&str]| {
            let required = ["test", "--public-url=https://a.example", "--identity=pod"];
            let arguments: Arguments = clap::Parser::parse_from(required.iter().chain(flags));
            arguments.config.check().is_ok()
        };
        assert!(accepts(&[]) && accepts(&["--allow-sign-up"]));
        assert!(accepts(&["--watch-namespace=acme"]));
        assert!(!accepts(&["--watch-namespace=acme", "--allow-sign-up"]));
    }

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
    fn origins() {
        for (text, sent) in [
            ("https://console.example.com", "https://console.example.com"),
            ("https://Console.Example.com:443", "https://console.example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
        ] {
            assert_eq!(origin(text).unwrap().as_str(), sent);
        }
        for text in [
            "",
            "*",
            "null",
            "https://",
            "https://*",
            "https://*.example.com",
            "https://a/",
            "a.example.com",
            "https://u@a",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn credential_types() {
        for (name, type_) in
            ["appUserIdToken", "apiKey", "sessionToken"].iter().zip(CredentialType::ALL)
        {
            assert_eq!(credential_type(name), Ok(type_));
        }
        for name in ["", "jwt", "API key", "appuseridtoken"] {
            assert!(credential_type(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        for text in ["", "1", "-1h", "1 week", "1d"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for (text, fits) in [("9s", false), ("10s", true), ("24h", true), ("24h1s", false)] {
            assert_eq!(idle_timeout(text).is_ok(), fits, "{text}");
        }
        assert!(at_least_a_minute("60s").is_ok() && at_least_a_minute("59s").is_err());
    }
}
