//! The allow-list of hosts from which key sets may be fetched. Pure.
//!
//! The address filter keeps fetches out of the cluster's own networks; this restricts them to the
//! identity providers that the platform administrator lists. Other hosts are not even resolved.

use url::Host;

/// The hosts from which key sets may be fetched.
#[derive(Clone, Debug, Default)]
pub struct HostFilter(Vec<String>);

impl HostFilter {
    /// Permits only these hosts, or every host if the list is empty. An entry is a host name, such
    /// as `id.example.com`; `*.example.com` for all its subdomains; or an address as in a URL.
    #[must_use]
    pub fn new(hosts: &[String]) -> Self {
        Self(hosts.iter().map(|host| host.trim().to_ascii_lowercase()).collect())
    }

    /// Whether key sets may be fetched from this host. Names are compared as in a parsed URL: in
    /// lower case and in ASCII.
    #[must_use]
    pub fn permits(&self, host: &Host<&str>) -> bool {
        let host = host.to_string();
        // A trailing dot makes a name absolute.
        let host = host.strip_suffix('.').unwrap_or(&host);
        self.0.is_empty() || self.0.iter().any(|pattern| covers(pattern, host))
    }
}

fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => host.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.')),
        None => host == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use url::Url;

    fn permits(patterns: &[&str], url: &str) -> bool {
        let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
        HostFilter::new(&patterns).permits(&Url::parse(url).unwrap().host().unwrap())
    }

    #[test]
    fn permits_every_host_unless_some_are_listed() {
        assert!(permits(&[], "https://id.example.com"));
        let known = ["ID.example.com", "*.auth0.com", "10.0.0.1", "[::1]"];
        for url in [
            "https://id.example.com/jwks",
            "https://ID.EXAMPLE.COM./jwks",
            "https://acme.eu.auth0.com",
            "https://10.0.0.1",
            "https://[0:0::1]",
        ] {
            assert!(permits(&known, url), "{url}");
        }
        for url in [
            "https://example.com",
            "https://x.id.example.com",
            "https://id.example.com.evil.test",
            "https://auth0.com",
            "https://evilauth0.com",
            "https://.auth0.com.evil.test",
            "https://10.0.0.2",
            "https://[::ffff:10.0.0.1]",
        ] {
            assert!(!permits(&known, url), "{url}");
        }
    }
}
