//! A WebRTC client in a thread of its own: sends marked media, and judges what it receives as a decoder would.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid, Pt, Rid, Simulcast, SimulcastLayer};
use str0m::net::{DatagramRecv, Protocol, Receive};
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};

use crate::media::vp8_frame;
use crate::peer::picture::Pictures;

mod picture;

const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
const VIDEO_INTERVAL: Duration = Duration::from_millis(33);
const VIDEO_PACKET_LEN: usize = 1000;
/// A viewer that sees no whole picture for this long asks for a key frame, as browsers do.
const PLI_AFTER: Duration = Duration::from_millis(200);
/// The longest sleep of the loop: how late it notices that it shall stop.
const TURN: Duration = Duration::from_millis(20);

/// What a line of the offer is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its `a=mid`.
    pub mid: String,
    /// Video, else audio.
    pub video: bool,
    /// It sends, else it receives.
    pub sending: bool,
}

/// A client before it has offered.
pub struct PeerBuilder {
    plan: Vec<(MediaKind, Direction, Vec<String>)>,
}

impl Default for PeerBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl PeerBuilder {
    /// A client without media lines.
    pub fn new() -> Self {
        Self { plan: Vec::new() }
    }

    /// A client that publishes one Opus and one VP8 track.
    pub fn publisher() -> Self {
        Self::new().send_audio().send_video(&[])
    }

    /// A client that plays one audio and one video track.
    pub fn viewer() -> Self {
        Self::new().receive(1, 1)
    }

    /// Adds an Opus line.
    #[must_use]
    pub fn send_audio(mut self) -> Self {
        self.plan.push((MediaKind::Audio, Direction::SendOnly, Vec::new()));
        self
    }

    /// Adds a VP8 line; with RIDs, smallest layer first, a simulcast one.
    #[must_use]
    pub fn send_video(mut self, rids: &[&str]) -> Self {
        let rids = rids.iter().map(ToString::to_string).collect();
        self.plan.push((MediaKind::Video, Direction::SendOnly, rids));
        self
    }

    /// Adds receiving lines.
    #[must_use]
    pub fn receive(mut self, audio: usize, video: usize) -> Self {
        let lines = |kind, n| std::iter::repeat_n((kind, Direction::RecvOnly, Vec::new()), n);
        self.plan.extend(lines(MediaKind::Audio, audio));
        self.plan.extend(lines(MediaKind::Video, video));
        self
    }

    /// Binds a socket on loopback and makes the offer.
    ///
    /// # Panics
    /// When the machine has no free port, or no line was added.
    pub fn offer(self) -> Offered {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free UDP port");
        let addr = socket.local_addr().expect("a bound socket");
        let mut rtc = RtcConfig::new()
            .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .set_rtp_mode(true)
            .build(Instant::now());
        rtc.add_local_candidate(Candidate::host(addr, "udp").expect("a host candidate"));
        let mut api = rtc.sdp_api();
        let mut lines = Vec::new();
        let mut senders = Vec::new();
        for (kind, direction, rids) in self.plan {
            let mid = api.add_media(kind, direction, None, None, simulcast(&rids));
            let sending = direction == Direction::SendOnly;
            lines.push(Line { mid: mid.to_string(), video: kind.is_video(), sending });
            if sending {
                senders.push(Sender::new(mid, kind, &rids));
            }
        }
        let (offer, pending) = api.apply().expect("a client with at least one line");
        let sdp = offer.to_sdp_string();
        Offered { sdp, lines, senders, rtc, socket, pending }
    }
}

fn simulcast(rids: &[String]) -> Option<Simulcast> {
    let layers = || rids.iter().map(|rid| SimulcastLayer::new(rid)).collect();
    (!rids.is_empty()).then(|| Simulcast { send: layers(), recv: Vec::new() })
}

/// A client that waits for its answer.
pub struct Offered {
    /// The offer.
    pub sdp: String,
    /// Its lines, in order.
    pub lines: Vec<Line>,
    senders: Vec<Sender>,
    rtc: Rtc,
    socket: UdpSocket,
    pending: SdpPendingOffer,
}

impl Offered {
    /// Takes the answer and starts the client.
    ///
    /// # Panics
    /// When the answer is not one to the offer.
    pub fn answered(mut self, answer: &str) -> Peer {
        let parsed = SdpAnswer::from_sdp_string(answer).unwrap_or_else(|e| panic!("{e}: {answer}"));
        let applied = self.rtc.sdp_api().accept_answer(self.pending, parsed);
        applied.unwrap_or_else(|e| panic!("the answer does not fit the offer: {e}: {answer}"));
        let local = self.socket.local_addr().expect("a bound socket");
        let shared = Arc::new(Mutex::new(Shared::default()));
        let client = Client {
            rtc: self.rtc,
            socket: self.socket,
            local,
            senders: self.senders,
            pictures: BTreeMap::new(),
            shared: Arc::clone(&shared),
            random: SmallRng::seed_from_u64(u64::from(local.port())),
        };
        let thread = std::thread::spawn(move || client.run());
        Peer { shared, local, lines: self.lines, thread: Some(thread) }
    }
}

/// What a client has seen so far.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// When ICE was connected.
    pub ice_connected: Option<Instant>,
    /// When DTLS was done.
    pub connected: Option<Instant>,
    /// The other side has closed the connection, or it failed.
    pub closed: bool,
    /// Key frames asked of this client.
    pub keyframe_requests: u64,
    /// RTP packets sent.
    pub sent: u64,
    /// By `a=mid`.
    pub received: BTreeMap<String, Received>,
}

impl Report {
    /// RTP packets received on all lines.
    pub fn packets(&self) -> u64 {
        self.received.values().map(|r| r.packets).sum()
    }

    /// Whole pictures on all lines.
    pub fn pictures(&self) -> u64 {
        self.received.values().map(|r| r.pictures).sum()
    }

    /// RTP packets on lines that carried no picture.
    pub fn audio_packets(&self) -> u64 {
        self.received.values().filter(|r| !r.video).map(|r| r.packets).sum()
    }
}

/// What came on one line.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// Video, else audio.
    pub video: bool,
    /// RTP packets.
    pub packets: u64,
    /// Pictures that a decoder could have shown: whole, and a key frame or built on the picture before.
    pub pictures: u64,
    /// When the first such picture was whole.
    pub first_picture: Option<Instant>,
    /// When the last such picture was whole.
    pub last_picture: Option<Instant>,
    /// The number and layer of the last such picture, as its sender marked it.
    pub last_mark: Option<(u64, u8)>,
    /// Steps of the picture id other than one, from one picture shown to the next.
    pub picture_id_jumps: u64,
}

#[derive(Default)]
struct Shared {
    report: Report,
    stop: bool,
    /// Of outgoing datagrams, 0 to 1.
    drop_outgoing: f64,
}

/// A running client. Dropping it stops it without a word to the other side.
pub struct Peer {
    shared: Arc<Mutex<Shared>>,
    local: SocketAddr,
    lines: Vec<Line>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// What it has seen so far.
    pub fn report(&self) -> Report {
        lock(&self.shared).report.clone()
    }

    /// The address that it sends from.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The lines of its offer.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Drops this share (0 to 1) of what it sends from now on.
    pub fn drop_outgoing(&self, share: f64) {
        lock(&self.shared).drop_outgoing = share;
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        lock(&self.shared).stop = true;
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            assert!(outcome.is_ok() || std::thread::panicking(), "the client's thread panicked");
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One sending line.
struct Sender {
    mid: Mid,
    kind: MediaKind,
    layers: Vec<Layer>,
    next_due: Option<Instant>,
    frames: u64,
}

struct Layer {
    rid: Option<Rid>,
    next_seq: u64,
    key_wanted: bool,
}

impl Sender {
    fn new(mid: Mid, kind: MediaKind, rids: &[String]) -> Self {
        let layer = |rid| Layer { rid, next_seq: 1000, key_wanted: true };
        let layers = if rids.is_empty() {
            vec![layer(None)]
        } else {
            rids.iter().map(|rid| layer(Some(Rid::from(rid.as_str())))).collect()
        };
        Self { mid, kind, layers, next_due: None, frames: 0 }
    }

    fn interval(&self) -> Duration {
        if self.kind.is_video() { VIDEO_INTERVAL } else { AUDIO_INTERVAL }
    }
}

struct Client {
    rtc: Rtc,
    socket: UdpSocket,
    local: SocketAddr,
    senders: Vec<Sender>,
    pictures: BTreeMap<Mid, Pictures>,
    shared: Arc<Mutex<Shared>>,
    random: SmallRng,
}

impl Client {
    fn run(mut self) {
        let mut buffer = vec![0; 2048];
        while !lock(&self.shared).stop {
            let now = Instant::now();
            let wake = self.send_due(now);
            self.ask_for_pictures(now);
            let alive = self.rtc.handle_input(Input::Timeout(now)).is_ok();
            let Some(deadline) = self.drain().filter(|_| alive) else {
                lock(&self.shared).report.closed = true;
                return;
            };
            let until = wake.map_or(deadline, |w| w.min(deadline));
            self.receive(&mut buffer, until.saturating_duration_since(Instant::now()));
        }
    }

    /// Waits for one datagram and hands it in.
    fn receive(&mut self, buffer: &mut [u8], wait: Duration) {
        let wait = wait.clamp(Duration::from_millis(1), TURN);
        self.socket.set_read_timeout(Some(wait)).expect("a read timeout above zero");
        let Ok((len, source)) = self.socket.recv_from(buffer) else { return };
        let Ok(contents) = DatagramRecv::try_from(&buffer[..len]) else { return };
        let receive = Receive { proto: Protocol::Udp, source, destination: self.local, contents };
        // An error here ends the connection; the next turn sees it.
        let _ = self.rtc.handle_input(Input::Receive(Instant::now(), receive));
    }

    /// All outputs up to the next timeout; none when the connection is dead.
    fn drain(&mut self) -> Option<Instant> {
        loop {
            match self.rtc.poll_output().ok()? {
                Output::Timeout(at) => return self.rtc.is_alive().then_some(at),
                Output::Transmit(datagram) => {
                    let share = lock(&self.shared).drop_outgoing;
                    if share == 0.0 || !self.random.random_bool(share) {
                        // The server may be gone already: what tests then look at is the report.
                        let _ = self.socket.send_to(&datagram.contents, datagram.destination);
                    }
                }
                Output::Event(event) => self.on_event(event),
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::IceConnectionStateChange(IceConnectionState::Connected | IceConnectionState::Completed) => {
                lock(&self.shared).report.ice_connected.get_or_insert(now);
            }
            Event::Connected => {
                lock(&self.shared).report.connected.get_or_insert(now);
            }
            Event::Closed => lock(&self.shared).report.closed = true,
            Event::KeyframeRequest(request) => {
                lock(&self.shared).report.keyframe_requests += 1;
                let sender = self.senders.iter_mut().find(|s| s.mid == request.mid);
                let layers = sender.into_iter().flat_map(|s| &mut s.layers);
                layers.filter(|l| l.rid == request.rid).for_each(|l| l.key_wanted = true);
            }
            Event::RtpPacket(packet) => self.on_packet(now, &packet),
            _ => {}
        }
    }

    fn on_packet(&mut self, now: Instant, packet: &RtpPacket) {
        let Some(mid) = self.rtc.direct_api().stream_rx(&packet.header.ssrc).map(|s| s.mid()) else { return };
        let video = self.rtc.media(mid).is_some_and(|m| m.kind().is_video());
        let mut shared = lock(&self.shared);
        let received = shared.report.received.entry(mid.to_string()).or_default();
        received.video = video;
        // Probes of a bandwidth estimator are padding alone.
        if packet.payload.is_empty() {
            return;
        }
        received.packets += 1;
        if video {
            self.pictures.entry(mid).or_default().on_packet(now, packet, received);
        }
    }

    fn ask_for_pictures(&mut self, now: Instant) {
        for (mid, pictures) in &mut self.pictures {
            if pictures.stalled(now, PLI_AFTER) {
                let mut api = self.rtc.direct_api();
                if let Some(stream) = api.stream_rx_by_mid(*mid, None) {
                    stream.request_keyframe(KeyframeRequestKind::Pli);
                }
            }
        }
    }

    /// Writes what is due and says when the next is.
    fn send_due(&mut self, now: Instant) -> Option<Instant> {
        if !self.rtc.is_connected() || lock(&self.shared).report.connected.is_none() {
            return None;
        }
        let mut sent = 0;
        for sender in &mut self.senders {
            let due = *sender.next_due.get_or_insert(now);
            if due > now {
                continue;
            }
            let codec = if sender.kind.is_video() { Codec::Vp8 } else { Codec::Opus };
            // A line that was refused sends nothing.
            let Some(pt) = negotiated(&self.rtc, sender.mid, codec) else { continue };
            sent += write_frame(&mut self.rtc, sender, pt, now);
            sender.frames += 1;
            // After a stall of this machine go on from now: a burst of late frames would look like congestion.
            let next = due + sender.interval();
            sender.next_due = Some(if next < now { now } else { next });
        }
        lock(&self.shared).report.sent += sent;
        self.senders.iter().filter_map(|s| s.next_due).min()
    }
}

fn negotiated(rtc: &Rtc, mid: Mid, codec: Codec) -> Option<Pt> {
    let pts = rtc.media(mid)?.remote_pts();
    let mut params = rtc.codec_config().iter();
    params.find(|p| p.spec().codec == codec && pts.contains(&p.pt())).map(|p| p.pt())
}

/// Writes the next frame in every layer; gives the number of packets.
fn write_frame(rtc: &mut Rtc, sender: &mut Sender, pt: Pt, now: Instant) -> u64 {
    let video = sender.kind.is_video();
    let time = (sender.frames * if video { 2970 } else { 960 }) as u32;
    let mut written = 0;
    for (index, layer) in sender.layers.iter_mut().enumerate() {
        let payloads = if video {
            let key = std::mem::take(&mut layer.key_wanted);
            vp8_frame(sender.frames, key, index as u8, index + 1, VIDEO_PACKET_LEN)
        } else {
            vec![vec![0x78; 60]]
        };
        let mut api = rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(sender.mid, layer.rid) else { continue };
        let last = payloads.len() - 1;
        for (at, payload) in payloads.into_iter().enumerate() {
            let mut write = RtpWrite::new(pt, layer.next_seq.into(), time, now, payload).marker(video && at == last);
            if video {
                write = write.nackable(true);
            } else {
                let level =
                    ExtensionValues { audio_level: Some(-30), voice_activity: Some(true), ..Default::default() };
                write = write.ext_vals(level);
            }
            stream.write_rtp(write);
            layer.next_seq += 1;
            written += 1;
        }
    }
    written
}
