//! One participant's WebRTC connection. The only module that touches str0m's `Rtc`: mutate, then drain.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use str0m::bwe::{Bitrate, BweKind};
use str0m::change::SdpOffer;
use str0m::config::DtlsCert;
use str0m::format::CodecSpec;
use str0m::media::{KeyframeRequestKind, Mid, Pt, Rid};
use str0m::net::{Protocol, Receive, TcpType, Transmit};
use str0m::rtp::{Extension, ExtensionMap, ExtensionValues, RtpPacket, RtpWrite, Ssrc, vla};
use str0m::{
    Candidate, CandidateKind, Event, IceConnectionState, IceCreds, Input, Output, PacerReason, Reason, Rtc, RtcConfig,
};

use crate::api::{CloseReason, Codec, OfferError, ParticipantId, Role};
use crate::forward::dependency::{self, DependencySerializer};
use crate::forward::vp8::Vp8Fields;
use crate::link::{Link, Measured};
use crate::pacing::Debt;
use crate::path::Path;
use crate::resends::ResendAge;
use crate::sdp::{self, MediaLine, ReadOffer};

/// The most turns of one drain. A turn gives out one packet or event; a batch of one participant is far below this.
/// Measured: the largest drain of a browser's join (ICE, DTLS flight, first feedback) is under 40 turns.
const MAX_TURNS: usize = 4096;

/// The most turns that the pacer gets in one drain, and how near its next deadline must be for a turn. It hands out one
/// packet a turn and asks for the next 1 µs later (measured on 0.25: without these turns every packet is a wake-up and
/// a send of its own, at twice the cost).
const MAX_PACER_TURNS: usize = 64;
const PACER_STEP: Duration = Duration::from_micros(200);

/// How much later than asked for the stack's idle look at its clocks may come: with the 25 ms that it asks for, more than
/// from picture to picture, so that mostly these come first. Not more: with 70 ms the estimates of 500 viewers rose so slowly
/// that they were sent a third less in their first seconds.
const LAZY: Duration = Duration::from_millis(25);
/// Likewise for statistics and sender reports, which are due ten times a second and once: with 40 ms, pictures at 25 a
/// second bring all of them along, and they need no turn of their own.
const LAZIER: Duration = Duration::from_millis(40);
/// How long the stack gets its exact deadlines after its pacer has counted time: a cluster of probes takes less.
const EXACT: Duration = Duration::from_millis(200);

/// How often the stack tells what it has measured. Its event for a new estimate gives the mean of three seconds, so a
/// link that fell from 2.5 Mbps to 150 kbps is told in small steps; its statistics give the value of the moment.
const STATS_INTERVAL: Duration = Duration::from_millis(100);

/// How long video may wait for the pacer. The stack itself would hold it for two seconds and more, and then flood the
/// link with it; a picture that begins anew from a keyframe is back sooner.
const PACER_PATIENCE: Duration = Duration::from_millis(500);

/// What a connection is taken to carry before anything was measured; libwebrtc starts there too.
const FIRST_ESTIMATE: Bitrate = Bitrate::kbps(300);

/// What the first probes may look for.
const FIRST_DESIRED: Bitrate = Bitrate::kbps(2500);

/// The most packets kept for resending per video slot, however high its rate: 2 s at 5 Mbps in packets of 1200 bytes.
const RTX_PACKETS: usize = 1024;
/// The largest share of a slot's bytes that may be resends: three for each packet sent. The stack does not count them
/// packet by packet, so a receiver that asks for all again and again gets no more than that on average.
const MAX_RESENDS: f32 = 0.75;
/// The most SSRCs remembered of one participant: 16 lines of 3 layers, and room for restarts.
const MAX_SOURCES: usize = 64;

/// A codec with what tells two of its payload types apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub codec: Codec,
    /// H264: profile_idc and constraint flags (RFC 6184 section 8.1, the level left out). VP9: profile-id. Else 0.
    pub profile: u32,
    /// H264: packetization-mode. Else 0.
    pub packetization: u8,
}

/// What packets of one payload type are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReceiveFormat {
    pub format: Format,
    /// For RED (RFC 2198): the payload type of this format, which is inside.
    pub red: Option<u8>,
}

/// A payload type that a receiver takes on one slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendFormat {
    pub pt: Pt,
    pub format: Format,
    /// It can be resent (RTX negotiated).
    pub rtx: bool,
    /// The payload type of this codec in RED (RFC 2198), where negotiated.
    pub red: Option<Pt>,
    /// The dependency descriptor goes with it (AV1 RTP specification, appendix A).
    pub dependency: bool,
}

/// What a drain brought besides datagrams.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A media packet from this participant.
    Rtp { mid: Mid, rid: Option<Rid>, packet: Box<RtpPacket> },
    /// The bandwidth towards this participant has a new estimate, in bits per second.
    Estimate(u64),
    /// This participant cannot decode what it gets on this slot.
    KeyframeWanted(Mid),
    /// A STUN check passed for the first time.
    IceConnected,
    /// No check has come for 15 seconds.
    IceDisconnected,
    /// The DTLS handshake is done.
    DtlsConnected,
    /// The connection is over.
    Ended(CloseReason),
}

/// What the shard shares with all participants.
#[derive(Debug, Clone)]
pub(crate) struct PeerConfig {
    pub cert: DtlsCert,
    pub candidates: Vec<SocketAddr>,
    pub tcp_candidates: Vec<SocketAddr>,
    /// Goes into the ICE user fragment, so that any worker knows the owner.
    pub shard: u8,
}

/// One packet for one slot.
pub(crate) struct OutPacket {
    pub pt: Pt,
    pub seq: u64,
    pub time: u32,
    pub wallclock: Instant,
    pub marker: bool,
    pub ext: Option<Arc<ExtensionValues>>,
    /// Contributing sources, at most 15.
    pub csrc: Box<[u32]>,
    pub nackable: bool,
    pub payload: Arc<[u8]>,
    /// What the VP8 descriptor shall say instead.
    pub vp8: Option<Vp8Fields>,
    /// Bytes of padding.
    pub pad: u8,
}

impl OutPacket {
    fn into_write(self) -> RtpWrite {
        let patch = self.vp8.and_then(|fields| fields.patch(&self.payload));
        let write = RtpWrite::new(self.pt, self.seq.into(), self.time, self.wallclock, self.payload)
            .marker(self.marker)
            .csrc(&self.csrc)
            .nackable(self.nackable)
            .pad(self.pad);
        let write = match self.ext {
            Some(ext) => write.ext_vals(ext),
            None => write,
        };
        match patch {
            Some(patch) => write.vp8_patch(patch),
            None => write,
        }
    }
}

/// The result of an offer.
pub(crate) struct Accepted {
    pub sdp: String,
    pub lines: Vec<MediaLine>,
    /// The user fragment in force; differs from the one before after an ICE restart.
    pub ufrag: String,
}

/// A participant's connection and its bookkeeping.
pub(crate) struct Participant {
    pub id: ParticipantId,
    pub room: usize,
    pub role: Role,
    /// DTLS is done: packets written now are sent.
    pub connected: bool,
    pub ice_connected: bool,
    pub had_packet: bool,
    pub had_keyframe: bool,
    /// How its media goes out, and where to; none before the first packet of it.
    pub way: Option<(Path, SocketAddr)>,
    /// In the shard's list of participants to run and drain.
    pub touched: bool,
    /// Code of it panicked: the stack may be in any state.
    pub broken: bool,
    /// The last estimate of the bandwidth towards it, in bits per second.
    pub estimate: Option<u64>,
    /// It acknowledges packets by transport-wide feedback, so that the stack estimates and probes.
    has_twcc: bool,
    /// The stack's own estimate, by which it paces.
    pub measured: Option<u64>,
    link: Link,
    resend_age: ResendAge,
    /// The video lines it receives on.
    receiving: Vec<Mid>,
    debt: Debt,
    /// Video is spread over time.
    paced: bool,
    rtc: Option<Box<Rtc>>,
    /// The pacer pads, probes or holds back.
    counts_time_until: Option<Instant>,
    /// Until then the stack has nothing to do, unless something comes in. None: it has, or that is not known.
    due: Option<Instant>,
    /// The stack's clock. The pacer's turns run it up to 64 times 200 µs ahead of the shard's.
    clock: Option<Instant>,
    ufrag: String,
    sources: Vec<(Ssrc, Mid, Option<Rid>)>,
    /// Of the payload types that have come since the last offer; at most as many as were negotiated.
    receive_formats: Vec<(Pt, ReceiveFormat)>,
}

impl Participant {
    pub(crate) fn new(id: ParticipantId, room: usize, role: Role) -> Self {
        Self {
            id,
            room,
            role,
            connected: false,
            ice_connected: false,
            had_packet: false,
            had_keyframe: false,
            way: None,
            touched: false,
            broken: false,
            estimate: None,
            has_twcc: false,
            measured: None,
            link: Link::default(),
            resend_age: ResendAge::default(),
            receiving: Vec::new(),
            debt: Debt::default(),
            paced: false,
            rtc: None,
            counts_time_until: None,
            due: None,
            clock: None,
            ufrag: String::new(),
            sources: Vec::new(),
            receive_formats: Vec::new(),
        }
    }

    /// The ICE user fragment in force; empty before the first offer.
    pub(crate) fn ufrag(&self) -> &str {
        &self.ufrag
    }

    /// Takes an offer: the first, or a later one with more lines or new ICE credentials.
    pub(crate) fn accept_offer(
        &mut self,
        now: Instant,
        read: ReadOffer,
        config: &PeerConfig,
        rng: &mut StdRng,
    ) -> Result<Accepted, OfferError> {
        let offer = guarded(|| SdpOffer::from_sdp_string(&read.sdp))
            .map_err(|()| OfferError::Malformed("it breaks the parser".into()))?
            .map_err(|e| OfferError::Malformed(e.to_string()))?;
        let first = self.rtc.is_none();
        if first {
            let creds = credentials(config.shard, rng);
            self.ufrag = creds.ufrag.clone();
            let receives = read.lines.iter().any(|l| l.direction.receives());
            // Without transport-wide feedback there is nothing to estimate from; the pacer alone would cost as much.
            let mut rtc = build(now, config, creds, receives && read.transport_cc);
            // Until it is known what is wanted: a large picture. It sets how far the first probes go.
            rtc.bwe().set_bitrate(Bitrate::ZERO, FIRST_DESIRED);
            self.rtc = Some(Box::new(rtc));
        }
        let rtc = self.rtc.as_mut().expect("made above");
        let answered = guarded(|| rtc.sdp_api().accept_offer(offer))
            .map_err(|()| OfferError::Malformed("it breaks the negotiation".into()))
            .and_then(|r| r.map_err(|e| OfferError::Unacceptable(e.to_string())))
            .and_then(|answer| check_codecs(rtc, &read.lines).map(|()| answer));
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) => {
                if first {
                    self.rtc = None;
                }
                return Err(error);
            }
        };
        self.receive_formats.clear();
        let mut sdp = sdp::candidates_to_tell(&answer.to_sdp_string());
        self.keep_shard_in_ufrag(&mut sdp, config.shard, rng);
        if self.role == Role::Viewer {
            sdp = sdp::one_stream(&sdp);
        }
        self.set_up_sending(&read.lines);
        Ok(Accepted { sdp, lines: read.lines, ufrag: self.ufrag.clone() })
    }

    /// An ICE restart makes the stack draw credentials of its own; replace them by ours, which name the shard.
    fn keep_shard_in_ufrag(&mut self, answer: &mut String, shard: u8, rng: &mut StdRng) {
        let Some(rtc) = self.rtc.as_mut() else { return };
        let drawn = rtc.direct_api().local_ice_credentials();
        if drawn.ufrag == self.ufrag {
            return;
        }
        let ours = credentials(shard, rng);
        *answer = answer
            .replace(&format!("a=ice-ufrag:{}\r\n", drawn.ufrag), &format!("a=ice-ufrag:{}\r\n", ours.ufrag))
            .replace(&format!("a=ice-pwd:{}\r\n", drawn.pass), &format!("a=ice-pwd:{}\r\n", ours.pass));
        self.ufrag = ours.ufrag.clone();
        rtc.direct_api().set_local_ice_credentials(ours);
    }

    /// Sizes the resend caches.
    fn set_up_sending(&mut self, lines: &[MediaLine]) {
        let video = lines.iter().filter(|l| l.direction.receives() && l.kind == crate::api::MediaKind::Video);
        self.receiving = video.map(|line| Mid::from(line.mid.as_str())).collect();
        self.size_resend_caches();
        let Some(rtc) = self.rtc.as_mut() else { return };
        let mut api = rtc.direct_api();
        for mid in &self.receiving {
            if let Some(stream) = api.stream_tx_by_mid(*mid, None) {
                stream.set_unpaced(!self.paced);
            }
        }
    }

    fn size_resend_caches(&mut self) {
        for index in 0..self.receiving.len() {
            self.forget_resends(self.receiving[index]);
        }
    }

    /// What the client takes on this line, in its order of preference.
    pub(crate) fn send_formats(&mut self, mid: Mid) -> Vec<SendFormat> {
        let Some(rtc) = self.rtc.as_ref() else {
            return Vec::new();
        };
        let Some(media) = rtc.media(mid) else { return Vec::new() };
        let params = rtc.codec_config().params();
        let dependency = media.remote_extmap().iter().any(|(_, extension)| extension.as_uri() == dependency::URI);
        let known = media.remote_pts().iter().filter_map(|pt| params.iter().find(|p| p.pt() == *pt));
        known
            .filter_map(|p| {
                let format = format_of(p.spec())?;
                Some(SendFormat { pt: p.pt(), format, rtx: p.resend().is_some(), red: p.red(), dependency })
            })
            .collect()
    }

    /// Whether packets with this payload type, either way, are video.
    pub(crate) fn is_video(&self, pt: u8) -> bool {
        let Some(rtc) = self.rtc.as_ref() else { return false };
        let is = |p: Option<Pt>| p.is_some_and(|p| *p == pt);
        let mut params = rtc.codec_config().params().iter();
        params.any(|p| p.spec().codec.is_video() && (is(Some(p.pt())) || is(p.resend())))
    }

    /// What packets with this payload type from the client are.
    pub(crate) fn receive_format(&mut self, pt: Pt) -> Option<ReceiveFormat> {
        if let Some((_, format)) = self.receive_formats.iter().find(|(known, _)| *known == pt) {
            return Some(*format);
        }
        let format = self.look_up_format(pt)?;
        self.receive_formats.push((pt, format));
        Some(format)
    }

    fn look_up_format(&self, pt: Pt) -> Option<ReceiveFormat> {
        let params = self.rtc.as_ref()?.codec_config().params();
        let found = params.iter().find(|p| p.pt() == pt || p.red() == Some(pt))?;
        let red = (found.red() == Some(pt)).then(|| *found.pt());
        Some(ReceiveFormat { format: format_of(found.spec())?, red })
    }

    /// True if a STUN message from this address is meant for this participant and carries a valid integrity.
    pub(crate) fn accepts(&self, now: Instant, receive: Receive<'_>) -> bool {
        let Some(rtc) = self.rtc.as_ref() else { return false };
        guarded(|| rtc.accepts(&Input::Receive(now, receive))).unwrap_or(false)
    }

    /// Gives a datagram to the stack. Drain afterwards, before the next.
    pub(crate) fn receive(&mut self, now: Instant, receive: Receive<'_>) -> Result<(), CloseReason> {
        self.input(Input::Receive(now, receive))
    }

    /// Gives an RTP packet to the stack. Drain afterwards, before the next. The clock moves if that is due, and not with each of
    /// the packets of a frame.
    pub(crate) fn receive_rtp(&mut self, now: Instant, receive: Receive<'_>) -> Result<(), CloseReason> {
        if self.is_due(now) {
            return self.receive(now, receive);
        }
        self.report(now, receive).map(|_| ())
    }

    /// Gives a report (RTCP) to the stack. True if something is to be done about it now: then move the clock and drain. Else
    /// what comes of it, mostly a new estimate, is there with the next packet or deadline: the receivers of a large room
    /// report some twenty times a second each, and a drain costs about as much as a report itself.
    pub(crate) fn report(&mut self, now: Instant, receive: Receive<'_>) -> Result<bool, CloseReason> {
        // Paced packets wait for what the estimate lets through, and probes for what they have found.
        let waits = self.paced || !self.connected || self.counts_time_until.is_some_and(|until| now < until);
        let Some(rtc) = self.rtc.as_mut() else { return Ok(false) };
        match guarded(|| rtc.handle_media(now, receive)) {
            Ok(Ok(asks)) => Ok(asks || waits),
            Ok(Err(error)) => self.survive(&error).map(|()| true),
            Err(()) => Err(self.broke()),
        }
    }

    /// Moves the stack's clock. Drain afterwards.
    pub(crate) fn timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        let now = self.clock.map_or(now, |clock| clock.max(now));
        self.clock = Some(now);
        self.input(Input::Timeout(now))
    }

    fn input(&mut self, input: Input<'_>) -> Result<(), CloseReason> {
        let Some(rtc) = self.rtc.as_mut() else { return Ok(()) };
        match guarded(|| rtc.handle_input(input)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => self.survive(&error),
            Err(()) => Err(self.broke()),
        }
    }

    /// Only a DTLS failure and a closed stack end a participant; a bad packet does not.
    fn survive(&self, error: &str0m::RtcError) -> Result<(), CloseReason> {
        let alive = self.rtc.as_ref().is_some_and(|rtc| rtc.is_alive());
        match error {
            str0m::RtcError::Dtls(_) if !self.connected => Err(CloseReason::DtlsFailed),
            _ if !alive => Err(CloseReason::DtlsFailed),
            _ => Ok(()),
        }
    }

    /// The stack panicked.
    fn broke(&mut self) -> CloseReason {
        self.broken = true;
        CloseReason::Internal
    }

    /// Its clock is to be moved, and it is to be drained: it is time, or something has been put in.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|at| at <= now)
    }

    /// Takes everything that the stack has to give. Returns when it wants to run next.
    pub(crate) fn drain(
        &mut self,
        now: Instant,
        happenings: &mut Vec<Happening>,
        transmits: &mut VecDeque<Transmit>,
    ) -> Option<Instant> {
        let mut pacer_turns = 0;
        self.due = None;
        for _ in 0..MAX_TURNS {
            let rtc = self.rtc.as_mut()?;
            match guarded(|| rtc.poll_output()) {
                Ok(Ok(Output::Timeout(at))) => {
                    let near = matches!(rtc.last_timeout_reason(), Reason::Pacer(_))
                        && at.saturating_duration_since(now) <= PACER_STEP;
                    if !near || pacer_turns == MAX_PACER_TURNS {
                        let reason = rtc.last_timeout_reason();
                        self.due = Some(at);
                        return Some(self.patient(now, at, reason));
                    }
                    pacer_turns += 1;
                    if let Err(reason) = self.timeout(at) {
                        happenings.push(Happening::Ended(reason));
                        return None;
                    }
                }
                Ok(Ok(Output::Transmit(transmit))) => {
                    transmits.push_back(transmit);
                    let burst = || transmits.extend(std::iter::from_fn(|| rtc.poll_burst()).take(MAX_TURNS));
                    if guarded(burst).is_err() {
                        happenings.push(Happening::Ended(self.broke()));
                        return None;
                    }
                }
                Ok(Ok(Output::Event(event))) => self.on_event(event, happenings),
                Ok(Err(error)) => {
                    if let Err(reason) = self.survive(&error) {
                        happenings.push(Happening::Ended(reason));
                        return None;
                    }
                }
                Err(()) => {
                    happenings.push(Happening::Ended(self.broke()));
                    return None;
                }
            }
        }
        // More to give, but others wait too: come back at once.
        Some(now)
    }

    /// When a deadline is to be met at the latest: not later than what is to be said about what has come in.
    fn patient(&mut self, now: Instant, at: Instant, reason: Reason) -> Instant {
        let patience = self.patience(now, reason);
        if patience.is_zero() {
            return at;
        }
        let receiving = self.rtc.as_ref().and_then(|rtc| rtc.receiving_timeout());
        receiving.map_or(at + patience, |receiving| receiving.clamp(at, at + patience))
    }

    /// How long a deadline may wait for something else that happens to the connection and serves it too: the estimator
    /// and the pacer look at their clocks, and statistics are taken, with each packet. Not while the pacer counts time: it
    /// pads, probes or holds back.
    fn patience(&mut self, now: Instant, reason: Reason) -> Duration {
        let counts = matches!(
            reason,
            Reason::Pacer(PacerReason::Probe1 | PacerReason::Probe2 | PacerReason::Padding | PacerReason::Paced)
                | Reason::BweProbeControl
                | Reason::BweProbeEstimator
        );
        if counts {
            self.counts_time_until = Some(now + EXACT);
        }
        let exact = self.paced || self.counts_time_until.is_some_and(|until| now < until);
        if exact || !self.connected {
            return Duration::ZERO;
        }
        match reason {
            Reason::BweDelayControl | Reason::Pacer(PacerReason::Handle) => LAZY,
            Reason::Stats | Reason::Feedback => LAZIER,
            _ => Duration::ZERO,
        }
    }

    fn on_event(&mut self, event: Event, happenings: &mut Vec<Happening>) {
        match event {
            Event::RtpPacket(packet) => {
                if let Some((mid, rid)) = self.source(packet.header.ssrc) {
                    happenings.push(Happening::Rtp { mid, rid, packet: Box::new(packet) });
                }
            }
            Event::KeyframeRequest(request) => happenings.push(Happening::KeyframeWanted(request.mid)),
            Event::IceConnectionStateChange(state) => match state {
                IceConnectionState::Connected | IceConnectionState::Completed => {
                    happenings.push(Happening::IceConnected);
                }
                IceConnectionState::Disconnected => happenings.push(Happening::IceDisconnected),
                _ => {}
            },
            Event::Connected => {
                self.connected = true;
                happenings.push(Happening::DtlsConnected);
            }
            Event::EgressBitrateEstimate(BweKind::Twcc { estimate, can_probe }) => {
                self.has_twcc = can_probe;
                self.estimate.get_or_insert(estimate.as_u64());
            }
            Event::EgressBitrateEstimate(BweKind::Remb { estimate, .. }) if !self.has_twcc => {
                self.estimate = Some(estimate.as_u64());
                happenings.push(Happening::Estimate(estimate.as_u64()));
            }
            Event::PeerStats(stats) if self.has_twcc => {
                if let Some(estimate) = stats.bwe_tx {
                    let loss = stats.egress_loss_fraction.unwrap_or(0.0);
                    self.measured = Some(estimate.as_u64());
                    self.debt.on_measured(stats.timestamp, estimate.as_u64(), stats.bytes_tx);
                    let measured =
                        Measured { estimate: estimate.as_u64(), loss, round_trip: stats.rtt, sent: stats.bytes_tx };
                    let estimate = self.link.on_measured(stats.timestamp, measured);
                    self.size_resends(stats.timestamp, loss);
                    self.estimate = Some(estimate);
                    happenings.push(Happening::Estimate(estimate));
                }
            }
            Event::Closed => happenings.push(Happening::Ended(CloseReason::PeerClosed)),
            _ => {}
        }
    }

    fn size_resends(&mut self, now: Instant, loss: f32) {
        let Some(round_trip) = self.link.shortest_round_trip() else { return };
        if self.resend_age.on_round_trip(now, round_trip, loss == 0.0) {
            self.size_resend_caches();
        }
    }

    /// Which line and layer an SSRC belongs to.
    fn source(&mut self, ssrc: Ssrc) -> Option<(Mid, Option<Rid>)> {
        if let Some((_, mid, rid)) = self.sources.iter().find(|(s, ..)| *s == ssrc) {
            return Some((*mid, *rid));
        }
        let mut api = self.rtc.as_mut()?.direct_api();
        let stream = api.stream_rx(&ssrc)?;
        let (mid, rid) = (stream.mid(), stream.rid());
        // OBS and GStreamer negotiate NACK without RTX (RFC 4585): ask them too, they resend on the same SSRC.
        stream.suppress_nack(false);
        if self.sources.len() >= MAX_SOURCES {
            self.sources.remove(0);
        }
        self.sources.push((ssrc, mid, rid));
        Some((mid, rid))
    }

    /// Its media goes another way now: what was measured is of the old one. Begins as for a new connection.
    pub(crate) fn forget_link(&mut self) {
        self.link = Link::default();
        self.debt = Debt::default();
        self.measured = None;
        if self.estimate.is_some() {
            self.estimate = Some(FIRST_ESTIMATE.as_u64());
        }
        if let Some(rtc) = self.rtc.as_mut() {
            rtc.bwe().reset(FIRST_ESTIMATE);
        }
    }

    /// Whether the link to it has shown a queue or losses lately.
    pub(crate) fn is_narrow(&self, now: Instant) -> bool {
        self.link.is_narrow(now)
    }

    /// Spreads video over time at a little more than the estimate, as soon as that holds nothing up, or sends it as it comes.
    /// Audio is never held back.
    pub(crate) fn set_paced(&mut self, paced: bool, video: impl Iterator<Item = Mid>) {
        let paced = paced && (self.paced || self.debt.is_paid());
        if std::mem::replace(&mut self.paced, paced) == paced {
            return;
        }
        let Some(rtc) = self.rtc.as_mut() else { return };
        let mut api = rtc.direct_api();
        for mid in video {
            if let Some(stream) = api.stream_tx_by_mid(mid, None) {
                stream.set_unpaced(!paced);
            }
        }
    }

    /// Writes packets for one slot: as datagrams to `transmits`, if that is given and nothing holds them back; else they are
    /// queued, and then [`Self::is_due`]. Returns true if packets of this slot have waited for the pacer longer than anybody
    /// wants to see them.
    #[must_use]
    pub(crate) fn write(
        &mut self,
        now: Instant,
        mid: Mid,
        packets: impl Iterator<Item = OutPacket>,
        transmits: Option<&mut VecDeque<Transmit>>,
    ) -> bool {
        let Some(rtc) = self.rtc.as_mut() else { return false };
        let mut packets = packets.map(OutPacket::into_write).peekable();
        // Whoever gets hold of a stream wakes it, and the stack with it: not where nothing is for this slot.
        if packets.peek().is_none() {
            return false;
        }
        if let Some(transmits) = transmits
            && rtc.send_at_once(now, mid, packets.by_ref(), |transmit| transmits.push_back(transmit))
        {
            return false;
        }
        self.due = None;
        let mut api = rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(mid, None) else { return false };
        packets.for_each(|packet| stream.write_rtp(packet));
        let queued = if self.paced { stream.queue_info().and_then(|info| info.first_unsent()) } else { None };
        queued.is_some_and(|at| now.saturating_duration_since(at) > PACER_PATIENCE)
    }

    /// Asks for what is kept of the connection: see [`weir_prefetch`]. Then, some time later, for what that points to, and
    /// for where the next packets of a line are kept.
    pub(crate) fn prefetch(&self) {
        if let Some(rtc) = &self.rtc {
            rtc.prefetch();
        }
    }

    pub(crate) fn prefetch_pointed(&self) {
        if let Some(rtc) = &self.rtc {
            rtc.prefetch_pointed();
        }
    }

    pub(crate) fn prefetch_resends(&self, mid: Mid) {
        if let Some(rtc) = &self.rtc {
            rtc.prefetch_resends(mid);
        }
    }

    /// Tells the estimator what is of use: `sustain` is padded up to, to be ready for the next layer; `desired` is
    /// probed for. Both in bits per second.
    pub(crate) fn set_bandwidth_wanted(&mut self, sustain: u64, desired: u64) {
        if let Some(rtc) = self.rtc.as_mut() {
            rtc.bwe().set_bitrate(Bitrate::bps(sustain), Bitrate::bps(desired));
        }
    }

    /// What is kept of a slot for resending is of no use any more: its picture has been given up.
    pub(crate) fn forget_resends(&mut self, mid: Mid) {
        let Some(rtc) = self.rtc.as_mut() else { return };
        if let Some(stream) = rtc.direct_api().stream_tx_by_mid(mid, None) {
            stream.set_rtx_cache(RTX_PACKETS, self.resend_age.get(), Some(MAX_RESENDS));
        }
    }

    /// Asks this participant, a publisher, for a keyframe of one layer. Follow with a drain.
    pub(crate) fn request_keyframe(&mut self, mid: Mid, rid: Option<Rid>) {
        let Some(rtc) = self.rtc.as_mut() else { return };
        let mut api = rtc.direct_api();
        if let Some(stream) = api.stream_rx_by_mid(mid, rid) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
    }

    /// Says goodbye on the wire: RTCP BYE and DTLS close_notify. Drain once more afterwards.
    pub(crate) fn close(&mut self) {
        if let Some(rtc) = self.rtc.as_mut() {
            // A connection that cannot say goodbye is gone anyway.
            _ = guarded(|| rtc.close());
        }
    }
}

/// Runs code of the stack; a panic in it ends one participant, not the shard.
fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, ()> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|_| ())
}

/// ICE credentials of 8 and 24 characters (RFC 8445 section 5.3 asks for 4 and 22), the shard in the first two.
fn credentials(shard: u8, rng: &mut StdRng) -> IceCreds {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnopqrstuvwxyz2345679";
    let mut text = |n: usize| (0..n).map(|_| char::from(ALPHABET[rng.random_range(0..32)])).collect::<String>();
    IceCreds { ufrag: format!("{shard:02x}{}", text(10)), pass: text(26) }
}

fn build(now: Instant, config: &PeerConfig, creds: IceCreds, estimates: bool) -> Rtc {
    let mut extensions = ExtensionMap::standard();
    extensions.set(5, Extension::PlayoutDelay);
    extensions.set(6, Extension::VideoContentType);
    extensions.set(9, Extension::with_serializer(vla::URI, vla::Serializer));
    extensions.set(7, Extension::AbsoluteCaptureTime);
    extensions.set(12, Extension::with_serializer(dependency::URI, DependencySerializer));
    let mut rtc = RtcConfig::new()
        .set_rtp_mode(true)
        .set_ice_lite(true)
        .set_dtls_cert(config.cert.clone())
        .set_local_ice_credentials(creds)
        .set_stats_interval(estimates.then_some(STATS_INTERVAL))
        .set_media_stats(false)
        .enable_bwe(estimates.then_some(FIRST_ESTIMATE))
        .set_extension_map(extensions)
        .clear_codecs()
        .enable_opus(true, true)
        .enable_vp8(true)
        .enable_h264(true)
        .enable_vp9(true)
        .enable_av1(true)
        .build(now);
    for address in &config.candidates {
        if let Ok(candidate) = Candidate::host(*address, Protocol::Udp) {
            rtc.add_local_candidate(candidate);
        }
        // What comes through the own relay comes to this one. The stack sends over the nominated pair of the highest
        // priority, and takes the client's side of it from a check (RFC 8445 section 7.1.1), which says 110 through a relay
        // and 80 over TCP: the own side must say that a relay is the last resort. Clients are not told of it.
        let (kind, foundation) = (CandidateKind::Host, String::from("relay"));
        rtc.add_local_candidate(Candidate::from_parts(
            foundation,
            1,
            Protocol::Tls,
            1,
            *address,
            kind,
            None,
            None,
            None,
        ));
    }
    for address in &config.tcp_candidates {
        // The stack gives them a lower priority than UDP: 90 for 126 (RFC 6544 section 4.2).
        if let Ok(candidate) = Candidate::builder().tcp().host(*address).tcptype(TcpType::Passive).build() {
            rtc.add_local_candidate(candidate);
        }
    }
    rtc
}

/// Every active line must have a payload type in common.
fn check_codecs(rtc: &Rtc, lines: &[MediaLine]) -> Result<(), OfferError> {
    for line in lines.iter().filter(|l| l.direction != sdp::Direction::Inactive) {
        let media = rtc.media(Mid::from(line.mid.as_str()));
        if media.is_none_or(|m| m.remote_pts().is_empty()) {
            return Err(OfferError::Unacceptable(format!(
                "no profile of the codecs on the line with mid {:?} is known here",
                line.mid
            )));
        }
    }
    Ok(())
}

fn format_of(spec: CodecSpec) -> Option<Format> {
    use str0m::format::Codec as C;
    let codec = match spec.codec {
        C::Opus => Codec::Opus,
        C::Vp8 => Codec::Vp8,
        C::Vp9 => Codec::Vp9,
        C::H264 => Codec::H264,
        C::Av1 => Codec::Av1,
        _ => return None,
    };
    let profile = match codec {
        Codec::H264 => spec.format.profile_level_id.unwrap_or(0x42_0010) >> 8,
        Codec::Vp9 => spec.format.profile_id.unwrap_or(0),
        _ => 0,
    };
    let packetization = spec.format.packetization_mode.unwrap_or(0);
    Some(Format { codec, profile, packetization })
}
