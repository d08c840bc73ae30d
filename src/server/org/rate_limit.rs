//! Rate limits.
//!
//! - Logins are limited per e-mail address, so that a password cannot be guessed, and per peer
//!   address, so that one peer cannot keep the hash function busy.
//! - Sign-ups are limited per peer address, and per e-mail address: that is not verified, and a
//!   login without an organization tries only a few members with the same one.
//! - Calls of members are limited per member and per organization, because they cost the API server
//!   work. Calls with an API key are not: a backend logs in all of its users with one key.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::{Extensions, HeaderMap};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::domain::ids::{MemberId, OrganizationId};
use crate::metrics::Metrics;
use crate::server::ApiError;
use crate::server::arrival::Arrival;

/// Logins for one e-mail address from one peer address: ten, then one every 6 s.
const EMAIL: Quota = Quota::per_minute(count(10)).allow_burst(count(10));
/// The same from all peers together. Larger, so that one peer cannot lock out the others.
const EMAIL_TOTAL: Quota = Quota::per_minute(count(30)).allow_burst(count(60));
/// Logins from one peer address. Larger, because a proxy is one peer.
const PEER: Quota = Quota::per_second(count(2)).allow_burst(count(60));
/// Sign-ups from one peer address; each creates a namespace.
const SIGN_UP: Quota = Quota::per_minute(count(1)).allow_burst(count(5));
/// New organizations for one e-mail address: fewer than the members that a login tries.
const SIGN_UP_EMAIL: Quota = Quota::per_hour(count(1)).allow_burst(count(2));
/// Calls of one member; more than any person or page makes.
const MEMBER: Quota = Quota::per_second(count(20)).allow_burst(count(1000));
/// The same for all members of an organization together.
const MEMBERS: Quota = Quota::per_second(count(100)).allow_burst(count(5000));

/// A number of requests; 0 would be no quota at all.
const fn count(requests: u32) -> NonZeroU32 {
    match NonZeroU32::new(requests) {
        Some(requests) => requests,
        None => NonZeroU32::MIN,
    }
}

/// After how many checks the budgets that are full again are dropped.
const CLEANUP_INTERVAL: u32 = 1024;

/// The remaining budgets. Their number is limited: keys are hashed to 16 bits with a secret of this
/// process, so callers can neither exhaust the memory nor choose whose budget they share. Budgets
/// that are full again are dropped from time to time.
pub struct Limits {
    emails: Limiter,
    emails_total: Limiter,
    peers: Limiter,
    sign_ups: Limiter,
    sign_up_emails: Limiter,
    members: Limiter,
    organizations: Limiter,
    hasher: RandomState,
    metrics: Arc<Metrics>,
}

/// The budgets of one limit.
struct Limiter {
    /// The name of the limit in the metrics.
    name: &'static str,
    budgets: DefaultKeyedRateLimiter<u16>,
    checks: AtomicU32,
}

impl Limiter {
    fn new(name: &'static str, quota: Quota) -> Self {
        Self { name, budgets: RateLimiter::keyed(quota), checks: AtomicU32::new(0) }
    }

    fn check(&self, hash: u64, metrics: &Metrics) -> Result<(), ApiError> {
        if self.checks.fetch_add(1, Ordering::Relaxed).is_multiple_of(CLEANUP_INTERVAL) {
            self.budgets.retain_recent();
            self.budgets.shrink_to_fit();
        }
        let key = u16::try_from(hash >> 48).unwrap_or_default();
        self.budgets.check_key(&key).map_err(|not_until| {
            metrics.rate_limited(self.name);
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            ApiError::too_many("too many requests of this kind; try again later", wait)
        })
    }
}

impl Limits {
    /// Full budgets.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            emails: Limiter::new("login_email", EMAIL),
            emails_total: Limiter::new("login_email", EMAIL_TOTAL),
            peers: Limiter::new("login_peer", PEER),
            sign_ups: Limiter::new("sign_up_peer", SIGN_UP),
            sign_up_emails: Limiter::new("sign_up_email", SIGN_UP_EMAIL),
            members: Limiter::new("member", MEMBER),
            organizations: Limiter::new("organization", MEMBERS),
            hasher: RandomState::new(),
            metrics,
        }
    }

    /// Counts a login of this e-mail address from this peer.
    ///
    /// # Errors
    /// The limit is exceeded; the response says when to retry.
    pub fn email(&self, login_name: &str, peer: Option<IpAddr>) -> Result<(), ApiError> {
        let of_peer = self.hasher.hash_one((login_name, peer.map(network)));
        self.emails.check(of_peer, &self.metrics)?;
        self.emails_total.check(self.hasher.hash_one(login_name), &self.metrics)
    }

    /// Counts a login from this address. An IPv6 network is treated as one address.
    ///
    /// # Errors
    /// The limit is exceeded; the response says when to retry.
    pub fn peer(&self, peer: Option<IpAddr>) -> Result<(), ApiError> {
        self.of_peer(&self.peers, peer)
    }

    /// Counts a sign-up from this address.
    ///
    /// # Errors
    /// The limit is exceeded; the response says when to retry.
    pub fn sign_up(&self, peer: Option<IpAddr>) -> Result<(), ApiError> {
        self.of_peer(&self.sign_ups, peer)
    }

    /// Counts a call of a member.
    ///
    /// # Errors
    /// The limit is exceeded; the response says when to retry.
    pub fn member(&self, member: MemberId, organization: OrganizationId) -> Result<(), ApiError> {
        self.members.check(self.hasher.hash_one(member), &self.metrics)?;
        self.organizations.check(self.hasher.hash_one(organization), &self.metrics)
    }

    /// Counts a new organization by sign-up for this e-mail address. A repeated request creates no
    /// new one.
    ///
    /// # Errors
    /// The limit is exceeded; the response says when to retry.
    pub fn sign_up_email(&self, login_name: &str) -> Result<(), ApiError> {
        self.sign_up_emails.check(self.hasher.hash_one(login_name), &self.metrics)
    }

    fn of_peer(&self, limiter: &Limiter, peer: Option<IpAddr>) -> Result<(), ApiError> {
        let Some(peer) = peer else { return Ok(()) };
        limiter.check(self.hasher.hash_one(network(peer)), &self.metrics)
    }
}

/// What is limited as one peer: an IPv4 address, or an IPv6 /64, the network of one customer.
fn network(peer: IpAddr) -> u128 {
    match peer.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() >> 64 | 1 << 127,
    }
}

/// The client address of a request: that of the socket or, behind `hops` trusted proxies, the one
/// in `X-Forwarded-For` that the first of them has added. Each proxy appends the address of its own
/// peer.
pub fn peer(extensions: &Extensions, headers: &HeaderMap, hops: usize) -> Option<IpAddr> {
    let socket = extensions.get::<Arrival>().map(|arrival| arrival.address.ip());
    let values = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let said: Vec<_> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    let index = said.len().checked_sub(hops).filter(|_| hops > 0);
    let forwarded = index.and_then(|index| said.get(index)).and_then(|text| text.parse().ok());
    forwarded.or(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ConnectionLimits;
    use crate::server::connection_limit::Connections;

    #[test]
    fn a_burst_and_no_more() {
        let limits = Limits::new(Arc::default());
        let login = |last| limits.email("ada@acme.example", Some([10, 0, 0, last].into())).is_ok();
        assert_eq!((0..20).take_while(|_| login(1)).count(), 10);
        assert!(!login(1));
        // Attempts from one address do not block logins from another.
        assert!((0..100).all(|_| !login(1)) && login(2));
        // All addresses together have a limit too.
        let others = (3..200).filter(|last| login(*last)).count();
        assert_eq!(others, 60 - 10 - 1);
        assert!((0..60).all(|_| limits.peer(Some([10, 0, 0, 1].into())).is_ok()));
        assert!(limits.peer(Some([10, 0, 0, 1].into())).is_err());
        // The same peer in the form that a dual-stack socket reports.
        assert!(limits.peer("::ffff:10.0.0.1".parse().ok()).is_err());
        assert!(limits.peer(None).is_ok());
        let passed = (0..9).take_while(|_| limits.sign_up(Some([10, 0, 0, 1].into())).is_ok());
        assert_eq!(passed.count(), 5);
        let passed = (0..9).take_while(|_| limits.sign_up_email("ada@acme.example").is_ok());
        assert_eq!(passed.count(), 2);
        assert!(limits.sign_up_email("bob@acme.example").is_ok());
    }

    #[test]
    fn members_have_a_budget_each_and_one_together() {
        let limits = Limits::new(Arc::default());
        let (own, other) = (OrganizationId::derive("acme"), OrganizationId::derive("other"));
        let member = |number: usize| MemberId::derive("acme", &format!("m{number}"));
        let count = |number, most| {
            (0..most).take_while(|_| limits.member(member(number), own).is_ok()).count()
        };
        // Some of the budget is restored in the meantime.
        assert!((1000..100_000).contains(&count(0, 100_000)));
        assert!(limits.member(member(1), own).is_ok(), "another member is not affected");
        let all: usize = (2..20).map(|number| count(number, 900)).sum();
        assert!((3000..18 * 900).contains(&all), "{all}");
        assert!(limits.member(MemberId::derive("other", "m"), other).is_ok());
    }

    #[test]
    fn budgets_that_are_full_again_are_dropped() {
        let limits = Limits::new(Arc::default());
        let organization = OrganizationId::derive("acme");
        let held = || limits.members.budgets.len();
        // None is dropped before the second check that cleans up.
        for number in 0..CLEANUP_INTERVAL {
            let member = MemberId::derive("acme", &number.to_string());
            limits.member(member, organization).unwrap();
        }
        // Some members share a budget.
        assert!(held() > 900, "{}", held());
        // Longer than it takes to restore the calls of members that share a budget.
        std::thread::sleep(10 * MEMBER.replenish_interval());
        for _ in 0..CLEANUP_INTERVAL {
            let _ = limits.member(MemberId::derive("acme", "last"), organization);
        }
        assert!(held() < 10, "{}", held());
    }

    #[test]
    fn who_it_is_behind_proxies() {
        let mut extensions = Extensions::new();
        extensions.insert(Arrival {
            address: ([10, 0, 0, 9], 1).into(),
            connections: Connections::new(ConnectionLimits::default()),
            in_flight: None,
            slot: None,
        });
        let said = |values: &[&str], hops| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            peer(&extensions, &headers, hops).unwrap().to_string()
        };
        assert_eq!(said(&["1.1.1.1, 2.2.2.2"], 0), "10.0.0.9", "no proxy is trusted");
        assert_eq!(
            said(&["1.1.1.1, 2.2.2.2"], 1),
            "2.2.2.2",
            "anyone can write the entries before it"
        );
        assert_eq!(said(&["1.1.1.1", "2.2.2.2,2001:db8::1"], 2), "2.2.2.2");
        for values in [&["2.2.2.2"][..], &[], &["x, y"]] {
            assert_eq!(said(values, 2), "10.0.0.9", "{values:?}");
        }
    }
}
