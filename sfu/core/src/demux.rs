//! Whose datagram is it? Address to participant; ICE user fragment to participant.

use std::collections::HashMap;
use std::net::SocketAddr;

/// The most addresses bound to one participant. A browser checks from a handful; each costs the checker a valid HMAC.
const MAX_ADDRESSES: usize = 16;

/// The most addresses that one participant may bind in its life. A phone that changes networks all day stays far below;
/// a client that checks from every port it has would keep all workers busy with the news.
const MAX_BINDINGS: u32 = 256;

/// The tables that tell participants apart. Keys are those of the shard's participants.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    by_address: HashMap<SocketAddr, usize>,
    by_ufrag: HashMap<String, usize>,
    addresses: HashMap<usize, Vec<SocketAddr>>,
    bindings: HashMap<usize, u32>,
}

/// What binding an address changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Bound {
    /// The address was not bound to this participant before.
    pub new: bool,
    /// An older address of this participant that had to go.
    pub evicted: Option<SocketAddr>,
}

impl Demux {
    /// The participant whose check has bound this address.
    pub(crate) fn by_address(&self, remote: SocketAddr) -> Option<usize> {
        self.by_address.get(&remote).copied()
    }

    /// The participant that was given this user fragment.
    pub(crate) fn by_ufrag(&self, ufrag: &str) -> Option<usize> {
        self.by_ufrag.get(ufrag).copied()
    }

    /// Gives a user fragment to a participant.
    pub(crate) fn add_ufrag(&mut self, ufrag: String, key: usize) {
        self.by_ufrag.insert(ufrag, key);
    }

    /// Takes a user fragment back.
    pub(crate) fn remove_ufrag(&mut self, ufrag: &str) {
        self.by_ufrag.remove(ufrag);
    }

    /// Binds an address. Only to be called once a STUN message from it has passed its integrity check.
    pub(crate) fn bind(&mut self, remote: SocketAddr, key: usize) -> Bound {
        match self.by_address.insert(remote, key) {
            Some(old) if old == key => return Bound::default(),
            Some(old) => {
                if let Some(list) = self.addresses.get_mut(&old) {
                    list.retain(|a| *a != remote);
                }
            }
            None => {}
        }
        *self.bindings.entry(key).or_default() += 1;
        let list = self.addresses.entry(key).or_default();
        list.push(remote);
        let evicted = (list.len() > MAX_ADDRESSES).then(|| list.remove(0));
        if let Some(old) = evicted {
            self.by_address.remove(&old);
        }
        Bound { new: true, evicted }
    }

    /// The address is new, and the participant has bound as many as it may.
    pub(crate) fn is_exhausted(&self, remote: SocketAddr, key: usize) -> bool {
        let known = self.by_address.get(&remote) == Some(&key);
        !known && self.bindings.get(&key).is_some_and(|count| *count >= MAX_BINDINGS)
    }

    /// Forgets an address.
    pub(crate) fn unbind(&mut self, remote: SocketAddr) {
        if let Some(list) = self.by_address.remove(&remote).and_then(|key| self.addresses.get_mut(&key)) {
            list.retain(|a| *a != remote);
        }
    }

    /// Forgets a participant; returns the addresses that were bound to it.
    pub(crate) fn remove(&mut self, key: usize) -> Vec<SocketAddr> {
        self.bindings.remove(&key);
        let list = self.addresses.remove(&key).unwrap_or_default();
        for address in &list {
            self.by_address.remove(address);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn an_address_follows_the_participant_that_bound_it_last() {
        let mut demux = Demux::default();
        assert!(demux.bind(address(1), 7).new);
        assert!(!demux.bind(address(1), 7).new);
        assert!(demux.bind(address(1), 8).new);
        assert_eq!(demux.by_address(address(1)), Some(8));
        assert_eq!(demux.remove(7), []);
        assert_eq!(demux.by_address(address(1)), Some(8));
        assert_eq!(demux.remove(8), [address(1)]);
        assert_eq!(demux.by_address(address(1)), None);
    }

    #[test]
    fn the_addresses_of_one_participant_are_bounded() {
        let mut demux = Demux::default();
        for port in 0..MAX_ADDRESSES as u16 {
            assert_eq!(demux.bind(address(port), 1).evicted, None);
        }
        assert_eq!(demux.bind(address(99), 1).evicted, Some(address(0)));
        assert_eq!(demux.by_address(address(0)), None);
        assert_eq!(demux.by_address.len(), MAX_ADDRESSES);
    }

    #[test]
    fn a_participant_cannot_bind_addresses_without_end() {
        let mut demux = Demux::default();
        for port in 0..MAX_BINDINGS as u16 {
            assert!(!demux.is_exhausted(address(port), 1));
            demux.bind(address(port), 1);
        }
        assert!(demux.is_exhausted(address(9999), 1));
        assert!(!demux.is_exhausted(address(MAX_BINDINGS as u16 - 1), 1), "what is bound stays of use");
        demux.remove(1);
        assert!(!demux.is_exhausted(address(9999), 1));
    }

    #[test]
    fn an_address_that_another_shard_has_bound_is_bound_anew_by_the_next_check() {
        let mut demux = Demux::default();
        demux.bind(address(1), 1);
        demux.unbind(address(1));
        assert_eq!(demux.by_address(address(1)), None);
        assert!(demux.bind(address(1), 1).new, "the others are told again");
    }
}
