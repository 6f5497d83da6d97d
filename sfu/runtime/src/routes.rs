//! Which worker a datagram belongs to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weir_core::shard::{is_stun, shard_of_stun};

/// How long a guess holds: a check answered, the route told and the handshake under way take milliseconds.
const GUESS: Duration = Duration::from_secs(5);
/// The most guesses at one time. Anybody can cause them, so they are few; without one a handshake begins a second later.
const MAX_GUESSES: usize = 1024;

/// The addresses that belong to other workers.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// As their owners said, after a check with a valid integrity.
    told: HashMap<SocketAddr, u8>,
    /// As a check said that went to its worker a moment ago. A client begins its handshake when that is answered, which may
    /// be before the owner's word is here.
    guessed: HashMap<SocketAddr, (u8, Instant)>,
}

impl Routes {
    /// The owner of a datagram that came to worker `me`, if it is another one. `is_mine` says whether an address is bound
    /// here: no guess overrules that, or anybody could send away the media of others by a forged check.
    pub(crate) fn owner(
        &mut self,
        now: Instant,
        me: u8,
        remote: SocketAddr,
        data: &[u8],
        is_mine: impl Fn(SocketAddr) -> bool,
    ) -> Option<u8> {
        if is_stun(data) {
            let owner = shard_of_stun(data).filter(|owner| *owner != me)?;
            if self.told.get(&remote) != Some(&owner) && !is_mine(remote) {
                self.guess(now, remote, owner);
            }
            return Some(owner);
        }
        let told = self.told.get(&remote).copied();
        told.or_else(|| {
            let (owner, at) = *self.guessed.get(&remote)?;
            (now.saturating_duration_since(at) < GUESS && !is_mine(remote)).then_some(owner)
        })
    }

    fn guess(&mut self, now: Instant, remote: SocketAddr, owner: u8) {
        if self.guessed.len() >= MAX_GUESSES && !self.guessed.contains_key(&remote) {
            self.guessed.retain(|_, (_, at)| now.saturating_duration_since(*at) < GUESS);
        }
        if self.guessed.len() < MAX_GUESSES || self.guessed.contains_key(&remote) {
            self.guessed.insert(remote, (owner, now));
        }
    }

    /// The owner has said so.
    pub(crate) fn add(&mut self, address: SocketAddr, owner: u8) {
        self.guessed.remove(&address);
        self.told.insert(address, owner);
    }

    /// It belongs to that owner no longer.
    pub(crate) fn remove(&mut self, address: SocketAddr, owner: u8) {
        if self.told.get(&address) == Some(&owner) {
            self.told.remove(&address);
        }
    }

    /// It is bound here now.
    pub(crate) fn take(&mut self, address: SocketAddr) {
        self.guessed.remove(&address);
        self.told.remove(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDSHAKE: [u8; 13] = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    fn address(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], n))
    }

    /// A binding request (RFC 8489 section 5) as forgers make them: USERNAME, PRIORITY, and a MESSAGE-INTEGRITY of nothing.
    fn check(shard: u8) -> Vec<u8> {
        let username = format!("{shard:02x}abcdefgh:peer1");
        let attributes = [(0x06, username.as_bytes()), (0x24, [1, 2, 3, 4].as_slice()), (0x08, [0; 20].as_slice())]
            .map(|(kind, value)| {
                assert_eq!(value.len() % 4, 0, "no padding needed");
                [&[0, kind, 0, value.len() as u8], value].concat()
            });
        let attributes = attributes.concat();
        let head = [0, 1, 0, attributes.len() as u8, 0x21, 0x12, 0xa4, 0x42];
        [head.as_slice(), &[7; 12], &attributes].concat()
    }

    #[test]
    fn a_handshake_right_after_a_check_goes_where_the_check_went() {
        let (mut routes, now) = (Routes::default(), Instant::now());
        let nobody = |_| false;
        assert_eq!(routes.owner(now, 0, address(1), &HANDSHAKE, nobody), None);
        assert_eq!(routes.owner(now, 0, address(1), &check(1), nobody), Some(1));
        assert_eq!(routes.owner(now, 0, address(1), &HANDSHAKE, nobody), Some(1));
        assert_eq!(routes.owner(now + GUESS, 0, address(1), &HANDSHAKE, nobody), None, "a guess is soon forgotten");
        assert_eq!(routes.owner(now, 0, address(2), &check(0), nobody), None, "one's own");
    }

    #[test]
    fn a_forged_check_sends_nobodys_media_away() {
        let (mut routes, now) = (Routes::default(), Instant::now());
        assert_eq!(routes.owner(now, 0, address(1), &check(1), |_| true), Some(1));
        assert_eq!(routes.owner(now, 0, address(1), &HANDSHAKE, |_| true), None, "bound here");
        routes.add(address(2), 1);
        assert_eq!(routes.owner(now, 0, address(2), &check(2), |_| false), Some(2));
        assert_eq!(routes.owner(now, 0, address(2), &HANDSHAKE, |_| false), Some(1), "bound there");
    }

    #[test]
    fn guesses_are_bounded() {
        let (mut routes, now) = (Routes::default(), Instant::now());
        (0..5000).for_each(|n| _ = routes.owner(now, 0, address(n), &check(1), |_| false));
        assert_eq!(routes.guessed.len(), MAX_GUESSES);
        _ = routes.owner(now + GUESS, 0, address(6000), &check(1), |_| false);
        assert_eq!(routes.guessed.len(), 1);
    }
}
