//! Which address is told to clients, from what was seen. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What the machine's surroundings said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// What a cloud's metadata service says, with the cloud's name.
    pub(crate) cloud: Option<(&'static str, Vec<IpAddr>)>,
    /// The address that each STUN server saw a request come from, with the server's URL.
    pub(crate) stun: Vec<(String, IpAddr)>,
    /// The addresses that the routes to the internet begin at, one for each family.
    pub(crate) interfaces: Vec<IpAddr>,
}

/// An address to tell clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) address: IpAddr,
    pub(crate) why: Why,
}

/// Where an address is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// `media.addr` itself names it.
    Bound,
    /// A cloud's metadata says so.
    Cloud(&'static str),
    /// A STUN server saw it.
    Stun(String),
    /// It is where the route to the internet begins.
    Interface,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound => f.write_str("media.addr names it"),
            Self::Cloud(name) => write!(f, "the metadata of {name} says so"),
            Self::Stun(server) => write!(f, "{server} sees it"),
            Self::Interface => f.write_str("it is this machine's address towards the internet"),
        }
    }
}

/// True if `auto` has to look around: the bound address does not say by itself what clients can reach.
pub(crate) fn has_to_look(bound: IpAddr) -> bool {
    let bound = bound.to_canonical();
    bound.is_unspecified() || (!bound.is_loopback() && private(bound).is_some())
}

/// The addresses to tell clients of a server bound to `bound`: for each address family that it receives on the first of
/// cloud metadata, STUN and interface. Of clouds and STUN servers only an address of the internet counts: what a STUN
/// server of the own network sees, the interface says as well.
pub(crate) fn choose(bound: IpAddr, seen: &Seen) -> Vec<Chosen> {
    let bound = bound.to_canonical();
    if !has_to_look(bound) {
        return vec![Chosen { address: bound, why: Why::Bound }];
    }
    let families: &[bool] = if bound == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        &[true, false]
    } else if bound.is_ipv4() {
        &[true]
    } else {
        &[false]
    };
    families.iter().filter_map(|v4| of_family(bound, *v4, seen)).collect()
}

fn of_family(bound: IpAddr, v4: bool, seen: &Seen) -> Option<Chosen> {
    let public = |address: &IpAddr| address.is_ipv4() == v4 && private(*address).is_none();
    let cloud = seen.cloud.iter().flat_map(|(name, all)| all.iter().map(|a| (*a, Why::Cloud(name))));
    let stun = seen.stun.iter().map(|(server, address)| (*address, Why::Stun(server.clone())));
    let outside = cloud.chain(stun).find(|(address, _)| public(address));
    let own = || {
        if !bound.is_unspecified() {
            return Some((bound, Why::Bound));
        }
        let found = seen.interfaces.iter().copied().find(|a| a.is_ipv4() == v4 && !a.is_loopback());
        found.map(|address| (address, Why::Interface))
    };
    outside.or_else(own).map(|(address, why)| Chosen { address, why })
}

/// What is to be said of what is announced: a server that listens to the world and tells it a private address.
pub(crate) fn warning(bound: IpAddr, announced: &[SocketAddr]) -> Option<String> {
    let bound = bound.to_canonical();
    let listens_to_the_world = bound.is_unspecified() || private(bound).is_none();
    let kinds: Option<Vec<_>> = announced.iter().map(|a| Some((a, private(a.ip().to_canonical())?))).collect();
    let (address, kind) = *kinds?.first()?;
    listens_to_the_world.then(|| {
        format!(
            "{address} is all that is announced, and it is {kind}: clients elsewhere cannot send media here. \
             Set media.announce to the address that they reach this server at"
        )
    })
}

/// What kind of address it is, if it is not one of the internet.
pub(crate) fn private(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(v4) => private_v4(v4),
        IpAddr::V6(v6) => private_v6(v6),
    }
}

fn private_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [first, second, ..] = address.octets();
    match () {
        () if address.is_loopback() => Some("of this machine alone (RFC 1122)"),
        () if address.is_unspecified() || address.is_multicast() || address.is_broadcast() => {
            Some("no address of one machine")
        }
        () if address.is_private() => Some("private (RFC 1918)"),
        () if address.is_link_local() => Some("of the link alone (RFC 3927)"),
        () if first == 100 && second & 0xc0 == 64 => Some("a provider's behind its NAT (RFC 6598)"),
        () => None,
    }
}

fn private_v6(address: Ipv6Addr) -> Option<&'static str> {
    match () {
        () if address.is_loopback() => Some("of this machine alone (RFC 4291)"),
        () if address.is_unspecified() || address.is_multicast() => Some("no address of one machine"),
        () if address.is_unique_local() => Some("private (RFC 4193)"),
        () if address.is_unicast_link_local() => Some("of the link alone (RFC 4291)"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn ips(text: &str) -> Vec<IpAddr> {
        text.split_whitespace().map(ip).collect()
    }

    /// `(bound, what AWS says, what STUN servers see, interfaces, what is chosen)`
    type Row = (&'static str, &'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

    const ROWS: &[Row] = &[
        // Each source in its turn.
        ("0.0.0.0", "198.51.100.1", "198.51.100.2", "10.0.0.5", &[("198.51.100.1", "cloud")]),
        ("0.0.0.0", "", "198.51.100.2", "10.0.0.5", &[("198.51.100.2", "stun 0")]),
        ("0.0.0.0", "", "198.51.100.2 198.51.100.3", "", &[("198.51.100.2", "stun 0")]),
        ("0.0.0.0", "", "", "10.0.0.5", &[("10.0.0.5", "interface")]),
        ("0.0.0.0", "", "", "", &[]),
        // A source that knows no public address does not count.
        ("0.0.0.0", "10.9.9.9", "198.51.100.2", "10.0.0.5", &[("198.51.100.2", "stun 0")]),
        ("0.0.0.0", "", "100.64.1.1 198.51.100.3", "10.0.0.5", &[("198.51.100.3", "stun 1")]),
        ("0.0.0.0", "", "192.168.1.1", "10.0.0.5", &[("10.0.0.5", "interface")]),
        // One family alone, and both.
        ("0.0.0.0", "2001:db8::1", "", "10.0.0.5 2001:db8::2", &[("10.0.0.5", "interface")]),
        ("::", "198.51.100.1", "2001:db8::9", "10.0.0.5 2001:db8::2", {
            &[("198.51.100.1", "cloud"), ("2001:db8::9", "stun 0")]
        }),
        ("::", "", "", "2001:db8::2", &[("2001:db8::2", "interface")]),
        ("::", "", "", "10.0.0.5 fd00::2", &[("10.0.0.5", "interface"), ("fd00::2", "interface")]),
        // Bound to one address.
        ("198.51.100.7", "198.51.100.1", "198.51.100.2", "10.0.0.5", &[("198.51.100.7", "bound")]),
        ("127.0.0.1", "198.51.100.1", "198.51.100.2", "10.0.0.5", &[("127.0.0.1", "bound")]),
        ("::1", "198.51.100.1", "", "", &[("::1", "bound")]),
        ("10.0.0.5", "198.51.100.1", "", "10.0.0.6", &[("198.51.100.1", "cloud")]),
        ("10.0.0.5", "2001:db8::1", "", "10.0.0.6", &[("10.0.0.5", "bound")]),
        ("fd00::5", "198.51.100.1", "2001:db8::9", "fd00::6", &[("2001:db8::9", "stun 0")]),
        ("2001:db8::5", "", "", "", &[("2001:db8::5", "bound")]),
        ("::ffff:198.51.100.7", "", "", "", &[("198.51.100.7", "bound")]),
    ];

    #[test]
    fn the_choice_by_table() {
        for (bound, cloud, stun, interfaces, expected) in ROWS {
            let cloud = Some(("AWS", ips(cloud))).filter(|(_, all)| !all.is_empty());
            let stun = ips(stun).into_iter().enumerate().map(|(n, ip)| (n.to_string(), ip)).collect();
            let seen = Seen { cloud, stun, interfaces: ips(interfaces) };
            let why = |why: &Why| match why {
                Why::Bound => String::from("bound"),
                Why::Cloud(name) => {
                    assert_eq!(*name, "AWS");
                    String::from("cloud")
                }
                Why::Stun(server) => format!("stun {server}"),
                Why::Interface => String::from("interface"),
            };
            let chosen = choose(ip(bound), &seen);
            let got: Vec<_> = chosen.iter().map(|c| (c.address.to_string(), why(&c.why))).collect();
            let got: Vec<_> = got.iter().map(|(address, why)| (&**address, &**why)).collect();
            assert_eq!(got, *expected, "bound to {bound}, {seen:?}");
        }
    }

    #[test]
    fn private_addresses_by_kind() {
        let private_ones = "10.0.0.1 172.16.0.1 172.31.255.1 192.168.0.1 100.64.0.1 100.127.255.1 169.254.1.1 127.0.0.1 \
             0.0.0.0 224.0.0.1 255.255.255.255 ::1 :: fe80::1 fd00::1 fc00::1 ff02::1 ::ffff:10.0.0.1";
        let public_ones = "8.8.8.8 172.15.0.1 172.32.0.1 100.63.0.1 100.128.0.1 169.253.1.1 2001:db8::1 ::ffff:8.8.8.8";
        for address in ips(private_ones) {
            assert!(private(address).is_some(), "{address}");
        }
        for address in ips(public_ones) {
            assert_eq!(private(address), None, "{address}");
        }
    }

    #[test]
    fn a_private_address_announced_to_the_world_is_warned_about() {
        let warned = |bound: &str, announced: &str| {
            let announced: Vec<_> = ips(announced).into_iter().map(|a| SocketAddr::new(a, 3478)).collect();
            warning(ip(bound), &announced).is_some()
        };
        assert!(warned("0.0.0.0", "10.0.0.5"));
        assert!(warned("::", "10.0.0.5 fd00::1"));
        assert!(warned("198.51.100.7", "127.0.0.1"));
        assert!(!warned("0.0.0.0", "198.51.100.7"));
        assert!(!warned("0.0.0.0", "10.0.0.5 198.51.100.7"), "one that is reached from elsewhere is enough");
        assert!(!warned("10.0.0.5", "10.0.0.5"), "bound to a private network on purpose");
        assert!(!warned("127.0.0.1", "127.0.0.1"));
        assert!(!warned("0.0.0.0", ""), "nothing announced is another finding");
    }
}
