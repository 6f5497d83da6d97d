//! The ways between a client and this server, and the addresses that stand for clients behind the own relay.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Serialize;

/// How a client's media comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Path {
    /// Plain UDP.
    #[serde(rename = "udp")]
    Udp,
    /// ICE over TCP (RFC 6544).
    #[serde(rename = "tcp")]
    Tcp,
    /// Relayed, over UDP to the relay.
    #[serde(rename = "turn/udp")]
    TurnUdp,
    /// Relayed, over TCP to the relay.
    #[serde(rename = "turn/tcp")]
    TurnTcp,
    /// Relayed, over TLS to the relay.
    #[serde(rename = "turn/tls")]
    TurnTls,
}

/// The relayed address of one allocation. It is no address of a socket: it names the allocation to the shards, as the
/// address of a client would.
///
/// RFC 1122 section 3.2.1.3 lets nobody send from `0.0.0.0/8`, and RFC 6666 discards what comes from `100::/64`, so no
/// client is ever there; [`Relayed::stands_at`] tells the shell what to drop, should it come all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Relayed {
    /// How the client reaches the relay: one of the three relayed ones.
    pub path: Path,
    /// The worker that holds the allocation.
    pub worker: u8,
    /// Its place there; not 0.
    pub place: u16,
}

const V6: [u16; 6] = [0x100, 0, 0, 0, 0, 0];

impl Relayed {
    /// The address, of the family asked for.
    #[must_use]
    pub fn address(self, v4: bool) -> SocketAddr {
        let path = match self.path {
            Path::TurnTls => 3,
            Path::TurnTcp => 2,
            _ => 1,
        };
        let ip = if v4 {
            IpAddr::V4(Ipv4Addr::new(0, 0, path, self.worker))
        } else {
            let [a, b, c, d, e, f] = V6;
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, u16::from(path), u16::from(self.worker)))
        };
        SocketAddr::new(ip, self.place)
    }

    /// What an address stands for; none if it is one of the real world.
    #[must_use]
    pub fn of(address: SocketAddr) -> Option<Self> {
        let (path, worker) = match address.ip() {
            IpAddr::V4(ip) => match ip.octets() {
                [0, 0, path, worker] => (path, worker),
                _ => return None,
            },
            IpAddr::V6(ip) => match ip.segments() {
                [head @ .., path, worker] if head == V6 => (u8::try_from(path).ok()?, u8::try_from(worker).ok()?),
                _ => return None,
            },
        };
        let path = match path {
            1 => Path::TurnUdp,
            2 => Path::TurnTcp,
            3 => Path::TurnTls,
            _ => return None,
        };
        Some(Self { path, worker, place: address.port() })
    }

    /// True for every address that [`Self::address`] can give: nothing real may come from there.
    #[must_use]
    pub fn stands_at(address: SocketAddr) -> bool {
        match address.ip() {
            IpAddr::V4(ip) => ip.octets()[0] == 0,
            IpAddr::V6(ip) => ip.segments()[..6] == V6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relayed_address_names_its_allocation_in_both_families() {
        for path in [Path::TurnUdp, Path::TurnTcp, Path::TurnTls] {
            for (worker, place) in [(0, 1), (7, 16384), (254, 65535)] {
                let relayed = Relayed { path, worker, place };
                for v4 in [true, false] {
                    let address = relayed.address(v4);
                    assert_eq!(address.is_ipv4(), v4);
                    assert_eq!(Relayed::of(address), Some(relayed));
                    assert!(Relayed::stands_at(address));
                    assert!(!address.ip().is_unspecified());
                }
            }
        }
    }

    #[test]
    fn real_addresses_stand_for_nothing() {
        for text in
            ["192.0.2.1:5000", "127.0.0.1:5000", "[::1]:5000", "[2001:db8::1]:5000", "[100:1::2:3]:1", "10.0.1.3:1"]
        {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(Relayed::of(address), None, "{text}");
            assert!(!Relayed::stands_at(address), "{text}");
        }
        assert_eq!(Relayed::of("0.0.9.1:5000".parse().expect("an address")), None);
    }
}
