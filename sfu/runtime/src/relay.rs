//! What clients are told of the relay.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_core::turn::{Credential, Secret, TurnConfig, credential};

use crate::handle::seed;
use crate::settings::{StartError, TurnSettings};

/// How long a credential allocates. What is allocated lasts for as long as it is refreshed.
pub const CREDENTIAL_TTL: Duration = Duration::from_secs(300);

/// Where the relay is, and how clients get to use it.
#[derive(Debug)]
pub struct Relay {
    realm: String,
    secret: Secret,
    udp: Vec<SocketAddr>,
    tcp: Vec<SocketAddr>,
}

impl Relay {
    pub(crate) fn new(settings: &TurnSettings, udp: &[SocketAddr], tcp: &[SocketAddr]) -> Result<Self, StartError> {
        let secret = match &settings.secret {
            Some(secret) => secret.clone(),
            None => Secret::new(&seed()?),
        };
        Ok(Self { realm: settings.realm.clone(), secret, udp: udp.to_vec(), tcp: tcp.to_vec() })
    }

    pub(crate) fn config(&self, worker: u8) -> TurnConfig {
        TurnConfig { worker, realm: self.realm.clone(), secret: self.secret.clone(), peers: self.udp.clone() }
    }

    /// `turn:` URLs (RFC 7065) for clients that use a relay where there is no other way: over TCP.
    ///
    /// Not over UDP. Where UDP gets through to the relay, it gets through to the media port, which is the same. And Chromium
    /// takes all that comes from the address of a STUN or TURN server over UDP for that server's own: told of one there, it
    /// could not be reached over plain UDP any more.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        firsts(&self.tcp).map(|address| format!("turn:{address}?transport=tcp")).collect()
    }

    /// `stun:` and `turn:` URLs (RFC 7064, RFC 7065) for clients that use nothing but relays.
    #[must_use]
    pub fn all_urls(&self) -> Vec<String> {
        let stun = firsts(&self.udp).map(|address| format!("stun:{address}"));
        let udp = firsts(&self.udp).map(|address| format!("turn:{address}?transport=udp"));
        stun.chain(udp).chain(self.urls()).collect()
    }

    /// A credential that allocates for [`CREDENTIAL_TTL`]. `who` is for quotas and logs.
    #[must_use]
    pub fn credential(&self, who: &str) -> Credential {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        credential(&self.secret, unix + CREDENTIAL_TTL.as_secs(), who)
    }
}

/// Of each family the first: every server costs each client a request.
fn firsts(all: &[SocketAddr]) -> impl Iterator<Item = SocketAddr> {
    [true, false].into_iter().filter_map(|v4| all.iter().copied().find(|address| address.is_ipv4() == v4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_of_the_first_announced_address_of_each_family() {
        let parse =
            |list: &[&str]| list.iter().map(|text| text.parse().expect("an address")).collect::<Vec<SocketAddr>>();
        let udp = parse(&["203.0.113.7:3478", "203.0.113.8:3478", "[2001:db8::7]:3478"]);
        let tcp = parse(&["203.0.113.7:443", "203.0.113.8:443", "[2001:db8::7]:443"]);
        let settings = TurnSettings { realm: "weir".into(), secret: None };
        let relay = Relay::new(&settings, &udp, &tcp).expect("a relay");
        let want = [
            "stun:203.0.113.7:3478",
            "stun:[2001:db8::7]:3478",
            "turn:203.0.113.7:3478?transport=udp",
            "turn:[2001:db8::7]:3478?transport=udp",
            "turn:203.0.113.7:443?transport=tcp",
            "turn:[2001:db8::7]:443?transport=tcp",
        ];
        assert_eq!(relay.all_urls(), want);
        assert_eq!(relay.urls(), want[4..]);
        let without_tcp = Relay::new(&settings, &udp[..1], &[]).expect("a relay");
        assert_eq!(without_tcp.urls(), [""; 0]);
        assert_ne!(relay.credential("p1").password, without_tcp.credential("p1").password, "drawn at start");
    }
}
