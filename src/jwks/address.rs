//! The filter for the addresses to which a fetch may connect (protection against SSRF). Pure.
//!
//! Tenants choose the URLs of key sets, and the operator connects to them from inside the cluster.
//! So only public Internet addresses are permitted, according to the IANA registries. The platform
//! administrator can open private networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;

/// The IPv4 networks that are not public: IANA's special-purpose registry, multicast and class E.
const SPECIAL_V4: [Ipv4Net; 15] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];

/// The only part of IPv6 that is routed on the Internet (RFC 4291 section 2.4).
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0], 3);
/// The networks in it that are not public: protocol assignments with Teredo and benchmarking,
/// documentation, 6to4.
const SPECIAL_V6: [Ipv6Net; 4] = [
    v6([0x2001, 0, 0], 23),
    v6([0x2001, 0xdb8, 0], 32),
    v6([0x2002, 0, 0], 16),
    v6([0x3fff, 0, 0], 20),
];
/// IPv4 behind a translator (RFC 6052), which hosts in IPv6-only networks use to reach IPv4. The
/// filter checks the IPv4 address that it contains.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0], 96);

/// The other IPv6 networks that can be opened: loopback, private translation, unique local,
/// link-local.
const OPENABLE_V6: [Ipv6Net; 4] = [
    Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128),
    v6([0x64, 0xff9b, 1], 48),
    v6([0xfc00, 0, 0], 7),
    v6([0xfe80, 0, 0], 10),
];

/// The metadata services of cloud providers, which return credentials of the machine. They cannot
/// be opened.
const METADATA: [IpAddr; 11] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    // AWS, and its Pod identities.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    // Google, Oracle, Scaleway.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
];

/// Decides to which addresses connections are permitted.
#[derive(Clone, Debug, Default)]
pub struct AddressFilter {
    openings: Vec<IpNet>,
    closed: Vec<IpNet>,
}

/// An opening that is not inside one network that is closed by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "{0} cannot be opened: specify a network inside one that is closed by default, such as 10.20.0.0/16 (public addresses need not be opened)"
)]
pub struct NotAnOpening(pub IpNet);

impl AddressFilter {
    /// Permits public addresses and those in `openings`, except those in `closed`.
    ///
    /// # Errors
    /// An opening is not inside one network that is closed by default. `0.0.0.0/0`, for example,
    /// would also open loopback, which its author does not expect.
    pub fn new(openings: Vec<IpNet>, closed: Vec<IpNet>) -> Result<Self, NotAnOpening> {
        let sound = |opening: &IpNet| match opening {
            IpNet::V4(opening) => SPECIAL_V4.iter().any(|special| special.contains(opening)),
            IpNet::V6(opening) => {
                let mut openable = OPENABLE_V6.iter().chain(&SPECIAL_V6);
                openable.any(|special| special.contains(opening))
            }
        };
        match openings.iter().find(|opening| !sound(opening)) {
            Some(opening) => Err(NotAnOpening(*opening)),
            None => Ok(Self { openings, closed }),
        }
    }

    /// Whether connections to this address are permitted.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let written = address;
        let address = embedded(address);
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
        if METADATA.contains(&address) || within(&self.closed) {
            return false;
        }
        // Also in its original form: closing the NAT64 prefix closes everything behind it.
        if self.closed.iter().any(|net| net.contains(&written)) {
            return false;
        }
        is_public(address) || within(&self.openings)
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|special| special.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address)
                && !SPECIAL_V6.iter().any(|special| special.contains(&address))
        }
    }
}

/// The IPv4 address in a mapped or translated IPv6 address; any other address unchanged.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    if NAT64.contains(&v6) {
        let [.., a, b, c, d] = v6.octets();
        return Ipv4Addr::new(a, b, c, d).into();
    }
    address
}

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([a, b, c]: [u16; 3], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(filter: &AddressFilter, address: &str) -> bool {
        filter.permits(address.parse().unwrap())
    }

    fn filter(openings: &[&str], closed: &[&str]) -> AddressFilter {
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        AddressFilter::new(nets(openings), nets(closed)).unwrap()
    }

    #[test]
    fn only_the_internet() {
        let filter = AddressFilter::default();
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "169.253.255.255",
            "192.0.1.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001::200e",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(permits(&filter, public), "{public}");
        }
        for special in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:101:101::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
        ] {
            assert!(!permits(&filter, special), "{special}");
        }
    }

    #[test]
    fn an_opening_opens_what_it_names() {
        let filter = filter(&["10.20.0.0/16", "fd12::/16", "127.0.0.1/32"], &[]);
        for open in ["10.20.1.1", "::ffff:10.20.1.1", "fd12::1", "127.0.0.1", "1.1.1.1"] {
            assert!(permits(&filter, open), "{open}");
        }
        for closed in ["10.21.1.1", "127.0.0.2", "fd13::1", "::1"] {
            assert!(!permits(&filter, closed), "{closed}");
        }
    }

    #[test]
    fn nothing_opens_metadata_and_closing_wins() {
        let opened = filter(&["169.254.0.0/16", "fd00::/8", "100.64.0.0/10"], &[]);
        for metadata in [
            "169.254.169.254",
            "100.100.100.200",
            "169.254.170.2",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
        ] {
            assert!(!permits(&opened, metadata), "{metadata}");
        }
        assert!(permits(&opened, "169.254.1.1"));
        let closed = filter(&["10.0.0.0/8"], &["10.96.0.0/12", "34.0.0.0/8", "64:ff9b::/96"]);
        for address in ["10.96.0.1", "34.1.1.1", "::ffff:34.1.1.1", "64:ff9b::101:101"] {
            assert!(!permits(&closed, address), "{address}");
        }
        assert!(permits(&closed, "10.1.0.1"));
    }

    #[test]
    fn an_opening_of_everything_is_refused() {
        for all in ["0.0.0.0/0", "::/0", "8.0.0.0/8", "2000::/3", "8.0.0.0/5", "::/8", "2a00::/16"]
        {
            let all: IpNet = all.parse().unwrap();
            assert_eq!(AddressFilter::new(vec![all], vec![]).unwrap_err(), NotAnOpening(all));
        }
    }
}
