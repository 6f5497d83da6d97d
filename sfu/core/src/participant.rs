//! One participant's WebRTC connection. The only module that touches str0m's `Rtc`: mutate, then drain.

mod drain;
mod formats;
mod stack;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use str0m::bwe::Bitrate;
use str0m::change::SdpOffer;
use str0m::media::{KeyframeRequestKind, Mid, Pt, Rid};
use str0m::net::{Receive, Transmit};
use str0m::rtp::{ExtensionValues, RtpWrite, Ssrc};
use str0m::{Input, Rtc};

pub(crate) use self::drain::Happening;
use self::formats::check_codecs;
pub(crate) use self::formats::{Format, ReceiveFormat, SendFormat};
pub(crate) use self::stack::PeerConfig;
use self::stack::{FIRST_ESTIMATE, build, credentials};

use crate::api::{CloseReason, OfferError, ParticipantId, Role};
use crate::forward::dependency;
use crate::forward::vp8::Vp8Fields;
use crate::link::Link;
use crate::pacing::Debt;
use crate::path::Path;
use crate::resends::ResendAge;
use crate::sdp::{self, MediaLine, ReadOffer};

/// How long video may wait for the pacer. The stack itself would hold it for two seconds and more, and then flood the
/// link with it; a picture that begins anew from a keyframe is back sooner.
const PACER_PATIENCE: Duration = Duration::from_millis(500);

/// What the first probes may look for.
const FIRST_DESIRED: Bitrate = Bitrate::kbps(2500);

/// The most packets kept for resending per video slot, however high its rate: 2 s at 5 Mbps in packets of 1200 bytes.
const RTX_PACKETS: usize = 1024;
/// The largest share of a slot's bytes that may be resends: three for each packet sent. The stack does not count them
/// packet by packet, so a receiver that asks for all again and again gets no more than that on average.
const MAX_RESENDS: f32 = 0.75;

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
                let format = Format::of(p.spec())?;
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
        Some(ReceiveFormat { format: Format::of(found.spec())?, red })
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
