//! Offers, and the clients that come of their answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use str0m::bwe::Bitrate;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::config::DtlsCert;
use str0m::media::{Direction, MediaKind, Mid, Rid, Simulcast, SimulcastLayer};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, Rtc, RtcConfig};
use tokio::sync::mpsc;

use super::member::Member;
use super::{Context, Failure};
use crate::engine::descriptor::{self, DescriptorSerializer};
use crate::engine::{Event, SenderSetup, Setup, Slot, Turns, socket};
use crate::media::{self, Codec};
use crate::scenario::{LinkPair, Scenario, Video};

/// What the first estimate of a publisher's uplink is, and how far it probes.
const FIRST_ESTIMATE: Bitrate = Bitrate::kbps(500);

/// A line that sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sends {
    Camera,
    Screen,
    Microphone,
}

impl Sends {
    /// Its name in `weir.v1`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Screen => "screen",
            Self::Microphone => "microphone",
        }
    }
}

/// A client that waits for its answer.
pub(super) struct Offered {
    pub(super) sdp: String,
    pub(super) sending: Vec<(Mid, Sends)>,
    pub(super) video_slots: Vec<Mid>,
    rtc: Rtc,
    pending: SdpPendingOffer,
    socket: std::net::UdpSocket,
    local: SocketAddr,
    link: Option<(LinkPair, u64)>,
}

/// Makes the offer of a member, with so many slots for audio and video.
pub(super) fn offer(context: &Context, member: &Member, slots: (u32, u32)) -> Result<Offered, Failure> {
    let scenario = &context.scenario;
    let (socket, local) = bind(context.target.local)?;
    let link = link_of(scenario, member.number);
    let mut rtc = build(scenario, member, link.is_some_and(|(pair, _)| pair.up.kbps > 0));
    let candidate = Candidate::host(local, "udp").map_err(|e| Failure::new("internal", e.to_string()))?;
    rtc.add_local_candidate(candidate);
    let mut api = rtc.sdp_api();
    let mut sending = Vec::new();
    if member.role.sends() && scenario.audio.enabled {
        let mid = api.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
        sending.push((mid, Sends::Microphone));
    }
    for (wanted, what) in [(member.camera, Sends::Camera), (member.screen, Sends::Screen)] {
        if wanted {
            let simulcast = (what == Sends::Camera).then(|| simulcast(&scenario.video)).flatten();
            sending.push((api.add_media(MediaKind::Video, Direction::SendOnly, None, None, simulcast), what));
        }
    }
    let mut video_slots = Vec::new();
    if member.role.watches() {
        for _ in 0..slots.0 {
            api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
        }
        for _ in 0..slots.1 {
            video_slots.push(api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None));
        }
    }
    let (offer, pending) =
        api.apply().ok_or_else(|| Failure::new("nothing-to-do", "this participant would neither send nor watch"))?;
    let mut sdp = offer.to_sdp_string();
    if !scenario.view.transport_cc {
        sdp = without_transport_cc(&sdp);
    }
    Ok(Offered { sdp, sending, video_slots, rtc, pending, socket, local, link })
}

/// The same offer without transport-wide feedback: neither as an extension nor for any codec.
fn without_transport_cc(sdp: &str) -> String {
    let told = |line: &&str| line.contains("transport-cc") || line.contains("transport-wide-cc");
    sdp.split_inclusive("\r\n").filter(|line| !told(line)).collect()
}

impl Offered {
    /// Takes the answer and gives the client to the engine; its number, and where it is heard of.
    pub(super) fn answered(
        mut self,
        context: &Context,
        member: &Member,
        answer: &str,
        slots: Vec<Slot>,
    ) -> Result<(usize, mpsc::Receiver<Event>), Failure> {
        let bad = |error: String| Failure::new("bad-answer", format!("the server's SDP answer does not fit: {error}"));
        let parsed = SdpAnswer::from_sdp_string(answer).map_err(|e| bad(e.to_string()))?;
        self.rtc.sdp_api().accept_answer(self.pending, parsed).map_err(|e| bad(e.to_string()))?;
        let video = &context.scenario.video;
        let senders = self.sending.iter().map(|(mid, what)| sender(context, member, *mid, *what)).collect();
        // Past the pacer, as browsers' own pacing is far above the mean rate; the link's queue is the emulated one.
        for (mid, what) in &self.sending {
            let rids = rids(video, *what);
            let mut api = self.rtc.direct_api();
            for rid in rids {
                if let Some(stream) = api.stream_tx_by_mid(*mid, rid) {
                    stream.set_unpaced(true);
                }
            }
        }
        let id = context.client_number();
        // Connected, first media, lost: each comes once.
        let (events, heard) = mpsc::channel(8);
        context.engine.add(Setup {
            id,
            rtc: self.rtc,
            socket: self.socket,
            local: self.local,
            senders,
            video: (member.role.watches() && video.enabled).then_some((video.kind, video.codec)),
            slots,
            link: self.link,
            layer_kbps: video.layers.iter().map(|l| l.kbps).collect(),
            events,
        });
        Ok((id, heard))
    }
}

fn rids(video: &Video, what: Sends) -> Vec<Option<Rid>> {
    if what == Sends::Camera && video.layers.len() > 1 {
        video.layers.iter().map(|layer| Some(Rid::from(layer.rid.as_str()))).collect()
    } else {
        vec![None]
    }
}

fn sender(context: &Context, member: &Member, mid: Mid, what: Sends) -> SenderSetup {
    let scenario = &context.scenario;
    let source = context.source_number();
    let begin = begin(scenario.seed, source);
    if what == Sends::Microphone {
        let turn_us = u64::try_from(scenario.audio.turn.as_micros()).unwrap_or(u64::MAX);
        let turns = Turns { seat: member.seat, seats: member.seats, speakers: scenario.audio.speakers, turn_us };
        let layers = vec![(None, scenario.audio.kbps)];
        let media = media::audio_source(scenario.video.kind, &scenario.audio, context.tester, source);
        return SenderSetup { mid, codec: Codec::Opus, layers, source: media, turns: Some(turns), begin };
    }
    let mut video = scenario.video.clone();
    let rids = rids(&video, what);
    if rids.len() == 1 {
        // A screen, and a camera without simulcast, are sent in the best layer alone.
        video.layers.drain(..video.layers.len() - 1);
    }
    let layers = rids.into_iter().zip(video.layers.iter().map(|layer| layer.kbps)).collect();
    let media = media::video_source(&video, context.tester, source);
    SenderSetup { mid, codec: video.codec, layers, source: media, turns: None, begin }
}

/// The first sequence number and timestamp of a track: any, from the seed.
fn begin(seed: u64, source: u32) -> (u16, u32) {
    let mixed = (seed ^ u64::from(source).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed >> 40) as u16 & 0x7fff, mixed as u32)
}

fn simulcast(video: &Video) -> Option<Simulcast> {
    let send = || video.layers.iter().map(|layer| SimulcastLayer::new(&layer.rid)).collect();
    (video.layers.len() > 1).then(|| Simulcast { send: send(), recv: Vec::new() })
}

fn bind(local: IpAddr) -> Result<(std::net::UdpSocket, SocketAddr), Failure> {
    let any = if local.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let opened = socket::open(any).and_then(|socket| Ok((SocketAddr::new(local, socket.local_addr()?.port()), socket)));
    let (address, socket) = opened.map_err(|error| {
        Failure::new("no-socket", format!("this machine gave no UDP socket: {error}; raise the limit (ulimit -n)"))
    })?;
    Ok((socket, address))
}

fn link_of(scenario: &Scenario, number: usize) -> Option<(LinkPair, u64)> {
    let pair = *scenario.links.get(number % scenario.links.len().max(1))?;
    Some((pair, scenario.seed.wrapping_add(number as u64)))
}

fn build(scenario: &Scenario, member: &Member, adapts: bool) -> Rtc {
    static CERTIFICATE: OnceLock<Option<DtlsCert>> = OnceLock::new();
    let mut extensions = ExtensionMap::standard();
    extensions.set(12, Extension::with_serializer(descriptor::URI, DescriptorSerializer));
    let mut config = RtcConfig::new()
        .set_rtp_mode(true)
        .set_extension_map(extensions)
        .set_stats_interval(Some(Duration::from_secs(1)))
        .enable_bwe((adapts && member.role.sends()).then_some(FIRST_ESTIMATE))
        .clear_codecs()
        .enable_opus(true, false);
    config = match scenario.video.codec {
        Codec::Vp8 | Codec::Opus => config.enable_vp8(true),
        Codec::Vp9 => config.enable_vp9(true),
        Codec::H264 => config.enable_h264(true),
        Codec::Av1 => config.enable_av1(true),
    };
    // One certificate for all clients: to make one takes longer than all the rest of a join.
    let made = || str0m::crypto::from_feature_flags().dtls_provider.generate_certificate();
    if let Some(certificate) = CERTIFICATE.get_or_init(made) {
        config = config.set_dtls_cert(certificate.clone());
    }
    let mut rtc = config.build(Instant::now());
    if adapts {
        let all: u32 = scenario.video.layers.iter().map(|layer| layer.kbps).sum();
        rtc.bwe().set_bitrate(Bitrate::ZERO, Bitrate::kbps(u64::from(all + scenario.audio.kbps) * 5 / 4));
    }
    rtc
}
