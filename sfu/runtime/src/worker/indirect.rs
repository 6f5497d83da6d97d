//! What does not go through the media socket as it is: connections, and the relay.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use weir_core::path::{Path, Relayed};
use weir_core::shard::{Input, Transmit};
use weir_core::stats::Stats;
use weir_core::turn::{Client, Clock, Outcome, Turn, concerns};

use super::{Delivery, Stray, Worker};
use crate::socket::{Datagram, Senders};
use crate::stream::{Connection, Counters, Framing, StreamKind};

/// The most answers of the relay that wait for the end of a batch; there are not more datagrams in one.
const MAX_ANSWERS: usize = 4096;

/// The connections that this worker has heard from, as many as there are, since each says when it ends; and the relay.
#[derive(Debug, Default)]
pub(crate) struct Indirect {
    /// Connections of ICE over TCP: one at a time from an address.
    ice: HashMap<SocketAddr, Arc<Connection>>,
    /// Connections to the relay, by their numbers.
    turn: HashMap<u64, Arc<Connection>>,
    relay: Option<Turn>,
    /// Answers of the relay that shall be sent.
    answers: Vec<(Client, Vec<u8>)>,
    wrapped: Vec<u8>,
    /// Of all connections; only the first worker has them.
    counters: Option<Arc<Counters>>,
}

/// A datagram out of the relay: what stands for the client, the own address it was sent to, and its bytes.
pub(super) type Unwrapped<'a> = (SocketAddr, SocketAddr, &'a [u8]);

impl Indirect {
    pub(crate) fn new(relay: Option<Turn>, counters: Option<Arc<Counters>>) -> Self {
        Self { relay, counters, ..Self::default() }
    }

    /// Fills in what shards know nothing of.
    pub(super) fn add_stats(&self, stats: &mut Stats) {
        stats.turn = self.relay.as_ref().map(Turn::stats).unwrap_or_default();
        if let Some(counters) = &self.counters {
            stats.streams = counters.open.load(Ordering::Relaxed);
            stats.refused_streams = counters.refused.load(Ordering::Relaxed);
            stats.dropped_stream = counters.dropped.load(Ordering::Relaxed);
        }
    }

    pub(super) fn relay(&mut self) -> Option<&mut Turn> {
        self.relay.as_mut()
    }

    /// Whether a datagram of the media socket is for the relay.
    pub(super) fn takes(&self, data: &[u8]) -> bool {
        concerns(data) && self.relay.is_some()
    }

    /// Gives a message to the relay. What comes out of it for the shards is returned; an answer waits.
    pub(super) fn unwrap<'a>(&mut self, now: Instant, client: Client, data: &'a [u8]) -> Option<Unwrapped<'a>> {
        let relay = self.relay.as_mut()?;
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        match relay.handle(Clock { now, unix }, client, data) {
            Outcome::Nothing => None,
            Outcome::Reply(answer) => {
                if self.answers.len() < MAX_ANSWERS {
                    self.answers.push((client, answer));
                }
                None
            }
            Outcome::Relayed { from, to, data } => Some((from, to, data)),
        }
    }
}

fn client_of(connection: &Connection) -> Client {
    Client::Stream { id: connection.id, remote: connection.remote, tls: connection.kind == StreamKind::Tls }
}

impl Worker {
    /// A packet of a connection.
    pub(super) fn on_stream(&mut self, now: Instant, connection: Arc<Connection>, data: &[u8]) {
        let remote = connection.remote;
        match connection.framing {
            Framing::Ice => {
                let known = self.indirect.ice.get(&remote);
                if known.is_none_or(|known| known.id != connection.id) {
                    self.shard.release_stream(remote);
                    self.indirect.ice.insert(remote, connection);
                }
                self.shard.handle(now, Input::Stream { remote, data });
            }
            Framing::Turn => {
                let client = client_of(&connection);
                self.indirect.turn.entry(connection.id).or_insert(connection);
                let Self { shard, routes, links, ring_dropped, number, indirect, .. } = self;
                let mut delivery = Delivery { shard, routes, links, me: *number, dropped: ring_dropped };
                if let Some((remote, to, data)) = indirect.unwrap(now, client, data) {
                    let datagram = Datagram { remote, data, arrived: now, next: Senders::default() };
                    delivery.take(now, Some(to), &datagram);
                }
            }
        }
    }

    /// A connection has ended.
    pub(super) fn on_stream_closed(&mut self, now: Instant, connection: &Connection) {
        let remote = connection.remote;
        if self.indirect.ice.get(&remote).is_some_and(|known| known.id == connection.id) {
            self.indirect.ice.remove(&remote);
            self.shard.release_stream(remote);
        }
        if self.indirect.turn.remove(&connection.id).is_some()
            && let Some(relay) = self.indirect.relay()
        {
            relay.on_closed(now, client_of(connection));
        }
    }

    /// Sends what does not go over plain UDP.
    pub(super) fn send_indirect(&mut self, path: Path, transmit: &Transmit) {
        let video = self.shard.is_video(transmit);
        if path == Path::Tcp {
            // A connection that has ended takes nothing any more; the client comes back over another one.
            if let Some(connection) = self.indirect.ice.get(&transmit.destination) {
                connection.send(video, transmit.contents.to_vec());
            }
            return;
        }
        let (from, to) = (transmit.source, transmit.destination);
        match Relayed::of(to).map(|relayed| relayed.worker) {
            Some(worker) if worker == self.number => self.wrap(Instant::now(), from, to, video, &transmit.contents),
            Some(worker) => {
                let Some(link) = self.links.get(usize::from(worker)) else { return };
                let stray = Stray::Wrap { from, to, video, data: transmit.contents.to_vec() };
                self.ring_dropped += u64::from(link.stray(stray).is_err());
            }
            None => {}
        }
    }

    /// Sends a datagram of a shard through the relay of this worker.
    pub(super) fn wrap(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, video: bool, data: &[u8]) {
        let Indirect { relay, wrapped, turn, .. } = &mut self.indirect;
        let Some(client) = relay.as_mut().and_then(|relay| relay.wrap(now, from, to, data, wrapped)) else { return };
        match client {
            Client::Udp(remote) => self.socket.queue(remote, wrapped, None),
            Client::Stream { id, .. } => {
                if let Some(connection) = turn.get(&id) {
                    connection.send(video, wrapped.clone());
                }
            }
        }
    }

    /// Sends what the relay has answered.
    pub(super) fn send_answers(&mut self) {
        for (client, answer) in self.indirect.answers.drain(..) {
            match client {
                Client::Udp(remote) => self.socket.queue(remote, &answer, None),
                Client::Stream { id, .. } => {
                    if let Some(connection) = self.indirect.turn.get(&id) {
                        connection.send(false, answer);
                    }
                }
            }
        }
    }

    /// Lets go of what has expired in the relay.
    pub(super) fn sweep_relay(&mut self, now: Instant) {
        if let Some(relay) = self.indirect.relay() {
            relay.on_timeout(now);
        }
    }
}
