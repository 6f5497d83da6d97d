//! STUN and TURN (RFC 8489, RFC 8656) on the media ports, without sockets or clock.
//!
//! It is no open relay, and cannot become one: the only peer that an allocation may talk to is this server's own media
//! address. So a relayed address needs no socket: it is a name ([`Relayed`]) under which the shards know the client, and
//! what they send to that name is wrapped and goes back to where the client is.
//!
//! Credentials are derived (the "REST" way): the user name begins with the second at which it expires, the password is
//! its HMAC. Nonces are stateless, bound to address and time. What is answered to somebody who has not proved an address
//! is never more than was asked from there ([`budget`]).

mod allocation;
mod answer;
mod budget;
mod credentials;
#[doc(hidden)]
pub mod fuzzing;
mod requests;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use stun_types::message::Message;

use self::allocation::Allocations;
use self::budget::Budget;
use self::credentials::Nonces;
pub use self::credentials::{Credential, Secret, credential};
pub use self::wire::concerns;
use crate::path::{Path, Relayed};

/// The longest life of an allocation, and the one that is given by default (RFC 8656 section 7.2).
pub const LIFETIME: Duration = Duration::from_secs(600);
/// RFC 8656 section 9.
const PERMISSION: Duration = Duration::from_secs(300);
/// RFC 8656 section 12.
const CHANNEL: Duration = Duration::from_secs(600);
/// The most allocations of one user name, for each worker. A browser makes one for each of its networks and transports.
pub const MAX_PER_USER: usize = 12;
/// The most allocations of one worker.
pub const MAX_ALLOCATIONS: usize = 16_384;
/// How often what has expired is looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// What the relay of one worker needs to know.
#[derive(Debug, Clone)]
pub struct TurnConfig {
    /// The number of the worker; goes into relayed addresses.
    pub worker: u8,
    /// What clients are told that the credentials are for. Short: it is part of answers that must be small.
    pub realm: String,
    /// What passwords are derived from.
    pub secret: Secret,
    /// The announced media addresses (UDP): the only peers.
    pub peers: Vec<SocketAddr>,
}

/// The time, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// For what lasts.
    pub now: Instant,
    /// Seconds since 1970, for what credentials say.
    pub unix: u64,
}

/// A client of the relay, by the way that leads back to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    /// By UDP, from this address.
    Udp(SocketAddr),
    /// By the connection of this number, from this address.
    Stream {
        /// Never the same twice in a process.
        id: u64,
        /// Where it came from.
        remote: SocketAddr,
        /// It is encrypted.
        tls: bool,
    },
}

impl Client {
    fn remote(self) -> SocketAddr {
        match self {
            Self::Udp(remote) | Self::Stream { remote, .. } => remote,
        }
    }

    fn path(self) -> Path {
        match self {
            Self::Udp(_) => Path::TurnUdp,
            Self::Stream { tls: false, .. } => Path::TurnTcp,
            Self::Stream { tls: true, .. } => Path::TurnTls,
        }
    }
}

/// What comes of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Nothing.
    Nothing,
    /// Send this back to the client.
    Reply(Vec<u8>),
    /// Hand this to the shards.
    Relayed {
        /// What stands for the client.
        from: SocketAddr,
        /// The announced address that it was sent to.
        to: SocketAddr,
        /// The datagram.
        data: &'a [u8],
    },
}

/// Counters and gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnStats {
    /// Gauge: allocations.
    pub allocations: u64,
    /// Datagrams relayed, both ways.
    pub relayed: u64,
    /// Requests refused, for whatever reason.
    pub refused: u64,
    /// Messages that came to nothing: not whole, or of no allocation.
    pub ignored: u64,
    /// Answers not given, because they would have been more than was asked.
    pub withheld: u64,
}

/// The relay of one worker.
#[derive(Debug)]
pub struct Turn {
    config: TurnConfig,
    nonces: Nonces,
    allocations: Allocations,
    budget: Budget,
    /// For transaction ids of indications, which nobody looks at.
    indications: u64,
    next_sweep: Option<Instant>,
    stats: TurnStats,
}

impl Turn {
    /// A relay without allocations. `seed` must be secret outside of tests: nonces are signed with it.
    #[must_use]
    pub fn new(config: TurnConfig, seed: [u8; 32], now: Instant) -> Self {
        Self {
            nonces: Nonces::new(seed),
            allocations: Allocations::new(config.worker),
            budget: Budget::new(now),
            indications: 0,
            next_sweep: None,
            stats: TurnStats::default(),
            config,
        }
    }

    /// Takes a message of a client: one that [`concerns`] is true of, or any from a connection of TURN. Never fails.
    pub fn handle<'a>(&mut self, clock: Clock, client: Client, data: &'a [u8]) -> Outcome<'a> {
        // The parser of messages is not ours: what it should trip over is one lost message.
        let told = |stats: &TurnStats| (stats.refused, stats.withheld);
        let before = told(&self.stats);
        let outcome =
            catch_unwind(AssertUnwindSafe(|| self.on_message(clock, client, data))).unwrap_or(Outcome::Nothing);
        if outcome == Outcome::Nothing && told(&self.stats) == before {
            self.stats.ignored += 1;
        }
        outcome
    }

    fn on_message<'a>(&mut self, clock: Clock, client: Client, data: &'a [u8]) -> Outcome<'a> {
        if let Client::Udp(remote) = client {
            self.budget.on_asked(clock.now, remote.ip(), data.len());
        }
        if data.first().is_some_and(|first| (0x40..0x50).contains(first)) {
            return self.on_channel_data(clock.now, client, data);
        }
        if !wire::is_whole(data) {
            return Outcome::Nothing;
        }
        let Ok(message) = Message::from_bytes(data) else { return Outcome::Nothing };
        if message.has_class(stun_types::message::MessageClass::Indication) {
            return self.on_indication(clock.now, client, data, &message);
        }
        match self.on_request(clock, client, &message) {
            Some(reply) => Outcome::Reply(reply),
            None => Outcome::Nothing,
        }
    }

    /// RFC 8656 section 12.6.
    fn on_channel_data<'a>(&mut self, now: Instant, client: Client, data: &'a [u8]) -> Outcome<'a> {
        let Some((place, allocation)) = self.allocations.of(client, now) else { return Outcome::Nothing };
        let Some((number, data)) = wire::channel_data(data) else { return Outcome::Nothing };
        let Some(peer) = allocation.peer_of_channel(number, now) else { return Outcome::Nothing };
        let from = allocation.relayed(self.config.worker, place);
        self.stats.relayed += 1;
        Outcome::Relayed { from, to: self.config.peers[peer], data }
    }

    /// RFC 8656 section 11.4.
    fn on_indication<'a>(
        &mut self,
        now: Instant,
        client: Client,
        bytes: &'a [u8],
        message: &Message<'_>,
    ) -> Outcome<'a> {
        let Some((place, allocation)) = self.allocations.of(client, now) else { return Outcome::Nothing };
        let Some((to, data)) = wire::send_indication(bytes, message) else { return Outcome::Nothing };
        let permitted = self.config.peers.contains(&to) && allocation.permits(to.ip(), now);
        if !permitted {
            self.stats.refused += 1;
            return Outcome::Nothing;
        }
        let from = allocation.relayed(self.config.worker, place);
        self.stats.relayed += 1;
        Outcome::Relayed { from, to, data }
    }

    /// Wraps what a shard sends from a media address to a relayed one. Gives the client to send `out` to, without the
    /// padding of connections; none if there is no such allocation any more, or the client has not permitted the peer.
    pub fn wrap(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Client> {
        out.clear();
        let relayed = Relayed::of(to)?;
        let allocation = self.allocations.at(relayed.place, now).filter(|a| a.client.path() == relayed.path)?;
        let peer = self.config.peers.iter().position(|peer| *peer == from)?;
        match allocation.channel_of_peer(peer, now) {
            Some(number) => wire::write_channel_data(number, data, out)?,
            None if allocation.permits(from.ip(), now) => {
                self.indications = self.indications.wrapping_add(1);
                wire::write_data_indication(self.indications, from, data, out)?;
            }
            None => return None,
        }
        self.stats.relayed += 1;
        Some(allocation.client)
    }

    /// A connection has ended, and what was allocated on it goes too (RFC 8656 section 7).
    pub fn on_closed(&mut self, now: Instant, client: Client) {
        if let Some(place) = self.allocations.place_of(client) {
            self.allocations.remove(place, now);
        }
    }

    /// When [`Self::on_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_sweep
    }

    /// Forgets what has expired.
    pub fn on_timeout(&mut self, now: Instant) {
        if self.next_sweep.is_some_and(|at| at <= now) {
            self.allocations.expire(now);
            self.next_sweep = (self.allocations.len() > 0).then_some(now + SWEEP);
        }
    }

    /// A copy of the counters.
    #[must_use]
    pub fn stats(&self) -> TurnStats {
        TurnStats { allocations: self.allocations.len() as u64, ..self.stats }
    }

    /// One of the peers has this address.
    fn is_peer_ip(&self, ip: IpAddr) -> bool {
        self.config.peers.iter().any(|peer| peer.ip() == ip)
    }
}

#[cfg(test)]
mod peer_tests;
#[cfg(test)]
mod reflection_tests;
#[cfg(test)]
mod test_client;
#[cfg(test)]
mod tests;
