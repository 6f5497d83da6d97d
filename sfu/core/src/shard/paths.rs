//! Where packets come from and go to: UDP, TCP, the relay.

use std::net::SocketAddr;

use str0m::net::{Protocol, Receive, Transmit};

use super::{Shard, is_rtcp, is_stun};
use crate::path::{Path, Relayed};

/// Where a packet came from, and which own address it was sent to, if there is one of that family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) proto: Protocol,
    pub(super) remote: SocketAddr,
    pub(super) local: Option<SocketAddr>,
}

impl Origin {
    /// As the stack takes it; none if it is of no kind known here.
    pub(super) fn receive(self, data: &[u8]) -> Option<Receive<'_>> {
        Receive::new(self.proto, self.remote, self.local?, data).ok()
    }
}

/// The first of these addresses that is of the same family as the other.
pub(super) fn of_family(all: &[SocketAddr], other: SocketAddr) -> Option<SocketAddr> {
    all.iter().copied().find(|own| own.is_ipv4() == other.is_ipv4())
}

/// How a datagram leaves.
#[must_use]
pub fn path_of(transmit: &Transmit) -> Path {
    match transmit.proto {
        Protocol::Udp => Relayed::of(transmit.destination).map_or(Path::Udp, |relayed| relayed.path),
        _ => Path::Tcp,
    }
}

impl Shard {
    /// The participant that has bound an address.
    pub(super) fn bound_to(&self, origin: Origin) -> Option<usize> {
        match origin.proto {
            Protocol::Tcp => self.streams.by_address(origin.remote),
            _ => self.demux.by_address(origin.remote),
        }
    }

    /// A connection of the media TCP port has ended.
    pub fn release_stream(&mut self, remote: SocketAddr) {
        self.streams.unbind(remote);
    }

    /// Whether a datagram of this shard carries video, which may wait or be lost where sound and control may not. Looks at
    /// the RTP header, which is not encrypted.
    #[must_use]
    pub fn is_video(&self, transmit: &Transmit) -> bool {
        let data = &*transmit.contents;
        let [128..192, second, ..] = *data else { return false };
        if is_rtcp(data) {
            return false;
        }
        let table = if transmit.proto == Protocol::Tcp { &self.streams } else { &self.demux };
        table.by_address(transmit.destination).is_some_and(|key| self.peers[key].conn.is_video(second & 0x7f))
    }

    /// Takes note of the way by which media goes to a participant, of the datagrams that were added last. Answers to checks
    /// say nothing: clients check ways that they do not use.
    pub(super) fn note_path(&mut self, key: usize, before: usize) {
        let added = self.transmits.len().saturating_sub(before);
        let Some(transmit) = self.transmits.iter().rev().take(added).find(|t| !is_stun(&t.contents)) else { return };
        self.peers[key].conn.path = Some(path_of(transmit));
    }
}
