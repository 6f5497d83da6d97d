//! One packet of a publisher, read once for all who receive it.

use std::sync::Arc;
use std::time::Instant;

use str0m::rtp::ExtensionValues;

use crate::api::{Codec, ParticipantId};
use crate::doctor::pulse::Beat;
use crate::egress::Descriptor;
use crate::forward::{SenderReport, dependency, red, svc::FrameInfo};
use crate::participant::{Format, ReceiveFormat};
use crate::track::{Seen, Track};

/// A packet as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub now: Instant,
    /// When it came to this machine.
    pub arrived: Instant,
    /// Index of its layer in the track.
    pub layer: usize,
    /// The SSRC: names one numbering of sequence numbers and timestamps.
    pub source: u32,
    /// Extended sequence number.
    pub seq: u64,
    /// RTP timestamp.
    pub time: u32,
    pub marker: bool,
    pub format: ReceiveFormat,
    pub payload: &'a Arc<[u8]>,
    pub ext: &'a ExtensionValues,
    /// Contributing sources, at most 15.
    pub csrc: &'a [u32],
    /// The last sender report of its layer.
    pub report: Option<SenderReport>,
}

/// What was read of a packet.
pub(crate) struct Reading {
    pub seen: Seen,
    descriptor: Option<Descriptor>,
    primary: Option<Arc<[u8]>>,
    /// Shared by all who receive it, as the payload is. None: it has none.
    ext: Option<Arc<ExtensionValues>>,
}

/// An incoming packet, read once for all who receive it.
pub(crate) struct Incoming<'a> {
    pub now: Instant,
    /// When it came to this machine: what it waited until `now` is the server's delay too.
    pub arrived: Instant,
    pub publisher: ParticipantId,
    pub layer: usize,
    /// The SSRC: names one numbering of sequence numbers and timestamps.
    pub source: u32,
    pub seq: u64,
    pub time: u32,
    pub marker: bool,
    pub format: Format,
    /// The payload type of what is in the payload where that is RED (RFC 2198); none: it is plain.
    pub red: Option<u8>,
    pub keyframe_start: bool,
    /// It comes after one that follows it, or for the second time.
    pub late: bool,
    /// None: of no use to anybody; it only leaves no gap.
    pub descriptor: Option<Descriptor>,
    /// The id of the frame that it is a part of, where the rest of what it says of that cannot be read.
    pub unreadable: Option<u64>,
    /// The frame that it is a part of, where the stream tells, and its dependency descriptor.
    pub frame: Option<&'a (FrameInfo, Option<dependency::Descriptor>)>,
    pub payload: &'a Arc<[u8]>,
    /// For receivers without RED: the primary payload.
    pub primary: Option<&'a Arc<[u8]>>,
    pub ext: Option<&'a Arc<ExtensionValues>>,
    /// Contributing sources, at most 15.
    pub csrc: &'a [u32],
    /// When it was captured, by this shard's clock.
    pub captured: Instant,
    /// The last sender report of its layer.
    pub report: Option<SenderReport>,
    /// Bytes of padding that it gets: see [`even_out`].
    pub pad: u8,
}

/// An [`Incoming`] that waits for the end of its batch: what that borrows, it has.
pub(crate) struct Kept {
    pub now: Instant,
    pub arrived: Instant,
    publisher: ParticipantId,
    pub layer: usize,
    source: u32,
    seq: u64,
    time: u32,
    marker: bool,
    format: Format,
    red: Option<u8>,
    pub keyframe_start: bool,
    late: bool,
    descriptor: Option<Descriptor>,
    unreadable: Option<u64>,
    frame: Option<(FrameInfo, Option<dependency::Descriptor>)>,
    payload: Arc<[u8]>,
    primary: Option<Arc<[u8]>>,
    ext: Option<Arc<ExtensionValues>>,
    csrc: Box<[u32]>,
    captured: Instant,
    report: Option<SenderReport>,
    pad: u8,
}

impl Kept {
    pub(crate) fn new(packet: &Incoming<'_>) -> Self {
        Self {
            now: packet.now,
            arrived: packet.arrived,
            publisher: packet.publisher,
            layer: packet.layer,
            source: packet.source,
            seq: packet.seq,
            time: packet.time,
            marker: packet.marker,
            format: packet.format,
            red: packet.red,
            keyframe_start: packet.keyframe_start,
            late: packet.late,
            descriptor: packet.descriptor,
            unreadable: packet.unreadable,
            frame: packet.frame.cloned(),
            payload: Arc::clone(packet.payload),
            primary: packet.primary.cloned(),
            ext: packet.ext.cloned(),
            csrc: packet.csrc.into(),
            captured: packet.captured,
            report: packet.report,
            pad: packet.pad,
        }
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.format.codec == Codec::Opus
    }

    /// Nobody gets it, and it leaves no gap. False if that was so before.
    pub(crate) fn give_up(&mut self) -> bool {
        self.descriptor.take().is_some()
    }

    pub(crate) fn incoming(&self) -> Incoming<'_> {
        Incoming {
            now: self.now,
            arrived: self.arrived,
            publisher: self.publisher,
            layer: self.layer,
            source: self.source,
            seq: self.seq,
            time: self.time,
            marker: self.marker,
            format: self.format,
            red: self.red,
            keyframe_start: self.keyframe_start,
            late: self.late,
            descriptor: self.descriptor,
            unreadable: self.unreadable,
            frame: self.frame.as_ref(),
            payload: &self.payload,
            primary: self.primary.as_ref(),
            ext: self.ext.as_ref(),
            csrc: &self.csrc,
            captured: self.captured,
            report: self.report,
            pad: self.pad,
        }
    }
}

/// A packet of a track, which is named by its place in the room.
pub(crate) struct Queued {
    pub room: usize,
    pub track: usize,
    pub packet: Kept,
}

/// The most bytes by which packets of a frame are evened out. Encoders that cut a frame into equal parts have one left over.
const MAX_PAD: usize = 8;

/// Pads the packets of a frame that are a few bytes shorter than its longest, but the last: those of one size leave in one
/// call, which ends with the first shorter one. Of the packets of one track, in order.
pub(crate) fn even_out(packets: &mut [Queued]) {
    let frame_of = |queued: &Queued| (queued.packet.source, queued.packet.time);
    for frame in packets.chunk_by_mut(|a, b| frame_of(a) == frame_of(b)) {
        let longest = frame.iter().map(|queued| queued.packet.payload.len()).max().unwrap_or(0);
        let Some((_, others)) = frame.split_last_mut() else { continue };
        for Queued { packet, .. } in others {
            let missing = longest - packet.payload.len();
            packet.pad = if missing <= MAX_PAD { missing as u8 } else { 0 };
        }
    }
}

impl Reading {
    /// Reads a packet, and lets its track take note of it.
    pub(crate) fn new(track: &mut Track, packet: &Arrival<'_>) -> Self {
        let seen = track.on_packet(packet);
        let readable =
            Descriptor::read(packet.format.format.codec, packet.payload).filter(|_| seen.unreadable.is_none());
        let (descriptor, primary) = match packet.format.red {
            None => (readable, None),
            // What is inside may be of another codec than the one negotiated: comfort noise, say. Nobody could tell.
            Some(inner) => match red::primary(packet.payload).filter(|(pt, _)| *pt == inner) {
                Some((_, data)) => (readable, Some(Arc::from(data))),
                None => (None, None),
            },
        };
        Self { seen, descriptor, primary, ext: forwarded_extensions(packet.ext).map(Arc::new) }
    }

    /// The packet for those who receive it. `captured` is when, by this shard's clock.
    pub(crate) fn incoming<'a>(
        &'a self,
        packet: &Arrival<'a>,
        publisher: ParticipantId,
        captured: Instant,
    ) -> Incoming<'a> {
        Incoming {
            now: packet.now,
            arrived: packet.arrived,
            publisher,
            layer: packet.layer,
            source: packet.source,
            seq: packet.seq,
            time: packet.time,
            marker: packet.marker,
            format: packet.format.format,
            red: packet.format.red,
            keyframe_start: self.seen.keyframe_start,
            late: self.seen.late,
            descriptor: self.descriptor,
            unreadable: self.seen.unreadable,
            frame: self.seen.frame.as_ref(),
            payload: packet.payload,
            primary: self.primary.as_ref(),
            ext: self.ext.as_ref(),
            csrc: packet.csrc,
            captured,
            report: packet.report,
            pad: 0,
        }
    }
}

impl Arrival<'_> {
    pub(crate) fn codec(&self) -> Codec {
        self.format.format.codec
    }

    /// What the doctor notes of it.
    pub(crate) fn beat(&self, keyframe: bool, profile: Option<u32>) -> Beat {
        let (Self { now, source, seq, time, .. }, clock_rate) = (*self, self.codec().clock_rate());
        Beat { now, source, seq, time, clock_rate, keyframe, profile }
    }
}

/// The header extensions that travel with a packet, if there are any.
///
/// What belongs to one hop only is left out: the stack sets its own
/// MID, transport sequence number and send time.
fn forwarded_extensions(values: &ExtensionValues) -> Option<ExtensionValues> {
    let mut forwarded = values.clone();
    forwarded.mid = None;
    forwarded.rid = None;
    forwarded.rid_repair = None;
    forwarded.transport_cc = None;
    forwarded.abs_send_time = None;
    forwarded.tx_time_offs = None;
    (forwarded != ExtensionValues::default()).then_some(forwarded)
}

#[cfg(test)]
mod tests {
    use str0m::media::{Mid, Rid};
    use str0m::rtp::VideoOrientation;

    use super::*;

    #[test]
    fn header_extensions_survive_but_those_of_one_hop() {
        let mut values = ExtensionValues {
            audio_level: Some(-30),
            voice_activity: Some(true),
            video_orientation: Some(VideoOrientation::Deg90),
            video_content_type: Some(1),
            ..ExtensionValues::default()
        };
        values.user_values.set(dependency::RawDescriptor::new(&[0xc0, 0, 1]).expect("a length"));
        let end_to_end = format!("{values:?}");
        let came = ExtensionValues {
            mid: Some(Mid::from("3")),
            rid: Some(Rid::from("h")),
            rid_repair: Some(Rid::from("h")),
            transport_cc: Some(7),
            tx_time_offs: Some(1),
            ..values.clone()
        };
        assert_ne!(format!("{came:?}"), end_to_end);
        let forwarded = forwarded_extensions(&came).expect("some");
        assert_eq!(format!("{forwarded:?}"), end_to_end);
        let descriptor = forwarded.user_values.get::<dependency::RawDescriptor>();
        assert_eq!(descriptor, values.user_values.get::<dependency::RawDescriptor>());
        assert!(descriptor.is_some());
        let of_one_hop =
            ExtensionValues { mid: Some(Mid::from("3")), transport_cc: Some(7), ..ExtensionValues::default() };
        assert_eq!(forwarded_extensions(&of_one_hop), None);
    }
}
