//! A participant: a str0m peer that publishes synthetic media and judges what it receives.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid, Pt, Rid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite, Ssrc};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use weir_core::api::{Assignment, Notice, ParticipantId, Role, SlotView, View};

use super::Time;
use super::media::{self, Encoder, LayerSpec, Mark};
use super::receive::{AudioReceiver, VideoReceiver};

/// A client asks its stack to run at most this much later: never.
const NEVER: Duration = Duration::from_secs(3600);

/// Who a client is and what it does.
#[derive(Debug, Clone)]
pub struct ClientSpec {
    /// How it takes part.
    pub role: Role,
    /// The layers of its camera; empty: it sends nothing, no sound either.
    pub camera: Vec<LayerSpec>,
    /// It has a microphone beside its camera.
    pub microphone: bool,
    /// Receive lines for audio.
    pub audio_slots: usize,
    /// Receive lines for video.
    pub video_slots: usize,
    /// The size of every video slot on screen, and of the one that shows the speaker if it follows the speaker.
    pub tile: (u16, u16),
    /// The size of the speaker's tile; none: all are alike.
    pub speaker_tile: Option<(u16, u16)>,
    /// The index of its uplink.
    pub up: usize,
    /// The index of its downlink.
    pub down: usize,
    /// Delay of its own each way, beside the links'.
    pub extra: Duration,
}

/// What a client wants done.
#[derive(Debug)]
pub enum Action {
    /// Send a datagram to the server.
    Send(Vec<u8>),
    /// Tell the server what to show.
    View(View),
}

struct Camera {
    mid: Mid,
    pt: Option<Pt>,
    layers: Vec<Encoder>,
    started: bool,
}

struct Microphone {
    mid: Mid,
    pt: Option<Pt>,
    sent: u64,
}

/// A participant.
pub struct Client {
    /// Its id in the room.
    pub id: ParticipantId,
    /// Its room.
    pub room: Arc<str>,
    /// Its address.
    pub addr: SocketAddr,
    /// What it was made from.
    pub spec: ClientSpec,
    /// Its video slots, by `a=mid`.
    pub video: BTreeMap<String, VideoReceiver>,
    /// Its audio slots, by `a=mid`.
    pub audio: BTreeMap<String, AudioReceiver>,
    /// Who is shown where, as the server says.
    pub slots: BTreeMap<String, Assignment>,
    /// Every notice it got.
    pub notices: Vec<(Time, String)>,
    /// The server saw its ICE check pass.
    pub ice_connected: Option<Time>,
    /// It speaks.
    pub speaks: bool,
    /// Its stack wants to run then.
    pub deadline: Time,
    number: u16,
    rtc: Rtc,
    video_mids: Vec<Mid>,
    sources: Vec<(Ssrc, Mid)>,
    camera: Option<Camera>,
    microphone: Option<Microphone>,
    speaker: Option<ParticipantId>,
    rng: SmallRng,
}

impl Client {
    /// A client and its offer.
    pub fn new(
        number: usize,
        (id, room): (ParticipantId, Arc<str>),
        spec: ClientSpec,
        origin: Instant,
        now: Time,
        seed: u64,
    ) -> (Self, SdpPendingOffer, String) {
        let addr = SocketAddr::from(([10, 1, (number >> 8) as u8, number as u8], 4000));
        let mut rng = SmallRng::seed_from_u64(seed);
        let config = RtcConfig::new().set_rtp_mode(true).set_stats_interval(None).clear_codecs();
        let mut rtc = config.enable_opus(true, false).enable_vp8(true).build(origin + now);
        if let Ok(candidate) = Candidate::host(addr, Protocol::Udp) {
            rtc.add_local_candidate(candidate);
        }
        let mut api = rtc.sdp_api();
        let (mut camera, mut microphone) = (None, None);
        if !spec.camera.is_empty() {
            if spec.microphone {
                let mid = api.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
                microphone = Some(Microphone { mid, pt: None, sent: rng.random_range(0..30_000) });
            }
            let mid = api.add_media(MediaKind::Video, Direction::SendOnly, None, None, simulcast(&spec.camera));
            let layers = spec.camera.iter().map(|l| Encoder::new(*l, number as u16, &mut rng)).collect();
            camera = Some(Camera { mid, pt: None, layers, started: false });
        }
        let mut receive =
            |kind, n| (0..n).map(|_| api.add_media(kind, Direction::RecvOnly, None, None, None)).collect();
        let audio_mids: Vec<Mid> = receive(MediaKind::Audio, spec.audio_slots);
        let video_mids: Vec<Mid> = receive(MediaKind::Video, spec.video_slots);
        let (offer, pending) = api.apply().expect("a client with lines has an offer");
        let client = Self {
            id,
            room,
            addr,
            video: video_mids.iter().map(|mid| (mid.to_string(), VideoReceiver::default())).collect(),
            audio: audio_mids.iter().map(|mid| (mid.to_string(), AudioReceiver::default())).collect(),
            slots: BTreeMap::new(),
            notices: Vec::new(),
            ice_connected: None,
            speaks: false,
            deadline: now,
            number: number as u16,
            rtc,
            video_mids,
            sources: Vec::new(),
            camera,
            microphone,
            speaker: None,
            rng,
            spec,
        };
        (client, pending, offer.to_sdp_string())
    }

    /// Takes the answer.
    ///
    /// # Panics
    /// If it is none: the simulation cannot go on.
    pub fn accept(&mut self, pending: SdpPendingOffer, sdp: &str) {
        let answer = SdpAnswer::from_sdp_string(sdp).expect("a readable answer");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("an acceptable answer");
        let pt = |rtc: &Rtc, mid, codec| {
            let media = rtc.media(mid)?;
            let params = rtc.codec_config().params();
            media
                .remote_pts()
                .iter()
                .copied()
                .find(|pt| params.iter().any(|p| p.pt() == *pt && p.spec().codec == codec))
        };
        if let Some(camera) = &mut self.camera {
            camera.pt = pt(&self.rtc, camera.mid, Codec::Vp8);
        }
        if let Some(microphone) = &mut self.microphone {
            microphone.pt = pt(&self.rtc, microphone.mid, Codec::Opus);
        }
    }

    /// It sends something.
    #[must_use]
    pub fn publishes(&self) -> bool {
        self.camera.is_some()
    }

    /// What it wants shown.
    #[must_use]
    pub fn view(&self) -> View {
        let shows_speaker = |mid: &Mid| {
            let shown = self.slots.get(&mid.to_string()).and_then(|a| a.participant);
            shown.is_some() && shown == self.speaker
        };
        let slots = self.video_mids.iter().map(|mid| {
            let large = self.spec.speaker_tile.filter(|_| shows_speaker(mid));
            let (width, height) = large.unwrap_or(self.spec.tile);
            SlotView { mid: mid.to_string(), track: None, width, height, priority: u8::from(large.is_some()) }
        });
        View { auto: true, slots: slots.collect() }
    }

    /// Takes a notice of the server.
    pub fn on_notice(&mut self, now: Time, notice: &Notice, actions: &mut Vec<Action>) {
        match notice {
            Notice::Milestone(weir_core::api::Milestone::IceConnected) => self.ice_connected = Some(now),
            Notice::Layers { mid, active } => self.set_layers(mid, active),
            Notice::Slots(assignments) => {
                self.slots.extend(assignments.iter().map(|a| (a.mid.clone(), a.clone())));
                if self.spec.speaker_tile.is_some() {
                    actions.push(Action::View(self.view()));
                }
            }
            Notice::Speakers(speakers) => {
                let loudest = speakers.iter().map(|s| s.participant).find(|p| *p != self.id);
                if loudest.is_some() && self.speaker != loudest {
                    self.speaker = loudest;
                    actions.push(Action::View(self.view()));
                }
            }
            _ => {}
        }
    }

    fn set_layers(&mut self, mid: &str, active: &[String]) {
        if let Some(camera) = self.camera.as_mut().filter(|c| c.mid.to_string() == mid) {
            for layer in &mut camera.layers {
                layer.set_active(active.iter().any(|rid| rid == layer.spec.rid));
            }
        }
    }

    /// The camera has a new picture.
    pub fn on_frame(&mut self, origin: Instant, now: Time, actions: &mut Vec<Action>) {
        let Some(Camera { mid, pt: Some(pt), layers, started }) = &mut self.camera else { return };
        if !self.rtc.is_connected() {
            return;
        }
        let (mid, pt) = (*mid, *pt);
        if !std::mem::replace(started, true) {
            layers.iter_mut().for_each(Encoder::request_key);
        }
        let time = (now.as_micros() * 9 / 100) as u32;
        for layer in layers.iter_mut().filter(|l| l.active) {
            let payloads = layer.encode(now, &mut self.rng);
            let count = payloads.len();
            let mut api = self.rtc.direct_api();
            let Some(stream) = api.stream_tx_by_mid(mid, Some(Rid::from(layer.spec.rid))) else { continue };
            for (index, payload) in payloads.into_iter().enumerate() {
                let write = RtpWrite::new(pt, layer.seq.into(), time, origin + now, payload);
                stream.write_rtp(write.marker(index + 1 == count).nackable(true));
                layer.seq += 1;
            }
        }
        self.run(origin, now, actions);
    }

    /// The microphone has 20 ms of sound.
    pub fn on_sound(&mut self, origin: Instant, now: Time, actions: &mut Vec<Action>) {
        let Some(Microphone { mid, pt: Some(pt), sent }) = &mut self.microphone else { return };
        if !self.rtc.is_connected() {
            return;
        }
        let time = (now.as_micros() * 48 / 1000) as u32;
        let level = media::level(self.speaks, now, &mut self.rng);
        let ext = ExtensionValues { audio_level: Some(level), voice_activity: Some(level > -50), ..Default::default() };
        let mut api = self.rtc.direct_api();
        if let Some(stream) = api.stream_tx_by_mid(*mid, None) {
            let payload = media::opus(self.number, *sent);
            stream.write_rtp(RtpWrite::new(*pt, (*sent).into(), time, origin + now, payload).ext_vals(ext));
            *sent += 1;
        }
        self.run(origin, now, actions);
    }

    /// Looks after the video that does not come.
    pub fn on_look(&mut self, origin: Instant, now: Time, actions: &mut Vec<Action>) {
        let mut asked = false;
        for mid in &self.video_mids {
            let needs = self.video.get_mut(&mid.to_string()).is_some_and(|v| v.needs_keyframe(now));
            let mut api = self.rtc.direct_api();
            if let Some(stream) = api.stream_rx_by_mid(*mid, None).filter(|_| needs) {
                stream.request_keyframe(KeyframeRequestKind::Pli);
                asked = true;
            }
        }
        if asked {
            self.run(origin, now, actions);
        }
    }

    /// A datagram from the server. Returns the frames that it completed.
    pub fn on_datagram(
        &mut self,
        origin: Instant,
        now: Time,
        from: SocketAddr,
        data: &[u8],
        actions: &mut Vec<Action>,
    ) {
        let Ok(receive) = Receive::new(Protocol::Udp, from, self.addr, data) else { return };
        // A datagram that the stack refuses shows in what is missing.
        _ = self.rtc.handle_input(Input::Receive(origin + now, receive));
        self.drain(origin, now, actions);
    }

    /// Moves the stack's clock.
    pub fn run(&mut self, origin: Instant, now: Time, actions: &mut Vec<Action>) {
        _ = self.rtc.handle_input(Input::Timeout(origin + now));
        self.drain(origin, now, actions);
    }

    fn drain(&mut self, origin: Instant, now: Time, actions: &mut Vec<Action>) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    let at = at.saturating_duration_since(origin).min(now + NEVER);
                    self.deadline = at.max(now + Duration::from_micros(1));
                    return;
                }
                Ok(Output::Transmit(transmit)) => actions.push(Action::Send(transmit.contents.to_vec())),
                Ok(Output::Event(Event::RtpPacket(packet))) => self.on_rtp(now, &packet),
                Ok(Output::Event(Event::KeyframeRequest(request))) => {
                    self.on_keyframe_request(request.mid, request.rid)
                }
                Ok(Output::Event(_)) => {}
                Err(_) => {
                    self.deadline = now + NEVER;
                    return;
                }
            }
        }
    }

    fn on_keyframe_request(&mut self, mid: Mid, rid: Option<Rid>) {
        if let Some(camera) = self.camera.as_mut().filter(|c| c.mid == mid) {
            let asked = camera.layers.iter_mut().filter(|l| rid.is_none_or(|rid| rid == Rid::from(l.spec.rid)));
            asked.for_each(Encoder::request_key);
        }
    }

    fn on_rtp(&mut self, now: Time, packet: &RtpPacket) {
        let ssrc = packet.header.ssrc;
        let known = self.sources.iter().find(|(s, _)| *s == ssrc).map(|(_, mid)| *mid);
        let Some(mid) = known.or_else(|| self.rtc.direct_api().stream_rx(&ssrc).map(|s| s.mid())) else { return };
        if known.is_none() {
            self.sources.push((ssrc, mid));
        }
        let mid = mid.to_string();
        if let Some(video) = self.video.get_mut(&mid) {
            if let Some(mark) = Mark::read(&packet.payload) {
                video.on_packet(now, mark);
            }
        } else if let Some(audio) = self.audio.get_mut(&mid) {
            audio.on_packet(now, *packet.seq_no);
        }
    }
}

/// The number of the client at this address.
pub(super) fn number_of(addr: SocketAddr) -> Option<usize> {
    let std::net::IpAddr::V4(ip) = addr.ip() else { return None };
    let [_, _, high, low] = ip.octets();
    Some(usize::from(high) << 8 | usize::from(low))
}

fn simulcast(layers: &[LayerSpec]) -> Option<Simulcast> {
    let mut simulcast = Simulcast::new();
    layers.iter().for_each(|l| simulcast.add_send_layer(SimulcastLayer::new(l.rid)));
    (layers.len() > 1).then_some(simulcast)
}
