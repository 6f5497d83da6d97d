//! Asks the processor for what is kept of those whose turn comes next: see [`weir_prefetch`].

use slab::Slab;

use super::Shard;
use super::peer::Peer;

/// How near a participant's turn is. What lies behind a pointer can be asked for only once the pointer is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The one after the next but one.
    Third,
    /// The next but one.
    Second,
    /// The next.
    Next,
}

impl Turn {
    /// In the order of who comes when.
    pub(super) const AHEAD: [Self; 3] = [Self::Next, Self::Second, Self::Third];
}

/// For somebody who is to be run, or has sent something.
pub(super) fn expect(peers: &Slab<Peer>, turn: Turn, key: usize) {
    let Some(peer) = peers.get(key) else { return };
    match turn {
        Turn::Third => weir_prefetch::value(peer),
        Turn::Second => peer.conn.prefetch(),
        Turn::Next => peer.conn.prefetch_pointed(),
    }
}

/// For somebody who will get packets on these slots.
pub(super) fn expect_delivery(peers: &Slab<Peer>, turn: Turn, key: usize, slots: impl Iterator<Item = usize>) {
    expect(peers, turn, key);
    if turn == Turn::Second
        && let Some(peer) = peers.get(key)
    {
        slots.filter_map(|slot| peer.member.slots.get(slot)).for_each(|slot| slot.egress.prefetch());
    }
}

impl Shard {
    /// Datagrams from these addresses will be given to [`Self::handle`] next, in this order, after one that is given now:
    /// what is kept of their senders is asked for meanwhile. Nothing but time changes by it.
    pub fn expect(&self, remotes: impl Iterator<Item = std::net::SocketAddr>) {
        for (turn, remote) in Turn::AHEAD.into_iter().zip(remotes) {
            if let Some(key) = self.demux.by_address(remote) {
                expect(&self.peers, turn, key);
            }
        }
    }
}
