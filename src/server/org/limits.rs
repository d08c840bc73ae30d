//! Rate limits of who has no credential: logins per e-mail address, so that a password cannot be
//! guessed, and per peer address, so that one peer cannot keep the hash function busy; sign-ups per
//! peer address, and per e-mail address, which is not verified: a login without an organization looks
//! at a few members of an address only. And of members, whose calls cost the API server work: per
//! member and per organization. Not of ApiKeys, by which a backend logs in all of its users.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::domain::ids::{MemberId, OrganizationId};
use crate::server::ApiError;

/// Logins in a row for one e-mail address from one peer address; then one every [`PER_EMAIL`].
const EMAIL_BURST: u32 = 10;
const PER_EMAIL: Duration = Duration::from_secs(6);
/// The same from all peers together. More, so that one peer cannot use up what others need.
const EMAIL_TOTAL_BURST: u32 = 60;
const PER_EMAIL_TOTAL: Duration = Duration::from_secs(2);
/// Logins in a row from one peer address. More, because a proxy is one peer.
const PEER_BURST: u32 = 60;
const PER_PEER: Duration = Duration::from_millis(500);
/// Sign-ups in a row from one peer address; each makes a namespace.
const SIGN_UP_BURST: u32 = 5;
const PER_SIGN_UP: Duration = Duration::from_mins(1);
/// Calls in a row of one member; more than any person or page makes.
const MEMBER_BURST: u32 = 1000;
const PER_MEMBER: Duration = Duration::from_millis(50);
/// The same of all members of an organization together.
const MEMBERS_BURST: u32 = 5000;
const PER_MEMBERS: Duration = Duration::from_millis(10);
/// New organizations in a row for one e-mail address. One less than would fill the places of a login.
const SIGN_UP_EMAIL_BURST: u32 = 2;
const PER_SIGN_UP_EMAIL: Duration = Duration::from_hours(1);

/// What was used up lately. Bounded: keys are hashed to 16 bits with a secret of this process, so
/// nobody can fill the memory, nor choose whose budget he shares.
pub struct Limits {
    emails: Option<Limiter>,
    emails_total: Option<Limiter>,
    peers: Option<Limiter>,
    sign_ups: Option<Limiter>,
    members: Option<Limiter>,
    organizations: Option<Limiter>,
    sign_up_emails: Option<Limiter>,
    hasher: RandomState,
}

type Limiter = DefaultKeyedRateLimiter<u16>;

impl Default for Limits {
    fn default() -> Self {
        let limiter = |period, burst| {
            let burst = NonZeroU32::new(burst)?;
            Quota::with_period(period).map(|quota| RateLimiter::keyed(quota.allow_burst(burst)))
        };
        Self {
            emails: limiter(PER_EMAIL, EMAIL_BURST),
            emails_total: limiter(PER_EMAIL_TOTAL, EMAIL_TOTAL_BURST),
            peers: limiter(PER_PEER, PEER_BURST),
            sign_ups: limiter(PER_SIGN_UP, SIGN_UP_BURST),
            members: limiter(PER_MEMBER, MEMBER_BURST),
            organizations: limiter(PER_MEMBERS, MEMBERS_BURST),
            sign_up_emails: limiter(PER_SIGN_UP_EMAIL, SIGN_UP_EMAIL_BURST),
            hasher: RandomState::new(),
        }
    }
}

impl Limits {
    /// Counts a login of this e-mail address from this peer.
    ///
    /// # Errors
    /// There were too many; when to try again.
    pub fn email(&self, login_name: &str, peer: Option<IpAddr>) -> Result<(), ApiError> {
        let of_peer = self.hasher.hash_one((login_name, peer.map(network)));
        check(self.emails.as_ref(), of_peer)?;
        check(self.emails_total.as_ref(), self.hasher.hash_one(login_name))
    }

    /// Counts a login from this address. A network of IPv6 counts as one.
    ///
    /// # Errors
    /// There were too many; when to try again.
    pub fn peer(&self, peer: Option<IpAddr>) -> Result<(), ApiError> {
        self.of_peer(self.peers.as_ref(), peer)
    }

    /// Counts a sign-up from this address.
    ///
    /// # Errors
    /// There were too many; when to try again.
    pub fn sign_up(&self, peer: Option<IpAddr>) -> Result<(), ApiError> {
        self.of_peer(self.sign_ups.as_ref(), peer)
    }

    /// Counts a call of a member.
    ///
    /// # Errors
    /// There were too many; when to try again.
    pub fn member(&self, member: MemberId, organization: OrganizationId) -> Result<(), ApiError> {
        check(self.members.as_ref(), self.hasher.hash_one(member))?;
        check(self.organizations.as_ref(), self.hasher.hash_one(organization))
    }

    /// Counts a new organization by sign-up for this e-mail address. A request that is repeated makes
    /// none.
    ///
    /// # Errors
    /// There were too many; when to try again.
    pub fn sign_up_email(&self, login_name: &str) -> Result<(), ApiError> {
        check(self.sign_up_emails.as_ref(), self.hasher.hash_one(login_name))
    }

    fn of_peer(&self, limiter: Option<&Limiter>, peer: Option<IpAddr>) -> Result<(), ApiError> {
        let Some(peer) = peer else { return Ok(()) };
        check(limiter, self.hasher.hash_one(network(peer)))
    }
}

/// What counts as one: an address, and of IPv6 a network of one customer.
fn network(peer: IpAddr) -> u128 {
    match peer.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() >> 64 | 1 << 127,
    }
}

/// The address that a request came from: that of the socket, or what the proxies say of whom it is
/// known that there are `hops` in front of us: each adds the address of its own peer at the end.
pub fn peer(extensions: &Extensions, headers: &HeaderMap, hops: usize) -> Option<IpAddr> {
    let socket = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let values = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let said: Vec<_> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    let index = said.len().checked_sub(hops).filter(|_| hops > 0);
    let forwarded = index.and_then(|index| said.get(index)).and_then(|text| text.parse().ok());
    forwarded.or(socket)
}

fn check(limiter: Option<&Limiter>, hash: u64) -> Result<(), ApiError> {
    let Some(limiter) = limiter else { return Ok(()) };
    let key = u16::try_from(hash >> 48).unwrap_or_default();
    limiter.check_key(&key).map_err(|not_until| {
        let wait = not_until.wait_time_from(DefaultClock::default().now());
        ApiError::too_many("too many requests of this kind; try again later", wait)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_no_more() {
        let limits = Limits::default();
        let login = |last| limits.email("ada@acme.example", Some([10, 0, 0, last].into())).is_ok();
        assert_eq!((0..20).take_while(|_| login(1)).count(), 10);
        assert!(!login(1));
        // Whoever keeps trying from there does not keep her from logging in elsewhere.
        assert!((0..100).all(|_| !login(1)) && login(2));
        // All of them together may not try for ever.
        let others = (3..200).filter(|last| login(*last)).count();
        assert_eq!(others, 60 - 10 - 1);
        assert!((0..60).all(|_| limits.peer(Some([10, 0, 0, 1].into())).is_ok()));
        assert!(limits.peer(Some([10, 0, 0, 1].into())).is_err());
        // The same peer in the form that a dual-stack socket gives.
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
        let limits = Limits::default();
        let (own, other) = (OrganizationId::derive("acme"), OrganizationId::derive("other"));
        let member = |number: usize| MemberId::derive("acme", &format!("m{number}"));
        let count = |number, most| {
            (0..most).take_while(|_| limits.member(member(number), own).is_ok()).count()
        };
        // Some of it comes back meanwhile.
        assert!((1000..100_000).contains(&count(0, 100_000)));
        assert!(limits.member(member(1), own).is_ok(), "another one is not held up");
        let all: usize = (2..20).map(|number| count(number, 900)).sum();
        assert!((3000..18 * 900).contains(&all), "{all}");
        assert!(limits.member(MemberId::derive("other", "m"), other).is_ok());
    }

    #[test]
    fn who_it_is_behind_proxies() {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 9], 1))));
        let said = |values: &[&str], hops| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            peer(&extensions, &headers, hops).unwrap().to_string()
        };
        assert_eq!(said(&["1.1.1.1, 2.2.2.2"], 0), "10.0.0.9", "nobody is believed");
        assert_eq!(
            said(&["1.1.1.1, 2.2.2.2"], 1),
            "2.2.2.2",
            "what stands before it anybody can write"
        );
        assert_eq!(said(&["1.1.1.1", "2.2.2.2,2001:db8::1"], 2), "2.2.2.2");
        for values in [&["2.2.2.2"][..], &[], &["x, y"]] {
            assert_eq!(said(values, 2), "10.0.0.9", "{values:?}");
        }
    }
}
