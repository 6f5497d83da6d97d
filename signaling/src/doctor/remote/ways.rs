//! The ways that media can take, and a round trip over one of them.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use super::peer::{Offered, Part, Said, offer};
use super::relay::{Carrier, Relay};
use super::site::Site;
use super::wire::{PATIENCE, Shut, Wire, tcp_to, udp_to};
use super::{IceServer, Pass, tls};
use crate::addresses::stun::host_and_port;

/// How long DTLS may take once packets get through, and then the first packet there and back.
const DTLS: Duration = Duration::from_secs(5);
const ECHO: Duration = Duration::from_secs(4);
/// How long is waited on after a port was said to be shut: the word may be a forger's.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// A way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    Udp(SocketAddr),
    Tcp(SocketAddr),
    /// By a TURN server to an address.
    Turn(TurnServer, SocketAddr),
}

/// A TURN server as a URL names it (RFC 7065).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TurnServer {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) over: Over,
    pub(super) entry: IceServer,
}

/// What TURN is carried by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Udp,
    Tcp,
    Tls,
}

impl TurnServer {
    /// Of an entry of `iceServers`; none if it is no TURN server that is known how to reach.
    pub(super) fn of(entry: &IceServer) -> Option<Self> {
        let (scheme, rest) = entry.url.split_once(':')?;
        let transport = rest.split_once("?transport=").map(|(_, transport)| transport);
        let (over, default) = match (scheme, transport) {
            ("turn", None | Some("udp")) => (Over::Udp, 3478),
            ("turn", Some("tcp")) => (Over::Tcp, 3478),
            ("turns", None | Some("tcp")) => (Over::Tls, 5349),
            _ => return None,
        };
        let (host, port) = host_and_port(rest, default)?;
        Some(Self { host, port, over, entry: entry.clone() })
    }
}

/// What a round trip took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trip {
    /// From the first packet to the end of DTLS, an allocation included.
    pub(super) connected: Duration,
    /// A packet's from here to the server and back, by SRTP.
    pub(super) echo: Duration,
}

/// How far a round trip came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Broken {
    /// The server took no session at all, in its words.
    Session(String),
    /// No connection, or no answer of ICE.
    Shut(Shut),
    /// ICE, and no DTLS after it.
    Dtls,
    /// DTLS, and no media after it.
    Media,
}

impl From<Shut> for Broken {
    fn from(shut: Shut) -> Self {
        Self::Shut(shut)
    }
}

async fn open(way: &Way) -> Result<Wire, Shut> {
    match way {
        Way::Udp(remote) => Wire::udp(*remote).await,
        Way::Tcp(remote) => Wire::tcp(*remote).await,
        Way::Turn(server, peer) => Ok(Wire::Relay(Box::new(relay(server, *peer).await?))),
    }
}

async fn relay(server: &TurnServer, peer: SocketAddr) -> Result<Relay, Shut> {
    let address = resolve(&server.host, server.port, peer.ip()).await?;
    if server.over == Over::Udp {
        let socket = udp_to(address).await?;
        let ends = (socket.local_addr()?, address);
        return Relay::allocate(Carrier::Udp(socket), ends, &server.entry, peer).await;
    }
    let tcp = tcp_to(address).await?;
    let ends = (tcp.local_addr()?, address);
    let carrier = match server.over {
        Over::Tls => {
            let (stream, _) = tls::over(tcp, &server.host, Some(b"stun.turn")).await.map_err(Shut::Other)?;
            Carrier::Stream(Box::new(stream))
        }
        _ => Carrier::Stream(Box::new(tcp)),
    };
    Relay::allocate(carrier, ends, &server.entry, peer).await
}

/// An address of a host, of the family of `like` if it has one.
pub(super) async fn resolve(host: &str, port: u16, like: IpAddr) -> Result<SocketAddr, Shut> {
    let found = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await;
    let all: Vec<_> = found.map_err(|error| Shut::Other(format!("{host}: {error}")))?.collect();
    let fitting = all.iter().find(|address| address.is_ipv4() == like.is_ipv4());
    fitting.or(all.first()).copied().ok_or_else(|| Shut::Other(format!("{host} has no address")))
}

/// Sends sound over the way into a room of the server, and has it sent back over the same way.
pub(super) async fn round_trip(site: &Site, pass: &Pass, way: &Way) -> Result<Trip, Broken> {
    let epoch = Instant::now();
    let mut sender = Leg::connect(site, pass, way, Part::Sender, epoch).await?;
    let receiver = Leg::connect(site, pass, way, Part::Receiver, epoch).await;
    let result = match receiver {
        Ok(mut receiver) => {
            let echo = receiver.hear(&mut sender).await;
            receiver.end(site, pass).await;
            echo.map(|echo| Trip { connected: sender.connected, echo })
        }
        Err(broken) => Err(broken),
    };
    sender.end(site, pass).await;
    result
}

/// One of the two connections of a round trip.
struct Leg {
    said: Receiver<Said>,
    session: reqwest::Url,
    connected: Duration,
}

impl Leg {
    async fn connect(site: &Site, pass: &Pass, way: &Way, part: Part, epoch: Instant) -> Result<Self, Broken> {
        let opening = Instant::now();
        let wire = open(way).await?;
        let opened = opening.elapsed();
        let offered = offer(wire, part).map_err(Broken::Session)?;
        let (said, session) = negotiate(site, pass, offered, part, epoch).await?;
        let began = Instant::now();
        let mut leg = Self { said, session, connected: Duration::ZERO };
        let result = leg.wait(began).await;
        leg.connected = opened + began.elapsed();
        match result {
            Ok(()) => Ok(leg),
            Err(broken) => {
                leg.end(site, pass).await;
                Err(broken)
            }
        }
    }

    /// Until DTLS is done.
    async fn wait(&mut self, began: Instant) -> Result<(), Broken> {
        let (mut ice, mut refused) = (false, false);
        let mut deadline = began + PATIENCE;
        loop {
            let said = match timeout(deadline.saturating_duration_since(Instant::now()), self.said.recv()).await {
                Err(_) if ice => return Err(Broken::Dtls),
                Err(_) => return Err(Broken::Shut(if refused { Shut::Refused } else { Shut::NoAnswer })),
                Ok(said) => said,
            };
            match said {
                Some(Said::Ice) if !ice => (ice, deadline) = (true, Instant::now() + DTLS),
                Some(Said::Dtls) => return Ok(()),
                Some(Said::Over(Shut::Refused)) => {
                    refused = true;
                    deadline = deadline.min(Instant::now() + AFTER_REFUSAL);
                }
                Some(Said::Over(shut)) if !ice => return Err(Broken::Shut(shut)),
                Some(Said::Over(_)) | None => return Err(if ice { Broken::Dtls } else { Shut::NoAnswer.into() }),
                Some(_) => {}
            }
        }
    }

    /// The time of the first packet that comes back. What the sender says meanwhile is taken, so that its end is noticed.
    async fn hear(&mut self, sender: &mut Self) -> Result<Duration, Broken> {
        let waiting = async {
            loop {
                tokio::select! {
                    said = self.said.recv() => match said {
                        Some(Said::Heard(took)) => return Ok(took),
                        Some(Said::Over(_)) | None => return Err(Broken::Media),
                        Some(_) => {}
                    },
                    said = sender.said.recv() => if matches!(said, None | Some(Said::Over(_))) {
                        return Err(Broken::Media);
                    },
                }
            }
        };
        timeout(ECHO, waiting).await.map_err(|_| Broken::Media)?
    }

    async fn end(self, site: &Site, pass: &Pass) {
        drop(self.said);
        site.delete(self.session, pass.token.as_deref()).await;
    }
}

async fn negotiate(
    site: &Site,
    pass: &Pass,
    offered: Offered,
    part: Part,
    epoch: Instant,
) -> Result<(Receiver<Said>, reqwest::Url), Broken> {
    let path = match part {
        Part::Sender => format!("/whip/{}", pass.room),
        Part::Receiver => format!("/whep/{}?wait=true", pass.room),
    };
    let token = pass.token.as_deref();
    let created = site.post(&path, token, offered.sdp.clone()).await.map_err(Broken::Session)?;
    match offered.answered(&created.answer, epoch) {
        Ok(said) => Ok((said, created.session)),
        Err(error) => {
            site.delete(created.session, token).await;
            Err(Broken::Session(format!("the answer does not fit the offer: {error}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turn_urls_are_divided() {
        let of = |url: &str| {
            let entry = IceServer { url: url.into(), username: String::new(), credential: String::new() };
            TurnServer::of(&entry).map(|server| (server.host, server.port, server.over))
        };
        let rows = [
            ("turn:a", Some(("a", 3478, Over::Udp))),
            ("turn:a:80?transport=udp", Some(("a", 80, Over::Udp))),
            ("turn:[2001:db8::1]:80?transport=tcp", Some(("2001:db8::1", 80, Over::Tcp))),
            ("turns:a:443?transport=tcp", Some(("a", 443, Over::Tls))),
            ("turns:a", Some(("a", 5349, Over::Tls))),
            ("turns:a?transport=udp", None),
            ("stun:a", None),
        ];
        for (url, expected) in rows {
            assert_eq!(of(url), expected.map(|(host, port, over)| (host.to_owned(), port, over)), "{url}");
        }
    }
}
