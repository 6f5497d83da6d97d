//! Shards and their clients on a virtual clock of milliseconds, made for speed: thousands of viewers in one process.
//!
//! The clients are whole str0m peers: they decrypt, acknowledge by transport-wide feedback, report and ask again. What the
//! shard does is measured apart from what they do, in processor time and in bytes allocated.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{ExtensionValues, RtpWrite};
use str0m::{Candidate, Event as RtcEvent, Input as RtcInput, Output as RtcOutput, Rtc, RtcConfig};
use weir_core::api::*;
use weir_core::relay::{LinkId, RelayMessage};
use weir_core::shard::{Input, Output, Shard, ShardConfig, new_certificate, recycle};
use weir_core::stats::Stats;

use super::memory;

const STEP: Duration = Duration::from_millis(1);
/// Milliseconds from a client to the shard: the shortest, and over how many the clients are spread.
const NEAR: u64 = 5;
const SPREAD: u64 = 20;
const WHEEL: usize = 64;
/// So many bytes displace a cache of 2 MiB, and the addresses of 1,536 pages: what processors of servers have for each core.
const DISPLACING: usize = 8 << 20;
/// Bytes of payload in a media packet.
const PAYLOAD: usize = 1200;

/// Somebody who takes part.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    pub role: Role,
    pub sends: bool,
    /// Receive lines: audio, video.
    pub slots: (usize, usize),
}

pub const PUBLISHER: Part = Part { role: Role::Publisher, sends: true, slots: (0, 0) };
pub const VIEWER: Part = Part { role: Role::Viewer, sends: false, slots: (0, 1) };
/// As browsers join a meeting, all sending video.
pub const MEMBER: Part = Part { role: Role::Member, sends: true, slots: (3, 9) };

/// What a publisher sends.
#[derive(Debug, Clone, Copy)]
pub struct Video {
    pub codec: Codec,
    /// Milliseconds from frame to frame.
    pub every: u64,
    /// Packets of a frame.
    pub packets: usize,
}

/// What arrives in which millisecond, and from whom.
type Wheel = Vec<Vec<(usize, Vec<u8>)>>;

struct Client {
    rtc: Rtc,
    shard: usize,
    addr: SocketAddr,
    deadline: Instant,
    video: Option<(Mid, Pt)>,
    sequence: u64,
    frame: u64,
    keyframe_wanted: bool,
    received: u64,
}

/// What the shards did between two looks.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Of the processor, on the shard that took the most: they run at the same time.
    pub time: Duration,
    pub forwarded: u64,
    pub datagrams_in: u64,
    pub allocations: u64,
}

impl Work {
    pub fn nanoseconds(&self) -> f64 {
        self.time.as_nanos() as f64 / self.forwarded.max(1) as f64
    }
}

pub struct World {
    start: Instant,
    now: Instant,
    shards: Vec<Shard>,
    /// The shard of those who join from now on. All rooms have their home on the first.
    pub place: usize,
    clients: Vec<Client>,
    video: Video,
    feedback: bool,
    /// On the way to each shard, by millisecond.
    wheels: Vec<Wheel>,
    /// On the way to each shard from another one.
    relays: Vec<Vec<(LinkId, RelayMessage)>>,
    step: u64,
    server: SocketAddr,
    request: u64,
    /// What the shard gave out and its clients have not taken yet.
    sent: Sent,
    /// Of each shard.
    stopwatches: Vec<Stopwatch>,
    /// Walked through before each turn, if there is any.
    displacing: Vec<u8>,
}

/// Datagrams on their way to clients, one after another.
#[derive(Default)]
struct Sent {
    bytes: Vec<u8>,
    runs: Vec<(SocketAddr, Vec<usize>)>,
    replies: Vec<Reply>,
    relays: Vec<(LinkId, RelayMessage)>,
}

/// The processor time of this thread while the shard works. It stands still in a profiler, which cannot read that clock.
struct Stopwatch {
    works: bool,
    since: Duration,
    total: Duration,
}

impl Stopwatch {
    fn read(&self) -> Duration {
        if !self.works {
            return Duration::ZERO;
        }
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    }

    fn start(&mut self) {
        self.since = self.read();
    }

    fn stop(&mut self) {
        self.total += self.read() - self.since;
    }
}

impl World {
    /// `feedback`: the clients negotiate transport-wide feedback, so that the bandwidth is estimated.
    pub fn new(video: Video, feedback: bool, timed: bool, shards: u8) -> Self {
        let now = Instant::now();
        let server = SocketAddr::from(([10, 0, 0, 1], 3478));
        let cert = new_certificate();
        let config = |number| ShardConfig {
            number,
            cert: cert.clone(),
            candidates: vec![server],
            tcp_candidates: Vec::new(),
            loudest: 3,
            max_bitrate: 8_000_000,
        };
        Self {
            start: now,
            now,
            shards: (0..shards).map(|number| Shard::new(config(number), 7 + u64::from(number), now)).collect(),
            place: 0,
            clients: Vec::new(),
            video,
            feedback,
            wheels: vec![vec![Vec::new(); WHEEL]; usize::from(shards)],
            relays: (0..shards).map(|_| Vec::new()).collect(),
            step: 0,
            server,
            request: 0,
            sent: Sent::default(),
            stopwatches: (0..shards)
                .map(|_| Stopwatch { works: timed, since: Duration::ZERO, total: Duration::ZERO })
                .collect(),
            displacing: Vec::new(),
        }
    }

    /// Has each turn from now on find the processor's caches full of something else, and its table of pages too: as a
    /// worker does that has slept, on a machine that others use as well.
    pub fn make_cold(&mut self) {
        self.displacing = vec![1; DISPLACING];
    }

    #[inline(never)]
    fn displace(displacing: &[u8]) {
        let sum = displacing.iter().step_by(64).fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
        std::hint::black_box(sum);
    }

    /// Somebody joins and negotiates; run until all are connected afterwards.
    pub fn add(&mut self, room: &str, part: Part) {
        let index = self.clients.len();
        let id = ParticipantId(index as u64 + 1);
        let [.., high, low] = (index as u32 / 60_000).to_be_bytes();
        let addr = SocketAddr::from(([10, 1, high, low], 2000 + (index % 60_000) as u16));
        let joins = join(id, room, part.role);
        let joins = if self.place == 0 { Command::Join(joins) } else { Command::JoinFrom(joins, LinkId(0)) };
        let reply = self.command(self.place, joins);
        assert!(matches!(reply, Some(Reply::Join(Ok(_)))), "{reply:?}");
        let mut rtc = RtcConfig::new().set_rtp_mode(true).clear_codecs().enable_opus(true, true);
        rtc = match self.video.codec {
            Codec::Vp8 => rtc.enable_vp8(true),
            Codec::Vp9 => rtc.enable_vp9(true),
            _ => rtc.enable_h264(true),
        };
        let mut rtc = rtc.build(self.now);
        rtc.add_local_candidate(Candidate::host(addr, Protocol::Udp).expect("an address"));
        let (offer, pending, video) = offer(&mut rtc, part);
        let offer = if self.feedback { offer } else { without_feedback(&offer) };
        let reply = self.command(self.place, Command::Offer(id, Box::new(Offer { sdp: offer, tracks: Vec::new() })));
        let Some(Reply::Offer(Ok(answer))) = reply else { panic!("no answer: {reply:?}") };
        let answer = SdpAnswer::from_sdp_string(&answer.sdp).expect("a readable answer");
        rtc.sdp_api().accept_answer(pending, answer).expect("an acceptable answer");
        let video = video.map(|mid| (mid, payload_type(&rtc, mid, self.video.codec)));
        let deadline = self.now;
        self.clients.push(Client {
            rtc,
            shard: self.place,
            addr,
            deadline,
            video,
            sequence: 100,
            frame: 0,
            keyframe_wanted: true,
            received: 0,
        });
    }

    pub fn connect(&mut self) {
        for _ in 0..20_000 {
            if self.clients.iter().all(|c| c.rtc.is_connected()) {
                return;
            }
            self.advance(false);
        }
        panic!("not all have connected");
    }

    pub fn command(&mut self, shard: usize, command: Command) -> Option<Reply> {
        self.request += 1;
        let input = Input::Command { request: self.request, command };
        memory::counted(|| {
            self.shards[shard].handle(self.now, input);
            give_out(&mut self.shards[shard], &mut self.sent, &mut self.stopwatches[shard]);
        });
        self.hand_out(shard);
        while self.relays.iter().any(|messages| !messages.is_empty()) {
            (0..self.shards.len()).for_each(|shard| self.turn(shard));
        }
        self.sent.replies.pop()
    }

    pub fn stats(&mut self) -> Vec<Stats> {
        let shards = self.shards.len();
        let stats = |shard| match self.command(shard, Command::Stats) {
            Some(Reply::Stats(stats)) => *stats,
            other => panic!("{other:?}"),
        };
        (0..shards).map(stats).collect()
    }

    /// Lets the publishers send, and says what the shards did for it.
    pub fn send(&mut self, milliseconds: u64) -> Work {
        let sums = |all: Vec<Stats>| {
            let sum = |read: fn(&Stats) -> u64| all.iter().map(read).sum::<u64>();
            (sum(|s| s.rtp_forwarded), sum(|s| s.datagrams_in))
        };
        let before = sums(self.stats());
        let allocations = memory::allocations();
        self.stopwatches.iter_mut().for_each(|stopwatch| stopwatch.total = Duration::ZERO);
        for _ in 0..milliseconds {
            self.advance(true);
        }
        let time = self.stopwatches.iter().map(|stopwatch| stopwatch.total).max().unwrap_or_default();
        let allocations = memory::allocations() - allocations;
        let after = sums(self.stats());
        Work { time, forwarded: after.0 - before.0, datagrams_in: after.1 - before.1, allocations }
    }

    /// What the receivers of a room are given and why, and the range of what their links are believed to carry: a line
    /// each, with how many of them.
    pub fn describe(&mut self, room: &str) -> Vec<String> {
        let mut groups: BTreeMap<String, (usize, u64, u64)> = BTreeMap::new();
        for index in 0..self.clients.len() {
            let (id, shard) = (ParticipantId(index as u64 + 1), self.clients[index].shard);
            let estimate = self.shards[shard].estimate(id).unwrap_or(0);
            let reply = self.command(shard, Command::Subscriptions(Arc::from(room), id));
            let Some(Reply::Subscriptions(Some(all))) = reply else { continue };
            for one in all {
                let what = format!("{:?} of {:?}, {:?}", one.current, one.target, one.reason);
                let group = groups.entry(what).or_insert((0, u64::MAX, 0));
                *group = (group.0 + 1, group.1.min(estimate), group.2.max(estimate));
            }
        }
        let line =
            |(what, (count, low, high)): (String, _)| format!("{count} get {what}; {low} to {high} bits a second");
        groups.into_iter().map(line).collect()
    }

    /// Media packets that clients have received so far.
    pub fn received(&self) -> u64 {
        self.clients.iter().map(|c| c.received).sum()
    }

    fn advance(&mut self, sending: bool) {
        self.step += 1;
        self.now = self.start + STEP * self.step as u32;
        if sending {
            self.send_frames();
        }
        (0..self.shards.len()).for_each(|shard| self.turn(shard));
        for index in 0..self.clients.len() {
            if self.clients[index].deadline <= self.now {
                self.drive(index);
            }
        }
    }

    /// One turn of the worker of a shard.
    fn turn(&mut self, shard: usize) {
        let arrived = std::mem::take(&mut self.wheels[shard][self.step as usize % WHEEL]);
        let relays = std::mem::take(&mut self.relays[shard]);
        let due = self.shards[shard].poll_timeout().is_some_and(|(at, _)| at <= self.now);
        if due || !arrived.is_empty() || !relays.is_empty() {
            let turn = Turn { now: self.now, due, arrived: &arrived, clients: &self.clients };
            let stopwatch = &mut self.stopwatches[shard];
            Self::displace(&self.displacing);
            stopwatch.start();
            memory::counted(|| work(&mut self.shards[shard], &turn, relays, &mut self.sent, stopwatch));
            stopwatch.stop();
            self.hand_out(shard);
        }
    }

    /// A frame of every publisher whose turn it is; publishers are spread over the time of a frame.
    fn send_frames(&mut self) {
        let every = self.video.every;
        for index in 0..self.clients.len() {
            if self.clients[index].video.is_some() && (self.step + index as u64 * 7).is_multiple_of(every) {
                self.send_frame(index);
            }
        }
    }

    fn send_frame(&mut self, index: usize) {
        let Video { codec, packets, every } = self.video;
        let client = &mut self.clients[index];
        let Some((mid, pt)) = client.video else { return };
        let keyframe = std::mem::take(&mut client.keyframe_wanted);
        let time = (client.frame * every * 90) as u32;
        for packet in 0..packets {
            let mut payload = super::payload::payload(codec, client.frame, packet, packets, keyframe);
            payload.resize(PAYLOAD, 0x55);
            let mut api = client.rtc.direct_api();
            let stream = api.stream_tx_by_mid(mid, None).expect("a sending line");
            let ext = ExtensionValues { mid: Some(mid), ..ExtensionValues::default() };
            let write = RtpWrite::new(pt, client.sequence.into(), time, self.now, payload);
            stream.write_rtp(write.marker(packet + 1 == packets).ext_vals(ext).nackable(true));
            client.sequence += 1;
        }
        client.frame += 1;
        self.drive(index);
    }

    fn drive(&mut self, index: usize) {
        self.clients[index].rtc.handle_input(RtcInput::Timeout(self.now)).expect("the client's clock");
        self.drain(index);
    }

    fn drain(&mut self, index: usize) {
        let client = &mut self.clients[index];
        loop {
            match client.rtc.poll_output().expect("the client's output") {
                RtcOutput::Timeout(at) => {
                    client.deadline = at.max(self.now + Duration::from_micros(1));
                    return;
                }
                RtcOutput::Transmit(t) => {
                    let delay = if client.video.is_some() { 1 } else { NEAR + index as u64 % SPREAD };
                    let wheel = &mut self.wheels[client.shard];
                    wheel[(self.step + delay) as usize % WHEEL].push((index, t.contents.to_vec()));
                    recycle(t);
                }
                RtcOutput::Event(RtcEvent::RtpPacket(_)) => client.received += 1,
                RtcOutput::Event(RtcEvent::KeyframeRequest(_)) => client.keyframe_wanted = true,
                RtcOutput::Event(_) => {}
            }
        }
    }

    /// Gives the clients, and the other shards, what a shard gave out.
    fn hand_out(&mut self, shard: usize) {
        let mut sent = std::mem::take(&mut self.sent);
        for (to, message) in sent.relays.drain(..) {
            self.relays[usize::from(to.0)].push((LinkId(shard as u8), message));
        }
        let mut rest = sent.bytes.as_slice();
        for (to, lengths) in sent.runs.drain(..) {
            let SocketAddr::V4(to) = to else { panic!("an IPv4 address") };
            let [_, _, high, low] = to.ip().octets();
            let index = usize::from(u16::from_be_bytes([high, low])) * 60_000 + usize::from(to.port()) - 2000;
            for length in lengths {
                let (data, after) = rest.split_at(length);
                rest = after;
                let client = &mut self.clients[index];
                let Ok(receive) = Receive::new(Protocol::Udp, self.server, client.addr, data) else { continue };
                client.rtc.handle_input(RtcInput::Receive(self.now, receive)).expect("the client's input");
                self.drain(index);
            }
        }
        sent.bytes.clear();
        self.sent = sent;
    }
}

/// What a shard has to do at one moment.
struct Turn<'a> {
    now: Instant,
    /// Its timers are due.
    due: bool,
    arrived: &'a [(usize, Vec<u8>)],
    clients: &'a [Client],
}

/// What is measured: one turn of a worker without its socket. Kept by itself so that a profiler can be told to count
/// here only.
#[inline(never)]
fn work(
    shard: &mut Shard,
    turn: &Turn<'_>,
    relays: Vec<(LinkId, RelayMessage)>,
    sent: &mut Sent,
    stopwatch: &mut Stopwatch,
) {
    if turn.due {
        shard.handle(turn.now, Input::Timeout);
    }
    for (index, (client, data)) in turn.arrived.iter().enumerate() {
        shard.expect(turn.arrived[index + 1..].iter().map(|(client, _)| turn.clients[*client].addr));
        let remote = turn.clients[*client].addr;
        shard.handle(turn.now, Input::Datagram { remote, data, arrived: turn.now });
    }
    for (from, message) in relays {
        shard.handle(turn.now, Input::Relay { from, message });
    }
    give_out(shard, sent, stopwatch);
}

/// Takes the outputs as a worker does, which copies the datagrams of one receiver into one run and sends that.
fn give_out(shard: &mut Shard, sent: &mut Sent, stopwatch: &mut Stopwatch) {
    let mut run = RUN.take();
    let (mut to, mut lengths) = (None, Vec::new());
    while let Some(output) = shard.poll_output() {
        match output {
            Output::Transmit(t) => {
                if to.is_some_and(|to| to != t.destination) || lengths.len() == 64 {
                    send_run(sent, to, &run, std::mem::take(&mut lengths), stopwatch);
                    run.clear();
                }
                to = Some(t.destination);
                run.extend_from_slice(&t.contents);
                lengths.push(t.contents.len());
                recycle(t);
            }
            Output::Event(Event::Reply { reply, .. }) => sent.replies.push(reply),
            Output::Event(_) => {}
            Output::Relay { to, message } => sent.relays.push((to, message)),
        }
    }
    send_run(sent, to, &run, lengths, stopwatch);
    run.clear();
    RUN.set(run);
}

thread_local! {
    static RUN: std::cell::Cell<Vec<u8>> = const { std::cell::Cell::new(Vec::new()) };
}

/// Stands for the call into the kernel, and is not measured.
#[inline(never)]
fn send_run(sent: &mut Sent, to: Option<SocketAddr>, run: &[u8], lengths: Vec<usize>, stopwatch: &mut Stopwatch) {
    let Some(to) = to else { return };
    stopwatch.stop();
    memory::uncounted(|| {
        sent.bytes.extend_from_slice(run);
        sent.runs.push((to, lengths.clone()));
    });
    drop(lengths);
    stopwatch.start();
}

fn join(participant: ParticipantId, room: &str, role: Role) -> Box<Join> {
    Box::new(Join {
        participant,
        room: Arc::from(room),
        create: role != Role::Viewer,
        name: String::new(),
        identity: String::new(),
        role,
        watch: Watch::default(),
        can_publish: true,
        can_subscribe: true,
        metadata: String::new(),
        max_participants: usize::MAX,
        max_publishers: usize::MAX,
    })
}

fn offer(rtc: &mut Rtc, part: Part) -> (String, SdpPendingOffer, Option<Mid>) {
    let mut api = rtc.sdp_api();
    let video = part.sends.then(|| api.add_media(MediaKind::Video, Direction::SendOnly, None, None, None));
    for _ in 0..part.slots.0 {
        api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
    }
    for _ in 0..part.slots.1 {
        api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
    }
    let (offer, pending) = api.apply().expect("lines were added");
    (offer.to_sdp_string(), pending, video)
}

fn without_feedback(sdp: &str) -> String {
    let told = |line: &&str| line.contains("transport-cc") || line.contains("transport-wide-cc");
    sdp.lines().filter(|line| !told(line)).map(|line| format!("{line}\r\n")).collect()
}

fn payload_type(rtc: &Rtc, mid: Mid, codec: Codec) -> Pt {
    let known = rtc.media(mid).expect("the line").remote_pts();
    let of_codec = |pt: &&Pt| rtc.codec_config().params().iter().any(|p| p.pt() == **pt && p.spec().codec == codec);
    *known.iter().find(of_codec).expect("the codec is negotiated")
}
