//! What a receiver holds the stream to that it gets.

use std::collections::HashMap;

use weir_core::api::Codec;
use weir_core::forward::dependency::DescriptorReader;
use weir_core::forward::{Vp8Descriptor, Vp9Descriptor};
use weir_core::fuzzing::Sent;

use super::publisher::Known;

/// The newest packet in the order of sending.
#[derive(Debug, Clone, Copy)]
struct Newest {
    ssrc: u32,
    codec: Codec,
    in_timestamp: u32,
    out_timestamp: u32,
    sequence: u64,
    picture_id: Option<(u16, bool)>,
}

/// A receiver that knows nothing of what is behind its one stream.
#[derive(Default)]
pub(crate) struct Receiver {
    by_sequence: HashMap<u64, (u32, u64)>,
    newest: Option<Newest>,
    /// Nothing may come in order but the start of a keyframe.
    waits: bool,
    descriptors: DescriptorReader,
    /// Of the stretch since the last change of source: the frames by the number that the receiver sees.
    frames: HashMap<u16, u64>,
    /// Source and timestamp of the picture of a codec with this id, and a sequence number of it.
    pictures: HashMap<(Codec, u16), ((u32, u32), u64)>,
    /// Noise has come: descriptors may say anything.
    noisy: bool,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        Self { waits: true, ..Self::default() }
    }

    /// The server has nothing more for the slot: what comes next begins anew.
    pub(crate) fn pause(&mut self) {
        self.waits = true;
    }

    /// From now on descriptors may say anything.
    pub(crate) fn expect_noise(&mut self) {
        self.noisy = true;
    }

    /// `complete` says of a frame of the same stream that all its packets had come when this one came.
    pub(crate) fn take(&mut self, known: &Known, sent: &Sent, complete: impl Fn(u64) -> bool) {
        let packet = &known.packet;
        Self::check_payload(known, sent);
        let had = self.by_sequence.insert(sent.sequence, (packet.ssrc, packet.sequence));
        assert_eq!(had, None, "{} is sent twice: {known:?}", sent.sequence);
        self.check_picture(known, sent);
        if self.newest.is_some_and(|newest| sent.sequence <= newest.sequence) {
            return;
        }
        self.check_order(known, sent);
        self.check_descriptor(known, sent, complete);
        let picture_id = picture_id(packet.codec, &sent.payload);
        self.newest = Some(Newest {
            ssrc: packet.ssrc,
            codec: packet.codec,
            in_timestamp: packet.timestamp,
            out_timestamp: sent.timestamp,
            sequence: sent.sequence,
            picture_id,
        });
    }

    /// Nothing but the counters of the payload descriptor has changed.
    fn check_payload(known: &Known, sent: &Sent) {
        let original = &known.packet.payload;
        if known.packet.red.is_some() {
            assert!(original.ends_with(&sent.payload), "the primary block, or all of it");
            return;
        }
        assert_eq!(original.len(), sent.payload.len());
        let body = match known.packet.codec {
            Codec::Vp8 => {
                let was = Vp8Descriptor::parse(original).expect("it was read before");
                let is = Vp8Descriptor::parse(&sent.payload).expect("a descriptor");
                assert_eq!((was.len, was.tid, was.layer_sync), (is.len, is.tid, is.layer_sync));
                was.len
            }
            Codec::Vp9 => {
                let was = Vp9Descriptor::parse(original).expect("it was read before");
                let is = Vp9Descriptor::parse(&sent.payload).expect("a descriptor");
                assert_eq!((was.len, was.tid, was.sid, was.references), (is.len, is.tid, is.sid, is.references));
                was.len
            }
            _ => 0,
        };
        assert_eq!(original[body..], sent.payload[body..]);
    }

    /// No two pictures have one picture id, as long as it has not come round.
    fn check_picture(&mut self, known: &Known, sent: &Sent) {
        let Some((id, true)) = picture_id(known.packet.codec, &sent.payload).filter(|_| !self.noisy) else { return };
        let picture = (known.packet.ssrc, known.packet.timestamp);
        let (other, sequence) = *self.pictures.entry((known.packet.codec, id)).or_insert((picture, sent.sequence));
        let near = sequence.abs_diff(sent.sequence) < 4096;
        assert!(picture == other || !near, "two pictures {id}: {known:?} and {other:?}");
        self.pictures.insert((known.packet.codec, id), (picture, sent.sequence));
    }

    fn check_order(&mut self, known: &Known, sent: &Sent) {
        let packet = &known.packet;
        let changed = self.newest.is_none_or(|n| (n.ssrc, n.codec) != (packet.ssrc, packet.codec));
        assert!(
            !(changed || self.waits) || self.noisy || known.starts_keyframe != Some(false),
            "it begins in the middle: {known:?}"
        );
        if changed || known.starts_keyframe == Some(true) {
            self.frames.clear();
        }
        self.waits = false;
        let Some(newest) = self.newest else { return };
        let step = sent.timestamp.wrapping_sub(newest.out_timestamp) as i32;
        let one_frame = !changed && packet.timestamp == newest.in_timestamp;
        assert!(step >= 0, "{} ticks back: {known:?} after {newest:?}", -i64::from(step));
        assert!(one_frame || step > 0, "a new frame with the old timestamp");
        // Noise may tell of a keyframe that begins within a picture.
        assert!(!one_frame || step == 0 || self.noisy, "a frame of two timestamps");
        if self.noisy || newest.codec != packet.codec {
            return;
        }
        if let (Some((before, true)), Some((now, true))) = (newest.picture_id, picture_id(packet.codec, &sent.payload))
        {
            let ahead = now.wrapping_sub(before) & 0x7fff;
            assert!(ahead < 1 << 14, "a picture id {ahead} ahead: {known:?} after {newest:?}");
            assert!(one_frame == (ahead == 0), "{ahead} pictures ahead: {known:?} after {newest:?}");
        }
    }

    fn check_descriptor(&mut self, known: &Known, sent: &Sent, complete: impl Fn(u64) -> bool) {
        let Some(raw) = sent.descriptor.as_deref().filter(|_| !self.noisy) else { return };
        let read = self.descriptors.read(raw).expect("a descriptor that can be read");
        let was = known.packet.descriptor.as_deref().expect("it has one");
        assert_eq!((raw[0], read.structure.decode_targets() > 0), (was[0], true));
        assert!(read.active_targets != 0, "somebody gets something");
        if read.start_of_frame && !self.frames.contains_key(&read.frame_number) {
            let in_number = u16::from_be_bytes([was[1], was[2]]);
            for diff in read.dependencies.diffs.as_slice() {
                let frame = known.frame_at(in_number.wrapping_sub(*diff));
                let sent_before = self.frames.contains_key(&read.frame_number.wrapping_sub(*diff));
                assert!(sent_before || !frame.is_some_and(&complete), "it needs a frame that was dropped: {known:?}");
            }
        }
        self.frames.insert(read.frame_number, known.frame);
    }
}

fn picture_id(codec: Codec, payload: &[u8]) -> Option<(u16, bool)> {
    let id = match codec {
        Codec::Vp8 => Vp8Descriptor::parse(payload)?.picture_id,
        Codec::Vp9 => Vp9Descriptor::parse(payload)?.picture_id,
        _ => None,
    };
    id.map(|id| (id.value, id.long))
}
