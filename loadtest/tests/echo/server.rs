//! A WHIP and WHEP server that is not Weir: forwards each stream to its viewers as told, and keeps count of what it did.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use str0m::change::SdpOffer;
use str0m::media::{KeyframeRequestKind, Mid, Pt};
use str0m::net::{DatagramRecv, Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

/// What the server does to what it sends to viewers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Behaviour {
    /// Everything goes out so much later than it came in.
    pub delay: Duration,
    /// Of so many video packets one is lost on the way; 0: none.
    pub lose_one_in: u64,
    /// From this time of a stream on, for so long, no video is forwarded.
    pub freeze: Option<(Duration, Duration)>,
    /// Without this bearer token nobody comes in.
    pub token: Option<&'static str>,
}

/// What it has done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Truth {
    /// For each video packet, microseconds between its arrival in the kernel and its sending.
    pub held_us: Vec<u64>,
    /// Video packets that were to go out.
    pub sent: u64,
    /// Of those, lost on purpose.
    pub lost: u64,
    /// Video frames that went out, to all viewers.
    pub frames: u64,
    /// The longest time between two video packets that went out to one viewer.
    pub longest_gap: Duration,
    /// Sessions that were ended by DELETE.
    pub deleted: usize,
}

/// A datagram to be sent later.
struct Held {
    due: Instant,
    to: SocketAddr,
    data: Vec<u8>,
    /// When the media in it came in, in microseconds of the system's clock.
    arrived_us: Option<u64>,
}

struct Session {
    rtc: Rtc,
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    stream: String,
    viewer: bool,
    outgoing: VecDeque<Held>,
    video: Option<(Mid, Pt)>,
    audio: Option<(Mid, Pt)>,
    video_ssrc: Option<[u8; 4]>,
    next: [u64; 2],
    /// When the first video went out.
    began: Option<Instant>,
    /// When the freeze began.
    froze: Option<Instant>,
    thawed: Option<Instant>,
    last_sent: Option<Instant>,
}

/// A media packet that came in.
struct Came {
    stream: String,
    video: bool,
    arrived_us: u64,
    packet: RtpPacket,
}

/// A running server. Dropping it ends it without a word to anybody.
pub(crate) struct Echo {
    /// Where it listens.
    pub url: String,
    truth: Arc<Mutex<Truth>>,
    stop: Arc<AtomicBool>,
    media: Option<JoinHandle<()>>,
    _http: tokio::runtime::Runtime,
}

#[derive(Clone)]
struct App {
    behaviour: Behaviour,
    sessions: Sender<Session>,
    truth: Arc<Mutex<Truth>>,
}

impl Echo {
    /// On free ports of loopback.
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let (sessions, incoming) = channel();
        let truth = Arc::new(Mutex::new(Truth::default()));
        let app = App { behaviour, sessions, truth: Arc::clone(&truth) };
        let http = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = http.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/ingest/{stream}/go", post(whip))
            .route("/play/{stream}", post(whep))
            .route("/gone", delete(gone))
            .with_state(app);
        http.spawn(async move { axum::serve(listener, routes).await });
        let stop = Arc::new(AtomicBool::new(false));
        let media = std::thread::spawn({
            let (truth, stop) = (Arc::clone(&truth), Arc::clone(&stop));
            move || Media { behaviour, sessions: Vec::new(), truth }.run(&incoming, &stop)
        });
        Self { url, truth, stop, media: Some(media), _http: http }
    }

    /// What it has done so far.
    pub(crate) fn truth(&self) -> Truth {
        self.truth.lock().unwrap().clone()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.media.take().unwrap().join().unwrap();
    }
}

async fn whip(State(app): State<App>, Path(stream): Path<String>, headers: HeaderMap, body: String) -> Response {
    answer(&app, stream, false, &headers, &body)
}

async fn whep(State(app): State<App>, Path(stream): Path<String>, headers: HeaderMap, body: String) -> Response {
    answer(&app, stream, true, &headers, &body)
}

async fn gone(State(app): State<App>) -> StatusCode {
    app.truth.lock().unwrap().deleted += 1;
    StatusCode::OK
}

fn answer(app: &App, stream: String, viewer: bool, headers: &HeaderMap, body: &str) -> Response {
    let shown = headers.get("authorization").and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    if app.behaviour.token.is_some() && shown != app.behaviour.token {
        return (StatusCode::UNAUTHORIZED, "who are you?").into_response();
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let local = socket.local_addr().unwrap();
    let mut rtc = RtcConfig::new().set_rtp_mode(true).set_ice_lite(true).build(Instant::now());
    rtc.add_local_candidate(Candidate::host(local, "udp").unwrap());
    let offer = SdpOffer::from_sdp_string(body).unwrap();
    let answer = rtc.sdp_api().accept_offer(offer).unwrap().to_sdp_string();
    let state = UdpSocketState::new(UdpSockRef::from(&socket)).unwrap();
    let session = Session {
        rtc,
        socket,
        state,
        local,
        stream,
        viewer,
        outgoing: VecDeque::new(),
        video: None,
        audio: None,
        video_ssrc: None,
        next: [5000, 7000],
        began: None,
        froze: None,
        thawed: None,
        last_sent: None,
    };
    app.sessions.send(session).unwrap();
    let headers = [("content-type", "application/sdp"), ("location", "/gone")];
    (StatusCode::CREATED, headers, answer).into_response()
}

struct Media {
    behaviour: Behaviour,
    sessions: Vec<Session>,
    truth: Arc<Mutex<Truth>>,
}

fn system_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

impl Media {
    fn run(mut self, incoming: &Receiver<Session>, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.sessions.extend(incoming.try_iter());
            let mut came = Vec::new();
            for session in &mut self.sessions {
                session.receive(&mut came);
            }
            came.iter().for_each(|came| self.forward(came));
            for session in &mut self.sessions {
                session.step(&self.behaviour, &self.truth);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn forward(&mut self, came: &Came) {
        let mut wants_key = false;
        for viewer in self.sessions.iter_mut().filter(|s| s.viewer && s.stream == came.stream) {
            wants_key |= viewer.write(came, &self.behaviour);
        }
        for publisher in self.sessions.iter_mut().filter(|s| wants_key && !s.viewer && s.stream == came.stream) {
            let Some((mid, _)) = publisher.video else { continue };
            if let Some(rx) = publisher.rtc.direct_api().stream_rx_by_mid(mid, None) {
                rx.request_keyframe(KeyframeRequestKind::Pli);
            }
        }
    }
}

impl Session {
    fn receive(&mut self, came: &mut Vec<Came>) {
        let mut buffer = vec![0; 65_536];
        let mut metas = [RecvMeta::default()];
        loop {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let Ok(1) = self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas) else { return };
            let meta = metas[0];
            let arrived = meta.timestamp.map_or_else(system_us, |t| t.as_micros() as u64);
            for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                let Ok(contents) = DatagramRecv::try_from(datagram) else { continue };
                let receive = Receive { proto: Protocol::Udp, source: meta.addr, destination: self.local, contents };
                if self.rtc.handle_input(Input::Receive(Instant::now(), receive)).is_ok() {
                    self.drain(Duration::ZERO, None, &mut |stream, video, packet| {
                        came.push(Came { stream, video, arrived_us: arrived, packet });
                    });
                }
            }
        }
    }

    /// `forwards`: when the media came in that goes out now.
    fn drain(&mut self, delay: Duration, forwards: Option<u64>, came: &mut dyn FnMut(String, bool, RtpPacket)) {
        while let Ok(output) = self.rtc.poll_output() {
            match output {
                Output::Timeout(_) => return,
                Output::Transmit(out) => {
                    let data: Vec<u8> = out.contents.into();
                    let is_media =
                        self.video_ssrc.is_some() && data.get(8..12) == self.video_ssrc.as_ref().map(|s| &s[..]);
                    let arrived_us = forwards.filter(|_| is_media && data[0] >> 6 == 2);
                    let waited = arrived_us.map_or(0, |at| system_us().saturating_sub(at));
                    let due = Instant::now() + delay.saturating_sub(Duration::from_micros(waited));
                    self.outgoing.push_back(Held { due, to: out.destination, data, arrived_us });
                }
                Output::Event(Event::MediaAdded(media)) => {
                    let pt = self.rtc.media(media.mid).and_then(|m| m.remote_pts().first().copied());
                    let line = pt.map(|pt| (media.mid, pt));
                    *(if media.kind.is_video() { &mut self.video } else { &mut self.audio }) = line;
                }
                Output::Event(Event::RtpPacket(packet)) => {
                    let mid = self.rtc.direct_api().stream_rx(&packet.header.ssrc).map(|s| s.mid());
                    let video = mid.is_some() && mid == self.video.map(|(mid, _)| mid);
                    came(self.stream.clone(), video, packet);
                }
                // Keyframes are asked for by those who forward.
                Output::Event(_) => {}
            }
        }
    }

    /// Writes a packet for this viewer; true if it needs a keyframe.
    fn write(&mut self, came: &Came, behaviour: &Behaviour) -> bool {
        let packet = &came.packet;
        if !self.rtc.is_connected() || packet.payload.is_empty() {
            return false;
        }
        let now = Instant::now();
        if came.video {
            // VP8: the first packet of a frame, and no inter frame (RFC 7741, RFC 6386); the descriptor has 4 bytes.
            let key = packet.payload[0] & 0x10 != 0 && packet.payload[4] & 1 == 0;
            if self.began.is_none() && !key {
                return true;
            }
            let began = *self.began.get_or_insert(now);
            if let Some((from, length)) = behaviour.freeze
                && self.thawed.is_none()
                && now >= began + from
            {
                let froze = *self.froze.get_or_insert(now);
                // Two frames early: a keyframe takes one frame to come, and the gap counts from the frame before.
                let over = now + Duration::from_millis(70) >= froze + length;
                if !(over && key) {
                    return over;
                }
                self.thawed = Some(now);
            }
        }
        let Some((mid, pt)) = (if came.video { self.video } else { self.audio }) else { return false };
        let mut api = self.rtc.direct_api();
        let Some(tx) = api.stream_tx_by_mid(mid, None) else { return false };
        if came.video {
            self.video_ssrc = Some(tx.ssrc().to_be_bytes());
        }
        let next = &mut self.next[usize::from(came.video)];
        let write = RtpWrite::new(pt, (*next).into(), packet.header.timestamp, now, Arc::clone(&packet.payload));
        tx.write_rtp(write.marker(packet.header.marker).nackable(came.video));
        *next += 1;
        // A connection that fails here says so in its next step.
        _ = self.rtc.handle_input(Input::Timeout(now));
        self.drain(behaviour.delay, Some(came.arrived_us), &mut |_, _, _| {});
        false
    }

    /// Sends what is due.
    fn step(&mut self, behaviour: &Behaviour, truth: &Mutex<Truth>) {
        let now = Instant::now();
        if self.rtc.handle_input(Input::Timeout(now)).is_ok() {
            let delay = if self.viewer { behaviour.delay } else { Duration::ZERO };
            self.drain(delay, None, &mut |_, _, _| {});
        }
        while self.outgoing.front().is_some_and(|held| held.due <= now) {
            let Some(held) = self.outgoing.pop_front() else { return };
            if held.arrived_us.is_some() {
                self.count(&held, truth);
                if self.loses(now, behaviour, truth) {
                    continue;
                }
            }
            let sent = self.socket.send_to(&held.data, held.to);
            if let (Some(arrived), Ok(_)) = (held.arrived_us, sent) {
                truth.lock().unwrap().held_us.push(system_us().saturating_sub(arrived));
            }
        }
    }

    fn count(&mut self, held: &Held, truth: &Mutex<Truth>) {
        let mut truth = truth.lock().unwrap();
        // The marker bit of the RTP header: the last packet of a frame.
        truth.frames += u64::from(held.data[1] >> 7);
        let now = Instant::now();
        let gap = now - self.last_sent.replace(now).unwrap_or(now);
        truth.longest_gap = truth.longest_gap.max(gap);
    }

    /// One packet in so many, but none near the freeze: its length shall be known.
    fn loses(&self, now: Instant, behaviour: &Behaviour, truth: &Mutex<Truth>) -> bool {
        let mut truth = truth.lock().unwrap();
        truth.sent += 1;
        let margin = Duration::from_millis(600);
        let soon = behaviour.freeze.zip(self.began).is_some_and(|((from, _), began)| now + margin >= began + from);
        let past = self.thawed.is_some_and(|thawed| now >= thawed + margin);
        let due = truth.sent.checked_div(behaviour.lose_one_in).is_some_and(|share| share > truth.lost);
        let lost = due && (!soon || past);
        truth.lost += u64::from(lost);
        lost
    }
}
