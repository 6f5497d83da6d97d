//! One shard: the participants of one worker thread, and what happens to them. Dispatch only; the work is in the
//! submodules and in the modules of the core.

mod admission;
mod ahead;
mod allocation;
mod commands;
mod deliveries;
mod health;
mod media;
mod mirrors;
mod paths;
mod peer;
mod queries;
mod relays;
mod rooms;
mod watching;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use slab::Slab;
use str0m::ice::StunMessage;

use self::ahead::Turn;
use self::deliveries::{Batch, Deliveries};
use self::paths::{Origin, RELAYED, of_family};
use self::peer::{Mirror, Peer};
use self::relays::Relays;
use self::rooms::Demand;
use crate::api::{CloseReason, Command, Event, Milestone, Notice, ParticipantId};
use crate::demux::Demux;
use crate::overload::{Overload, Pressure};
use crate::participant::{Happening, PeerConfig};
use crate::relay::{LinkId, RelayMessage};
use crate::room::Room;
use crate::stats::Stats;
use crate::timers::{Timer, Timers};

pub use self::paths::path_of;
pub use str0m::config::DtlsCert;
pub use str0m::net::{Protocol, Transmit};

/// How often speakers are looked at. Shorter than a syllable is of no use to the eye.
const TICK: Duration = Duration::from_millis(200);
/// How often rates and layers are looked at.
const SECOND: Duration = Duration::from_secs(1);
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may stay silent after the stack has missed checks for 15 s: 30 s in all (RFC 7675 section 5.1).
const SILENCE_TIMEOUT: Duration = Duration::from_secs(15);
/// A publisher whose packets came this lately is alive, checks or not: FFmpeg sends none after the first.
const RECENT_MEDIA: Duration = Duration::from_secs(5);

/// A new self-signed certificate for DTLS; one serves the whole process.
///
/// # Panics
/// If the crypto library cannot make one, which it can wherever this crate builds.
#[must_use]
pub fn new_certificate() -> DtlsCert {
    let provider = str0m::crypto::from_feature_flags();
    provider.dtls_provider.generate_certificate().expect("aws-lc-rs makes certificates")
}

/// Gives back the buffer of a datagram that was sent or copied. The next one of this thread is written into it, instead
/// of into a new one.
pub fn recycle(transmit: Transmit) {
    str0m::net::recycle(transmit.contents);
}

/// What a shard needs to know.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// The number of this shard; goes into ICE user fragments, see [`shard_of_ufrag`].
    pub number: u8,
    /// The DTLS certificate of the process.
    pub cert: DtlsCert,
    /// The addresses told to clients as ICE candidates. Also taken as the local address of what comes in.
    pub candidates: Vec<SocketAddr>,
    /// Likewise for ICE over TCP, passive (RFC 6544); none where no TCP port is listened on.
    pub tcp_candidates: Vec<SocketAddr>,
    /// How many of the loudest audio tracks a member hears.
    pub loudest: usize,
    /// What a publisher over WHIP should send at most, in bits per second. More is told, not cut.
    pub max_bitrate: u64,
}

/// What comes in.
#[derive(Debug)]
pub enum Input<'a> {
    /// The time of [`Shard::poll_timeout`] has come.
    Timeout,
    /// A datagram from the media port.
    Datagram {
        /// Where it came from.
        remote: SocketAddr,
        /// Its bytes.
        data: &'a [u8],
        /// When it came to this machine, at most now: see [`Shard::forwarded_since`].
        arrived: Instant,
    },
    /// How hard the worker has to work: given about ten times a second, and when it falls behind or catches up.
    Pressure(Pressure),
    /// A packet from a connection of the media TCP port, its frame (RFC 4571) taken off.
    Stream {
        /// Where the connection came from.
        remote: SocketAddr,
        /// Its bytes.
        data: &'a [u8],
    },
    /// A datagram that a client has sent through the relay.
    Relayed {
        /// What stands for the client: [`crate::path::Relayed::address`].
        remote: SocketAddr,
        /// The announced address that it was sent to.
        local: SocketAddr,
        /// Its bytes.
        data: &'a [u8],
    },
    /// A command, with a number for its reply.
    Command {
        /// Comes back in [`Event::Reply`].
        request: u64,
        /// What to do.
        command: Command,
    },
    /// What another shard says: what it gave out as [`Output::Relay`].
    Relay {
        /// That shard.
        from: LinkId,
        /// Its word.
        message: RelayMessage,
    },
    /// That shard is gone for good, and everything that lived there.
    LinkLost(LinkId),
}

/// What shall happen outside.
#[derive(Debug)]
pub enum Output {
    /// Send a datagram from the media port. Datagrams to one receiver come one after another.
    Transmit(Transmit),
    /// Tell signaling, or the other workers.
    Event(Event),
    /// Say something to another shard.
    Relay {
        /// To which one.
        to: LinkId,
        /// What.
        message: RelayMessage,
    },
}

/// A keyframe request that waits for its time or for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    room: usize,
    track: usize,
    layer: usize,
}

/// The participants of one worker thread, without locks, sockets or a clock.
pub struct Shard {
    config: ShardConfig,
    peer_config: PeerConfig,
    rng: StdRng,
    now: Instant,
    /// When the datagram that is being worked with came to this machine.
    arrived: Instant,
    peers: Slab<Peer>,
    ids: HashMap<ParticipantId, usize>,
    rooms: Slab<Room>,
    names: HashMap<Arc<str>, usize>,
    demux: Demux,
    /// The connections of the media TCP port: their addresses are not those of UDP.
    streams: Demux,
    timers: Timers,
    /// Whom the code that runs is about; a panic ends that participant.
    current: Option<usize>,
    touched: Vec<usize>,
    /// Packets that are to be forwarded.
    batch: Batch,
    /// Packets that are being forwarded, and sound that came meanwhile.
    deliveries: Deliveries,
    overtaking: Deliveries,
    /// Inputs came while packets were being forwarded.
    interrupted: bool,
    waiting: Vec<Waiting>,
    /// Rooms in which more layers may be wanted than publishers were told.
    demand: BTreeSet<usize>,
    relays: Relays,
    happenings: Vec<Happening>,
    transmits: VecDeque<Transmit>,
    /// So many of the next of them are media being forwarded, of which the first came then; and so on.
    forwarding: VecDeque<(usize, Instant)>,
    /// Since when what was given out last had been on its way through this shard.
    forwarded_since: Option<Instant>,
    events: VecDeque<Event>,
    last_second: Instant,
    tracks_published: u64,
    overload: Overload,
    stats: Stats,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("number", &self.config.number).field("peers", &self.peers.len()).finish()
    }
}

/// The shard that a user fragment names, if it is one of ours.
#[must_use]
pub fn shard_of_ufrag(ufrag: &str) -> Option<u8> {
    u8::from_str_radix(ufrag.get(..2)?, 16).ok()
}

/// The shard that the user fragment of a STUN request names; none if the datagram is no such thing.
#[must_use]
pub fn shard_of_stun(data: &[u8]) -> Option<u8> {
    let message = StunMessage::parse(data).ok()?;
    shard_of_ufrag(message.split_username()?.0)
}

/// True if the first two bytes say RTCP (RFC 5761 section 4).
fn is_rtcp(data: &[u8]) -> bool {
    matches!(data, [128..192, 192..224, ..])
}

/// True if the first byte says RTP or RTCP (RFC 7983 section 7).
fn is_media(data: &[u8]) -> bool {
    data.first().is_some_and(|first| (128..192).contains(first))
}

/// True if the first byte says STUN (RFC 7983 section 7).
#[must_use]
pub fn is_stun(data: &[u8]) -> bool {
    data.first().is_some_and(|first| *first < 4)
}

impl Shard {
    /// A shard without participants. The same seed and the same inputs give the same ids and user fragments.
    #[must_use]
    pub fn new(config: ShardConfig, seed: u64, now: Instant) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self::with_seed(config, bytes, now)
    }

    /// Likewise from a seed of full length. ICE passwords are drawn from it: outside of tests it must be secret.
    #[must_use]
    pub fn with_seed(config: ShardConfig, seed: [u8; 32], now: Instant) -> Self {
        let peer_config = PeerConfig {
            cert: config.cert.clone(),
            candidates: config.candidates.clone(),
            tcp_candidates: config.tcp_candidates.clone(),
            shard: config.number,
        };
        Self {
            config,
            peer_config,
            rng: StdRng::from_seed(seed),
            now,
            arrived: now,
            peers: Slab::new(),
            ids: HashMap::new(),
            rooms: Slab::new(),
            names: HashMap::new(),
            demux: Demux::default(),
            streams: Demux::default(),
            timers: Timers::default(),
            current: None,
            touched: Vec::new(),
            batch: Batch::default(),
            deliveries: Deliveries::default(),
            overtaking: Deliveries::default(),
            interrupted: false,
            waiting: Vec::new(),
            demand: BTreeSet::new(),
            relays: Relays::default(),
            happenings: Vec::new(),
            transmits: VecDeque::new(),
            forwarding: VecDeque::new(),
            forwarded_since: None,
            events: VecDeque::new(),
            last_second: now,
            tracks_published: 0,
            overload: Overload::default(),
            stats: Stats::default(),
        }
    }

    /// Takes an input. Never fails: a bad packet is counted, not returned. Drain [`Self::poll_output`] afterwards;
    /// several inputs of one batch before that drain cost less than a drain each. That drain may be broken off while
    /// [`Self::is_forwarding`], for inputs that have come meanwhile.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.now = self.now.max(now);
        self.arrived = self.now;
        self.current = None;
        let brings_members = match &input {
            Input::Command { .. } | Input::LinkLost(_) => true,
            Input::Relay { message, .. } => message.packets() == 0,
            _ => false,
        };
        while brings_members && self.is_forwarding() {
            // Who comes must not stand in the place of who has gone while something is on its way to that one.
            self.guarded(Self::write_batch);
        }
        self.interrupted = !self.deliveries.is_done();
        self.guarded(|shard| match input {
            Input::Timeout => shard.on_timeout(),
            Input::Pressure(pressure) => shard.on_pressure(pressure),
            Input::Datagram { remote, data, arrived } => {
                shard.arrived = arrived.min(shard.now);
                let local = shard.local_for(remote);
                shard.on_datagram(Origin { proto: Protocol::Udp, remote, local }, data);
            }
            Input::Stream { remote, data } => {
                let local = of_family(&shard.config.tcp_candidates, remote);
                shard.on_datagram(Origin { proto: Protocol::Tcp, remote, local }, data);
            }
            Input::Relayed { remote, local, data } => {
                shard.on_datagram(Origin { proto: RELAYED, remote, local: Some(local) }, data);
            }
            Input::Command { request, command } => shard.on_command(request, command),
            Input::Relay { from, message } => shard.on_relay(from, message),
            Input::LinkLost(link) => shard.on_link_lost(link),
        });
        self.current = None;
        self.guarded(|shard| {
            while let Some(room) = shard.demand.pop_first() {
                shard.tell_layers(room, Demand::More);
                shard.tell_demand(room, Demand::More);
            }
            shard.tell_members();
        });
    }

    /// A command with this number will be answered later, when another shard has.
    #[must_use]
    pub fn is_pending(&self, request: u64) -> bool {
        self.relays.pending.contains_key(&request)
    }

    /// Runs code of the shard. A panic in it is a fault of ours: it ends the participant it was about, and nobody else.
    fn guarded(&mut self, work: impl FnOnce(&mut Self)) {
        let panicked = catch_unwind(AssertUnwindSafe(|| work(self))).is_err();
        if panicked {
            self.refuse_owed();
            match self.current.take() {
                Some(key) => self.close_after_panic(key),
                None => self.stats.panics += 1,
            }
        }
    }

    /// Ends the participant that a panic was about. If that fails too, it is taken out without ceremony.
    fn close_after_panic(&mut self, key: usize) {
        if let Some(peer) = self.peers.get_mut(key) {
            peer.conn.broken = true;
        }
        let closed = catch_unwind(AssertUnwindSafe(|| self.close_peer(key, CloseReason::Internal)));
        if closed.is_err() {
            self.stats.panics += 1;
            if let Some(peer) = self.peers.try_remove(key) {
                self.ids.remove(&peer.conn.id);
                self.demux.remove(key);
                self.streams.remove(key);
                self.rooms.iter_mut().for_each(|(_, room)| room.members.retain(|k| *k != key));
            }
        }
    }

    /// A check with a valid integrity has bound this address to a participant of this shard.
    #[must_use]
    pub fn is_bound(&self, remote: SocketAddr) -> bool {
        self.demux.by_address(remote).is_some()
    }

    /// Another shard has bound this address: what is bound here is stale. The next check from it binds it anew.
    pub fn release_address(&mut self, remote: SocketAddr) {
        self.demux.unbind(remote);
    }

    /// The next thing to do outside; none when there is nothing left. Only [`Self::handle`] makes more.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(Output::Event(event));
            }
            // First of all that takes time: the other shard can begin meanwhile.
            if let Some((to, message)) = self.relays.outbox.pop() {
                return Some(Output::Relay { to, message });
            }
            if let Some(transmit) = self.transmits.pop_front() {
                self.stats.datagrams_out += 1;
                self.stats.bytes_out += transmit.contents.len() as u64;
                self.forwarded_since = self.note_forwarded();
                return Some(Output::Transmit(transmit));
            }
            // Who gets packets and has been touched is run once, with these; but not last of all where inputs keep coming.
            let has_sound = !self.overtaking.is_done() || self.batch.has_sound();
            let settles_first = self.interrupted && !has_sound;
            match (self.is_forwarding(), !self.touched.is_empty()) {
                (true, touched) if !(touched && settles_first) => self.guarded(Self::forward_next),
                (_, true) => self.guarded(Self::settle),
                (_, false) => return None,
            }
        }
    }

    /// When the media had come that the next of what is sent forwards, if it does.
    fn note_forwarded(&mut self) -> Option<Instant> {
        let (left, since) = loop {
            let (left, since) = self.forwarding.front_mut()?;
            if *left > 0 {
                break (left, *since);
            }
            self.forwarding.pop_front();
        };
        *left -= 1;
        Some(since)
    }

    /// When the media had come to this machine that the last [`Output::Transmit`] forwards; of several packets for one
    /// receiver, the first of them. None: it is no media, or media that were held back for the sake of the receiver's link.
    #[must_use]
    pub fn forwarded_since(&self) -> Option<Instant> {
        self.forwarded_since
    }

    /// When [`Input::Timeout`] is due next, and what for. Changed by every [`Self::handle`] and [`Self::poll_output`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.timers.next()
    }

    fn on_datagram(&mut self, origin: Origin, data: &[u8]) {
        self.stats.datagrams_in += 1;
        self.stats.bytes_in += data.len() as u64;
        let Some(receive) = origin.receive(data) else {
            self.stats.dropped_unknown += 1;
            return;
        };
        let key = if is_stun(data) {
            self.bind_by_stun(origin, data)
        } else {
            let known = self.bound_to(origin);
            self.stats.dropped_unbound += u64::from(known.is_none());
            known
        };
        let Some(key) = key else { return };
        self.current = Some(key);
        let now = self.now;
        let conn = &mut self.peers[key].conn;
        if is_rtcp(data) {
            // It leaves nothing in the stack that the next datagram would displace, as a media packet does.
            match conn.report(now, receive) {
                Ok(true) => self.touch(key),
                Ok(false) => {}
                Err(reason) => self.close_peer(key, reason),
            }
            return;
        }
        let taken = if is_media(data) { conn.receive_rtp(now, receive) } else { conn.receive(now, receive) };
        match taken {
            Ok(()) => self.drain(key),
            Err(reason) => self.close_peer(key, reason),
        }
    }

    /// The participant that a STUN message is for, if its integrity holds. Binds the address to it.
    fn bind_by_stun(&mut self, origin: Origin, data: &[u8]) -> Option<usize> {
        let bound = self.check_stun(origin, data);
        let Some(key) = bound else {
            self.stats.dropped_stun += 1;
            return None;
        };
        let is_stream = origin.proto == Protocol::Tcp;
        let table = if is_stream { &mut self.streams } else { &mut self.demux };
        if table.is_exhausted(origin.remote, key) {
            self.stats.dropped_stun += 1;
            return None;
        }
        let change = table.bind(origin.remote, key);
        // A stream stays with one worker: nobody else has to know.
        if change.new && !is_stream {
            self.events.push_back(Event::AddressBound(origin.remote));
        }
        if let Some(old) = change.evicted.filter(|_| !is_stream) {
            self.events.push_back(Event::AddressReleased(old));
        }
        Some(key)
    }

    fn check_stun(&self, origin: Origin, data: &[u8]) -> Option<usize> {
        let message = StunMessage::parse(data).ok()?;
        let (ufrag, _) = message.split_username()?;
        let key = self.demux.by_ufrag(ufrag)?;
        let receive = origin.receive(data)?;
        self.peers[key].conn.accepts(self.now, receive).then_some(key)
    }

    /// The own address that a client at `remote` was told: of the same family, the first announced.
    fn local_for(&self, remote: SocketAddr) -> Option<SocketAddr> {
        of_family(&self.config.candidates, remote)
    }

    fn on_timeout(&mut self) {
        while let Some(timer) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Stack(key) => self.touch(key),
                Timer::Connect(key) => self.on_connect_deadline(key),
                Timer::Tick => self.tick(),
                Timer::Keyframes => self.repeat_keyframe_requests(),
            }
        }
    }

    fn on_connect_deadline(&mut self, key: usize) {
        let Some(peer) = self.peers.get(key) else { return };
        let alive = peer.last_packet.is_some_and(|at| self.now.saturating_duration_since(at) < RECENT_MEDIA);
        if alive && peer.conn.connected {
            self.timers.set(Timer::Connect(key), self.now + SILENCE_TIMEOUT);
        } else {
            self.close_peer(key, CloseReason::Timeout);
        }
    }

    /// Puts a participant on the list of those to run and drain at the end of the batch.
    fn touch(&mut self, key: usize) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if !std::mem::replace(&mut peer.conn.touched, true) {
            self.touched.push(key);
        }
    }

    /// Runs and drains one of the participants touched: all that was written to it goes out at once. One after another,
    /// so that the buffers of what one gets are used again for the next.
    fn settle(&mut self) {
        let Some(key) = self.touched.pop() else { return };
        for (turn, key) in Turn::AHEAD.into_iter().zip(self.touched.iter().rev()) {
            ahead::expect(&self.peers, turn, *key);
        }
        // Some have been run since, with what a batch had for them.
        if self.peers.get(key).is_some_and(|peer| peer.conn.touched) {
            self.run(key);
        }
    }

    /// Moves the clock of a participant's stack, and drains it.
    fn run(&mut self, key: usize) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.conn.touched = false;
        self.current = Some(key);
        match peer.conn.timeout(now) {
            Ok(()) => self.drain(key),
            Err(reason) => self.close_peer(key, reason),
        }
    }

    fn drain(&mut self, key: usize) {
        let mut happenings = std::mem::take(&mut self.happenings);
        let before = self.transmits.len();
        let wake = self.peers[key].conn.drain(self.now, &mut happenings, &mut self.transmits);
        let moved = self.note_way(key, before);
        if let Some(at) = wake {
            self.timers.set(Timer::Stack(key), at.max(self.now));
        }
        for happening in happenings.drain(..) {
            if !self.peers.contains(key) {
                break;
            }
            self.on_happening(key, happening);
        }
        happenings.clear();
        self.happenings = happenings;
        if moved {
            self.on_new_way(key);
        }
    }

    fn on_happening(&mut self, key: usize, happening: Happening) {
        match happening {
            Happening::Rtp { mid, rid, packet } => self.on_rtp(key, mid, rid, &packet),
            Happening::Estimate(estimate) => self.on_estimate(key, estimate),
            Happening::KeyframeWanted(mid) => self.on_keyframe_wanted(key, mid),
            Happening::IceConnected => {
                if self.peers[key].conn.connected {
                    self.timers.clear(Timer::Connect(key));
                }
                if !std::mem::replace(&mut self.peers[key].conn.ice_connected, true) {
                    self.tell_milestone(key, Milestone::IceConnected);
                }
            }
            Happening::IceDisconnected => self.timers.set(Timer::Connect(key), self.now + SILENCE_TIMEOUT),
            Happening::DtlsConnected => {
                self.timers.clear(Timer::Connect(key));
                self.peers[key].connected_at = Some(self.now);
                self.tell_milestone(key, Milestone::DtlsConnected);
                self.on_connected(key);
            }
            Happening::Ended(reason) => self.close_peer(key, reason),
        }
    }

    fn tell_milestone(&mut self, key: usize, milestone: Milestone) {
        self.tell(key, Notice::Milestone(milestone));
    }
}
