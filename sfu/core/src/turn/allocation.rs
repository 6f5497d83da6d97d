//! Allocations, by client and by place. All of it is bounded, and all of it expires.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use stun_types::message::TransactionId;

use super::{Client, MAX_ALLOCATIONS, MAX_PER_USER};
use crate::path::Relayed;

/// How long a place stays empty after an allocation: a participant may send to the address for as long as it takes to
/// notice that nobody is there.
const QUARANTINE: Duration = Duration::from_secs(60);

/// What one client has been given.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) client: Client,
    pub(super) username: String,
    /// The request that made it: the same again is answered the same again (RFC 8656 section 7.2).
    pub(super) request: TransactionId,
    /// The family of the relayed address, and of the peers.
    pub(super) v4: bool,
    pub(super) expires: Instant,
    /// At most one for each address of a peer.
    permissions: Vec<(IpAddr, Instant)>,
    /// Number and peer, at most one for each peer.
    channels: Vec<(u16, usize, Instant)>,
}

impl Allocation {
    pub(super) fn new(client: Client, username: String, request: TransactionId, v4: bool, expires: Instant) -> Self {
        Self { client, username, request, v4, expires, permissions: Vec::new(), channels: Vec::new() }
    }

    /// What stands for the client.
    pub(super) fn relayed(&self, worker: u8, place: u16) -> SocketAddr {
        Relayed { path: self.client.path(), worker, place }.address(self.v4)
    }

    pub(super) fn permit(&mut self, ip: IpAddr, until: Instant) {
        match self.permissions.iter_mut().find(|(known, _)| *known == ip) {
            Some((_, expires)) => *expires = until,
            None => self.permissions.push((ip, until)),
        }
    }

    pub(super) fn permits(&self, ip: IpAddr, now: Instant) -> bool {
        self.permissions.iter().any(|(known, expires)| *known == ip && now < *expires)
    }

    /// Binds a channel to a peer, or refreshes it. False if either is bound to another one (RFC 8656 section 12.2).
    pub(super) fn bind(&mut self, number: u16, peer: usize, now: Instant, until: Instant) -> bool {
        self.channels.retain(|(.., expires)| now < *expires);
        if let Some((known, bound, expires)) = self.channels.iter_mut().find(|(n, p, _)| *n == number || *p == peer) {
            let same = *known == number && *bound == peer;
            if same {
                *expires = until;
            }
            return same;
        }
        self.channels.push((number, peer, until));
        true
    }

    pub(super) fn peer_of_channel(&self, number: u16, now: Instant) -> Option<usize> {
        self.channels.iter().find(|(known, _, expires)| *known == number && now < *expires).map(|(_, peer, _)| *peer)
    }

    pub(super) fn channel_of_peer(&self, peer: usize, now: Instant) -> Option<u16> {
        self.channels.iter().find(|(_, known, expires)| *known == peer && now < *expires).map(|(number, ..)| *number)
    }
}

/// Why there is no allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// This user has as many as it may.
    User,
    /// There are as many as there may be.
    All,
}

/// The allocations of one worker.
#[derive(Debug)]
pub(super) struct Allocations {
    worker: u8,
    /// By place; the first place is 1, which is a port.
    places: Vec<Option<Allocation>>,
    by_client: HashMap<Client, u16>,
    users: HashMap<String, usize>,
    /// Places that were left, the first first.
    left: VecDeque<(u16, Instant)>,
}

impl Allocations {
    pub(super) fn new(worker: u8) -> Self {
        Self { worker, places: Vec::new(), by_client: HashMap::new(), users: HashMap::new(), left: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.by_client.len()
    }

    /// Gives a client a place, and returns the address that stands for it.
    pub(super) fn add(&mut self, allocation: Allocation, now: Instant) -> Result<SocketAddr, Full> {
        if self.users.get(&allocation.username).is_some_and(|count| *count >= MAX_PER_USER) {
            return Err(Full::User);
        }
        let place = self.free_place(now).ok_or(Full::All)?;
        let relayed = allocation.relayed(self.worker, place);
        *self.users.entry(allocation.username.clone()).or_default() += 1;
        self.by_client.insert(allocation.client, place);
        self.places[usize::from(place) - 1] = Some(allocation);
        Ok(relayed)
    }

    fn free_place(&mut self, now: Instant) -> Option<u16> {
        if self.left.front().is_some_and(|(_, since)| now.saturating_duration_since(*since) >= QUARANTINE) {
            return self.left.pop_front().map(|(place, _)| place);
        }
        if self.places.len() >= MAX_ALLOCATIONS {
            return None;
        }
        self.places.push(None);
        u16::try_from(self.places.len()).ok()
    }

    pub(super) fn place_of(&self, client: Client) -> Option<u16> {
        self.by_client.get(&client).copied()
    }

    /// The allocation of a client, if it has not expired.
    pub(super) fn of(&mut self, client: Client, now: Instant) -> Option<(u16, &mut Allocation)> {
        let place = self.place_of(client)?;
        Some((place, self.at(place, now)?))
    }

    /// The allocation at a place, if it has not expired.
    pub(super) fn at(&mut self, place: u16, now: Instant) -> Option<&mut Allocation> {
        let slot = self.places.get_mut(usize::from(place).checked_sub(1)?)?;
        slot.as_mut().filter(|allocation| now < allocation.expires)
    }

    pub(super) fn remove(&mut self, place: u16, now: Instant) -> Option<Allocation> {
        let allocation = self.places.get_mut(usize::from(place).checked_sub(1)?)?.take()?;
        self.by_client.remove(&allocation.client);
        if let Some(count) = self.users.get_mut(&allocation.username) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(&allocation.username);
            }
        }
        self.left.push_back((place, now));
        Some(allocation)
    }

    /// Takes out what has expired.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_over = |slot: &Option<Allocation>| slot.as_ref().is_some_and(|a| a.expires <= now);
        let over: Vec<u16> =
            (1..).zip(&self.places).filter(|(_, slot)| is_over(slot)).map(|(place, _)| place).collect();
        for place in over {
            self.remove(place, now);
        }
    }
}
