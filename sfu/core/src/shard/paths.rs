//! Where packets come from and go to: UDP, TCP, the relay.

use std::net::SocketAddr;

use str0m::net::{Protocol, Receive, Transmit};

use super::{Shard, is_rtcp, is_stun};
use crate::allocator::Allocator;
use crate::api::MediaKind;
use crate::path::{Path, Relayed};

/// By what the stack tells what goes through the own relay from what does not.
pub(super) const RELAYED: Protocol = Protocol::Tls;

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
        Protocol::Udp => Path::Udp,
        RELAYED => Relayed::of(transmit.destination).map_or(Path::TurnUdp, |relayed| relayed.path),
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
    /// say nothing: clients check ways that they do not use. True if it was another one before.
    pub(super) fn note_way(&mut self, key: usize, before: usize) -> bool {
        let added = self.transmits.len().saturating_sub(before);
        let Some(transmit) = self.transmits.iter().rev().take(added).find(|t| !is_stun(&t.contents)) else {
            return false;
        };
        let way = (path_of(transmit), transmit.destination);
        self.peers[key].conn.way.replace(way).is_some_and(|old| old != way)
    }

    /// The network of a participant has changed. What it was sent meanwhile is lost, and looks like a link that carries
    /// nothing: its bandwidth is estimated anew, and its pictures begin anew.
    pub(super) fn on_new_way(&mut self, key: usize) {
        let Some(peer) = self.peers.get_mut(key).filter(|peer| peer.conn.connected) else { return };
        peer.conn.forget_link();
        peer.allocator = Allocator::default();
        peer.connected_at = Some(self.now);
        self.retarget(key);
        let video = self.peers[key].member.slots.iter().filter(|slot| slot.kind == MediaKind::Video);
        let shown: Vec<_> = video.filter(|slot| slot.track.is_some()).map(|slot| slot.mid).collect();
        shown.into_iter().for_each(|mid| self.on_keyframe_wanted(key, mid));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::shard::{Input, ShardConfig, new_certificate};
    use crate::turn::concerns;

    /// What becomes of a datagram from an address that nobody knows.
    #[derive(Debug, PartialEq, Eq)]
    enum Fate {
        Relay,
        Check,
        Unbound,
        Unknown,
    }

    /// RFC 7983 section 7, byte by byte.
    fn by_the_book(first: u8) -> Fate {
        match first {
            0 => Fate::Check,
            // STUN too: answers to what was never asked, and methods that there are not, which the relay refuses.
            1 => Fate::Unknown,
            2..=3 => Fate::Relay,
            4..=19 => Fate::Unknown,
            20..=63 => Fate::Unbound,
            64..=79 => Fate::Relay,
            80..=127 => Fate::Unknown,
            128..=191 => Fate::Unbound,
            192..=255 => Fate::Unknown,
        }
    }

    /// A check without a valid proof, but for its first byte.
    fn datagram(first: u8) -> Vec<u8> {
        let attributes = [(0x06, b"00abcdef:abc".as_slice()), (0x24, &[1, 2, 3, 4]), (0x08, &[0; 20])]
            .map(|(kind, value)| [&[0, kind, 0, value.len() as u8], value].concat())
            .concat();
        let head = [0, 1, 0, attributes.len() as u8, 0x21, 0x12, 0xa4, 0x42];
        let mut data = [head.as_slice(), &[7; 12], &attributes].concat();
        data[0] = first;
        data
    }

    #[test]
    fn all_first_bytes_go_where_rfc_7983_sends_them() {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        let now = Instant::now();
        let config = ShardConfig {
            number: 0,
            cert: new_certificate(),
            candidates: vec![SocketAddr::from(([203, 0, 113, 7], 3478))],
            tcp_candidates: Vec::new(),
            loudest: 3,
            max_bitrate: 1,
        };
        let mut shard = Shard::new(config, 7, now);
        for first in 0..=255 {
            let data = datagram(first);
            let fate = if concerns(&data) {
                Fate::Relay
            } else {
                let before = shard.stats.clone();
                let remote = SocketAddr::from(([192, 0, 2, 1], 5000));
                shard.handle(now, Input::Datagram { remote, data: &data, arrived: now });
                assert!(shard.poll_output().is_none(), "{first}: nothing is answered");
                let after = &shard.stats;
                let counted = [
                    after.dropped_stun - before.dropped_stun,
                    after.dropped_unbound - before.dropped_unbound,
                    after.dropped_unknown - before.dropped_unknown,
                ];
                match counted {
                    [1, 0, 0] => Fate::Check,
                    [0, 1, 0] => Fate::Unbound,
                    [0, 0, 1] => Fate::Unknown,
                    _ => panic!("{first}: {counted:?}"),
                }
            };
            assert_eq!(fate, by_the_book(first), "{first}");
        }
    }
}
