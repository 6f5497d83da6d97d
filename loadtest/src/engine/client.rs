//! One client: a str0m connection, its socket, its emulated link, what it sends and what it gets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::bwe::BweKind;
use str0m::media::{KeyframeRequestKind, Mid, Rid};
use str0m::net::{DatagramRecv, Protocol, Receive};
use str0m::rtp::{RtpPacket, Ssrc};
use str0m::{Event as RtcEvent, IceConnectionState, Input, Output, Rtc};
use tokio::sync::mpsc;

use super::Measure;
use super::sender::{Sender, SenderSetup};
use super::socket::{Buffers, ClientSocket};
use super::stream::{Slot, Stream};
use super::tally::LAYERS;
use crate::clock::system_us;
use crate::link::Path;
use crate::media::{self, Codec};
use crate::scenario::{Kind, LinkPair};

/// The most outputs of one drain of the stack.
const MAX_TURNS: usize = 4096;
/// The most batches from one socket before others get their turn.
const MAX_BATCHES: usize = 4;
/// A receiver that cannot decode asks for a keyframe at most so often, in microseconds.
const ASK_EVERY: u64 = 500_000;
/// How often the books are kept.
const TICK: Duration = Duration::from_secs(1);
/// A connection on which nothing came for so long is lost, in microseconds. Checks alone come every few seconds.
const SILENCE: u64 = 6_000_000;
/// The most streams of one receiver: 49 slots, and room for SSRCs that change.
const MAX_STREAMS: usize = 128;
/// Of so many streams for each worker a real decoder gets a sample.
const SAMPLED: usize = 2;
/// The share of the estimate that is used.
const USED: f64 = 0.9;

/// What a client's session hears of it: at most one of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// ICE and DTLS are through; the tester's clock in microseconds.
    Connected(u64),
    /// The first video frame that can be shown, or without video the first audio packet.
    FirstMedia(u64),
    /// The connection is lost, and why: `ice-disconnected`, `dtls-failed`, `closed-by-server`, `silence`.
    Lost(&'static str),
}

/// What a client is made of.
pub struct Setup {
    /// Its number.
    pub id: usize,
    /// Negotiated, and not yet connected.
    pub rtc: Rtc,
    /// Of [`super::socket::open`].
    pub socket: std::net::UdpSocket,
    /// The address that the other side was told.
    pub local: SocketAddr,
    /// What it sends.
    pub senders: Vec<SenderSetup>,
    /// What it gets video in; none: it gets no video.
    pub video: Option<(Kind, Codec)>,
    /// Its slots, where they are known from the start.
    pub slots: Vec<Slot>,
    /// The emulated link, and a seed.
    pub link: Option<(LinkPair, u64)>,
    /// By layer of a camera, in kilobits per second.
    pub layer_kbps: Vec<u32>,
    /// Where its session hears.
    pub events: mpsc::Sender<Event>,
}

/// What the stack keeps statistics of: a line, a layer, and whether it sends.
type Stats = (Mid, Option<Rid>, bool);

/// Sums of one participant, for its mean rates.
#[derive(Debug, Clone, Copy, Default)]
struct Books {
    since: Option<u64>,
    received: u64,
    wanted_bits: f64,
    wanted_s: f64,
}

/// A connection and all that is measured on it.
pub(super) struct Client {
    pub(super) id: usize,
    pub(super) socket: ClientSocket,
    pub(super) peer: Peer,
    pub(super) links: Option<Box<LinkState>>,
}

/// See [`Client`]: all of it but the socket.
pub(super) struct Peer {
    rtc: Rtc,
    local: SocketAddr,
    senders: Vec<Sender>,
    streams: Vec<Stream>,
    video: Option<(Kind, Codec)>,
    slots: Vec<Slot>,
    layer_kbps: Vec<u32>,
    events: mpsc::Sender<Event>,
    estimate: Option<f64>,
    /// NACK messages counted so far, by stream.
    nacks: Vec<(Stats, u64)>,
    outgoing: Vec<(SocketAddr, Vec<u8>)>,
    wakes: Instant,
    next_tick: Instant,
    heard_at: u64,
    told_media: bool,
    connected: bool,
    pub(super) lost: bool,
    books: Books,
    offset: f64,
}

/// The two directions of an emulated link.
pub(super) struct LinkState {
    up: Path,
    down: Path,
    /// Where the datagrams under way came from: the server's address.
    remote: Option<SocketAddr>,
    dropped: u64,
}

impl Client {
    pub(super) fn new(setup: Setup, now: Instant, now_us: u64) -> std::io::Result<Self> {
        let links = setup.link.map(|(pair, seed)| {
            let (up, down) = (Path::new(pair.up, seed), Path::new(pair.down, seed ^ 0x5bd1_e995));
            Box::new(LinkState { up, down, remote: None, dropped: 0 })
        });
        // Ticks and frames of many clients fall on different times.
        let offset = (setup.id % 97) as f64 / 97.0;
        let peer = Peer {
            rtc: setup.rtc,
            local: setup.local,
            senders: setup.senders.into_iter().map(Sender::new).collect(),
            streams: Vec::new(),
            video: setup.video,
            slots: setup.slots,
            layer_kbps: setup.layer_kbps,
            events: setup.events,
            estimate: None,
            nacks: Vec::new(),
            outgoing: Vec::new(),
            wakes: now,
            next_tick: now + TICK.mul_f64(offset),
            heard_at: now_us,
            told_media: false,
            connected: false,
            lost: false,
            books: Books::default(),
            offset,
        };
        Ok(Self { id: setup.id, socket: ClientSocket::new(setup.socket)?, peer, links })
    }

    /// When it wants to run next.
    pub(super) fn deadline(&self, measure: &Measure) -> Instant {
        let link = self.links.as_ref().and_then(|l| [l.up.next_at(), l.down.next_at()].into_iter().flatten().min());
        let link = link.map(|us| measure.clock.instant(us));
        let sends = self.peer.senders.iter().filter_map(Sender::next_due).chain(link);
        sends.fold(self.peer.wakes.min(self.peer.next_tick), Instant::min)
    }

    /// Reads its socket. True if there may be more.
    pub(super) fn receive(&mut self, buffers: &mut Buffers, measure: &mut Measure) -> bool {
        let Self { socket, peer, links, .. } = self;
        let (mut more, mut longest) = (true, 0);
        for _ in 0..MAX_BATCHES {
            let now = Instant::now();
            let (now_us, system_now) = (measure.clock.us(now), system_us());
            more = socket.receive(buffers, |from, stamped, data| {
                // How long it lay in the kernel's queue is the tester's own delay, and no part of the latency.
                let waited = stamped.map_or(0, |t| system_now.saturating_sub(t)).min(now_us);
                let at = now_us - waited;
                longest = longest.max(waited);
                measure.tally.counters.datagrams_received += 1;
                measure.tally.counters.bytes_received += data.len() as u64;
                match links.as_mut() {
                    Some(links) => {
                        links.remote = Some(from);
                        links.down.offer(at, data);
                    }
                    None => peer.datagram(now, at, from, data, measure),
                }
            });
            if !more {
                break;
            }
        }
        measure.tally.lag.saturating_record(longest.max(1));
        self.run(Instant::now(), measure);
        more
    }

    /// Does all that is due, and sends what came of it.
    pub(super) fn run(&mut self, now: Instant, measure: &mut Measure) {
        let now_us = measure.clock.us(now);
        if let Some(links) = &mut self.links
            && let Some(remote) = links.remote
        {
            while let Some((at, data)) = links.down.take(now_us) {
                self.peer.datagram(now, at, remote, &data, measure);
            }
        }
        self.peer.step(now, now_us, measure);
        self.flush(now_us, measure);
    }

    /// Closes the books, if they are still `counted`, and says goodbye on the wire.
    pub(super) fn leave(&mut self, now: Instant, counted: bool, measure: &mut Measure) {
        let now_us = measure.clock.us(now);
        if counted {
            self.peer.finish(now_us, measure);
        }
        // A connection that cannot say goodbye is gone anyway.
        _ = self.peer.rtc.close();
        self.peer.lost = true;
        self.peer.drain(now, now_us, None, measure);
        self.flush(now_us, measure);
    }

    fn flush(&mut self, now_us: u64, measure: &mut Measure) {
        let Some(links) = &mut self.links else {
            send(&self.socket, &self.peer.outgoing, measure);
            self.peer.outgoing.clear();
            return;
        };
        for (to, data) in self.peer.outgoing.drain(..) {
            links.remote.get_or_insert(to);
            links.up.offer(now_us, &data);
        }
        let Some(remote) = links.remote else { return };
        let arrived: Vec<_> = std::iter::from_fn(|| links.up.take(now_us)).map(|(_, data)| (remote, data)).collect();
        send(&self.socket, &arrived, measure);
        let dropped = links.up.dropped + links.down.dropped;
        measure.tally.counters.link_dropped += dropped - std::mem::replace(&mut links.dropped, dropped);
    }
}

fn send(socket: &ClientSocket, datagrams: &[(SocketAddr, Vec<u8>)], measure: &mut Measure) {
    let counters = &mut measure.tally.counters;
    counters.datagrams_sent += datagrams.len() as u64;
    counters.bytes_sent += datagrams.iter().map(|(_, data)| data.len() as u64).sum::<u64>();
    counters.send_drops += socket.send(&mut measure.run, datagrams.iter().map(|(to, data)| (*to, data.as_slice())));
}

impl Peer {
    /// Hands a datagram to the stack; `at` is when it arrived.
    fn datagram(&mut self, now: Instant, at: u64, source: SocketAddr, data: &[u8], measure: &mut Measure) {
        self.heard_at = at;
        let Ok(contents) = DatagramRecv::try_from(data) else { return };
        let receive = Receive { proto: Protocol::Udp, source, destination: self.local, contents };
        if let Err(error) = self.rtc.handle_input(Input::Receive(now, receive)) {
            self.failed(&error);
        }
        self.drain(now, at, data.get(8..12), measure);
    }

    /// What is due: frames to send, the stack's timers, the books.
    fn step(&mut self, now: Instant, now_us: u64, measure: &mut Measure) {
        let mut wrote = false;
        for sender in &mut self.senders {
            wrote |= sender.send_due(&mut self.rtc, now, now_us, &mut measure.tally.counters);
        }
        if now >= self.next_tick {
            self.tick(now_us, measure);
            self.next_tick = (self.next_tick + TICK).max(now);
        }
        if wrote || now >= self.wakes {
            if let Err(error) = self.rtc.handle_input(Input::Timeout(now)) {
                self.failed(&error);
            }
            self.drain(now, now_us, None, measure);
        }
    }

    fn drain(&mut self, now: Instant, at: u64, wire_ssrc: Option<&[u8]>, measure: &mut Measure) {
        // A stack that gives out events for ever gets its next turn when others had theirs.
        self.wakes = now;
        for _ in 0..MAX_TURNS {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(wakes)) => {
                    self.wakes = if self.rtc.is_alive() { wakes } else { now + TICK };
                    return;
                }
                Ok(Output::Transmit(transmit)) => self.outgoing.push((transmit.destination, transmit.contents.into())),
                Ok(Output::Event(event)) => self.event(event, now, at, wire_ssrc, measure),
                Err(error) => {
                    self.failed(&error);
                    self.wakes = now + TICK;
                    return;
                }
            }
        }
    }

    fn failed(&mut self, error: &str0m::RtcError) {
        match error {
            str0m::RtcError::Dtls(_) if !self.connected => self.lose("dtls-failed"),
            _ if !self.rtc.is_alive() => self.lose("connection-failed"),
            // A bad packet does no harm.
            _ => {}
        }
    }

    fn lose(&mut self, why: &'static str) {
        if !self.lost {
            self.lost = true;
            // The session may be gone already.
            _ = self.events.try_send(Event::Lost(why));
        }
    }

    fn event(&mut self, event: RtcEvent, now: Instant, at: u64, wire_ssrc: Option<&[u8]>, measure: &mut Measure) {
        match event {
            RtcEvent::RtpPacket(packet) => self.packet(&packet, at, wire_ssrc, measure),
            RtcEvent::Connected => {
                self.connected = true;
                self.books.since = Some(at);
                for sender in &mut self.senders {
                    sender.begin(&self.rtc, now, self.offset);
                }
                // The session may be gone already.
                _ = self.events.try_send(Event::Connected(at));
            }
            RtcEvent::KeyframeRequest(request) => {
                measure.tally.counters.plis_received += 1;
                if let Some(sender) = self.senders.iter_mut().find(|s| s.mid == request.mid) {
                    sender.request_keyframe(request.rid);
                }
            }
            RtcEvent::MediaIngressStats(stats) => {
                let new = self.new_nacks((stats.mid, stats.rid, false), stats.nacks);
                measure.tally.counters.nacks_sent += new;
            }
            RtcEvent::MediaEgressStats(stats) => {
                let new = self.new_nacks((stats.mid, stats.rid, true), stats.nacks);
                measure.tally.counters.nacks_received += new;
            }
            RtcEvent::EgressBitrateEstimate(BweKind::Twcc { estimate, .. } | BweKind::Remb { estimate, .. }) => {
                self.estimate = Some(estimate.as_u64() as f64);
            }
            RtcEvent::IceConnectionStateChange(IceConnectionState::Disconnected) if self.connected => {
                self.lose("ice-disconnected");
            }
            RtcEvent::Closed => self.lose("closed-by-server"),
            _ => {}
        }
    }

    /// What a cumulative count has grown by.
    fn new_nacks(&mut self, key: Stats, count: u64) -> u64 {
        match self.nacks.iter_mut().find(|(known, _)| *known == key) {
            Some((_, before)) => count.saturating_sub(std::mem::replace(before, count)),
            None => {
                self.nacks.push((key, count));
                count
            }
        }
    }

    fn packet(&mut self, packet: &RtpPacket, at: u64, wire_ssrc: Option<&[u8]>, measure: &mut Measure) {
        let ssrc = packet.header.ssrc;
        let Some(index) = self.stream(ssrc, measure) else { return };
        let stream = &mut self.streams[index];
        // The stack hands out what was resent (RFC 4588) under the SSRC of the original.
        let resent = wire_ssrc.is_some_and(|wire| wire != ssrc.to_be_bytes());
        self.books.received += packet.payload.len() as u64;
        let shown = stream.packet(packet, at, resent, measure);
        let stream = &mut self.streams[index];
        if shown && !self.told_media && stream.video == self.video.is_some() {
            self.told_media = true;
            // The session may be gone already.
            _ = self.events.try_send(Event::FirstMedia(at));
        }
        if stream.needs_keyframe() {
            self.ask(index, at, measure);
        }
    }

    /// The stream of an SSRC, as an index.
    fn stream(&mut self, ssrc: Ssrc, measure: &mut Measure) -> Option<usize> {
        if let Some(index) = self.streams.iter().position(|s| s.ssrc == ssrc) {
            return Some(index);
        }
        let mid = self.rtc.direct_api().stream_rx(&ssrc)?.mid();
        let video = self.rtc.media(mid)?.kind().is_video();
        if self.streams.len() >= MAX_STREAMS {
            return None;
        }
        let (kind, codec) = self.video.unwrap_or((Kind::Synthetic, Codec::Vp8));
        let sample = video && measure.tally.sampled < SAMPLED;
        measure.tally.sampled += usize::from(sample);
        let checker = media::checker(kind, if video { codec } else { Codec::Opus }, sample);
        self.streams.push(Stream::new(ssrc, mid, video, checker));
        Some(self.streams.len() - 1)
    }

    /// Asks for a keyframe, unless it did so just now.
    fn ask(&mut self, index: usize, at: u64, measure: &mut Measure) {
        let stream = &mut self.streams[index];
        if stream.asked_at.is_some_and(|asked| at.saturating_sub(asked) < ASK_EVERY) {
            return;
        }
        stream.asked_at = Some(at);
        if let Some(rx) = self.rtc.direct_api().stream_rx(&stream.ssrc) {
            rx.request_keyframe(KeyframeRequestKind::Pli);
            measure.tally.counters.plis_sent += 1;
        }
    }

    /// Once a second: layers wanted and received, requests still open, silence.
    fn tick(&mut self, now_us: u64, measure: &mut Measure) {
        if !self.connected || self.lost {
            return;
        }
        if now_us.saturating_sub(self.heard_at) > SILENCE {
            self.lose("silence");
            return;
        }
        for index in 0..self.streams.len() {
            if self.streams[index].needs_keyframe() {
                self.ask(index, now_us, measure);
            }
        }
        if let Some(estimate) = self.estimate {
            measure.tally.estimate_bps.saturating_record(estimate as u64);
            // What is left after the audio; the smallest layer is always sent.
            self.senders.iter_mut().filter(|s| s.is_video()).fold(estimate * USED, |left, sender| sender.fit(left));
        }
        self.count_layers(now_us, measure);
    }

    fn count_layers(&mut self, now_us: u64, measure: &mut Measure) {
        let mut wanted_kbps = 0;
        for slot in &self.slots {
            let Some(layers) = slot.shows else { continue };
            let simulcast = layers > 1;
            let wanted = if simulcast { slot.wanted.min(layers - 1) } else { 0 };
            let received = self.streams.iter().filter(|s| s.mid == slot.mid).find_map(|s| s.layer(now_us));
            let place = |layer: usize| if simulcast { layer } else { LAYERS };
            wanted_kbps +=
                self.layer_kbps.get(if simulcast { wanted } else { self.layer_kbps.len() - 1 }).copied().unwrap_or(0);
            let tally = &mut measure.tally;
            tally.layer_time[place(wanted)].wanted_s += TICK.as_secs_f64();
            tally.counters.wanted_us += 1_000_000;
            if let Some(received) = received {
                tally.layer_time[place(received)].received_s += TICK.as_secs_f64();
                tally.counters.as_wanted_us += if !simulcast || received == wanted { 1_000_000 } else { 0 };
            }
        }
        if wanted_kbps > 0 {
            self.books.wanted_bits += f64::from(wanted_kbps) * 1000.0;
            self.books.wanted_s += 1.0;
        }
    }

    /// How many pictures it shows now.
    pub(super) fn on_screen(&self, now_us: u64) -> u64 {
        self.streams.iter().filter(|s| s.video && s.layer(now_us).is_some()).count() as u64
    }

    /// The server shows other tracks in these slots.
    pub(super) fn assign(&mut self, changed: Vec<(Slot, bool)>, measure: &mut Measure) {
        for (slot, other_track) in changed {
            if other_track {
                self.streams.iter_mut().filter(|s| s.mid == slot.mid).for_each(|s| s.hide(&mut measure.tally));
            }
            match self.slots.iter_mut().find(|known| known.mid == slot.mid) {
                Some(known) => *known = slot,
                None => self.slots.push(slot),
            }
        }
    }

    /// These layers of a line are wanted, and no others.
    pub(super) fn want_layers(&mut self, mid: Mid, rids: &[Rid]) {
        if let Some(sender) = self.senders.iter_mut().find(|s| s.mid == mid) {
            sender.want(rids);
        }
    }

    /// Closes the books: the measurement ends now, or the client leaves.
    pub(super) fn finish(&mut self, now_us: u64, measure: &mut Measure) {
        let end = if self.lost { self.heard_at } else { now_us };
        for stream in &mut self.streams {
            stream.finish(end, &mut measure.tally);
        }
        let books = std::mem::take(&mut self.books);
        let Some(seconds) = books.since.map(|since| end.saturating_sub(since) as f64 / 1e6).filter(|s| *s >= 1.0)
        else {
            return;
        };
        let tally = &mut measure.tally;
        if books.received > 0 {
            tally.received_bps.saturating_record((books.received as f64 * 8.0 / seconds) as u64);
        }
        let sent: u64 = self.senders.iter_mut().map(Sender::finish).sum();
        if sent > 0 {
            tally.sent_bps.saturating_record((sent as f64 * 8.0 / seconds) as u64);
        }
        if books.wanted_s > 0.0 {
            tally.wanted_bps.saturating_record((books.wanted_bits / books.wanted_s) as u64);
        }
    }
}
