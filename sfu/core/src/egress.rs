//! What one slot sends: the state that makes layers and tracks, as they change, look like one stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use str0m::rtp::ExtensionValues;

use crate::allocator::Reason;
use crate::api::{Codec, MediaKind, ParticipantId};
use crate::forward::dependency::{self, DependencyRewriter, RawDescriptor};
use crate::forward::svc::LayerFilter;
use crate::forward::vp8::{Vp8Descriptor, Vp8Fields, Vp8Rewriter};
use crate::forward::vp9::{Vp9Descriptor, Vp9Rewriter};
use crate::forward::{Mapped, SenderReport, SequenceMapper, TimestampMapper};
use crate::ingress::Incoming;
use crate::layers::{LayerSelector, Verdict};
use crate::participant::{Format, OutPacket, SendFormat};
use crate::track::Cutting;

/// The length of an Opus packet as browsers send it: the least distance between two packets of different sources.
const AUDIO_STEP: Duration = Duration::from_millis(20);

/// The payload descriptor of a packet, where its counters must count on over switches.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Descriptor {
    None,
    Vp8(Vp8Descriptor),
    Vp9(Vp9Descriptor),
}

impl Descriptor {
    /// Reads it; none if it is broken, and then the packet is of no use to anybody.
    pub(crate) fn read(codec: Codec, payload: &[u8]) -> Option<Self> {
        match codec {
            Codec::Vp8 => Vp8Descriptor::parse(payload).map(Self::Vp8),
            Codec::Vp9 => Vp9Descriptor::parse(payload).map(Self::Vp9),
            _ => Some(Self::None),
        }
    }
}

/// The source that is forwarded now.
#[derive(Debug, Clone, Copy)]
struct Current {
    publisher: ParticipantId,
    source: u32,
    codec: Codec,
    report: Option<SenderReport>,
}

/// The sending state of one slot. It outlives the tracks that the slot shows.
#[derive(Debug)]
pub(crate) struct Egress {
    pub selector: LayerSelector,
    /// What to give.
    pub target: Option<Cutting>,
    /// Cuts the forwarded encoding down to its target layer.
    pub filter: LayerFilter,
    /// The packets seen last told of their frames, so that the filter decides.
    filtered: bool,
    /// The encoding that it would get without limits: its publisher is asked for it.
    pub wanted: Option<usize>,
    /// Why the target is what it is, as told last.
    pub reason: Option<Reason>,
    /// Bytes of payload since the last tick.
    pub bytes: u64,
    /// Bits per second in the second before the last tick.
    pub bitrate: u64,
    /// Since when a keyframe is awaited, as [`Self::awaiting`] saw it.
    awaiting: Option<Instant>,
    current: Option<Current>,
    /// The SSRC that the publisher left for another on the same layer: what still comes of it is late.
    left: Option<u32>,
    /// What was sent waits for the link: from the next frame on, nothing until a keyframe.
    late: bool,
    /// The timestamp of the newest packet forwarded, as it came.
    last_time: Option<u32>,
    /// The newest packet sent was not the last of its picture.
    open: bool,
    /// A packet of a new SSRC or codec has come, but no keyframe to begin it with.
    stranded: bool,
    sequence: SequenceMapper,
    time: TimestampMapper,
    vp8: Vp8Rewriter,
    vp9: Vp9Rewriter,
    dependency: DependencyRewriter,
    /// The format of the packets seen last, and what the client takes of it.
    resolved: Option<(Format, Option<SendFormat>)>,
}

impl Egress {
    pub(crate) fn new(kind: MediaKind, rng: &mut StdRng) -> Self {
        // RFC 3550 section 5.1: random starts. The upper half of the sequence numbers is left free, see the mapper.
        let time = TimestampMapper::new(rng.random());
        Self {
            selector: LayerSelector::default(),
            target: None,
            filter: LayerFilter::new(),
            filtered: false,
            wanted: None,
            reason: None,
            bytes: 0,
            bitrate: 0,
            awaiting: None,
            current: None,
            left: None,
            late: false,
            last_time: None,
            open: false,
            stranded: false,
            sequence: SequenceMapper::new(rng.random_range(0..1 << 15)),
            time: if kind == MediaKind::Audio { time.with_min_step(AUDIO_STEP) } else { time },
            vp8: Vp8Rewriter::new(),
            vp9: Vp9Rewriter::new(),
            dependency: DependencyRewriter::new(),
            resolved: None,
        }
    }

    /// Asks for what the next packet needs of this: see [`weir_prefetch`].
    pub(crate) fn prefetch(&self) {
        weir_prefetch::value(&self.selector);
        weir_prefetch::value(&self.filter);
        weir_prefetch::value(&self.current);
        weir_prefetch::value(&self.resolved);
        weir_prefetch::value(&self.target);
        weir_prefetch::value(&self.bytes);
        weir_prefetch::value(&self.late);
        weir_prefetch::value(&self.sequence);
        weir_prefetch::value(&self.time);
        if let Some(Current { codec: Codec::Vp8, .. }) = self.current {
            weir_prefetch::value(&self.vp8);
        }
    }

    /// The slot shows another track, or none: what comes next begins anew.
    pub(crate) fn detach(&mut self) {
        self.selector = LayerSelector::default();
        self.target = None;
        self.filter = LayerFilter::new();
        self.filtered = false;
        self.wanted = None;
        self.reason = None;
        self.left = None;
        self.late = false;
        self.stranded = false;
        self.awaiting = None;
        self.forget_report();
        self.resolved = None;
        self.bytes = 0;
        self.bitrate = 0;
    }

    /// After a break nobody knows whether the source's timestamps went on: the next switch goes by arrival.
    fn forget_report(&mut self) {
        if let Some(current) = &mut self.current {
            current.report = None;
        }
    }

    /// Sets what to give; none pauses. Returns true if that is a change.
    pub(crate) fn set_target(&mut self, now: Instant, cutting: Option<Cutting>) -> bool {
        if let Some(Cutting { cut, whole, .. }) = cutting {
            let (spatial, temporal) = if whole { (u8::MAX, u8::MAX) } else { (cut.spatial, cut.temporal) };
            self.filter.set_target(spatial, temporal);
        }
        if cutting.is_none() {
            self.forget_report();
        }
        let changed = std::mem::replace(&mut self.target, cutting) != cutting;
        self.selector.set_target(now, cutting.map(|c| c.encoding)) || changed
    }

    /// What the client takes of packets of this format; the match is kept until the format changes.
    pub(crate) fn resolve(&mut self, formats: &[SendFormat], format: Format) -> Option<SendFormat> {
        match self.resolved {
            Some((known, send)) if known == format => send,
            _ => {
                let send = best_match(formats, format);
                self.resolved = Some((format, send));
                send
            }
        }
    }

    /// The packet for the receiver, or none if it does not get this one.
    pub(crate) fn forward(&mut self, formats: &[SendFormat], packet: &Incoming<'_>) -> Option<OutPacket> {
        let send = self.resolve(formats, packet.format)?;
        // What was overtaken is not of the next frame.
        if self.late && !packet.late && self.last_time != Some(packet.time) {
            self.late = false;
            self.selector.abandon(packet.now);
        }
        if packet.descriptor.is_none() {
            self.sequence.drop(packet.source, packet.seq);
            if let Some(frame) = packet.unreadable.filter(|_| !self.is_new_source(packet)) {
                self.filter.lose(frame);
            }
            return None;
        }
        match self.selector.on_packet(packet.now, packet.layer, packet.keyframe_start) {
            Verdict::Switch => self.switch(packet),
            Verdict::Forward if self.is_new_source(packet) => {
                // The publisher began a new SSRC or codec on this layer: its first keyframe continues the stream.
                if Some(packet.source) != self.left {
                    self.stranded = !packet.keyframe_start;
                    if self.stranded {
                        return None;
                    }
                    self.left = self.current.map(|c| c.source);
                    self.switch(packet);
                }
            }
            // What seemed to begin anew was late.
            Verdict::Forward => self.stranded = false,
            // Of the source before, what was lost and comes late is still of use.
            Verdict::Drop if self.current.is_some_and(|c| c.source != packet.source) => {}
            Verdict::Drop => return None,
        }
        let marker = self.filter(packet)?;
        self.rewrite(send, packet, marker)
    }

    /// Whether the packet belongs to the target layer of its encoding; none if not, else its marker.
    fn filter(&mut self, packet: &Incoming<'_>) -> Option<bool> {
        if self.is_new_source(packet) {
            return Some(packet.marker);
        }
        self.filtered = packet.frame.is_some();
        let Some((frame, descriptor)) = packet.frame else { return Some(packet.marker) };
        let verdict = self.filter.on_packet(frame);
        let readable = descriptor.as_ref().is_none_or(|d| self.dependency.is_readable(d));
        if verdict.pass && readable {
            return Some(verdict.marker.unwrap_or(packet.marker));
        }
        if verdict.pass {
            self.filter.starve();
        }
        self.sequence.drop(packet.source, packet.seq);
        if let (Some(Descriptor::Vp8(descriptor)), Some(epoch)) = (&packet.descriptor, self.sequence.epoch()) {
            self.vp8.drop(epoch, descriptor);
        }
        None
    }

    /// The link does not keep up: what the picture still lacks would come too late.
    pub(crate) fn on_late(&mut self) {
        self.late = true;
    }

    /// The encoding whose keyframe is awaited: of another encoding, or of this one to reach the target layer.
    pub(crate) fn awaited(&self) -> Option<usize> {
        let stuck = self.stranded || (self.filtered && self.filter.needs_keyframe());
        let for_layer = || self.selector.current().filter(|_| stuck);
        self.selector.awaited().or_else(for_layer)
    }

    /// The encoding whose keyframe is awaited, and for how long, counted from the first call that found it so.
    pub(crate) fn awaiting(&mut self, now: Instant) -> Option<(usize, Duration)> {
        let awaited = self.awaited();
        self.awaiting = awaited.and(self.awaiting.or(Some(now)));
        awaited.zip(self.awaiting.map(|since| now.saturating_duration_since(since)))
    }

    /// The packet is of another SSRC, or of another codec, than what is forwarded.
    fn is_new_source(&self, packet: &Incoming<'_>) -> bool {
        let same =
            |c: Current| c.source == packet.source && c.publisher == packet.publisher && c.codec == packet.format.codec;
        self.current.is_some_and(|c| !same(c))
    }

    fn switch(&mut self, packet: &Incoming<'_>) {
        if std::mem::take(&mut self.open) {
            // The receiver must not take what it has of that picture for all of it.
            self.sequence.leave_gap();
        }
        let epoch = self.sequence.switch(packet.source, packet.seq);
        let rate = packet.format.codec.clock_rate();
        let aligned = self.current.filter(|c| c.publisher == packet.publisher).and_then(|c| {
            let (old, new) = (c.report?, packet.report?);
            Some(new.on_timeline_of(&old, packet.time, rate))
        });
        self.time.switch(epoch, packet.now, packet.time, rate, aligned);
        self.filter.restart();
        if let Some((_, Some(first))) = packet.frame {
            self.dependency.switch(epoch, first);
        }
        match &packet.descriptor {
            Some(Descriptor::Vp8(first)) => self.vp8.switch(epoch, first),
            Some(Descriptor::Vp9(first)) => self.vp9.switch(epoch, first),
            Some(Descriptor::None) | None => {}
        }
        self.stranded = false;
        self.left = self.left.filter(|left| *left != packet.source);
        self.current = Some(Current {
            publisher: packet.publisher,
            source: packet.source,
            codec: packet.format.codec,
            report: packet.report,
        });
    }

    fn rewrite(&mut self, send: SendFormat, packet: &Incoming<'_>, marker: bool) -> Option<OutPacket> {
        let (pt, payload) = match (packet.red, send.red) {
            // Inside, RED names the payload types of the publisher.
            (Some(inner), Some(red)) if inner == *send.pt => (red, packet.payload),
            (Some(_), _) => (send.pt, packet.primary?),
            (None, _) => (send.pt, packet.payload),
        };
        if payload.is_empty() {
            self.sequence.drop(packet.source, packet.seq);
            return None;
        }
        let mapped = self.sequence.forward(packet.source, packet.seq)?;
        let time = self.time.map(mapped.epoch, packet.now, packet.time)?;
        if let Some(current) = self.current.as_mut().filter(|c| c.source == packet.source) {
            current.report = packet.report;
        }
        let (payload, vp8) = self.rewrite_descriptor(mapped, packet.descriptor.as_ref()?, payload)?;
        let ext = self.rewrite_extensions(mapped, packet)?;
        self.bytes += payload.len() as u64;
        if !mapped.late {
            self.last_time = Some(packet.time);
            self.open = !marker && packet.format.codec != Codec::Opus;
        }
        Some(OutPacket {
            pt,
            seq: mapped.sequence,
            time,
            wallclock: packet.captured,
            marker,
            ext,
            csrc: packet.csrc.into(),
            nackable: send.rtx,
            payload,
            vp8,
            pad: packet.pad,
        })
    }

    /// The header extensions as the receiver gets them, if there are any; none at all where the packet is of no use to it.
    /// The dependency descriptor counts on over switches, and names
    /// the decode targets that the receiver still has.
    fn rewrite_extensions(&mut self, mapped: Mapped, packet: &Incoming<'_>) -> Option<Option<Arc<ExtensionValues>>> {
        let Some((_, Some(descriptor))) = packet.frame else { return Some(packet.ext.cloned()) };
        let mut bytes = [0; dependency::MAX_LEN];
        let length = self.dependency.rewrite(mapped, descriptor, self.filter.allowed()?, &mut bytes)?;
        let mut ext = packet.ext.map(|ext| ExtensionValues::clone(ext)).unwrap_or_default();
        ext.user_values.set(RawDescriptor::new(&bytes[..length])?);
        Some(Some(Arc::new(ext)))
    }

    /// The payload with its counters counting on: VP8 as a patch that is applied when the packet is written, VP9 in a
    /// copy, and only where something differs.
    fn rewrite_descriptor(
        &mut self,
        mapped: Mapped,
        descriptor: &Descriptor,
        payload: &Arc<[u8]>,
    ) -> Option<(Arc<[u8]>, Option<Vp8Fields>)> {
        match descriptor {
            Descriptor::None => Some((Arc::clone(payload), None)),
            Descriptor::Vp8(descriptor) => {
                let fields = self.vp8.rewrite(mapped, descriptor)?;
                let patch = (fields != Vp8Fields::of(descriptor)).then_some(fields);
                Some((Arc::clone(payload), patch))
            }
            Descriptor::Vp9(descriptor) => {
                let fields = self.vp9.rewrite(mapped, descriptor)?;
                let copy = fields.rewrite_payload(descriptor, payload);
                Some((copy.map_or_else(|| Arc::clone(payload), Arc::from), None))
            }
        }
    }
}

/// The payload type for a format: the same codec, for H264 the same packetization and, if there is one, the same
/// profile. Decoders take other profiles than they negotiated more often than not, and OBS sends High though it offers
/// Baseline, so another profile is better than no picture.
fn best_match(formats: &[SendFormat], format: Format) -> Option<SendFormat> {
    let same_codec = || formats.iter().filter(|f| f.format.codec == format.codec);
    let exact = same_codec().find(|f| f.format == format);
    let fallback = || match format.codec {
        // Mode 0 allows single NAL units only: a receiver of it cannot take what mode 1 sends.
        Codec::H264 => same_codec().find(|f| f.format.packetization >= format.packetization),
        // Profile 2 is 10 bits: another decoder.
        Codec::Vp9 => None,
        _ => same_codec().next(),
    };
    exact.or_else(fallback).copied()
}

#[cfg(test)]
#[path = "egress_tests.rs"]
mod tests;
